//! Sets of field paths, and their text in `fieldsV1`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde_json::{Map, Value};

/// One step of a path. Keys and values are held as compact JSON.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Element {
    /// A field of a map.
    Field(String),
    /// An element of a list, by its keys: `{"name":"c"}`, sorted.
    Key(String),
    /// An element of a set, by its value.
    Value(String),
    /// An element of a list, by its place.
    Index(i64),
}

impl Element {
    /// `f:name`, `k:{…}`, `v:…`, `i:…`.
    pub fn encode(&self) -> String {
        match self {
            Self::Field(name) => format!("f:{name}"),
            Self::Key(key) => format!("k:{key}"),
            Self::Value(value) => format!("v:{value}"),
            Self::Index(index) => format!("i:{index}"),
        }
    }

    /// Reads one; `Ok(None)` for a kind of step not known yet, which is passed over.
    fn decode(text: &str) -> Result<Option<Self>, String> {
        let Some((kind, rest)) = text.split_once(':') else {
            return Err("missing colon".to_owned());
        };
        Ok(match kind {
            "f" => Some(Self::Field(rest.to_owned())),
            "k" => {
                // Read and written again, so that the keys are sorted and the text is compact.
                let key: Map<String, Value> = serde_json::from_str(rest).map_err(|e| e.to_string())?;
                Some(Self::Key(Value::Object(key).to_string()))
            }
            "v" => {
                let value: Value = serde_json::from_str(rest).map_err(|e| e.to_string())?;
                Some(Self::Value(value.to_string()))
            }
            "i" => Some(Self::Index(rest.parse().map_err(|_| format!("bad index {rest}"))?)),
            _ => None,
        })
    }
}

/// `.name`, `[name="c"]`, `[="v"]`, `[0]`.
impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Field(name) => write!(f, ".{name}"),
            Self::Key(key) => {
                let pairs: Map<String, Value> = serde_json::from_str(key).unwrap_or_default();
                let shown: Vec<String> = pairs.iter().map(|(k, v)| format!("{k}={v}")).collect();
                write!(f, "[{}]", shown.join(","))
            }
            Self::Value(value) => write!(f, "[={value}]"),
            Self::Index(index) => write!(f, "[{index}]"),
        }
    }
}

/// A path, printed `.spec.containers[name="c"].image`.
pub type FieldPath = Vec<Element>;

/// A path as text.
pub fn path_text(path: &[Element]) -> String {
    path.iter().map(ToString::to_string).collect()
}

/// A set of paths: those that end here, and those that go on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Set {
    pub(super) members: BTreeSet<Element>,
    pub(super) children: BTreeMap<Element, Set>,
}

impl Set {
    /// The empty set.
    pub fn new() -> Self {
        Self::default()
    }

    /// From paths of field names: `[["metadata", "name"]]`.
    pub fn of_fields(paths: &[&[&str]]) -> Self {
        let mut set = Self::new();
        for path in paths {
            let path: FieldPath = path.iter().map(|f| Element::Field((*f).to_owned())).collect();
            set.insert(&path);
        }
        set
    }

    /// Whether it has no path.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty() && self.children.values().all(Self::is_empty)
    }

    /// Adds a path; the empty one is not added.
    pub fn insert(&mut self, path: &[Element]) {
        match path {
            [] => {}
            [last] => {
                self.members.insert(last.clone());
            }
            [first, rest @ ..] => self.children.entry(first.clone()).or_default().insert(rest),
        }
    }

    /// Whether it has exactly this path.
    pub fn contains(&self, path: &[Element]) -> bool {
        match path {
            [] => false,
            [last] => self.members.contains(last),
            [first, rest @ ..] => self.children.get(first).is_some_and(|c| c.contains(rest)),
        }
    }

    /// Without children that have nothing.
    fn tidy(mut self) -> Self {
        self.children.retain(|_, child| !child.is_empty());
        self
    }

    /// The paths of either.
    pub fn union(&self, other: &Self) -> Self {
        let mut out = self.clone();
        out.members.extend(other.members.iter().cloned());
        for (element, child) in &other.children {
            let merged = match out.children.get(element) {
                Some(ours) => ours.union(child),
                None => child.clone(),
            };
            out.children.insert(element.clone(), merged);
        }
        out
    }

    /// The paths of both.
    pub fn intersection(&self, other: &Self) -> Self {
        let children = self.children.iter().filter_map(|(element, child)| {
            other.children.get(element).map(|theirs| (element.clone(), child.intersection(theirs)))
        });
        Self {
            members: self.members.intersection(&other.members).cloned().collect(),
            children: children.collect(),
        }
        .tidy()
    }

    /// The paths of this one that are not in the other.
    pub fn difference(&self, other: &Self) -> Self {
        let children = self.children.iter().map(|(element, child)| {
            let left = match other.children.get(element) {
                Some(theirs) => child.difference(theirs),
                None => child.clone(),
            };
            (element.clone(), left)
        });
        Self {
            members: self.members.difference(&other.members).cloned().collect(),
            children: children.collect(),
        }
        .tidy()
    }

    /// [`Set::difference`], where a path of the other also takes away all below it.
    pub fn recursive_difference(&self, other: &Self) -> Self {
        let children = self.children.iter().filter(|(element, _)| !other.members.contains(element)).map(
            |(element, child)| {
                let left = match other.children.get(element) {
                    Some(theirs) => child.recursive_difference(theirs),
                    None => child.clone(),
                };
                (element.clone(), left)
            },
        );
        Self {
            members: self.members.difference(&other.members).cloned().collect(),
            children: children.collect(),
        }
        .tidy()
    }

    /// All paths, those that end first.
    pub fn paths(&self) -> Vec<FieldPath> {
        let mut out = Vec::new();
        self.collect(&mut Vec::new(), &mut out);
        out
    }

    fn collect(&self, prefix: &mut FieldPath, out: &mut Vec<FieldPath>) {
        for member in &self.members {
            let mut path = prefix.clone();
            path.push(member.clone());
            out.push(path);
        }
        for (element, child) in &self.children {
            prefix.push(element.clone());
            child.collect(prefix, out);
            prefix.pop();
        }
    }

    /// As `fieldsV1`.
    pub fn to_fields_v1(&self) -> Value {
        let mut map = Map::new();
        for member in &self.members {
            map.insert(member.encode(), Value::Object(Map::new()));
        }
        for (element, child) in self.children.iter().filter(|(_, c)| !c.is_empty()) {
            let mut value = child.to_fields_v1();
            if self.members.contains(element)
                && let Some(fields) = value.as_object_mut()
            {
                fields.insert(".".to_owned(), Value::Object(Map::new()));
            }
            map.insert(element.encode(), value);
        }
        Value::Object(map)
    }

    /// From `fieldsV1`.
    pub fn from_fields_v1(value: &Value) -> Result<Self, String> {
        let Some(map) = value.as_object() else {
            return Err("fieldsV1 is no object".to_owned());
        };
        let mut set = Self::new();
        for (key, below) in map.iter().filter(|(k, _)| *k != ".") {
            let Some(element) = Element::decode(key)? else {
                continue;
            };
            let child = Self::from_fields_v1(below)?;
            let empty = child.is_empty();
            if empty || below.get(".").is_some() {
                set.members.insert(element.clone());
            }
            if !empty {
                set.children.insert(element, child);
            }
        }
        Ok(set)
    }
}

/// As the text of its `fieldsV1`.
impl fmt::Display for Set {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.to_fields_v1())
    }
}
