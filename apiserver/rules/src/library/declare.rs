//! Declarations of functions, written as `id: target.(arguments) -> result`, several parted by semicolons.

use std::collections::HashMap;
use std::sync::Arc;

use super::{Cx, NO_OVERLOAD, Native, Outcome, Stop};
use crate::check::Type;
use crate::value::Value;

/// A way to call a function.
#[derive(Debug)]
pub(crate) struct Overload {
    pub id: &'static str,
    /// The first argument stands before the dot.
    pub member: bool,
    pub args: Vec<Type>,
    pub result: Type,
}

/// A function, with all ways to call it.
pub(crate) struct Function {
    pub name: &'static str,
    pub overloads: Vec<Overload>,
    /// A library each; the first that takes the arguments answers.
    runs: Vec<Native>,
}

impl Function {
    /// Calls it. The arguments begin with the target, if there is one.
    pub(crate) fn run<'a>(&self, cx: &Cx<'_>, args: &[Value<'a>]) -> Outcome<'a> {
        for run in &self.runs {
            match run(cx, args) {
                Err(Stop::Error(told)) if told == NO_OVERLOAD => {}
                other => return other,
            }
        }
        let operator = self.name.starts_with(['_', '@', '!', '-']);
        Err(Stop::Error(if operator {
            NO_OVERLOAD.to_owned()
        } else {
            format!("{NO_OVERLOAD}: {}", self.name)
        }))
    }
}

/// Functions by their names.
#[derive(Default)]
pub(crate) struct Registry(HashMap<&'static str, Function>);

impl Registry {
    /// Declares a function, or more ways to call one.
    pub(crate) fn add(&mut self, name: &'static str, declared: &'static str, run: Native) {
        let overloads = declared.split(';').filter_map(overload);
        let function =
            self.0.entry(name).or_insert_with(|| Function { name, overloads: Vec::new(), runs: Vec::new() });
        function.overloads.extend(overloads);
        function.runs.push(run);
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Function> {
        self.0.get(name)
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    #[cfg(test)]
    pub(crate) fn all(&self) -> impl Iterator<Item = &Function> {
        self.0.values()
    }
}

fn overload(declared: &'static str) -> Option<Overload> {
    let (id, signature) = declared.trim().split_once(": ")?;
    let (left, right) = signature.rsplit_once(" -> ")?;
    let mut args = Vec::new();
    let (target, given) = match left.split_once(".(") {
        Some((target, given)) => (Some(target), given),
        None => (None, left.strip_prefix('(')?),
    };
    args.extend(target.and_then(read));
    args.extend(parts(given.strip_suffix(')')?).into_iter().filter_map(read));
    Some(Overload { id, member: target.is_some(), args, result: read(right)? })
}

/// The parts between commas that are in no bracket.
fn parts(text: &str) -> Vec<&str> {
    let (mut depth, mut start, mut out) = (0, 0, Vec::new());
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                out.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    if !text[start..].trim().is_empty() {
        out.push(&text[start..]);
    }
    out
}

fn read(text: &str) -> Option<Type> {
    let text = text.trim();
    if let Some((outer, inner)) = text.split_once('(') {
        let of: Vec<Type> = parts(inner.strip_suffix(')')?).into_iter().filter_map(read).collect();
        return Some(match (outer, of.as_slice()) {
            ("list", [of]) => Type::list(of.clone()),
            ("map", [key, value]) => Type::map(key.clone(), value.clone()),
            ("optional", [of]) => Type::optional(of.clone()),
            ("type", [of]) => Type::Type(Some(Arc::new(of.clone()))),
            _ => return None,
        });
    }
    Some(match text {
        "bool" => Type::Bool,
        "int" => Type::Int,
        "uint" => Type::Uint,
        "double" => Type::Double,
        "string" => Type::String,
        "bytes" => Type::Bytes,
        "duration" => Type::Duration,
        "timestamp" => Type::Timestamp,
        "dyn" => Type::Dyn,
        "null" => Type::Null,
        "Quantity" => Type::Named("kubernetes.Quantity"),
        "IP" => Type::Named("net.IP"),
        "CIDR" => Type::Named("net.CIDR"),
        "URL" => Type::Named("kubernetes.URL"),
        "Semver" => Type::Named("kubernetes.Semver"),
        "Format" => Type::Named("kubernetes.NamedFormat"),
        "Authorizer" => Type::Named("kubernetes.authorization.Authorizer"),
        "PathCheck" => Type::Named("kubernetes.authorization.PathCheck"),
        "GroupCheck" => Type::Named("kubernetes.authorization.GroupCheck"),
        "ResourceCheck" => Type::Named("kubernetes.authorization.ResourceCheck"),
        "Decision" => Type::Named("kubernetes.authorization.Decision"),
        name if name.len() == 1 => Type::Param(name.into()),
        _ => return None,
    })
}
