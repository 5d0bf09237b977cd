//! Declarations from schemas.

use std::collections::BTreeMap;
use std::sync::Arc;

use kplane_machinery::schema::{ListType, Property, Schema, SchemaLink, SchemaType};

use super::{Decl, Field, Object, Shape, escape};
use crate::check::Type;

/// The largest request there is.
const REQUEST: u64 = 3 * 1024 * 1024;
/// The declaration of a schema's values, its object types named after where they are; `None` when expressions cannot
/// see them.
pub(crate) fn declare(schema: &Schema, whole_object: bool, name: &str) -> Option<Arc<Decl>> {
    Build { every: false, within: Vec::new() }.schema(schema, whole_object, name).map(Arc::new)
}

/// The same of a built-in kind, where metadata is seen whole and what has no declared form is seen as it is.
pub(crate) fn named(schema: &Schema, name: &str) -> Arc<Decl> {
    Arc::new(Build { every: true, within: Vec::new() }.schema(schema, false, name).unwrap_or_else(Decl::any))
}

struct Build {
    /// Built-in types, whose schema says all.
    every: bool,
    /// The named types around, which may contain themselves.
    within: Vec<Arc<str>>,
}

fn linked(link: &SchemaLink) -> &Schema {
    link
}

fn scalar(of: Type, max: u64, min_size: u64) -> Decl {
    Decl { shape: Shape::Scalar(of), max, min_size }
}

impl Build {
    fn schema(&mut self, schema: &Schema, whole_object: bool, name: &str) -> Option<Decl> {
        let Some(own) = &schema.type_name else { return self.shape(schema, whole_object, name) };
        if self.within.contains(own) {
            return Some(Decl::any());
        }
        self.within.push(own.clone());
        let out = self.shape(schema, whole_object, name);
        self.within.pop();
        out
    }

    fn shape(&mut self, schema: &Schema, whole_object: bool, name: &str) -> Option<Decl> {
        let rules = schema.validations.as_deref();
        let max_length = rules.and_then(|rules| rules.max_length);
        if schema.int_or_string {
            let max = max_length.map_or(REQUEST - 2, |max| max.saturating_mul(4));
            return Some(Decl { shape: Shape::Dyn, max, min_size: 1 });
        }
        Some(match schema.schema_type {
            SchemaType::Any if self.every => Decl::any(),
            SchemaType::Any => return None,
            SchemaType::Boolean => scalar(Type::Bool, 0, 4),
            SchemaType::Integer => scalar(Type::Int, 0, 1),
            SchemaType::Number => scalar(Type::Double, 0, 1),
            SchemaType::String => match schema.format.as_deref() {
                Some("byte") => scalar(Type::Bytes, max_length.unwrap_or(REQUEST - 2), 2),
                Some("duration") => scalar(Type::Duration, 34, 4),
                Some("date") => scalar(Type::Timestamp, 12, 12),
                Some("date-time") => scalar(Type::Timestamp, 33, 22),
                _ => {
                    let longest = rules.filter(|rules| !rules.enumeration.is_empty()).map(|rules| {
                        let texts = rules.enumeration.iter().filter_map(|value| value.as_str());
                        texts.map(str::len).max().unwrap_or(0) as u64
                    });
                    let max = match (max_length, longest) {
                        (Some(max), _) => max.saturating_mul(4),
                        (None, Some(longest)) => longest,
                        (None, None) => REQUEST - 2,
                    };
                    scalar(Type::String, max, 2)
                }
            },
            SchemaType::Array => {
                let items = linked(schema.items.as_ref()?);
                let items = self.schema(items, items.embedded_resource, &format!("{name}.@idx"))?;
                let max =
                    rules.and_then(|rules| rules.max_items).unwrap_or((REQUEST - 2) / (items.min_size + 1));
                Decl { shape: Shape::List(Arc::new(items), schema.list_type.clone()), max, min_size: 2 }
            }
            SchemaType::Object => match &schema.additional {
                Some(of) => {
                    let of = linked(of);
                    let values = self.schema(of, of.embedded_resource, &format!("{name}.@elem"))?;
                    let max = rules
                        .and_then(|rules| rules.max_properties)
                        .unwrap_or((REQUEST - 2) / (values.min_size + 6));
                    Decl { shape: Shape::Map(Arc::new(values)), max, min_size: 2 }
                }
                None if self.every && schema.properties.is_empty() => Decl::any(),
                None => self.object(schema, whole_object || schema.embedded_resource, name),
            },
        })
    }

    fn object(&mut self, schema: &Schema, whole_object: bool, name: &str) -> Decl {
        let mut fields = BTreeMap::new();
        let mut min_size = 2;
        for property in &schema.properties {
            let Some(escaped) = escape(&property.name) else { continue };
            let of = linked(&property.schema);
            let below = format!("{name}.{escaped}");
            let decl = if whole_object && matches!(&*property.name, "metadata" | "kind" | "apiVersion") {
                implied(&property.name, of, &below)
            } else {
                match self.property(property, of, &below) {
                    Some(decl) => decl,
                    None => continue,
                }
            };
            if schema.required.contains(&property.name) && of.default.is_none() && property.default.is_none()
            {
                min_size += property.name.len() as u64 + decl.min_size + 4;
            }
            fields.insert(escaped.into(), Field { name: property.name.clone(), decl: Arc::new(decl) });
        }
        if whole_object {
            for known in ["metadata", "kind", "apiVersion"] {
                fields.entry(known.into()).or_insert_with(|| {
                    let decl = implied(known, &Schema::default(), &format!("{name}.{known}"));
                    Field { name: known.into(), decl: Arc::new(decl) }
                });
            }
        }
        let object = Object { name: name.to_owned(), fields, open: false };
        Decl { shape: Shape::Object(Arc::new(object)), max: 0, min_size }
    }

    fn property(&mut self, property: &Property, of: &Schema, name: &str) -> Option<Decl> {
        let mut decl = self.schema(of, of.embedded_resource, name)?;
        // Built-in lists have their type with the field.
        if let Shape::List(_, kind @ ListType::Atomic) = &mut decl.shape {
            *kind = property.list_type.clone();
        }
        Some(decl)
    }
}

/// What every object has; of its metadata rules see the name only.
fn implied(field: &str, given: &Schema, name: &str) -> Decl {
    let text = || scalar(Type::String, REQUEST - 2, 2);
    if field != "metadata" {
        return text();
    }
    let limits = |field: &str| {
        let own = given.property(field)?.schema.validations.as_deref()?.max_length?;
        Some(scalar(Type::String, own.saturating_mul(4), 2))
    };
    let mut fields = BTreeMap::new();
    for field in ["name", "generateName"] {
        let decl = Arc::new(limits(field).unwrap_or_else(text));
        fields.insert(Arc::from(field), Field { name: field.into(), decl });
    }
    let object = Object { name: name.to_owned(), fields, open: false };
    Decl { shape: Shape::Object(Arc::new(object)), max: 0, min_size: 2 }
}
