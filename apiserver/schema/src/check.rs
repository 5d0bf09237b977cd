//! Checking a value against the structure of its schema: fields that are not known are dropped and told;
//! values of built-in types must be of the type, and are brought to the form that Go would write.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kplane_machinery::quantity::Quantity;
use kplane_machinery::schema::{Property, Schema, SchemaType};
use kplane_machinery::time::Time;
use serde_json::{Map, Value};

use crate::builtin;
use crate::table::{Shape, shape, whole_or};

/// A value of the wrong type, in the words of Go's decoder.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{decoder}")]
pub struct TypeError {
    decoder: String,
    converter: Option<String>,
}

impl TypeError {
    fn of(decoder: impl Into<String>) -> Self {
        Self { decoder: decoder.into(), converter: None }
    }

    /// The same in the words of upstream's converter from maps to structs, which strategic merge patches end in.
    pub fn of_converter(&self) -> &str {
        self.converter.as_deref().unwrap_or(&self.decoder)
    }
}

/// Drops and tells the fields that the schema does not know, as `unknown field "spec.foo"`.
///
/// Values of built-in types are also type-checked and brought to the form of Go's round trip: without nulls and
/// empty optional fields, quantities and times in canonical form. Custom resources (`custom`) keep theirs:
/// their validation tells what is wrong.
pub fn check(schema: &Schema, value: &mut Value, custom: bool) -> Result<Vec<String>, TypeError> {
    let mut walk = Walk::default();
    if custom && schema.type_name.is_none() {
        walk.structural(schema, value, &Step::Root);
    } else {
        walk.typed(schema, value, &Step::Root, "")?;
    }
    match walk.error {
        Some(error) => Err(error),
        None => Ok(walk.unknown.into_iter().map(|path| format!("unknown field {path:?}")).collect()),
    }
}

/// Drops the fields a custom resource's schema does not know, and returns their paths.
pub fn prune(schema: &Schema, value: &mut Value) -> Vec<String> {
    let mut walk = Walk::default();
    walk.structural(schema, value, &Step::Root);
    walk.unknown
}

/// The way down, kept on the stack and written only when something is to be told.
#[derive(Clone, Copy)]
enum Step<'a> {
    Root,
    /// A field of a struct.
    Field(&'a Step<'a>, &'a str),
    /// An entry of a map.
    Key(&'a Step<'a>, &'a str),
    Item(&'a Step<'a>, usize),
}

impl fmt::Display for Step<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => Ok(()),
            Self::Field(Step::Root, name) | Self::Key(Step::Root, name) => f.write_str(name),
            Self::Field(parent, name) | Self::Key(parent, name) => write!(f, "{parent}.{name}"),
            Self::Item(parent, index) => write!(f, "{parent}[{index}]"),
        }
    }
}

impl Step<'_> {
    /// The fields of structs alone, as Go's type errors name the place.
    fn fields(&self) -> String {
        match self {
            Self::Root => String::new(),
            Self::Key(parent, _) | Self::Item(parent, _) => parent.fields(),
            Self::Field(parent, name) => match parent.fields() {
                above if above.is_empty() => (*name).to_owned(),
                above => format!("{above}.{name}"),
            },
        }
    }
}

#[derive(Default)]
struct Walk {
    unknown: Vec<String>,
    /// The first type error; the walk of a custom resource goes on, that of a built-in kind ends.
    error: Option<TypeError>,
}

