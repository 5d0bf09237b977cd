//! The definitions of a document: the types that are referred to, and those they refer to.

use std::collections::BTreeSet;
use std::sync::Arc;

use kplane_machinery::schema::{ListType, MapType, Property, Schema, SchemaLink, SchemaType, Validations};
use kplane_machinery::{GroupVersion, GroupVersionKind};
use serde_json::{Map, Value, json};

use super::{Form, ResourcePaths};
use crate::builtin;
use crate::table::{Descriptions, Shape, shape, whole_or};

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.";
const CONVENTIONS: &str =
    "https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md";

pub(super) struct Definitions {
    form: Form,
    /// The groups whose options and events are told.
    groups: BTreeSet<GroupVersion>,
    descriptions: Descriptions,
    /// Built-in types that are referred to and not yet written.
    open: Vec<Arc<str>>,
    seen: BTreeSet<Arc<str>>,
    written: Map<String, Value>,
}

impl Definitions {
    pub(super) fn new(form: Form, groups: BTreeSet<GroupVersion>) -> Self {
        let descriptions = builtin().descriptions();
        Self { form, groups, descriptions, open: Vec::new(), seen: BTreeSet::new(), written: Map::new() }
    }

    /// A reference to a built-in type.
    pub(super) fn refer(&mut self, name: &str) -> Value {
        if !self.seen.contains(name) {
            let name: Arc<str> = name.into();
            self.seen.insert(name.clone());
            self.open.push(name);
        }
        self.form.reference(name)
    }

    /// A reference to a type of the meta group.
    pub(super) fn refer_meta(&mut self, name: &str) -> Value {
        self.refer(&format!("{META}{name}"))
    }

    /// References to the kind of a resource and to its list.
    pub(super) fn refer_resource(&mut self, resource: &ResourcePaths) -> (Value, Value) {
        match &resource.schema.type_name {
            Some(name) => {
                let package = name.rsplit_once('.').map_or("", |(package, _)| package).to_owned();
                let one = self.refer(name);
                // Reviews are only answered: there is no list of them.
                let listed = resource.verbs.iter().any(|verb| &**verb == "list");
                let list = if listed {
                    self.refer(&format!("{package}.{}", resource.list_kind))
                } else {
                    Value::Null
                };
                (one, list)
            }
            None => self.custom(resource),
        }
    }

    /// Writes all that is referred to.
    pub(super) fn finish(mut self) -> Map<String, Value> {
        while let Some(name) = self.open.pop() {
            if let Some(schema) = builtin().get(&name) {
                let definition = self.definition(&name, &schema);
                self.written.insert(name.to_string(), definition);
            }
        }
        self.written
    }

    fn definition(&mut self, name: &str, schema: &Schema) -> Value {
        let mut out = Map::new();
        if let Some(description) = self.descriptions.of_type(name) {
            out.insert("description".into(), description.into());
        }
        self.type_of(schema, &mut out);
        if !schema.properties.is_empty() {
            let properties = schema.properties.iter();
            let written: Map<String, Value> =
                properties.map(|p| (p.name.to_string(), self.property(name, p))).collect();
            out.insert("properties".into(), written.into());
        }
        if !schema.required.is_empty() {
            out.insert("required".into(), schema.required.iter().map(|r| Value::from(&**r)).collect());
        }
        if schema.map_type == MapType::Atomic {
            out.insert("x-kubernetes-map-type".into(), "atomic".into());
        }
        if let Some(extras) = builtin().extras(name) {
            let mut kinds: Vec<GroupVersionKind> = extras.kinds.clone();
            if name == format!("{META}DeleteOptions") || name == format!("{META}WatchEvent") {
                let kind = kinds.first().map(|gvk| gvk.kind.clone()).unwrap_or_default();
                for group in &self.groups {
                    let gvk = GroupVersionKind::new(group.group.clone(), group.version.clone(), kind.clone());
                    if !kinds.contains(&gvk) {
                        kinds.push(gvk);
                    }
                }
            }
            if !kinds.is_empty() {
                out.insert("x-kubernetes-group-version-kind".into(), kinds.iter().map(kind).collect());
            }
            if let Some(unions) = &extras.unions {
                out.insert("x-kubernetes-unions".into(), unions.clone());
            }
        }
        out.into()
    }

