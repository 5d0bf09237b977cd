//! How a schema says a value is to be walked.

use std::sync::{Arc, OnceLock};

use serde_json::Value;

use super::set::Element;
use crate::schema::{ListType, MapType, PatchStrategy, Property, Schema, SchemaLink, SchemaType};

/// The type of a value: its schema, and what the field that holds it adds.
#[derive(Clone, Copy, Debug)]
pub(super) struct TypeRef<'a> {
    pub schema: &'a Schema,
    list: &'a ListType,
    map: MapType,
    /// Inside a type of Kubernetes' own, where what has no schema is one leaf; in custom resources it is
    /// walked as it comes.
    builtin: bool,
    /// At the top of an object.
    root: bool,
}

/// What a value is walked as.
pub(super) enum Shape<'a> {
    /// Compared and replaced as a whole.
    Leaf,
    /// A list whose elements are their values.
    Set,
    /// A list whose elements have these keys.
    Keyed(&'a [Arc<str>]),
    /// Field by field.
    Map,
}

static UNTYPED: OnceLock<Schema> = OnceLock::new();
static OBJECT_META: OnceLock<Schema> = OnceLock::new();

fn untyped() -> &'static Schema {
    UNTYPED.get_or_init(Schema::default)
}

fn text() -> Schema {
    Schema { schema_type: SchemaType::String, ..Schema::default() }
}

fn property(name: &str, schema: Schema, list_type: ListType) -> Property {
    Property {
        name: name.into(),
        number: 0,
        schema: SchemaLink::from(schema),
        description: "".into(),
        default: None,
        patch: PatchStrategy::default(),
        list_type,
        map_type: MapType::Granular,
        enumeration: Vec::new(),
    }
}

/// The metadata of any object, for schemas of custom resources, which do not spell it out.
fn object_meta() -> &'static Schema {
    OBJECT_META.get_or_init(|| {
        let object = |properties: Vec<Property>| Schema {
            schema_type: SchemaType::Object,
            properties,
            ..Schema::default()
        };
        let list = |items: Schema| Schema {
            schema_type: SchemaType::Array,
            items: Some(items.into()),
            ..Schema::default()
        };
        let map = || Schema {
            schema_type: SchemaType::Object,
            additional: Some(text().into()),
            ..Schema::default()
        };
        let integer = || Schema { schema_type: SchemaType::Integer, ..Schema::default() };
        let boolean = || Schema { schema_type: SchemaType::Boolean, ..Schema::default() };
        let atomic = || ListType::Atomic;
        let mut owner = object(vec![
            property("apiVersion", text(), atomic()),
            property("blockOwnerDeletion", boolean(), atomic()),
            property("controller", boolean(), atomic()),
            property("kind", text(), atomic()),
            property("name", text(), atomic()),
            property("uid", text(), atomic()),
        ]);
        owner.map_type = MapType::Atomic;
        object(vec![
            property("annotations", map(), atomic()),
            property("creationTimestamp", text(), atomic()),
            property("deletionGracePeriodSeconds", integer(), atomic()),
            property("deletionTimestamp", text(), atomic()),
            property("finalizers", list(text()), ListType::Set),
            property("generateName", text(), atomic()),
            property("generation", integer(), atomic()),
            property("labels", map(), atomic()),
            property("managedFields", list(Schema::default()), atomic()),
            property("name", text(), atomic()),
            property("namespace", text(), atomic()),
            property("ownerReferences", list(owner), ListType::Map(vec!["uid".into()])),
            property("resourceVersion", text(), atomic()),
            property("selfLink", text(), atomic()),
            property("uid", text(), atomic()),
        ])
    })
}

impl<'a> TypeRef<'a> {
    /// The type of a whole object.
    pub fn of_object(schema: &'a Schema) -> Self {
        Self {
            schema,
            list: &schema.list_type,
            map: schema.map_type,
            builtin: schema.type_name.is_some(),
            root: true,
        }
    }

