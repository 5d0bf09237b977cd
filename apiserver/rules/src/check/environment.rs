//! What expressions may name: variables, types, and objects to construct.

use std::collections::HashMap;
use std::sync::Arc;

use super::Type;
use crate::schema::Object;

/// The names there are beside functions.
#[derive(Clone, Debug, Default)]
pub(crate) struct Environment {
    variables: HashMap<Arc<str>, Type>,
    /// Objects of these names, and below them, may be constructed.
    makes_objects: bool,
}

const NAMED: [&str; 11] = [
    "kubernetes.Quantity",
    "net.IP",
    "net.CIDR",
    "kubernetes.URL",
    "kubernetes.Semver",
    "kubernetes.NamedFormat",
    "kubernetes.authorization.Authorizer",
    "kubernetes.authorization.PathCheck",
    "kubernetes.authorization.GroupCheck",
    "kubernetes.authorization.ResourceCheck",
    "kubernetes.authorization.Decision",
];

impl Environment {
    pub(crate) fn new(variables: impl IntoIterator<Item = (&'static str, Type)>) -> Self {
        let variables = variables.into_iter().map(|(name, of)| (Arc::from(name), of)).collect();
        Self { variables, makes_objects: false }
    }

    /// With `Object{…}` and `JSONPatch{…}`.
    pub(crate) fn making_objects(mut self) -> Self {
        self.makes_objects = true;
        self
    }

    /// With one variable more.
    pub(crate) fn with(mut self, name: &str, of: Type) -> Self {
        self.variables.insert(name.into(), of);
        self
    }

    /// Without one.
    pub(crate) fn without(mut self, name: &str) -> Self {
        self.variables.remove(name);
        self
    }

    /// The type of a variable, or of a type that is named.
    pub(crate) fn identifier(&self, name: &str) -> Option<Type> {
        if let Some(found) = self.variables.get(name) {
            return Some(found.clone());
        }
        let of = type_named(name).or_else(|| self.constructible(name).map(Type::Object))?;
        Some(Type::Type(Some(Arc::new(of))))
    }

    /// The object type of a name that may be constructed.
    pub(crate) fn constructible(&self, name: &str) -> Option<Arc<Object>> {
        if !self.makes_objects {
            return None;
        }
        match name {
            "JSONPatch" => Some(crate::library::jsonpatch::declared()),
            _ if name == "Object" || name.starts_with("Object.") => {
                Some(Arc::new(Object { name: name.to_owned(), open: true, ..Object::default() }))
            }
            _ => None,
        }
    }
}

/// The types that expressions can name.
pub(crate) fn type_named(name: &str) -> Option<Type> {
    Some(match name {
        "bool" => Type::Bool,
        "bytes" => Type::Bytes,
        "double" => Type::Double,
        "int" => Type::Int,
        "uint" => Type::Uint,
        "string" => Type::String,
        "list" => Type::list(Type::Dyn),
        "map" => Type::map(Type::Dyn, Type::Dyn),
        "null_type" => Type::Null,
        "type" => Type::Type(None),
        "optional_type" => Type::optional(Type::Dyn),
        "google.protobuf.Duration" => Type::Duration,
        "google.protobuf.Timestamp" => Type::Timestamp,
        _ => Type::Named(NAMED.into_iter().find(|known| *known == name)?),
    })
}
