//! Hooks see what clients send: whatever stands where in a map, no hook may panic, and defaulting twice is defaulting once.

use kplane_kinds::{Context, table};
use kplane_machinery::schema::{Schema, SchemaType};
use serde_json::{Map, Value, json};

/// An object with every field of its type down to a depth, and the leaf below that.
fn filled(schema: &Schema, depth: usize, leaf: &Value) -> Value {
    if depth == 0 {
        return leaf.clone();
    }
    if let Some(items) = &schema.items {
        return Value::Array(vec![filled(items, depth - 1, leaf), leaf.clone()]);
    }
    if let Some(values) = &schema.additional {
        return json!({"k": filled(values, depth - 1, leaf), "": leaf});
    }
    if schema.properties.is_empty() || schema.schema_type != SchemaType::Object {
        return leaf.clone();
    }
    let fields: Map<String, Value> =
        schema.properties.iter().map(|p| (p.name.to_string(), filled(&p.schema, depth - 1, leaf))).collect();
    Value::Object(fields)
}

fn run(object: &Value, old: &Value, def: &kplane_kinds::ResourceDef, version: &str) {
    let strategy = &def.strategy;
    for subresource in [None, Some("status"), Some("approval"), Some("resize"), Some("ephemeralcontainers")] {
        let cx = Context {
            def,
            version,
            namespace: "n",
            subresource,
            now: "2026-01-01T00:00:00Z",
            user: "u",
            groups: &[],
            uid: "",
            extra: None,
        };
        let mut new = object.clone();
        strategy.default(version, &mut new);
        strategy.prepare_create(&cx, &mut new);
        strategy.validate_create(&cx, &new);
        strategy.warnings(&cx, &new, Some(old));
        let mut changed = new.clone();
        strategy.prepare_update(&cx, &mut changed, old);
        strategy.validate_update(&cx, &changed, old);
        strategy.generation(&cx, &changed, old);
        strategy.canonicalize(&mut changed);
    }
    for path in def.version(version).map(|v| v.selectable_fields.as_slice()).unwrap_or_default() {
        strategy.selectable_value(object, path);
    }
    if let Some(row) = strategy.row(version, object, 0) {
        let columns = def.version(version).map_or(0, |v| v.columns.len());
        assert!(row.len() >= columns, "{def:?} {version}: {} cells for {columns} columns", row.len());
    }
    strategy.grace_period(object, None);
    strategy.holds_deletion(object);
    strategy.begin_deletion(&mut object.clone());
    for other in &def.versions {
        if *other.name != *version {
            let _ = strategy.convert(&mut object.clone(), version, &other.name);
        }
    }
}

#[test]
fn no_hook_panics() {
    let leaves = [
        Value::Null,
        json!("x"),
        json!("ééééééé:/@*%"),
        json!(-1),
        json!(true),
        json!([]),
        json!({}),
        json!([1]),
    ];
    for def in table::builtin() {
        for version in &def.versions {
            for depth in 1..5 {
                for leaf in &leaves {
                    let object = filled(&version.schema, depth, leaf);
                    run(&object, &json!({}), def, &version.name);
                    run(&object, &object, def, &version.name);
                    run(&json!({}), &object, def, &version.name);
                }
            }
        }
    }
}

#[test]
fn defaulting_twice_is_defaulting_once() {
    for def in table::builtin() {
        for version in &def.versions {
            for depth in 1..4 {
                for leaf in [Value::Null, json!("x"), json!({}), json!(1)] {
                    let mut once = filled(&version.schema, depth, &leaf);
                    def.strategy.default(&version.name, &mut once);
                    let mut twice = once.clone();
                    def.strategy.default(&version.name, &mut twice);
                    assert_eq!(once, twice, "{def:?} {}", version.name);
                }
            }
        }
    }
}