    fn below(self, schema: &'a Schema) -> Self {
        Self {
            schema,
            list: &schema.list_type,
            map: schema.map_type,
            builtin: self.builtin || schema.type_name.is_some(),
            root: false,
        }
    }

    /// The type of a field, and whether the schema knows the field by name.
    pub fn field(self, name: &str) -> (Self, bool) {
        if self.root && !self.builtin {
            match name {
                "apiVersion" | "kind" => return (Self { root: false, ..self.below(untyped()) }, true),
                "metadata" => return (self.below(object_meta()), true),
                _ => {}
            }
        }
        if let Some(property) = self.schema.property(name) {
            let mut child = self.below(&property.schema);
            if property.list_type != ListType::Atomic {
                child.list = &property.list_type;
            }
            if property.map_type != MapType::Granular {
                child.map = property.map_type;
            }
            return (child, true);
        }
        match &self.schema.additional {
            // Of a built-in kind: a union such as JSONSchemaPropsOrArray, which is published without a type.
            Some(_) if self.builtin && self.schema.schema_type == SchemaType::Any => {
                (self.below(untyped()), false)
            }
            Some(additional) => (self.below(additional), false),
            None => (self.below(untyped()), false),
        }
    }

    /// The type of a list's elements.
    pub fn items(self) -> Self {
        match &self.schema.items {
            Some(items) => self.below(items),
            None => self.below(untyped()),
        }
    }

    /// Whether the schema refuses this field.
    pub fn refuses(self, name: &str) -> bool {
        let implied = self.schema.embedded_resource && matches!(name, "apiVersion" | "kind" | "metadata");
        let closed = self.schema.schema_type == SchemaType::Object
            && !self.schema.properties.is_empty()
            && self.schema.additional.is_none()
            && !self.schema.preserve_unknown;
        closed && !implied && !self.field(name).1
    }

    /// The default of a key field, for elements that leave it out.
    fn key_default(self, name: &str) -> Option<&'a Value> {
        let property = self.schema.property(name)?;
        property.default.as_ref().or(property.schema.default.as_ref())
    }

    /// What JSON the schema says it is, or else what the value is.
    pub fn shape(self, value: &Value) -> Shape<'a> {
        let as_map = || if self.map == MapType::Atomic { Shape::Leaf } else { Shape::Map };
        let as_list = || match self.list {
            ListType::Atomic => Shape::Leaf,
            ListType::Set => Shape::Set,
            ListType::Map(keys) => Shape::Keyed(keys),
        };
        if self.schema.int_or_string {
            return Shape::Leaf;
        }
        match self.schema.schema_type {
            // RawExtension and its like are kept as they come.
            SchemaType::Object
                if self.builtin && self.schema.properties.is_empty() && self.schema.additional.is_none() =>
            {
                Shape::Leaf
            }
            SchemaType::Object => as_map(),
            SchemaType::Array => as_list(),
            SchemaType::Any if self.builtin && self.schema.additional.is_some() => Shape::Leaf,
            SchemaType::Any if !self.schema.properties.is_empty() || self.schema.additional.is_some() => {
                as_map()
            }
            SchemaType::Any if self.schema.items.is_some() => as_list(),
            // Without a schema: maps by field in custom resources, everything else as a whole.
            SchemaType::Any if value.is_object() && !self.builtin => as_map(),
            _ => Shape::Leaf,
        }
    }

    /// Whether a value of the wrong kind stands where the schema wants another.
    pub fn mismatch(self, value: &Value) -> Option<&'static str> {
        let wrong = match self.schema.schema_type {
            _ if value.is_null() || self.schema.int_or_string => return None,
            SchemaType::Object => !value.is_object(),
            SchemaType::Array => !value.is_array(),
            SchemaType::String => !value.is_string(),
            SchemaType::Integer | SchemaType::Number => !value.is_number(),
            SchemaType::Boolean => !value.is_boolean(),
            SchemaType::Any => false,
        };
        wrong.then_some(match self.schema.schema_type {
            SchemaType::Object => "expected map",
            SchemaType::Array => "expected list",
            SchemaType::String => "expected string",
            SchemaType::Boolean => "expected boolean",
            _ => "expected numeric (int or float)",
        })
    }
}

