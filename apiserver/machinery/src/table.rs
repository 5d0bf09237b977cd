//! The answers that kubectl asks for: `Table` and `PartialObjectMetadata` of `meta.k8s.io/v1`.

use serde_json::{Map, Value, json};

use crate::jsonpath::{JsonPath, print};
use crate::object;
use crate::time::{Time, human_age};

/// The version of `Table` and `PartialObjectMetadata`.
pub const META_V1: &str = "meta.k8s.io/v1";

/// The description of every Name column: that of `metadata.name`.
pub const NAME_DESCRIPTION: &str = "Name must be unique within a namespace. Is required when creating resources, although some resources may allow a client to request the generation of an appropriate name automatically. Name is primarily intended for creation idempotence and configuration definition. Cannot be updated. More info: https://kubernetes.io/docs/concepts/overview/working-with-objects/names#names";

/// The description of every Age column: that of `metadata.creationTimestamp`.
pub const AGE_DESCRIPTION: &str = "CreationTimestamp is a timestamp representing the server time when this object was created. It is not guaranteed to be set in happens-before order across separate operations. Clients may not set this value. It is represented in RFC3339 form and is in UTC.\n\nPopulated by the system. Read-only. Null for lists. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata";

/// A column of a table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are those of TableColumnDefinition")]
pub struct ColumnDefinition {
    pub name: String,
    pub column_type: String,
    pub format: String,
    pub description: String,
    /// 0 is always shown; 1 with `-o wide`.
    pub priority: i32,
}

impl ColumnDefinition {
    /// A column of this type.
    pub fn new(name: &str, column_type: &str, description: &str, priority: i32) -> Self {
        Self {
            name: name.to_owned(),
            column_type: column_type.to_owned(),
            format: String::new(),
            description: description.to_owned(),
            priority,
        }
    }

    /// The Name column.
    pub fn name() -> Self {
        Self { format: "name".to_owned(), ..Self::new("Name", "string", NAME_DESCRIPTION, 0) }
    }

    /// The Age column of a built-in kind, whose cells are ages.
    pub fn age() -> Self {
        Self::new("Age", "string", AGE_DESCRIPTION, 0)
    }

    /// As it stands in the table.
    pub fn to_value(&self) -> Value {
        json!({"name": self.name, "type": self.column_type, "format": self.format,
            "description": self.description, "priority": self.priority})
    }
}

/// `includeObject`: what of the object each row carries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IncludeObject {
    /// Nothing.
    None,
    /// Its metadata, as `PartialObjectMetadata`.
    #[default]
    Metadata,
    /// All of it.
    Object,
}

impl IncludeObject {
    /// Reads the query parameter; `None` for a text that is refused.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "" | "Metadata" => Some(Self::Metadata),
            "None" => Some(Self::None),
            "Object" => Some(Self::Object),
            _ => None,
        }
    }
}

/// An object's metadata alone.
pub fn partial_object_metadata(object: &Value) -> Value {
    let metadata = object.get("metadata").cloned().unwrap_or_else(|| Value::Object(Map::new()));
    json!({"kind": "PartialObjectMetadata", "apiVersion": META_V1, "metadata": metadata})
}

/// A list of metadata alone. `list_meta` is the metadata of the list.
pub fn partial_object_metadata_list<'a>(
    list_meta: Value,
    items: impl IntoIterator<Item = &'a Value>,
) -> Value {
    let items: Vec<Value> = items.into_iter().map(partial_object_metadata).collect();
    json!({"kind": "PartialObjectMetadataList", "apiVersion": META_V1, "metadata": list_meta, "items": items})
}

/// A row.
pub fn row(cells: Vec<Value>, object: &Value, include: IncludeObject) -> Value {
    match include {
        IncludeObject::None => json!({"cells": cells, "object": null}),
        IncludeObject::Metadata => json!({"cells": cells, "object": partial_object_metadata(object)}),
        IncludeObject::Object => json!({"cells": cells, "object": object}),
    }
}

/// A table. `meta` is the list's metadata, or of one object its resourceVersion ([`object_list_meta`]).
/// `columns` are `None` where the client knows them already: after the first event of a watch.
pub fn table(meta: Value, columns: Option<&[ColumnDefinition]>, rows: Vec<Value>) -> Value {
    let columns = columns.map(|c| c.iter().map(ColumnDefinition::to_value).collect::<Vec<_>>());
    json!({"kind": "Table", "apiVersion": META_V1, "metadata": meta, "columnDefinitions": columns, "rows": rows})
}

/// The metadata of a table of one object.
pub fn object_list_meta(object: &Value) -> Value {
    match object::resource_version(object) {
        "" => json!({}),
        version => json!({"resourceVersion": version}),
    }
}

/// The columns of a kind that says nothing of its own.
pub fn default_columns() -> Vec<ColumnDefinition> {
    vec![ColumnDefinition::name(), ColumnDefinition::new("Created At", "date", AGE_DESCRIPTION, 0)]
}

/// The cells for [`default_columns`].
pub fn default_cells(object: &Value) -> Vec<Value> {
    vec![object::name(object).into(), object::meta_str(object, "creationTimestamp").into()]
}

/// A printer column of a custom resource: `additionalPrinterColumns`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are those of CustomResourceColumnDefinition")]
pub struct PrinterColumn {
    pub name: String,
    pub column_type: String,
    pub format: String,
    pub description: String,
    pub priority: i32,
    pub json_path: String,
}