impl Walk {
    /// A value of a built-in type; `owner` is the struct that has the field.
    fn typed(
        &mut self,
        schema: &Schema,
        value: &mut Value,
        at: &Step<'_>,
        owner: &str,
    ) -> Result<(), TypeError> {
        match shape(schema) {
            Shape::Struct => self.fields(schema, value, at, owner),
            Shape::Any => Ok(()),
            Shape::Map(of) => {
                let Value::Object(entries) = value else { return Err(mismatch(schema, value, at, owner)) };
                for (name, entry) in entries.iter_mut() {
                    if entry.is_null() {
                        *entry = zero(of);
                    } else {
                        self.typed(of, entry, &Step::Key(at, name), owner)?;
                    }
                }
                Ok(())
            }
            Shape::List(of) => {
                let Value::Array(items) = value else { return Err(mismatch(schema, value, at, owner)) };
                for (index, item) in items.iter_mut().enumerate() {
                    if item.is_null() {
                        *item = zero(of);
                    } else {
                        self.typed(of, item, &Step::Item(at, index), owner)?;
                    }
                }
                Ok(())
            }
            Shape::Quantity => match value {
                Value::String(_) | Value::Number(_) => {
                    let quantity = Quantity::from_value(value).map_err(|e| TypeError::of(e.to_string()))?;
                    *value = Value::String(quantity.to_string());
                    Ok(())
                }
                other => Err(TypeError::of(
                    Quantity::from_value(other).err().map_or_else(String::new, |e| e.to_string()),
                )),
            },
            Shape::IntOrString => match value {
                Value::String(_) => Ok(()),
                Value::Number(n) if n.as_i64().is_some_and(|n| i32::try_from(n).is_ok()) => Ok(()),
                other => Err(TypeError::of(format!(
                    "json: cannot unmarshal {} into Go value of type int32",
                    json_type(other, true)
                ))),
            },
            Shape::Time | Shape::MicroTime => {
                let Value::String(text) = value else {
                    return Err(TypeError::of(format!(
                        "json: cannot unmarshal {} into Go value of type string",
                        json_type(value, false)
                    )));
                };
                let written = if matches!(shape(schema), Shape::Time) {
                    Time::parse(text).map(|time| time.truncated().to_string())
                } else {
                    Time::parse_micro(text).map(Time::micro)
                };
                *text = written.map_err(TypeError::of)?;
                Ok(())
            }
            Shape::Bytes => {
                let Value::String(text) = value else { return Err(mismatch(schema, value, at, owner)) };
                if text.contains(['\r', '\n']) {
                    text.retain(|c| c != '\r' && c != '\n');
                }
                match STANDARD.decode(text.as_bytes()) {
                    Ok(_) => Ok(()),
                    Err(error) => {
                        let told = in_words_of_go(&error, text);
                        let converter = Some(format!("error decoding from json: {told}"));
                        Err(TypeError { decoder: told, converter })
                    }
                }
            }
            Shape::SchemaOr(of) => match value {
                Value::Object(_) => self.typed(of, value, at, owner),
                Value::Array(items) => {
                    for (index, item) in items.iter_mut().enumerate() {
                        if item.is_object() {
                            self.typed(of, item, &Step::Item(at, index), owner)?;
                        }
                    }
                    Ok(())
                }
                _ => Ok(()),
            },
            Shape::Text if value.is_string() => Ok(()),
            Shape::Boolean if value.is_boolean() => Ok(()),
            Shape::Float if value.is_number() => {
                if let Some(number) = value.as_f64().filter(|_| value.is_f64()) {
                    *value = whole_or(number);
                }
                Ok(())
            }
            Shape::Int32 if value.as_i64().is_some_and(|n| i32::try_from(n).is_ok()) => Ok(()),
            Shape::Int64 if value.as_i64().is_some() => Ok(()),
            _ => Err(mismatch(schema, value, at, owner)),
        }
    }

    fn fields(
        &mut self,
        schema: &Schema,
        value: &mut Value,
        at: &Step<'_>,
        owner: &str,
    ) -> Result<(), TypeError> {
        let Value::Object(fields) = value else { return Err(mismatch(schema, value, at, owner)) };
        let name = schema.type_name.as_deref().map_or("", last_segment);
        let mut failed = None;
        fields.retain(|field, value| {
            if failed.is_some() {
                return true;
            }
            let at = Step::Field(at, field);
            let Some(property) = schema.property(field) else {
                self.unknown.push(at.to_string());
                return false;
            };
            if value.is_null() {
                return false;
            }
            if let Err(error) = self.typed(&property.schema, value, &at, name) {
                failed = Some(error);
                return true;
            }
            !(is_empty(value) && drops_when_empty(property))
        });
        failed.map_or(Ok(()), Err)
    }

    /// A value of a custom resource.
    fn structural(&mut self, schema: &Schema, value: &mut Value, at: &Step<'_>) {
        self.kept(schema, value, at, schema.preserve_unknown);
    }

