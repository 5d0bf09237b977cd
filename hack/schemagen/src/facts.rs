//! The facts about built-in kinds that the Rust bindings lack, as `apiserver/schema/facts.txt` states them.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail};

/// What is said of a type or of a field.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// `key=value` and bare words, in the order given.
    pub flags: Vec<(String, String)>,
}

impl Facts {
    /// The value of a flag; empty for a bare word.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.flags.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// A description, given as a JSON text.
    pub fn text(&self) -> Result<Option<String>> {
        self.get("text").map(|text| serde_json::from_str(text).context("a text= that is no JSON")).transpose()
    }
}

/// A type and its fields.
#[derive(Clone, Debug, Default)]
pub struct TypeFacts {
    /// Of the type itself.
    pub own: Facts,
    /// The packed protobuf number, and the facts, by field.
    pub fields: BTreeMap<String, (u32, Facts)>,
}

/// Reads the whole table, by the names of types.
pub fn parse(text: &str) -> Result<BTreeMap<String, TypeFacts>> {
    let mut types: BTreeMap<String, TypeFacts> = BTreeMap::new();
    let mut current = String::new();
    for (index, line) in text.lines().enumerate() {
        let read = || -> Result<(bool, String, Facts)> {
            let (name, rest) = line.trim_start().split_once(' ').unwrap_or((line.trim_start(), ""));
            Ok((line.starts_with(' '), name.to_owned(), flags(rest)))
        };
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (is_field, name, mut facts) = read()?;
        if !is_field {
            current.clone_from(&name);
            types.insert(name, TypeFacts { own: facts, fields: BTreeMap::new() });
            continue;
        }
        let Some(of) = types.get_mut(&current) else { bail!("line {}: a field without a type", index + 1) };
        if facts.flags.is_empty() {
            bail!("line {}: a field without a number", index + 1);
        }
        let (number, _) = facts.flags.remove(0);
        let number =
            packed(&number).with_context(|| format!("line {}: {number:?} is no field number", index + 1))?;
        of.fields.insert(name, (number, facts));
    }
    Ok(types)
}

fn flags(mut rest: &str) -> Facts {
    let mut out = Facts::default();
    while !rest.is_empty() {
        let (word, after) = match rest.split_once(' ') {
            Some((word, after)) if !word.starts_with("text=") => (word, after),
            _ => (rest, ""),
        };
        let (key, value) = word.split_once('=').unwrap_or((word, ""));
        out.flags.push((key.to_owned(), value.to_owned()));
        rest = after;
    }
    out
}

/// `2.4` as one number: ten bits a level, the outermost lowest.
fn packed(text: &str) -> Result<u32> {
    let mut out = 0;
    for (level, part) in text.split('.').enumerate() {
        let part: u32 = part.parse()?;
        if part >= 1 << 10 || level > 2 {
            bail!("out of range");
        }
        out |= part << (10 * level);
    }
    Ok(out)
}
