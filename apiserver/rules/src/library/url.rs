//! URLs, read as Go does.

use std::collections::BTreeMap;

use super::{Outcome, Registry, failed, no_overload};
use crate::value::{Key, Special, Value};

/// The parts of a URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Url {
    pub text: String,
    scheme: String,
    host: String,
    path: String,
    query: String,
}

pub(super) fn declare(d: &mut Registry) {
    d.add("url", "string_to_url: (string) -> URL", |_, args| match args {
        [Value::String(text)] => match parse(text) {
            Ok(url) => Ok(Value::special(Special::Url(url))),
            Err(told) => failed(format!(
                "URL parse error during conversion from string: parse {}: {told}",
                kplane_machinery::field::go_quote(text)
            )),
        },
        _ => no_overload(),
    });
    d.add("isURL", "is_url_string: (string) -> bool", |_, args| match args {
        [Value::String(text)] => Ok(Value::Bool(parse(text).is_ok())),
        _ => no_overload(),
    });
    d.add("getScheme", "url_get_scheme: URL.() -> string", |_, args| text(args, |url| url.scheme.clone()));
    d.add("getHost", "url_get_host: URL.() -> string", |_, args| text(args, |url| url.host.clone()));
    d.add("getHostname", "url_get_hostname: URL.() -> string", |_, args| {
        text(args, |url| split(&url.host).0.to_owned())
    });
    d.add("getPort", "url_get_port: URL.() -> string", |_, args| {
        text(args, |url| split(&url.host).1.to_owned())
    });
    d.add("getEscapedPath", "url_get_escaped_path: URL.() -> string", |_, args| {
        text(args, |url| url.path.clone())
    });
    d.add("getQuery", "url_get_query: URL.() -> map(string, list(string))", |_, args| {
        let Some(url) = of(args) else { return no_overload() };
        let mut out: BTreeMap<Key, Vec<Value<'_>>> = BTreeMap::new();
        for pair in url.query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            if let (Some(name), Some(value)) = (unescape(name), unescape(value)) {
                out.entry(Key::String(name.into())).or_default().push(Value::from(value));
            }
        }
        Ok(Value::map(out.into_iter().map(|(key, values)| (key, Value::list(values))).collect()))
    });
}

fn of<'v>(args: &'v [Value<'_>]) -> Option<&'v Url> {
    match args {
        [Value::Special(special)] => match &**special {
            Special::Url(url) => Some(url),
            _ => None,
        },
        _ => None,
    }
}

fn text<'a>(args: &[Value<'a>], part: fn(&Url) -> String) -> Outcome<'a> {
    of(args).map_or_else(no_overload, |url| Ok(Value::from(part(url))))
}

/// The name and the port of a host.
fn split(host: &str) -> (&str, &str) {
    if let Some(rest) = host.strip_prefix('[') {
        let (name, rest) = rest.split_once(']').unwrap_or((rest, ""));
        return (name, rest.strip_prefix(':').unwrap_or(""));
    }
    host.rsplit_once(':').unwrap_or((host, ""))
}

fn unescape(text: &str) -> Option<String> {
    let mut out = Vec::new();
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'+' => out.push(b' '),
            b'%' => {
                let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
                let (high, low) = (digit(bytes.next())?, digit(bytes.next())?);
                out.push((high * 16 + low) as u8);
            }
            b';' => return None,
            byte => out.push(byte),
        }
    }
    String::from_utf8(out).ok()
}

/// An absolute URL or a path; the error is Go's.
pub(crate) fn parse(text: &str) -> Result<Url, String> {
    if text.bytes().any(|byte| byte < 0x20 || byte == 0x7f) {
        return Err("net/url: invalid control character in URL".to_owned());
    }
    if text.is_empty() {
        return Err("empty url".to_owned());
    }
    let whole = text.split_once('#').map_or(text, |(before, _)| before);
    let mut scheme = "";
    let mut rest = whole;
    if let Some(colon) = whole.find(':') {
        let name = &whole[..colon];
        let legal = name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'));
        if colon == 0 {
            return Err("missing protocol scheme".to_owned());
        }
        if legal && name.starts_with(|c: char| c.is_ascii_alphabetic()) {
            (scheme, rest) = (name, &whole[colon + 1..]);
        }
    }
    let (before, query) = rest.split_once('?').unwrap_or((rest, ""));
    // `mailto:a@b` has neither host nor path.
    let nothing = before.is_empty() && scheme.is_empty();
    if !nothing && !before.starts_with('/') {
        return Err("invalid URI for request".to_owned());
    }
    let (authority, path) = match before.strip_prefix("//") {
        Some(rest) if !scheme.is_empty() => rest.find('/').map_or((rest, ""), |at| rest.split_at(at)),
        _ => ("", before),
    };
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    check_host(host)?;
    check_escapes(path)?;
    Ok(Url {
        text: text.to_owned(),
        scheme: scheme.to_ascii_lowercase(),
        host: host.to_owned(),
        path: path.to_owned(),
        query: query.to_owned(),
    })
}

fn check_host(host: &str) -> Result<(), String> {
    let port = if let Some(rest) = host.strip_prefix('[') {
        match rest.split_once(']') {
            Some((_, port)) => port,
            None => return Err("missing ']' in host".to_owned()),
        }
    } else {
        host.find(':').map_or("", |at| &host[host.rfind(':').unwrap_or(at)..])
    };
    let digits = port.strip_prefix(':').unwrap_or("");
    if !port.is_empty() && (!port.starts_with(':') || !digits.bytes().all(|byte| byte.is_ascii_digit())) {
        return Err(format!("invalid port {} after host", kplane_machinery::field::go_quote(port)));
    }
    match host.chars().find(|c| matches!(c, ' ' | '"' | '<' | '>' | '\\' | '^' | '`' | '{' | '|' | '}')) {
        Some(c) => Err(format!(
            "invalid character {} in host name",
            kplane_machinery::field::go_quote(&c.to_string())
        )),
        None => Ok(()),
    }
}

fn check_escapes(path: &str) -> Result<(), String> {
    for (at, _) in path.match_indices('%') {
        let digits = path.get(at + 1..at + 3).unwrap_or("");
        if digits.len() != 2 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            let end = (at + 3).min(path.len());
            let shown = path.get(at..end).unwrap_or("%");
            return Err(format!("invalid URL escape {}", kplane_machinery::field::go_quote(shown)));
        }
    }
    Ok(())
}