    /// The same; what the schema does not know is kept if `keep`.
    fn kept(&mut self, schema: &Schema, value: &mut Value, at: &Step<'_>, keep: bool) {
        if schema.type_name.is_some() {
            if value.is_null() {
                return;
            }
            if let Err(error) = self.typed(schema, value, at, "") {
                self.error.get_or_insert(error);
            }
            return;
        }
        match value {
            Value::Object(fields) => {
                if schema.embedded_resource
                    && let Some(metadata) = fields.get_mut("metadata")
                    && metadata.is_object()
                    && let Some(of) = builtin().get(OBJECT_META)
                {
                    self.structural(&of, metadata, &Step::Field(at, "metadata"));
                }
                fields.retain(|field, value| {
                    let at = Step::Field(at, field);
                    if schema.embedded_resource
                        && matches!(field.as_str(), "apiVersion" | "kind" | "metadata")
                    {
                        return true;
                    }
                    if let Some(property) = schema.property(field) {
                        self.structural(&property.schema, value, &at);
                        return true;
                    }
                    if let Some(of) = &schema.additional {
                        self.structural(of, value, &at);
                        return true;
                    }
                    if keep {
                        return true;
                    }
                    self.unknown.push(at.to_string());
                    false
                });
            }
            Value::Array(items) => {
                let nothing = Schema::default();
                let of = schema.items.as_deref().unwrap_or(&nothing);
                for (index, item) in items.iter_mut().enumerate() {
                    // A list that keeps what it does not know also keeps what its items do not.
                    self.kept(of, item, &Step::Item(at, index), keep || of.preserve_unknown);
                }
            }
            _ => {}
        }
    }
}

pub(crate) const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";

/// What Go's `omitempty` drops.
pub(crate) fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(b) => !b,
        Value::Number(n) => n.as_f64() == Some(0.0),
        Value::String(s) => s.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
    }
}

/// Whether Go drops the field when it is empty: it is optional, and neither a pointer nor a struct.
pub(crate) fn drops_when_empty(property: &Property) -> bool {
    if property.default.as_ref().is_some_and(is_empty) {
        return false;
    }
    match shape(&property.schema) {
        Shape::Text | Shape::Boolean | Shape::Int32 | Shape::Int64 | Shape::Float => {
            !property.schema.nullable
        }
        Shape::Map(_) | Shape::List(_) | Shape::Bytes => true,
        _ => false,
    }
}

/// The zero value of a type, which null stands for in a list or map.
pub(crate) fn zero(schema: &Schema) -> Value {
    match shape(schema) {
        Shape::Text | Shape::Bytes => Value::String(String::new()),
        Shape::Boolean => Value::Bool(false),
        Shape::Int32 | Shape::Int64 | Shape::Float | Shape::IntOrString => 0.into(),
        Shape::Quantity => Value::String("0".to_owned()),
        Shape::Struct => Value::Object(Map::new()),
        _ => Value::Null,
    }
}

fn last_segment(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or(name)
}

/// `json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32`.
fn mismatch(schema: &Schema, value: &Value, at: &Step<'_>, owner: &str) -> TypeError {
    let numeric = matches!(shape(schema), Shape::Int32 | Shape::Int64 | Shape::Float);
    let (found, wanted) = (json_type(value, numeric), go_type(schema));
    let field = at.fields();
    let decoder = if field.is_empty() {
        format!("json: cannot unmarshal {found} into Go value of type {wanted}")
    } else {
        format!("json: cannot unmarshal {found} into Go struct field {owner}.{field} of type {wanted}")
    };
    let (kind, full) = go_value_type(value);
    let converter = match shape(schema) {
        Shape::Struct => format!("cannot restore struct from: {kind}"),
        Shape::Map(_) => format!("cannot restore map from {kind}"),
        Shape::List(_) | Shape::Bytes => format!("cannot restore slice from {kind}"),
        _ => format!("cannot convert {full} to {wanted}"),
    };
    TypeError { decoder, converter: Some(converter) }
}

/// The kind and the type that a decoded value has in Go.
fn go_value_type(value: &Value) -> (&'static str, &'static str) {
    match value {
        Value::Null => ("invalid", "invalid"),
        Value::Bool(_) => ("bool", "bool"),
        Value::Number(n) if n.is_f64() => ("float64", "float64"),
        Value::Number(_) => ("int64", "int64"),
        Value::String(_) => ("string", "string"),
        Value::Array(_) => ("slice", "[]interface {}"),
        Value::Object(_) => ("map", "map[string]interface {}"),
    }
}

fn json_type(value: &Value, numeric: bool) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(_) => "bool".to_owned(),
        Value::Number(n) if numeric => format!("number {n}"),
        Value::Number(_) => "number".to_owned(),
        Value::String(_) => "string".to_owned(),
        Value::Array(_) => "array".to_owned(),
        Value::Object(_) => "object".to_owned(),
    }
}

