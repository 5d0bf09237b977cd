//! The table of built-in types: read once, at first use, from the generated file.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::Read as _;
use std::sync::{Arc, OnceLock};

use flate2::read::DeflateDecoder;
use kplane_machinery::GroupVersionKind;
use kplane_machinery::schema::{
    ListType, MapType, NamedSchema, PatchStrategy, Property, Schema, SchemaLink, SchemaType,
};
use serde_json::Value;

/// Structure and descriptions; `hack/schemagen` writes it and describes its form.
static GENERATED: &[u8] = include_bytes!("generated/builtin.bin");

/// The built-in types.
pub struct SchemaTable {
    types: BTreeMap<Arc<str>, NamedSchema>,
    kinds: HashMap<GroupVersionKind, Arc<str>>,
    extras: HashMap<Arc<str>, Extras>,
}

/// What only the OpenAPI documents show of a type.
#[derive(Clone, Debug, Default)]
pub(crate) struct Extras {
    /// `x-kubernetes-group-version-kind`.
    pub(crate) kinds: Vec<GroupVersionKind>,
    /// `x-kubernetes-unions`.
    pub(crate) unions: Option<Value>,
    /// Defaults that are published but not written, by field.
    pub(crate) published: BTreeMap<Arc<str>, Value>,
    /// Fields whose list type is stated though it is the default one.
    pub(crate) atomic_lists: BTreeSet<Arc<str>>,
    /// Fields whose map type is stated though it is the default one.
    pub(crate) granular_maps: BTreeSet<Arc<str>>,
    /// Fields with the patch strategy `replace`, which is the default one.
    pub(crate) replaced: BTreeSet<Arc<str>>,
}

/// The descriptions of types and fields. They are inflated when asked for, and not kept: hold this only as long as needed.
pub struct Descriptions {
    text: String,
    /// Where each type's lines begin, and how many fields follow.
    lines: Vec<(usize, usize)>,
    types: HashMap<Arc<str>, (usize, Vec<Arc<str>>)>,
}

/// The one table.
pub fn builtin() -> &'static SchemaTable {
    static TABLE: OnceLock<SchemaTable> = OnceLock::new();
    TABLE.get_or_init(|| {
        let mut reader = Reader::default();
        if let Some(text) = inflate(structure_bytes()) {
            reader.read(&text);
        }
        reader.finish()
    })
}

fn structure_bytes() -> &'static [u8] {
    split().map_or(&[], |(structure, _)| structure)
}

fn split() -> Option<(&'static [u8], &'static [u8])> {
    let (length, rest) = GENERATED.split_first_chunk::<4>()?;
    rest.split_at_checked(u32::from_le_bytes(*length) as usize)
}

fn inflate(bytes: &[u8]) -> Option<String> {
    let mut text = String::with_capacity(bytes.len() * 6);
    // The file is ours, and a test reads it: it inflates.
    DeflateDecoder::new(bytes).read_to_string(&mut text).ok().map(|_| text)
}

impl SchemaTable {
    /// A type by its OpenAPI name, such as `io.k8s.api.core.v1.Pod`.
    pub fn get(&self, type_name: &str) -> Option<SchemaLink> {
        self.types.get(type_name).cloned().map(SchemaLink::Named)
    }

    /// The type of a kind.
    pub fn for_gvk(&self, gvk: &GroupVersionKind) -> Option<SchemaLink> {
        self.get(self.kinds.get(gvk)?)
    }

    /// The names of all types, sorted.
    pub fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.types.keys()
    }

    /// What the types and fields are for.
    pub fn descriptions(&self) -> Descriptions {
        let text = split().and_then(|(_, texts)| inflate(texts)).unwrap_or_default();
        let mut types = HashMap::with_capacity(self.types.len());
        let mut next = 0;
        for (name, named) in &self.types {
            let fields: Vec<Arc<str>> = named
                .cell
                .get()
                .map(|schema| schema.properties.iter().map(|p| p.name.clone()).collect())
                .unwrap_or_default();
            let count = fields.len();
            types.insert(name.clone(), (next, fields));
            next += 1 + count;
        }
        let mut lines = Vec::with_capacity(next);
        let mut start = 0;
        for line in text.split_terminator('\n') {
            lines.push((start, start + line.len()));
            start += line.len() + 1;
        }
        Descriptions { text, lines, types }
    }

    pub(crate) fn extras(&self, type_name: &str) -> Option<&Extras> {
        self.extras.get(type_name)
    }
}

