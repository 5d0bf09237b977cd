//! Semantic versions.

use std::cmp::Ordering;
use std::fmt;

use super::{Outcome, Registry, failed, no_overload};
use crate::value::{Special, Value};

/// A version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Version {
    major: u64,
    minor: u64,
    patch: u64,
    pre: Vec<String>,
    build: Vec<String>,
}

impl Version {
    pub(crate) fn compare(&self, other: &Self) -> Ordering {
        let numbers = |v: &Self| (v.major, v.minor, v.patch);
        numbers(self).cmp(&numbers(other)).then_with(|| match (self.pre.is_empty(), other.pre.is_empty()) {
            (true, true) => Ordering::Equal,
            (true, false) => Ordering::Greater,
            (false, true) => Ordering::Less,
            (false, false) => {
                let pairs = self.pre.iter().zip(&other.pre);
                let first = pairs.map(|(a, b)| parts(a, b)).find(|order| *order != Ordering::Equal);
                first.unwrap_or_else(|| self.pre.len().cmp(&other.pre.len()))
            }
        })
    }
}

/// Numbers come before words.
fn parts(a: &str, b: &str) -> Ordering {
    match (a.parse::<u64>(), b.parse::<u64>()) {
        (Ok(a), Ok(b)) => a.cmp(&b),
        (Ok(_), Err(_)) => Ordering::Less,
        (Err(_), Ok(_)) => Ordering::Greater,
        (Err(_), Err(_)) => a.cmp(b),
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)?;
        if !self.pre.is_empty() {
            write!(f, "-{}", self.pre.join("."))?;
        }
        if !self.build.is_empty() {
            write!(f, "+{}", self.build.join("."))?;
        }
        Ok(())
    }
}

fn number(text: &str, what: &str) -> Result<u64, String> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(format!(
            "Invalid character(s) found in {what} number {}",
            kplane_machinery::field::go_quote(text)
        ));
    }
    if text.len() > 1 && text.starts_with('0') {
        let quoted = kplane_machinery::field::go_quote(text);
        let mut name = what.to_owned();
        name[..1].make_ascii_uppercase();
        return Err(format!("{name} number must not contain leading zeroes {quoted}"));
    }
    text.parse().map_err(|_| format!("{what} number is out of range"))
}

fn parse(text: &str) -> Result<Version, String> {
    if text.is_empty() {
        return Err("Version string empty".to_owned());
    }
    let (rest, build) = text.split_once('+').map_or((text, None), |(rest, build)| (rest, Some(build)));
    let (core, pre) = rest.split_once('-').map_or((rest, None), |(core, pre)| (core, Some(pre)));
    let numbers: Vec<&str> = core.splitn(3, '.').collect();
    let [major, minor, patch] = numbers.as_slice() else {
        return Err("No Major.Minor.Patch elements found".to_owned());
    };
    let words = |text: Option<&str>, what: &str, zeroes: bool| -> Result<Vec<String>, String> {
        let Some(text) = text else { return Ok(Vec::new()) };
        text.split('.')
            .map(|part| {
                let quoted = kplane_machinery::field::go_quote(part);
                if part.is_empty() {
                    return Err(
                        if zeroes { "Prerelease is empty" } else { "Build meta data is empty" }.to_owned()
                    );
                }
                if !part.chars().all(|c| c.is_ascii_alphanumeric() || c == '-') {
                    return Err(format!("Invalid character(s) found in {what} {quoted}"));
                }
                let number = part.bytes().all(|byte| byte.is_ascii_digit());
                if zeroes && number && part.len() > 1 && part.starts_with('0') {
                    return Err(format!(
                        "Numeric PreRelease version must not contain leading zeroes {quoted}"
                    ));
                }
                Ok(part.to_owned())
            })
            .collect()
    };
    Ok(Version {
        major: number(major, "major")?,
        minor: number(minor, "minor")?,
        patch: number(patch, "patch")?,
        pre: words(pre, "prerelease", true)?,
        build: words(build, "build meta data", false)?,
    })
}

/// `v1.2` is read as `1.2.0`, and leading zeroes are dropped.
fn normalized(text: &str) -> Result<Version, String> {
    let text = text.strip_prefix('v').unwrap_or(text);
    let end = text.find(['-', '+']).unwrap_or(text.len());
    let (core, rest) = text.split_at(end);
    let mut parts: Vec<String> = core
        .split('.')
        .map(|part| {
            let short = part.trim_start_matches('0');
            if short.is_empty() && !part.is_empty() { "0".to_owned() } else { short.to_owned() }
        })
        .collect();
    if parts.len() < 3 && !rest.is_empty() {
        return Err("Short version cannot contain PreRelease/Build meta data".to_owned());
    }
    while parts.len() < 3 {
        parts.push("0".to_owned());
    }
    parse(&format!("{}{rest}", parts.join(".")))
}

fn read(args: &[Value<'_>]) -> Option<Result<Version, String>> {
    match args {
        [Value::String(text)] | [Value::String(text), Value::Bool(false)] => Some(parse(text)),
        [Value::String(text), Value::Bool(true)] => Some(normalized(text)),
        _ => None,
    }
}

pub(super) fn declare(d: &mut Registry) {
    d.add(
        "semver",
        "string_to_semver: (string) -> Semver; string_bool_to_semver: (string, bool) -> Semver",
        |_, args| match read(args) {
            Some(Ok(version)) => Ok(Value::special(Special::Semver(version))),
            Some(Err(told)) => failed(told),
            None => no_overload(),
        },
    );
    d.add(
        "isSemver",
        "is_semver_string: (string) -> bool; is_semver_string_bool: (string, bool) -> bool",
        |_, args| read(args).map_or_else(no_overload, |found| Ok(Value::Bool(found.is_ok()))),
    );
    d.add("major", "semver_major: Semver.() -> int", |_, args| part(args, |v| v.major));
    d.add("minor", "semver_minor: Semver.() -> int", |_, args| part(args, |v| v.minor));
    d.add("patch", "semver_patch: Semver.() -> int", |_, args| part(args, |v| v.patch));
    d.add("isGreaterThan", "semver_is_greater_than: Semver.(Semver) -> bool", |_, args| {
        order(args, |order| Value::Bool(order == Ordering::Greater))
    });
    d.add("isLessThan", "semver_is_less_than: Semver.(Semver) -> bool", |_, args| {
        order(args, |order| Value::Bool(order == Ordering::Less))
    });
    d.add("compareTo", "semver_compare_to: Semver.(Semver) -> int", |_, args| {
        order(args, |order| Value::Int(order as i64))
    });
}

fn version<'v>(value: &'v Value<'_>) -> Option<&'v Version> {
    match value {
        Value::Special(special) => match &**special {
            Special::Semver(version) => Some(version),
            _ => None,
        },
        _ => None,
    }
}

fn part<'a>(args: &[Value<'a>], of: fn(&Version) -> u64) -> Outcome<'a> {
    match args {
        [value] => version(value)
            .map_or_else(no_overload, |v| Ok(Value::Int(i64::try_from(of(v)).unwrap_or(i64::MAX)))),
        _ => no_overload(),
    }
}

fn order<'a>(args: &[Value<'a>], shown: fn(Ordering) -> Value<'a>) -> Outcome<'a> {
    match args {
        [a, b] => match (version(a), version(b)) {
            (Some(a), Some(b)) => Ok(shown(a.compare(b))),
            _ => no_overload(),
        },
        _ => no_overload(),
    }
}