/// The Go type behind a schema, as its errors name it.
fn go_type(schema: &Schema) -> String {
    match shape(schema) {
        Shape::Text => "string".to_owned(),
        Shape::Boolean => "bool".to_owned(),
        Shape::Int32 => "int32".to_owned(),
        Shape::Int64 => "int64".to_owned(),
        Shape::Float => "float64".to_owned(),
        Shape::Bytes => "[]uint8".to_owned(),
        Shape::List(of) => format!("[]{}", go_type(of)),
        Shape::Map(of) => format!("map[string]{}", go_type(of)),
        _ => {
            let name = schema.type_name.as_deref().unwrap_or("interface {}");
            let mut parts = name.rsplit('.');
            match (parts.next(), parts.next()) {
                (Some(last), Some(package)) => format!("{package}.{last}"),
                _ => name.to_owned(),
            }
        }
    }
}

fn in_words_of_go(error: &base64::DecodeError, text: &str) -> String {
    let at = match error {
        base64::DecodeError::InvalidByte(at, _) | base64::DecodeError::InvalidLastSymbol(at, _) => *at,
        base64::DecodeError::InvalidLength(_) | base64::DecodeError::InvalidPadding => text.len() & !3,
    };
    format!("illegal base64 data at input byte {at}")
}

/// Whether a schema is that of a built-in type's value that has fields of its own.
pub(crate) fn is_struct(schema: &Schema) -> bool {
    schema.type_name.is_some() && schema.schema_type == SchemaType::Object && !schema.properties.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn checked(kind: &str, mut value: Value) -> Result<(Value, Vec<String>), String> {
        let schema = builtin().get(kind).unwrap();
        let unknown = check(&schema, &mut value, false).map_err(|e| e.to_string())?;
        Ok((value, unknown))
    }

    #[test]
    fn unknown_fields_are_dropped_and_told() {
        let pod = json!({"spec": {"containers": [{"name": "a", "bogus": 1}], "nodeName": null, "volumes": []}, "x": 1});
        let (value, unknown) = checked("io.k8s.api.core.v1.Pod", pod).unwrap();
        assert_eq!(value, json!({"spec": {"containers": [{"name": "a"}]}}));
        assert_eq!(unknown, ["unknown field \"spec.containers[0].bogus\"", "unknown field \"x\""]);
    }

    #[test]
    fn type_errors_read_as_upstream() {
        let told = |kind: &str, value| checked(kind, value).unwrap_err();
        assert_eq!(
            told("io.k8s.api.core.v1.ConfigMap", json!({"data": {"a": 1}})),
            "json: cannot unmarshal number into Go struct field ConfigMap.data of type string"
        );
        assert_eq!(
            told("io.k8s.api.apps.v1.Deployment", json!({"spec": {"replicas": "1"}})),
            "json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32"
        );
        assert_eq!(
            told("io.k8s.api.core.v1.Pod", json!({"spec": {"containers": {}}})),
            "json: cannot unmarshal object into Go struct field PodSpec.spec.containers of type []v1.Container"
        );
        assert_eq!(
            told("io.k8s.api.core.v1.Secret", json!({"data": {"a": "%%"}})),
            "illegal base64 data at input byte 0"
        );
    }

    #[test]
    fn strategic_patches_end_in_the_words_of_a_converter() {
        let told = |mut value| {
            let schema = builtin().get("io.k8s.api.apps.v1.Deployment").unwrap();
            check(&schema, &mut value, false).unwrap_err().of_converter().to_owned()
        };
        assert_eq!(told(json!({"metadata": {"labels": "x"}})), "cannot restore map from string");
        assert_eq!(told(json!({"spec": {"replicas": "1"}})), "cannot convert string to int32");
        assert_eq!(told(json!({"spec": {"template": []}})), "cannot restore struct from: slice");
        assert_eq!(told(json!({"metadata": {"finalizers": 1}})), "cannot restore slice from int64");
    }

    #[test]
    fn scalars_take_their_canonical_form() {
        let pod = json!({"metadata": {"creationTimestamp": "2020-01-01T01:00:00+01:00"}, "spec": {"containers": [{
            "name": "a", "resources": {"limits": {"cpu": "1000m", "memory": 1024}}, "stdin": false, "args": [null],
        }], "activeDeadlineSeconds": 0, "hostNetwork": false}});
        let (value, _) = checked("io.k8s.api.core.v1.Pod", pod).unwrap();
        assert_eq!(
            value,
            json!({"metadata": {"creationTimestamp": "2020-01-01T00:00:00Z"}, "spec": {"containers": [{
                "name": "a", "resources": {"limits": {"cpu": "1", "memory": "1024"}}, "args": [""],
            }], "activeDeadlineSeconds": 0}})
        );
    }
}