impl Descriptions {
    /// Of a type.
    pub fn of_type(&self, type_name: &str) -> Option<String> {
        self.line(self.types.get(type_name)?.0)
    }

    /// Of a field of a type.
    pub fn of_field(&self, type_name: &str, field: &str) -> Option<String> {
        let (first, fields) = self.types.get(type_name)?;
        let at = fields.binary_search_by(|name| (**name).cmp(field)).ok()?;
        self.line(first + 1 + at)
    }

    fn line(&self, index: usize) -> Option<String> {
        let (start, end) = *self.lines.get(index)?;
        let line = self.text.get(start..end)?;
        if line.is_empty() {
            return None;
        }
        if !line.contains('\\') {
            return Some(line.to_owned());
        }
        let mut out = String::with_capacity(line.len());
        let mut chars = line.chars();
        while let Some(c) = chars.next() {
            match c {
                '\\' => match chars.next() {
                    Some('n') => out.push('\n'),
                    Some(other) => out.push(other),
                    None => {}
                },
                c => out.push(c),
            }
        }
        Some(out)
    }
}

#[derive(Default)]
struct Reader {
    /// By their number in the file.
    links: Vec<NamedSchema>,
    schemas: Vec<Schema>,
    extras: HashMap<Arc<str>, Extras>,
    interned: HashMap<String, Arc<str>>,
    /// One schema for each shape that is written the same, such as `s:date-time` or `[s`.
    shapes: HashMap<String, SchemaLink>,
}

impl Reader {
    fn intern(&mut self, text: &str) -> Arc<str> {
        if let Some(there) = self.interned.get(text) {
            return there.clone();
        }
        let made: Arc<str> = text.into();
        self.interned.insert(text.to_owned(), made.clone());
        made
    }

