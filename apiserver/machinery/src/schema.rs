//! The one schema type, of built-in kinds and of custom resources alike.
//!
//! It drives decoding, unknown-field warnings, pruning, defaulting, strategic merge, server-side apply,
//! `explain` and OpenAPI. Built-in kinds refer to each other by name (`JSONSchemaProps` to itself);
//! the schemas of custom resources are trees.

use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use serde_json::Value;

/// What JSON a value is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SchemaType {
    /// Anything: no `type` is given.
    #[default]
    Any,
    /// A map with known fields (`properties`) or with `additional` values.
    Object,
    /// A list of `items`.
    Array,
    /// A text.
    String,
    /// A whole number.
    Integer,
    /// A number.
    Number,
    /// true or false.
    Boolean,
}

/// `x-kubernetes-list-type`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ListType {
    /// Replaced as a whole.
    #[default]
    Atomic,
    /// Scalars without order or duplicates.
    Set,
    /// Maps identified by the named keys.
    Map(Vec<Arc<str>>),
}

/// `x-kubernetes-map-type`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MapType {
    /// Each field for itself.
    #[default]
    Granular,
    /// Replaced as a whole.
    Atomic,
}

/// How strategic merge patch treats a field: `x-kubernetes-patch-strategy` and its key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PatchStrategy {
    /// `merge` is among the strategies.
    pub merge: bool,
    /// `retainKeys` is among the strategies.
    pub retain_keys: bool,
    /// `x-kubernetes-patch-merge-key`.
    pub merge_key: Option<Arc<str>>,
}

/// A field of an object.
#[derive(Clone, Debug)]
pub struct Property {
    /// Its name in JSON.
    pub name: Arc<str>,
    /// Its protobuf field number; 0 when it has none.
    pub number: u32,
    /// What it holds.
    pub schema: SchemaLink,
    /// For `explain` and OpenAPI; empty when none. Says what this field is, and takes precedence over the type's.
    pub description: Arc<str>,
    /// The value the server writes when the field is absent.
    pub default: Option<Value>,
    /// For strategic merge patch.
    pub patch: PatchStrategy,
    /// For lists.
    pub list_type: ListType,
    /// For maps and structs.
    pub map_type: MapType,
    /// The closed set of texts it takes, if it is one.
    pub enumeration: Vec<Arc<str>>,
}

/// A rule of `x-kubernetes-validations`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are those of ValidationRule")]
pub struct ValidationRule {
    pub rule: String,
    pub message: String,
    pub message_expression: String,
    pub reason: Option<String>,
    pub field_path: String,
    pub optional_old_self: Option<bool>,
}

/// The value validations of a custom resource's schema, besides its structure.
#[derive(Clone, Debug, Default)]
#[expect(missing_docs, reason = "the fields are those of JSONSchemaProps")]
pub struct Validations {
    pub enumeration: Vec<Value>,
    pub pattern: Option<String>,
    pub min_length: Option<u64>,
    pub max_length: Option<u64>,
    pub minimum: Option<f64>,
    pub maximum: Option<f64>,
    pub exclusive_minimum: bool,
    pub exclusive_maximum: bool,
    pub multiple_of: Option<f64>,
    pub min_items: Option<u64>,
    pub max_items: Option<u64>,
    pub unique_items: bool,
    pub min_properties: Option<u64>,
    pub max_properties: Option<u64>,
    /// Value validations only: the structure of these is not consulted.
    pub all_of: Vec<Schema>,
    pub any_of: Vec<Schema>,
    pub one_of: Vec<Schema>,
    pub not: Option<Box<Schema>>,
    pub rules: Vec<ValidationRule>,
}

/// The shape of a value.
#[derive(Clone, Debug, Default)]
pub struct Schema {
    /// The OpenAPI name of a built-in type, such as `io.k8s.api.core.v1.PodSpec`.
    pub type_name: Option<Arc<str>>,
    /// What the type is, for `explain` and OpenAPI.
    pub description: Arc<str>,
    /// What JSON it is.
    pub schema_type: SchemaType,
    /// `int32`, `int64`, `byte`, `date-time`, …
    pub format: Option<Arc<str>>,
    /// `null` is a value of it.
    pub nullable: bool,
    /// The known fields, sorted by name.
    pub properties: Vec<Property>,
    /// The names of the fields that must be there.
    pub required: Vec<Arc<str>>,
    /// The values of a map whose keys are not known beforehand.
    pub additional: Option<SchemaLink>,
    /// The items of a list.
    pub items: Option<SchemaLink>,
    /// `x-kubernetes-list-type`, where a custom resource's schema gives it with the list itself.
    pub list_type: ListType,
    /// `x-kubernetes-map-type`, where a custom resource's schema gives it with the map itself.
    pub map_type: MapType,
    /// `x-kubernetes-preserve-unknown-fields`.
    pub preserve_unknown: bool,
    /// `x-kubernetes-embedded-resource`.
    pub embedded_resource: bool,
    /// `x-kubernetes-int-or-string`; also `IntOrString` and `Quantity`.
    pub int_or_string: bool,
    /// A default given with the value itself (custom resources).
    pub default: Option<Value>,
    /// Value validations (custom resources).
    pub validations: Option<Box<Validations>>,
}

impl Schema {
    /// A known field by its name.
    pub fn property(&self, name: &str) -> Option<&Property> {
        self.properties.binary_search_by(|p| (*p.name).cmp(name)).ok().map(|i| &self.properties[i])
    }
}

/// A schema, held directly or through a name that is filled in once the whole table is read.
#[derive(Clone, Debug)]
pub enum SchemaLink {
    /// Held directly.
    Direct(Arc<Schema>),
    /// By name; the cell is filled before the table is handed out.
    Named(NamedSchema),
}

/// A schema known by its name, so that types may contain themselves.
#[derive(Clone)]
pub struct NamedSchema {
    /// The OpenAPI name.
    pub name: Arc<str>,
    /// The schema, filled in by the table's builder.
    pub cell: Arc<OnceLock<Arc<Schema>>>,
}

impl std::fmt::Debug for NamedSchema {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "NamedSchema({})", self.name)
    }
}

/// A name that no table filled: it admits anything, and so loses nothing.
static UNRESOLVED: OnceLock<Schema> = OnceLock::new();

impl Deref for SchemaLink {
    type Target = Schema;

    fn deref(&self) -> &Schema {
        match self {
            Self::Direct(schema) => schema,
            Self::Named(named) => match named.cell.get() {
                Some(schema) => schema,
                None => UNRESOLVED.get_or_init(|| Schema { preserve_unknown: true, ..Schema::default() }),
            },
        }
    }
}

impl From<Schema> for SchemaLink {
    fn from(schema: Schema) -> Self {
        Self::Direct(Arc::new(schema))
    }
}
