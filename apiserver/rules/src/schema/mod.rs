//! What expressions see of a schema: the declaration of each value, with its type and how large it can get.

mod build;
mod names;

pub(crate) use build::{declare, named};
pub(crate) use names::escape;

use std::collections::BTreeMap;
use std::sync::Arc;

use kplane_machinery::schema::ListType;

use crate::check::Type;

/// The declaration of a value.
#[derive(Debug)]
pub(crate) struct Decl {
    pub shape: Shape,
    /// The most characters, items or entries.
    pub max: u64,
    /// The fewest bytes it takes in JSON.
    pub min_size: u64,
}

#[derive(Debug)]
pub(crate) enum Shape {
    /// A number or a text, or not declared at all.
    Dyn,
    Scalar(Type),
    List(Arc<Decl>, ListType),
    /// By texts.
    Map(Arc<Decl>),
    Object(Arc<Object>),
}

/// Known fields.
#[derive(Debug, Default)]
pub(crate) struct Object {
    pub name: String,
    /// By the names expressions have for them.
    pub fields: BTreeMap<Arc<str>, Field>,
    /// Takes fields of any name, of any type.
    pub open: bool,
}

#[derive(Debug)]
pub(crate) struct Field {
    /// In JSON.
    pub name: Arc<str>,
    pub decl: Arc<Decl>,
}

impl Decl {
    pub(crate) fn any() -> Self {
        Self { shape: Shape::Dyn, max: u64::MAX, min_size: 1 }
    }

    pub(crate) fn of_type(&self) -> Type {
        match &self.shape {
            Shape::Dyn => Type::Dyn,
            Shape::Scalar(of) => of.clone(),
            Shape::List(items, _) => Type::list(items.of_type()),
            Shape::Map(values) => Type::map(Type::String, values.of_type()),
            Shape::Object(object) => Type::Object(object.clone()),
        }
    }
}

impl Object {
    pub(crate) fn field(&self, name: &str) -> Option<&Field> {
        // Words of the language may be fields where the parser lets them: `a.namespace`.
        self.fields.get(name).or_else(|| self.fields.get(&*format!("__{name}__")))
    }
}
