//! The fields of a value, the differences of two values, and a value without some of its fields.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::set::{Element, FieldPath, Set};
use super::typed::{Shape, TypeRef, list_element};

/// What differs between two values.
#[derive(Clone, Debug, Default)]
pub(super) struct Comparison {
    pub removed: Set,
    pub modified: Set,
    pub added: Set,
}

impl Comparison {
    /// Without fields that are not to be looked at.
    pub fn without(&self, ignored: &Set) -> Self {
        Self {
            removed: self.removed.recursive_difference(ignored),
            modified: self.modified.recursive_difference(ignored),
            added: self.added.recursive_difference(ignored),
        }
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    }
}

/// All fields of a value, as its owner would have them.
pub(super) fn field_set(value: &Value, t: TypeRef<'_>) -> Set {
    let mut set = Set::new();
    fields(value, t, &mut Vec::new(), &mut set);
    set
}

fn fields(value: &Value, t: TypeRef<'_>, path: &mut FieldPath, set: &mut Set) {
    let shape = t.shape(value);
    match (&shape, value) {
        (Shape::Leaf, _) => set.insert(path),
        (Shape::Map, Value::Object(map)) => {
            for (name, child) in map {
                let (child_type, known) = t.field(name);
                path.push(Element::Field(name.clone()));
                fields(child, child_type, path, set);
                let empty_map = child.as_object().is_some_and(Map::is_empty);
                if child.is_null() || empty_map || !known {
                    set.insert(path);
                }
                path.pop();
            }
        }
        (Shape::Keyed(_) | Shape::Set, Value::Array(list)) => {
            for child in list {
                if let Ok(element) = list_element(&shape, t.items(), child) {
                    path.push(element);
                    fields(child, t.items(), path, set);
                    set.insert(path);
                    path.pop();
                }
            }
        }
        // Null, or not what the schema says.
        (_, Value::Null) => {}
        _ => set.insert(path),
    }
}

/// The differences from `old` to `new`.
pub(super) fn compare(old: &Value, new: &Value, t: TypeRef<'_>) -> Comparison {
    let mut out = Comparison::default();
    differences(Some(old), Some(new), t, &mut Vec::new(), &mut out);
    out
}

fn leaf(old: Option<&Value>, new: Option<&Value>, path: &FieldPath, out: &mut Comparison) {
    match (old, new) {
        (None, _) => out.added.insert(path),
        (_, None) => out.removed.insert(path),
        (Some(old), Some(new)) if !same(old, new) => out.modified.insert(path),
        _ => {}
    }
}

/// Equality where numbers count by value and not by how they are written.
pub(super) fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => {
            a == b || ((a.is_f64() || b.is_f64()) && a.as_f64() == b.as_f64())
        }
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(k, a)| b.get(k).is_some_and(|b| same(a, b)))
        }
        _ => a == b,
    }
}