/// The element of a path that names an element of a list.
pub(super) fn list_element(shape: &Shape<'_>, items: TypeRef<'_>, value: &Value) -> Result<Element, String> {
    match shape {
        Shape::Keyed(keys) => {
            let Some(map) = value.as_object() else {
                return Err("associative list with keys may not have non-map elements".to_owned());
            };
            let mut key = serde_json::Map::new();
            for name in *keys {
                match map.get(&**name).or_else(|| items.key_default(name)) {
                    Some(value) => {
                        key.insert(name.to_string(), value.clone());
                    }
                    None if keys.len() == 1 => {
                        return Err(format!(
                            "associative list with keys has an element that omits key field \"{name}\" (and doesn't have default value)"
                        ));
                    }
                    None => {}
                }
            }
            if key.is_empty() {
                let all: Vec<String> = keys.iter().map(|k| format!("\"{k}\"")).collect();
                return Err(format!(
                    "associative list with keys has an element that omits all key fields [{}] (and doesn't have default values for any key fields)",
                    all.join(" ")
                ));
            }
            Ok(Element::Key(Value::Object(key).to_string()))
        }
        _ => match value {
            Value::Object(_) | Value::Array(_) => {
                Err("only string, number, and boolean values are accepted in sets".to_owned())
            }
            scalar => Ok(Element::Value(scalar.to_string())),
        },
    }
}

/// The object as a Go struct of its kind would hold it: structs that are fields by value are there even
/// when empty. The schema knows them by their default, an empty map.
pub(super) fn filled(object: &Value, schema: &Schema) -> Value {
    let mut out = object.clone();
    if schema.type_name.is_some() {
        fill(&mut out, schema, false, 0);
    }
    out
}

/// An object that has nothing yet, as Go would hold it: besides the structs, fields that are written even
/// when they have no value, such as `containers: null`.
pub(super) fn blank(api_version: &str, kind: &str, schema: &Schema) -> Value {
    let mut out = serde_json::json!({"apiVersion": api_version, "kind": kind});
    if schema.type_name.is_some() {
        fill(&mut out, schema, true, 0);
    }
    out
}

/// What a field that Go always writes holds before it is set: the schema states it as a default that is a
/// zero value. `None` for a field that is left out when it is empty.
fn zero(property: &Property, blank: bool) -> Option<&Value> {
    let default = property.default.as_ref()?;
    match default {
        Value::Object(map) if map.is_empty() => {
            (blank || property.schema.schema_type == SchemaType::Object).then_some(default)
        }
        // A list that is written as null, and yet not there before it is set.
        Value::Null if &*property.name == "validationActions" => None,
        Value::Null | Value::Bool(false) => blank.then_some(default),
        Value::String(s) if s.is_empty() => blank.then_some(default),
        Value::Number(n) if n.as_f64() == Some(0.0) => blank.then_some(default),
        _ => None,
    }
}

fn fill(value: &mut Value, schema: &Schema, blank: bool, depth: usize) {
    // Types that contain themselves do so by pointer; the bound is for a table that says otherwise.
    if depth > 40 {
        return;
    }
    match value {
        Value::Object(map) => {
            for property in &schema.properties {
                if !map.contains_key(&*property.name)
                    && let Some(zero) = zero(property, blank)
                {
                    map.insert(property.name.to_string(), zero.clone());
                }
                if let Some(child) = map.get_mut(&*property.name) {
                    fill(child, &property.schema, blank, depth + 1);
                }
            }
            if let Some(additional) = &schema.additional {
                for child in map.values_mut() {
                    fill(child, additional, blank, depth + 1);
                }
            }
        }
        Value::Array(list) => {
            if let Some(items) = &schema.items {
                for child in list {
                    fill(child, items, blank, depth + 1);
                }
            }
        }
        _ => {}
    }
}