    fn property(&mut self, owner: &str, property: &Property) -> Value {
        let mut out = Map::new();
        let extras = builtin().extras(owner);
        if let Some(description) = self.descriptions.of_field(owner, &property.name) {
            out.insert("description".into(), description.into());
        }
        if self.form == Form::V3 {
            let published = extras.and_then(|extras| extras.published.get(&property.name));
            if let Some(default) = property.default.as_ref().or(published).filter(|d| !d.is_null()) {
                out.insert("default".into(), default.clone());
            }
        }
        if extras.is_some_and(|extras| extras.atomic_lists.contains(&property.name)) {
            out.insert("x-kubernetes-list-type".into(), "atomic".into());
        }
        list_type(&property.list_type, &mut out);
        if property.map_type == MapType::Atomic {
            out.insert("x-kubernetes-map-type".into(), "atomic".into());
        } else if extras.is_some_and(|extras| extras.granular_maps.contains(&property.name)) {
            out.insert("x-kubernetes-map-type".into(), "granular".into());
        }
        let patch = &property.patch;
        let replaced = extras.is_some_and(|extras| extras.replaced.contains(&property.name));
        let strategies: Vec<&str> =
            [("merge", patch.merge), ("retainKeys", patch.retain_keys), ("replace", replaced)]
                .iter()
                .filter(|strategy| strategy.1)
                .map(|strategy| strategy.0)
                .collect();
        if !strategies.is_empty() {
            out.insert("x-kubernetes-patch-strategy".into(), strategies.join(",").into());
        }
        if let Some(key) = &patch.merge_key {
            out.insert("x-kubernetes-patch-merge-key".into(), (&**key).into());
        }
        match &property.schema.type_name {
            Some(name) => {
                let reference = self.refer(name);
                if self.form == Form::V3 && !out.is_empty() {
                    // Beside a reference nothing counts in version 3.
                    out.insert("allOf".into(), json!([reference]));
                } else if let Value::Object(reference) = reference {
                    out.extend(reference);
                }
            }
            None => self.type_of(&property.schema, &mut out),
        }
        out.into()
    }

    /// `type`, `format`, `items` and `additionalProperties` of a built-in type.
    fn type_of(&mut self, schema: &Schema, out: &mut Map<String, Value>) {
        let v3 = self.form == Form::V3;
        match shape(schema) {
            Shape::Quantity if v3 => {
                out.insert("oneOf".into(), json!([{"type": "string"}, {"type": "number"}]));
            }
            Shape::Quantity => {
                out.insert("type".into(), "string".into());
            }
            Shape::IntOrString => {
                out.insert("format".into(), "int-or-string".into());
                if v3 {
                    out.insert("oneOf".into(), json!([{"type": "integer"}, {"type": "string"}]));
                } else {
                    out.insert("type".into(), "string".into());
                }
            }
            Shape::SchemaOr(_) => {}
            _ => {
                if let Some(name) = type_name(schema.schema_type) {
                    out.insert("type".into(), name.into());
                }
                if let Some(format) = &schema.format {
                    out.insert("format".into(), (&**format).into());
                }
                for (key, of) in [("items", &schema.items), ("additionalProperties", &schema.additional)] {
                    if let Some(of) = of {
                        let inner = self.inner(of);
                        out.insert(key.into(), inner);
                    }
                }
            }
        }
    }

    fn inner(&mut self, schema: &SchemaLink) -> Value {
        match &schema.type_name {
            Some(name) => self.refer(name),
            None => {
                let mut out = Map::new();
                self.type_of(schema, &mut out);
                out.into()
            }
        }
    }

