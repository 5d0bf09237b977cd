//! `-o`: objects as JSON, YAML or names.

use clap::ValueEnum;
use serde_json::{Value, json};

use crate::error::{Error, Result};

/// A format of objects on stdout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// JSON, indented.
    Json,
    /// YAML.
    Yaml,
    /// `kind.group/name`, one a line.
    Name,
    /// A table with more columns.
    Wide,
}

impl Output {
    /// Whether stdout carries objects only.
    pub fn is_structured(this: Option<Self>) -> bool {
        matches!(this, Some(Self::Json | Self::Yaml | Self::Name))
    }
}

/// A value as JSON, indented as kubectl does.
pub fn json(value: &Value) -> Result<String> {
    let mut bytes = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, formatter);
    serde::Serialize::serialize(value, &mut serializer)
        .map_err(|error| Error::new("cannot write JSON").caused_by(&error))?;
    let mut text =
        String::from_utf8(bytes).map_err(|error| Error::new("cannot write JSON").caused_by(&error))?;
    text.push('\n');
    Ok(text)
}

/// A value as YAML, block style.
pub fn yaml(value: &Value) -> Result<String> {
    let mut options = serde_saphyr::SerializerOptions::default();
    options.prefer_block_scalars = false;
    let mut text = serde_saphyr::to_string_with_options(value, options)
        .map_err(|error| Error::new("cannot write YAML").caused_by(&error))?;
    if !text.ends_with('\n') {
        text.push('\n');
    }
    Ok(text)
}

/// `controlplane.controlplane.kplane.dev/demo`, as `kubectl get -o name` says.
pub fn name(object: &Value) -> String {
    let kind = object["kind"].as_str().unwrap_or_default().to_lowercase();
    let group = object["apiVersion"].as_str().and_then(|v| v.split_once('/')).map(|(group, _)| group);
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    match group {
        Some(group) => format!("{kind}.{group}/{name}"),
        None => format!("{kind}/{name}"),
    }
}

/// One object in a format for programs; `None` for the formats for people.
pub fn object(format: Option<Output>, object: &Value) -> Result<Option<String>> {
    Ok(match format {
        Some(Output::Json) => Some(json(&shown(object))?),
        Some(Output::Yaml) => Some(yaml(&shown(object))?),
        Some(Output::Name) => Some(format!("{}\n", name(object))),
        Some(Output::Wide) | None => None,
    })
}

/// Objects in a format for programs, as one List; `None` for the formats for people.
pub fn list(format: Option<Output>, objects: &[Value]) -> Result<Option<String>> {
    let list = || {
        let items: Vec<Value> = objects.iter().map(shown).collect();
        json!({ "apiVersion": "v1", "kind": "List", "metadata": { "resourceVersion": "" }, "items": items })
    };
    Ok(match format {
        Some(Output::Json) => Some(json(&list())?),
        Some(Output::Yaml) => Some(yaml(&list())?),
        Some(Output::Name) => Some(objects.iter().map(|object| name(object) + "\n").collect()),
        Some(Output::Wide) | None => None,
    })
}

/// As kubectl shows it: without the book-keeping of server-side apply.
fn shown(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
    }
    object
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_carry_kind_and_group() {
        let object = json!({"apiVersion": "a.b/v1", "kind": "Thing", "metadata": {"name": "x"}});
        assert_eq!(name(&object), "thing.a.b/x");
        assert_eq!(
            name(&json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "x"}})),
            "secret/x"
        );
    }

    #[test]
    fn formats_for_people_are_left_to_the_caller() {
        assert_eq!(object(None, &json!({})).unwrap(), None);
        assert_eq!(list(Some(Output::Wide), &[]).unwrap(), None);
        let object =
            super::object(Some(Output::Json), &json!({"metadata": {"managedFields": [], "name": "x"}}));
        assert_eq!(object.unwrap().unwrap(), "{\n    \"metadata\": {\n        \"name\": \"x\"\n    }\n}\n");
    }

    #[test]
    fn strings_that_look_like_something_else_stay_strings() {
        for text in
            ["yes", "true", "null", "~", "1e3", "0x1F", "012", "1_000", "2024-01-01", "", " a", "a: b", "#x"]
        {
            let value = json!({ "key": text });
            let written = yaml(&value).unwrap();
            assert_eq!(serde_saphyr::from_str::<Value>(&written).unwrap(), value, "{written}");
        }
    }
}
