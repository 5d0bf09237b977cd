//! Values of expressions. What comes from an object is read where it lies, when it is asked for.

mod compare;
mod convert;
mod json;
mod special;

pub(crate) use compare::{canonical, compare, equal, identity};
pub(crate) use convert::{double_text, duration_text};
pub(crate) use json::{from_json, to_json};
pub(crate) use special::Special;

use std::collections::BTreeMap;
use std::sync::Arc;

use kplane_machinery::schema::ListType;
use kplane_machinery::time::{Duration, Time};
use serde_json::Value as Json;

use crate::schema::{Decl, Object};

/// A value, of data that lives for `'a`.
#[derive(Clone, Debug)]
pub(crate) enum Value<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    String(Text<'a>),
    Bytes(Arc<[u8]>),
    Duration(Duration),
    Timestamp(Time),
    List(List<'a>),
    Map(Map<'a>),
    Optional(Option<Arc<Value<'a>>>),
    /// A type, by its name.
    Type(Arc<str>),
    /// The variables of a policy, evaluated when they are asked for.
    Variables,
    /// Of a library.
    Special(Arc<Special>),
}

/// A text.
#[derive(Clone, Debug)]
pub(crate) enum Text<'a> {
    Lent(&'a str),
    Own(Arc<str>),
}

impl std::ops::Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            Self::Lent(text) => text,
            Self::Own(text) => text,
        }
    }
}

impl<'a> From<String> for Value<'a> {
    fn from(text: String) -> Self {
        Self::String(Text::Own(text.into()))
    }
}

/// A list: as it is in an object, or made.
#[derive(Clone, Debug)]
pub(crate) enum List<'a> {
    Json { items: &'a [Json], of: Option<&'a Decl>, kind: &'a ListType },
    Made { items: Arc<Vec<Value<'a>>>, kind: &'a ListType },
}

/// A map or an object.
#[derive(Clone, Debug)]
pub(crate) enum Map<'a> {
    /// With the declared fields.
    Object {
        fields: &'a serde_json::Map<String, Json>,
        of: &'a Object,
    },
    /// By texts.
    Json {
        fields: &'a serde_json::Map<String, Json>,
        of: Option<&'a Decl>,
    },
    Made(Arc<BTreeMap<Key, Value<'a>>>),
    /// Constructed, of a named type.
    Struct {
        name: Arc<str>,
        fields: Arc<BTreeMap<Arc<str>, Value<'a>>>,
    },
}

/// A key of a map.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Key {
    Bool(bool),
    Int(i64),
    Uint(u64),
    String(Arc<str>),
}

/// Order decides.
pub(crate) static ATOMIC: ListType = ListType::Atomic;

impl<'a> Value<'a> {
    pub(crate) fn list(items: Vec<Self>) -> Self {
        Self::List(List::Made { items: Arc::new(items), kind: &ATOMIC })
    }

    pub(crate) fn map(entries: BTreeMap<Key, Self>) -> Self {
        Self::Map(Map::Made(Arc::new(entries)))
    }

    pub(crate) fn text(text: &str) -> Self {
        Self::String(Text::Own(text.into()))
    }

    pub(crate) fn some(self) -> Self {
        Self::Optional(Some(Arc::new(self)))
    }

    pub(crate) fn none() -> Self {
        Self::Optional(None)
    }

    pub(crate) fn special(special: Special) -> Self {
        Self::Special(Arc::new(special))
    }

    pub(crate) fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// The name of its type, as `type()` says.
    pub(crate) fn type_name(&self) -> &str {
        match self {
            Self::Null => "null_type",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Uint(_) => "uint",
            Self::Double(_) => "double",
            Self::String(_) => "string",
            Self::Bytes(_) => "bytes",
            Self::Duration(_) => "google.protobuf.Duration",
            Self::Timestamp(_) => "google.protobuf.Timestamp",
            Self::List(_) => "list",
            Self::Map(Map::Struct { name, .. }) => name,
            Self::Map(Map::Object { of, .. }) => &of.name,
            Self::Map(_) => "map",
            Self::Optional(_) => "optional_type",
            Self::Type(_) => "type",
            Self::Variables => "kubernetes.variables",
            Self::Special(special) => special.type_name(),
        }
    }

    /// What counts as its size in costs: characters, bytes, items, entries; 1 for others.
    pub(crate) fn size(&self) -> u64 {
        match self {
            Self::String(text) => text.chars().count() as u64,
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::List(list) => list.len() as u64,
            Self::Map(map) => map.len() as u64,
            Self::Special(special) => special.size(),
            _ => 1,
        }
    }