    /// Writes a custom resource and its list.
    fn custom(&mut self, resource: &ResourcePaths) -> (Value, Value) {
        let package = resource.group.split('.').rev().collect::<Vec<_>>().join(".");
        let name = |kind: &str| format!("{package}.{}.{kind}", resource.version);
        let (one, list) = (name(&resource.kind), name(&resource.list_kind));
        let gvk = |kind: &Arc<str>| json!([{"group": &*resource.group, "version": &*resource.version, "kind": &**kind}]);
        let pod = "io.k8s.api.core.v1.Pod";
        let text = |definitions: &Self, field: &str| json!({"type": "string", "description": definitions.descriptions.of_field(pod, field)});
        let (api_version, kind) = (text(self, "apiVersion"), text(self, "kind"));
        let mut definition = self.custom_value(&resource.schema);
        definition["type"] = "object".into();
        definition["x-kubernetes-group-version-kind"] = gvk(&resource.kind);
        if !resource.selectable_fields.is_empty() {
            let fields = resource.selectable_fields.iter().map(|path| json!({"fieldPath": &**path}));
            definition["x-kubernetes-selectable-fields"] = fields.collect();
        }
        let metadata = self.refer_meta("ObjectMeta");
        let described = |reference: Value, description: String, form: Form| match form {
            Form::V3 => json!({"allOf": [reference], "description": description}),
            Form::V2 => {
                let mut out = reference;
                out["description"] = description.into();
                out
            }
        };
        // A schema that says nothing of its fields is left open, but for what every object has.
        definition["properties"]["apiVersion"] = api_version.clone();
        definition["properties"]["kind"] = kind.clone();
        definition["properties"]["metadata"] = described(
            metadata,
            format!("Standard object's metadata. More info: {CONVENTIONS}#metadata"),
            self.form,
        );
        let list_meta = self.refer_meta("ListMeta");
        let items = json!({
            "description": format!("List of {}. More info: {CONVENTIONS}", resource.plural),
            "type": "array", "items": self.form.reference(&one),
        });
        let metadata = described(
            list_meta,
            format!("Standard list metadata. More info: {CONVENTIONS}#types-kinds"),
            self.form,
        );
        let list_definition = json!({
            "description": format!("{} is a list of {}", resource.list_kind, resource.kind),
            "type": "object", "required": ["items"],
            "properties": {"apiVersion": api_version, "kind": kind, "items": items, "metadata": metadata},
            "x-kubernetes-group-version-kind": gvk(&resource.list_kind),
        });
        self.written.insert(one.clone(), definition);
        self.written.insert(list.clone(), list_definition);
        (self.form.reference(&one), self.form.reference(&list))
    }

    /// A schema of a custom resource. Version 2 has no words for some of it, and clients of it fail on those.
    fn custom_value(&mut self, schema: &Schema) -> Value {
        if let Some(name) = &schema.type_name {
            return self.refer(name);
        }
        let v3 = self.form == Form::V3;
        let mut out = Map::new();
        if !schema.description.is_empty() {
            out.insert("description".into(), (&*schema.description).into());
        }
        let flags = [
            ("x-kubernetes-preserve-unknown-fields", schema.preserve_unknown),
            ("x-kubernetes-embedded-resource", schema.embedded_resource),
            ("x-kubernetes-int-or-string", schema.int_or_string),
            ("nullable", schema.nullable && v3),
        ];
        for (name, _) in flags.iter().filter(|flag| flag.1) {
            out.insert((*name).into(), true.into());
        }
        // kubectl of old refuses other values for fields that take unknown ones or null.
        let typed = v3 || !(schema.preserve_unknown || schema.nullable);
        if typed && let Some(name) = type_name(schema.schema_type) {
            out.insert("type".into(), name.into());
        }
        if let Some(format) = &schema.format {
            out.insert("format".into(), (&**format).into());
        }
        if let Some(default) = &schema.default
            && v3
        {
            out.insert("default".into(), default.clone());
        }
        list_type(&schema.list_type, &mut out);
        if schema.map_type == MapType::Atomic {
            out.insert("x-kubernetes-map-type".into(), "atomic".into());
        }
        if !schema.properties.is_empty() && typed {
            let properties = schema.properties.iter();
            let written: Map<String, Value> =
                properties.map(|p| (p.name.to_string(), self.custom_value(&p.schema))).collect();
            out.insert("properties".into(), written.into());
        }
        if !schema.required.is_empty() {
            out.insert("required".into(), schema.required.iter().map(|r| Value::from(&**r)).collect());
        }
        for (key, of) in [("items", &schema.items), ("additionalProperties", &schema.additional)] {
            if let Some(of) = of.as_ref().filter(|_| typed) {
                let inner = self.custom_value(of);
                out.insert(key.into(), inner);
            }
        }
        if let Some(validations) = &schema.validations {
            self.validations(validations, &mut out);
        }
        out.into()
    }