fn differences(
    old: Option<&Value>,
    new: Option<&Value>,
    t: TypeRef<'_>,
    path: &mut FieldPath,
    out: &mut Comparison,
) {
    // Null takes the shape of the other side.
    let shown = match (new, old) {
        (Some(value), _) if !value.is_null() => value,
        (_, Some(value)) => value,
        (Some(value), None) => value,
        (None, None) => return,
    };
    if let (Some(old), Some(new)) = (old, new)
        && !old.is_null()
        && !new.is_null()
        && std::mem::discriminant(old) != std::mem::discriminant(new)
    {
        // A change of kind, possible only where the schema leaves it open: what was there goes, what is
        // there now comes.
        differences(Some(old), None, t, path, out);
        differences(None, Some(new), t, path, out);
        out.removed = out.removed.difference(&out.added);
        out.modified.insert(path);
        return;
    }
    let shape = t.shape(shown);
    let both_empty = old.is_none_or(is_empty) && new.is_none_or(is_empty);
    match shape {
        Shape::Leaf => return leaf(old, new, path, out),
        _ if both_empty => return leaf(old, new, path, out),
        Shape::Map => {
            let (none, map) = (Map::new(), |v: Option<&Value>| v.and_then(Value::as_object).cloned());
            let (before, after) = (map(old).unwrap_or(none.clone()), map(new).unwrap_or(none));
            let names = before.keys().chain(after.keys().filter(|k| !before.contains_key(*k)));
            for name in names {
                path.push(Element::Field(name.clone()));
                differences(before.get(name), after.get(name), t.field(name).0, path, out);
                path.pop();
            }
        }
        Shape::Keyed(_) | Shape::Set => {
            let index = |v: Option<&Value>| {
                let mut elements: BTreeMap<Element, Vec<Value>> = BTreeMap::new();
                for child in v.and_then(Value::as_array).into_iter().flatten() {
                    if let Ok(element) = list_element(&shape, t.items(), child) {
                        elements.entry(element).or_default().push(child.clone());
                    }
                }
                elements
            };
            let (before, after) = (index(old), index(new));
            for element in before.keys().chain(after.keys().filter(|k| !before.contains_key(*k))) {
                let (b, a) = (before.get(element), after.get(element));
                path.push(element.clone());
                match (b.map_or(0, Vec::len), a.map_or(0, Vec::len)) {
                    (0 | 1, 0 | 1) => {
                        let (b, a) = (b.and_then(|l| l.first()), a.and_then(|l| l.first()));
                        differences(b, a, t.items(), path, out);
                    }
                    // Duplicates count as one whole.
                    (0, _) => out.added.insert(path),
                    (_, 0) => out.removed.insert(path),
                    _ if b != a => out.modified.insert(path),
                    _ => {}
                }
                path.pop();
            }
        }
    }
    match (old, new) {
        (None, Some(_)) => out.added.insert(path),
        (Some(_), None) => out.removed.insert(path),
        _ => {}
    }
}

/// What becomes of a map or list inside a value when nothing is left in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Emptied {
    /// It is null: its field is still there to be owned.
    Null,
    /// It goes too.
    Gone,
}

/// The value without the fields of a set. `None` when nothing is left.
pub(super) fn without(value: &Value, remove: &Set, t: TypeRef<'_>, emptied: Emptied) -> Option<Value> {
    let shape = t.shape(value);
    let step = |element: &Element, child: &Value, t: TypeRef<'_>| -> Option<Value> {
        if remove.members.contains(element) {
            return None;
        }
        match remove.children.get(element).filter(|s| !s.is_empty()) {
            Some(below) => match without(child, below, t, emptied) {
                None if emptied == Emptied::Null => Some(Value::Null),
                left => left,
            },
            None => Some(child.clone()),
        }
    };
    match (&shape, value) {
        (Shape::Map, Value::Object(map)) => {
            let left: Map<String, Value> = map
                .iter()
                .filter_map(|(name, child)| {
                    step(&Element::Field(name.clone()), child, t.field(name).0).map(|c| (name.clone(), c))
                })
                .collect();
            (!left.is_empty()).then_some(Value::Object(left))
        }
        (Shape::Keyed(_) | Shape::Set, Value::Array(list)) => {
            let left: Vec<Value> = list
                .iter()
                .filter_map(|child| match list_element(&shape, t.items(), child) {
                    Ok(element) => step(&element, child, t.items()),
                    Err(_) => Some(child.clone()),
                })
                .collect();
            (!left.is_empty()).then_some(Value::Array(left))
        }
        _ => Some(value.clone()),
    }
}

/// The set with the fields that the schema knows and that have something below them as members, so that
/// they go when all below them goes.
pub(super) fn with_named_fields(set: &Set, t: TypeRef<'_>) -> Set {
    let mut out = Set { members: set.members.clone(), children: BTreeMap::new() };
    for (element, child) in &set.children {
        let child_type = match element {
            Element::Field(name) => {
                let (child_type, known) = t.field(name);
                if known {
                    out.members.insert(element.clone());
                }
                child_type
            }
            _ => t.items(),
        };
        out.children.insert(element.clone(), with_named_fields(child, child_type));
    }
    out
}