/// The columns of a version of a custom resource, ready to give cells.
#[derive(Clone, Debug)]
pub struct CustomColumns {
    definitions: Vec<ColumnDefinition>,
    paths: Vec<JsonPath>,
}

impl CustomColumns {
    /// From the printer columns; with none, the age is shown.
    pub fn new(columns: &[PrinterColumn]) -> Result<Self, String> {
        let age;
        let columns = if columns.is_empty() {
            age = [PrinterColumn {
                name: "Age".to_owned(),
                column_type: "date".to_owned(),
                description: AGE_DESCRIPTION.to_owned(),
                json_path: ".metadata.creationTimestamp".to_owned(),
                ..PrinterColumn::default()
            }];
            &age[..]
        } else {
            columns
        };
        let mut definitions = vec![ColumnDefinition::name()];
        let mut paths = Vec::new();
        for column in columns {
            let path = JsonPath::parse(&column.json_path)
                .map_err(|_| format!("unrecognized column definition {:?}", column.json_path))?;
            paths.push(path);
            let description = if column.description.is_empty() {
                format!("Custom resource definition column (in JSONPath format): {}", column.json_path)
            } else {
                column.description.clone()
            };
            definitions.push(ColumnDefinition {
                name: column.name.clone(),
                column_type: column.column_type.clone(),
                format: column.format.clone(),
                description,
                priority: column.priority,
            });
        }
        Ok(Self { definitions, paths })
    }

    /// The columns, the name first.
    pub fn definitions(&self) -> &[ColumnDefinition] {
        &self.definitions
    }

    /// The cells of an object.
    pub fn cells(&self, object: &Value, now: Time) -> Vec<Value> {
        let mut cells = vec![Value::from(object::name(object))];
        for (path, definition) in self.paths.iter().zip(&self.definitions[1..]) {
            cells.push(match path.first(object) {
                Some(value) => cell(&definition.column_type, value, now),
                None => Value::Null,
            });
        }
        cells
    }
}

/// A value as a column of this type shows it; null when it does not fit.
fn cell(column_type: &str, value: &Value, now: Time) -> Value {
    match (column_type, value) {
        (_, Value::Null) => Value::Null,
        ("string", value) => print(value).into(),
        ("integer", Value::Number(n)) => n.as_i64().or_else(|| n.as_f64().map(|f| f as i64)).into(),
        ("number", Value::Number(n)) => n.as_f64().map_or(Value::Null, |f| {
            // Whole numbers are written without a fraction, as Go does.
            if f.fract() == 0.0 && f.abs() < 9e15 { Value::from(f as i64) } else { Value::from(f) }
        }),
        ("boolean", Value::Bool(b)) => (*b).into(),
        ("date", Value::String(text)) if text.is_empty() => "<unknown>".into(),
        ("date", Value::String(text)) => match Time::parse(text) {
            Ok(_) => human_age(text, now).into(),
            Err(_) => "<invalid>".into(),
        },
        _ => Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(name: &str, column_type: &str, json_path: &str) -> PrinterColumn {
        PrinterColumn {
            name: name.to_owned(),
            column_type: column_type.to_owned(),
            json_path: json_path.to_owned(),
            ..PrinterColumn::default()
        }
    }

    #[test]
    fn custom_columns_show_what_their_type_admits() {
        let columns = CustomColumns::new(&[
            column("Size", "integer", ".spec.size"),
            column("Text", "string", ".spec.size"),
            column("Wrong", "boolean", ".spec.size"),
            column("None", "string", ".spec.none"),
            column("Made", "date", ".metadata.creationTimestamp"),
            column("Odd", "date", ".metadata.name"),
        ])
        .unwrap();
        let object = json!({"metadata": {"name": "a", "creationTimestamp": "1970-01-01T00:00:00Z"}, "spec": {"size": 1}});
        assert_eq!(
            Value::from(columns.cells(&object, Time::from_unix(300, 0))),
            json!(["a", 1, "1", null, null, "5m", "<invalid>"])
        );
        assert_eq!(
            columns.definitions()[1].description,
            "Custom resource definition column (in JSONPath format): .spec.size"
        );
        let age = CustomColumns::new(&[]).unwrap();
        assert_eq!(age.definitions()[1].name, "Age");
        assert_eq!(Value::from(age.cells(&object, Time::from_unix(30, 0))), json!(["a", "30s"]));
    }

    #[test]
    fn tables_carry_what_was_asked_for() {
        let object = json!({"kind": "X", "metadata": {"name": "a", "resourceVersion": "7"}, "spec": {}});
        let rows = vec![row(default_cells(&object), &object, IncludeObject::Metadata)];
        let table = table(object_list_meta(&object), Some(&default_columns()), rows);
        assert_eq!(table["metadata"], json!({"resourceVersion": "7"}));
        assert_eq!(table["columnDefinitions"][0]["format"], "name");
        assert_eq!(table["rows"][0]["object"]["kind"], "PartialObjectMetadata");
        assert_eq!(table["rows"][0]["object"].get("spec"), None);
        assert_eq!(row(vec![], &object, IncludeObject::None)["object"], Value::Null);
        assert_eq!(row(vec![], &object, IncludeObject::Object)["object"], object);
        let list = partial_object_metadata_list(json!({}), [&object]);
        assert_eq!(list["items"][0]["metadata"]["name"], "a");
    }
}