    fn validations(&mut self, given: &Validations, out: &mut Map<String, Value>) {
        if !given.enumeration.is_empty() {
            out.insert("enum".into(), given.enumeration.clone().into());
        }
        if let Some(pattern) = &given.pattern {
            out.insert("pattern".into(), pattern.as_str().into());
        }
        let counts = [
            ("minLength", given.min_length),
            ("maxLength", given.max_length),
            ("minItems", given.min_items),
            ("maxItems", given.max_items),
            ("minProperties", given.min_properties),
            ("maxProperties", given.max_properties),
        ];
        for (name, count) in counts {
            if let Some(count) = count {
                out.insert(name.into(), count.into());
            }
        }
        for (name, number) in
            [("minimum", given.minimum), ("maximum", given.maximum), ("multipleOf", given.multiple_of)]
        {
            if let Some(number) = number {
                out.insert(name.into(), whole_or(number));
            }
        }
        for (name, flag) in
            [("exclusiveMinimum", given.exclusive_minimum), ("exclusiveMaximum", given.exclusive_maximum)]
        {
            if flag {
                out.insert(name.into(), true.into());
            }
        }
        if self.form == Form::V2 {
            return;
        }
        for (name, list) in [("allOf", &given.all_of), ("anyOf", &given.any_of), ("oneOf", &given.one_of)] {
            if !list.is_empty() {
                let written: Vec<Value> = list.iter().map(|schema| self.custom_value(schema)).collect();
                out.insert(name.into(), written.into());
            }
        }
        if let Some(not) = &given.not {
            let not = self.custom_value(not);
            out.insert("not".into(), not);
        }
        if !given.rules.is_empty() {
            let rules = given.rules.iter().map(|rule| {
                let mut out = Map::new();
                let texts = [
                    ("rule", Some(&rule.rule)),
                    ("message", Some(&rule.message)),
                    ("messageExpression", Some(&rule.message_expression)),
                    ("reason", rule.reason.as_ref()),
                    ("fieldPath", Some(&rule.field_path)),
                ];
                for (name, text) in texts {
                    if let Some(text) = text.filter(|text| !text.is_empty()) {
                        out.insert(name.into(), text.as_str().into());
                    }
                }
                if let Some(optional) = rule.optional_old_self {
                    out.insert("optionalOldSelf".into(), optional.into());
                }
                Value::Object(out)
            });
            out.insert("x-kubernetes-validations".into(), rules.collect());
        }
    }
}

fn list_type(list_type: &ListType, out: &mut Map<String, Value>) {
    match list_type {
        ListType::Atomic => {}
        ListType::Set => {
            out.insert("x-kubernetes-list-type".into(), "set".into());
        }
        ListType::Map(keys) => {
            out.insert("x-kubernetes-list-type".into(), "map".into());
            out.insert("x-kubernetes-list-map-keys".into(), keys.iter().map(|k| Value::from(&**k)).collect());
        }
    }
}

fn type_name(schema_type: SchemaType) -> Option<&'static str> {
    Some(match schema_type {
        SchemaType::Any => return None,
        SchemaType::Object => "object",
        SchemaType::Array => "array",
        SchemaType::String => "string",
        SchemaType::Integer => "integer",
        SchemaType::Number => "number",
        SchemaType::Boolean => "boolean",
    })
}

pub(super) fn kind(gvk: &GroupVersionKind) -> Value {
    json!({"group": &*gvk.group, "version": &*gvk.version, "kind": &*gvk.kind})
}