    fn read(&mut self, text: &str) {
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("T\t") {
                let name = self.intern(rest.split('\t').next().unwrap_or(rest));
                self.links.push(NamedSchema { name, cell: Arc::new(OnceLock::new()) });
            }
        }
        for line in text.lines() {
            let mut columns = line.split('\t');
            match columns.next() {
                Some("T") => self.read_type(columns),
                Some("F") => self.read_field(columns),
                _ => {}
            }
        }
    }

    fn read_type<'a>(&mut self, mut columns: impl Iterator<Item = &'a str>) {
        let (Some(name), Some(shape)) = (columns.next(), columns.next()) else { return };
        let name = self.intern(name);
        let mut schema = (*self.shape(shape, false)).clone();
        schema.type_name = Some(name.clone());
        let mut extras = Extras::default();
        for flag in columns {
            match flag.split_once('=') {
                Some(("r", names)) => schema.required = names.split(',').map(|n| self.intern(n)).collect(),
                Some(("m", "atomic")) => schema.map_type = MapType::Atomic,
                Some(("u", json)) => extras.unions = serde_json::from_str(json).ok(),
                Some(("g", kinds)) => {
                    for kind in kinds.split(',') {
                        let mut parts = kind.split('/');
                        if let (Some(group), Some(version), Some(kind)) =
                            (parts.next(), parts.next(), parts.next())
                        {
                            let (group, version) = (self.intern(group), self.intern(version));
                            extras.kinds.push(GroupVersionKind { group, version, kind: self.intern(kind) });
                        }
                    }
                }
                _ => {}
            }
        }
        // What these hold is any JSON, whatever the published type says.
        let any = ["RawExtension", "FieldsV1", ".JSON", "v1.Patch"];
        schema.preserve_unknown = any.iter().any(|end| name.ends_with(end));
        if !extras.kinds.is_empty() || extras.unions.is_some() {
            self.extras.insert(name.clone(), extras);
        }
        self.schemas.push(schema);
    }

    fn read_field<'a>(&mut self, mut columns: impl Iterator<Item = &'a str>) {
        let (Some(name), Some(number), Some(shape)) = (columns.next(), columns.next(), columns.next()) else {
            return;
        };
        let flags: Vec<&str> = columns.collect();
        let mut property = Property {
            name: self.intern(name),
            number: number.parse().unwrap_or(0),
            schema: self.shape(shape, flags.contains(&"*")),
            description: self.intern(""),
            default: None,
            patch: PatchStrategy::default(),
            list_type: ListType::Atomic,
            map_type: MapType::Granular,
            enumeration: Vec::new(),
        };
        for flag in &flags {
            if !matches!(*flag, "l=atomic" | "m=granular" | "s=replace") {
                continue;
            }
            let Some(owner) = self.schemas.last().and_then(|s| s.type_name.clone()) else { continue };
            let extras = self.extras.entry(owner).or_default();
            let fields = match *flag {
                "l=atomic" => &mut extras.atomic_lists,
                "m=granular" => &mut extras.granular_maps,
                _ => &mut extras.replaced,
            };
            fields.insert(property.name.clone());
        }
        for flag in flags {
            match flag.split_once('=') {
                Some(("d", json)) => property.default = serde_json::from_str(json).ok(),
                Some(("p", json)) => {
                    if let (Some(owner), Ok(value)) =
                        (self.schemas.last().and_then(|s| s.type_name.clone()), serde_json::from_str(json))
                    {
                        let name = property.name.clone();
                        self.extras.entry(owner).or_default().published.insert(name, value);
                    }
                }
                Some(("l", "atomic")) => property.list_type = ListType::Atomic,
                Some(("l", "set")) => property.list_type = ListType::Set,
                Some(("l", keys)) => {
                    let keys = keys.trim_start_matches("map:").split(',');
                    property.list_type = ListType::Map(keys.map(|k| self.intern(k)).collect());
                }
                Some(("m", "atomic")) => property.map_type = MapType::Atomic,
                Some(("s", strategies)) => {
                    property.patch.merge = strategies.split(',').any(|s| s == "merge");
                    property.patch.retain_keys = strategies.split(',').any(|s| s == "retainKeys");
                }
                Some(("k", key)) => property.patch.merge_key = Some(self.intern(key)),
                _ => {}
            }
        }
        if let Some(schema) = self.schemas.last_mut() {
            schema.properties.push(property);
        }
    }

    fn shape(&mut self, text: &str, pointer: bool) -> SchemaLink {
        if let Some(number) = text.strip_prefix('@')
            && let Some(link) = number.parse().ok().and_then(|n: usize| self.links.get(n))
        {
            return SchemaLink::Named(link.clone());
        }
        let key = if pointer { format!("?{text}") } else { text.to_owned() };
        if let Some(there) = self.shapes.get(&key) {
            return there.clone();
        }
        let mut schema = Schema { nullable: pointer, ..Schema::default() };
        let (letter, rest) = text.split_at(text.len().min(1));
        match letter {
            "[" => {
                schema.schema_type = SchemaType::Array;
                schema.items = Some(self.shape(rest, false));
            }
            "{" => {
                schema.schema_type = SchemaType::Object;
                schema.additional = Some(self.shape(rest, false));
            }
            "*" if !rest.is_empty() => schema.additional = Some(self.shape(rest, false)),
            _ => {
                schema.schema_type = match letter {
                    "s" => SchemaType::String,
                    "i" => SchemaType::Integer,
                    "n" => SchemaType::Number,
                    "b" => SchemaType::Boolean,
                    "o" => SchemaType::Object,
                    _ => SchemaType::Any,
                };
                schema.int_or_string = letter == "x";
                schema.format = rest.strip_prefix(':').map(|format| self.intern(format));
            }
        }
        let link = SchemaLink::from(schema);
        self.shapes.insert(key, link.clone());
        link
    }

    fn finish(self) -> SchemaTable {
        let mut types = BTreeMap::new();
        let mut kinds = HashMap::new();
        for (link, mut schema) in self.links.into_iter().zip(self.schemas) {
            schema.properties.sort_by(|a, b| a.name.cmp(&b.name));
            // Each cell is filled once: the names in the file are distinct.
            let _ = link.cell.set(Arc::new(schema));
            types.insert(link.name.clone(), link);
        }
        for (name, extras) in &self.extras {
            for kind in &extras.kinds {
                kinds.insert(kind.clone(), name.clone());
            }
        }
        SchemaTable { types, kinds, extras: self.extras }
    }
}