    /// Whether it is what a value of its type is when nothing is said.
    pub(crate) fn is_zero(&self) -> bool {
        match self {
            Self::Null => true,
            Self::Bool(value) => !value,
            Self::Int(value) => *value == 0,
            Self::Uint(value) => *value == 0,
            Self::Double(value) => *value == 0.0,
            Self::String(text) => text.is_empty(),
            Self::Bytes(bytes) => bytes.is_empty(),
            Self::Duration(value) => value.0 == 0,
            Self::Timestamp(value) => value.unix() == -62_135_596_800 && value.subsec_nanos() == 0,
            Self::List(list) => list.len() == 0,
            Self::Map(map) => map.len() == 0,
            Self::Optional(value) => value.is_none(),
            Self::Type(_) | Self::Variables | Self::Special(_) => false,
        }
    }
}

impl<'a> List<'a> {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Json { items, .. } => items.len(),
            Self::Made { items, .. } => items.len(),
        }
    }

    pub(crate) fn get(&self, index: usize) -> Option<Value<'a>> {
        match self {
            Self::Json { items, of, .. } => items.get(index).map(|item| from_json(item, *of)),
            Self::Made { items, .. } => items.get(index).cloned(),
        }
    }

    pub(crate) fn kind(&self) -> &'a ListType {
        match self {
            Self::Json { kind, .. } | Self::Made { kind, .. } => kind,
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Value<'a>> + '_ {
        (0..self.len()).filter_map(|index| self.get(index))
    }

    pub(crate) fn to_vec(&self) -> Vec<Value<'a>> {
        self.iter().collect()
    }
}

impl<'a> Map<'a> {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Object { fields, of } => {
                of.fields.values().filter(|field| fields.contains_key(&*field.name)).count()
            }
            Self::Json { fields, .. } => fields.len(),
            Self::Made(entries) => entries.len(),
            Self::Struct { fields, .. } => fields.len(),
        }
    }

    /// The value of a field or a textual key.
    pub(crate) fn field(&self, name: &str) -> Option<Value<'a>> {
        match self {
            Self::Object { fields, of } => {
                let field = of.field(name)?;
                fields.get(&*field.name).map(|value| from_json(value, Some(&field.decl)))
            }
            Self::Json { fields, of } => fields.get(name).map(|value| from_json(value, *of)),
            Self::Made(entries) => entries.get(&Key::String(name.into())).cloned(),
            Self::Struct { fields, .. } => fields.get(name).cloned(),
        }
    }

    /// The value of a key of any type; numbers are compared as such.
    pub(crate) fn get(&self, key: &Value<'_>) -> Option<Value<'a>> {
        if let Some(name) = key.as_str() {
            return self.field(name);
        }
        let Self::Made(entries) = self else { return None };
        Key::alike(key).into_iter().find_map(|key| entries.get(&key).cloned())
    }

    pub(crate) fn keys(&self) -> Vec<Value<'a>> {
        match self {
            Self::Object { fields, of } => {
                let there = of.fields.iter().filter(|(_, field)| fields.contains_key(&*field.name));
                there.map(|(name, _)| Value::String(Text::Lent(name))).collect()
            }
            Self::Json { fields, .. } => fields.keys().map(|name| Value::String(Text::Lent(name))).collect(),
            Self::Made(entries) => entries.keys().map(Key::value).collect(),
            Self::Struct { fields, .. } => {
                fields.keys().map(|name| Value::String(Text::Own(name.clone()))).collect()
            }
        }
    }
}

impl Key {
    pub(crate) fn of(value: &Value<'_>) -> Option<Self> {
        Some(match value {
            Value::Bool(value) => Self::Bool(*value),
            Value::Int(value) => Self::Int(*value),
            Value::Uint(value) => Self::Uint(*value),
            Value::String(text) => Self::String((**text).into()),
            _ => return None,
        })
    }

    /// The keys that equal a value.
    fn alike(value: &Value<'_>) -> Vec<Self> {
        match value {
            Value::Bool(value) => vec![Self::Bool(*value)],
            Value::Int(value) => {
                let mut out = vec![Self::Int(*value)];
                out.extend(u64::try_from(*value).ok().map(Self::Uint));
                out
            }
            Value::Uint(value) => {
                let mut out = vec![Self::Uint(*value)];
                out.extend(i64::try_from(*value).ok().map(Self::Int));
                out
            }
            Value::Double(value) if value.fract() == 0.0 && value.abs() < 9e18 => {
                let whole = *value as i64;
                Self::alike(&Value::Int(whole))
            }
            _ => Vec::new(),
        }
    }

    pub(crate) fn value<'a>(&self) -> Value<'a> {
        match self {
            Self::Bool(value) => Value::Bool(*value),
            Self::Int(value) => Value::Int(*value),
            Self::Uint(value) => Value::Uint(*value),
            Self::String(text) => Value::String(Text::Own(text.clone())),
        }
    }
}