/// A number without a fraction as a whole one, as Go writes it; null stands for what JSON does not know.
pub(crate) fn whole_or(number: f64) -> Value {
    #[expect(clippy::cast_possible_truncation, reason = "checked to be whole and small")]
    if number.fract() == 0.0 && number.abs() < 9e15 { (number as i64).into() } else { number.into() }
}

/// What a built-in type is in Go, and so in protobuf.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Shape<'a> {
    Struct,
    Map(&'a SchemaLink),
    List(&'a SchemaLink),
    Text,
    Bytes,
    Boolean,
    Int32,
    Int64,
    Float,
    Quantity,
    IntOrString,
    Time,
    MicroTime,
    /// A schema of a CustomResourceDefinition, or a boolean, a list of schemas or a list of texts.
    SchemaOr(&'a SchemaLink),
    Any,
}

/// The shape of a built-in type.
pub(crate) fn shape(schema: &Schema) -> Shape<'_> {
    if !schema.properties.is_empty() {
        return Shape::Struct;
    }
    let name = schema.type_name.as_deref();
    let named = |end: &str| name.is_some_and(|name| name.ends_with(end));
    match schema.schema_type {
        _ if schema.preserve_unknown => Shape::Any,
        SchemaType::Object => match &schema.additional {
            Some(of) => Shape::Map(of),
            None if name.is_some() => Shape::Struct,
            None => Shape::Any,
        },
        SchemaType::Array => match &schema.items {
            Some(of) => Shape::List(of),
            None => Shape::Any,
        },
        SchemaType::String if named(".MicroTime") => Shape::MicroTime,
        SchemaType::String if named(".Time") => Shape::Time,
        SchemaType::String if schema.format.as_deref() == Some("byte") => Shape::Bytes,
        SchemaType::String => Shape::Text,
        SchemaType::Integer if schema.format.as_deref() == Some("int32") => Shape::Int32,
        SchemaType::Integer => Shape::Int64,
        SchemaType::Number => Shape::Float,
        SchemaType::Boolean => Shape::Boolean,
        SchemaType::Any if schema.int_or_string && named(".Quantity") => Shape::Quantity,
        SchemaType::Any if schema.int_or_string => Shape::IntOrString,
        SchemaType::Any => match &schema.additional {
            Some(of) => Shape::SchemaOr(of),
            None => Shape::Any,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_whole() {
        let table = builtin();
        assert!(table.names().count() > 750);
        let pod = table.for_gvk(&GroupVersionKind::new("", "v1", "Pod")).unwrap();
        assert_eq!(pod.type_name.as_deref(), Some("io.k8s.api.core.v1.Pod"));
        let spec = pod.property("spec").unwrap();
        let containers = spec.schema.property("containers").unwrap();
        assert_eq!(containers.list_type, ListType::Map(vec!["name".into()]));
        assert_eq!(containers.patch.merge_key.as_deref(), Some("name"));
        assert_eq!(containers.number, 2);
        for (name, named) in &table.types {
            let schema = named.cell.get().unwrap();
            assert!(schema.properties.windows(2).all(|w| w[0].name < w[1].name), "{name}");
        }
    }

    #[test]
    fn descriptions_belong_to_their_fields() {
        let descriptions = builtin().descriptions();
        let told = descriptions.of_field("io.k8s.api.core.v1.ContainerPort", "hostIP").unwrap();
        assert_eq!(told, "What host IP to bind the external port to.");
        assert!(descriptions.of_type("io.k8s.api.core.v1.Pod").unwrap().starts_with("Pod is a collection"));
        let last = builtin().names().last().unwrap();
        assert!(descriptions.of_type(last).is_some());
    }
}
