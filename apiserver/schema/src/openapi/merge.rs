//! What another server's document adds to ours: [`merge_v2`].

use std::collections::{BTreeSet, HashMap};

use serde_json::{Map, Value};

/// The parts of a document of version 2 that others refer to, by where they are.
const SHARED: [&str; 2] = ["definitions", "parameters"];

/// Adds to a document of version 2 the paths of another that begin so, with all that they refer to. A path that is there
/// stays what it is. What has the name of something else gets another, such as `io.example.Owl_v2`.
pub fn merge_v2(document: &mut Value, mut other: Value, prefix: &str) {
    let mut paths = match other.get_mut("paths").map(Value::take) {
        Some(Value::Object(paths)) => paths,
        _ => return,
    };
    paths.retain(|path, _| path.starts_with(prefix));
    let mut used: BTreeSet<(usize, String)> = BTreeSet::new();
    let mut found = Vec::new();
    paths.values().for_each(|item| references(item, &mut found));
    while let Some((part, name)) = found.pop() {
        if let Some(target) = other.get(SHARED[part]).and_then(|shared| shared.get(&name))
            && used.insert((part, name))
        {
            references(target, &mut found);
        }
    }
    let mut renamed: HashMap<String, String> = HashMap::new();
    let mut added: Vec<(usize, String, Value)> = Vec::new();
    for (part, name) in used {
        let target = other[SHARED[part]][&name].take();
        let known = &document[SHARED[part]];
        let mut free = name.clone();
        let mut number = 1;
        while known.get(&free).is_some_and(|known| *known != target) {
            number += 1;
            free = format!("{name}_v{number}");
        }
        if known.get(&free).is_none() {
            added.push((part, free.clone(), target));
        }
        if free != name {
            renamed.insert(reference(part, &name), reference(part, &free));
        }
    }
    if !renamed.is_empty() {
        paths.values_mut().for_each(|item| rename(item, &renamed));
        added.iter_mut().for_each(|(_, _, target)| rename(target, &renamed));
    }
    for (part, name, target) in added {
        if let Some(shared) = object(document, SHARED[part]) {
            shared.insert(name, target);
        }
    }
    if let Some(own) = object(document, "paths") {
        for (path, item) in paths {
            own.entry(path).or_insert(item);
        }
    }
}

fn object<'a>(document: &'a mut Value, field: &str) -> Option<&'a mut Map<String, Value>> {
    let fields = document.as_object_mut()?;
    fields.entry(field).or_insert_with(|| Value::Object(Map::new())).as_object_mut()
}

fn reference(part: usize, name: &str) -> String {
    format!("#/{}/{name}", SHARED[part])
}

/// What is referred to in a value.
fn references(value: &Value, found: &mut Vec<(usize, String)>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        Value::Object(fields) => {
            if let Some(text) = fields.get("$ref").and_then(Value::as_str) {
                for (part, shared) in SHARED.iter().enumerate() {
                    let name = text.strip_prefix("#/").and_then(|rest| rest.strip_prefix(shared));
                    if let Some(name) = name.and_then(|rest| rest.strip_prefix('/')) {
                        found.push((part, name.to_owned()));
                    }
                }
            }
            fields.values().for_each(|field| references(field, found));
        }
        _ => {}
    }
}

fn rename(value: &mut Value, renamed: &HashMap<String, String>) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| rename(item, renamed)),
        Value::Object(fields) => {
            if let Some(Value::String(text)) = fields.get_mut("$ref")
                && let Some(new) = renamed.get(text)
            {
                text.clone_from(new);
            }
            fields.values_mut().for_each(|field| rename(field, renamed));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn paths_come_with_what_they_refer_to_under_names_that_are_free() {
        let to = |name: &str| json!({"$ref": format!("#/definitions/{name}")});
        let mut own = json!({
            "paths": {"/apis/a/v1/": {"own": true}},
            "definitions": {"Meta": {"type": "object"}, "Same": {"type": "string"}},
        });
        let other = json!({
            "paths": {
                "/apis/a/v1/": {"own": false},
                "/apis/b/v1/owls": {"get": {"schema": to("Owl")}, "parameters": [{"$ref": "#/parameters/pretty"}]},
                "/apis/c/v1/eagles": {"get": {"schema": to("Eagle")}},
            },
            "definitions": {
                "Owl": {"properties": {"metadata": to("Meta"), "same": to("Same"), "mate": to("Owl")}},
                "Eagle": {}, "Meta": {"type": "object", "description": "another"}, "Same": {"type": "string"},
            },
            "parameters": {"pretty": {"in": "query"}, "other": {}},
        });
        merge_v2(&mut own, other, "/apis/b/v1/");
        assert_eq!(
            own,
            json!({
                "paths": {
                    "/apis/a/v1/": {"own": true},
                    "/apis/b/v1/owls": {"get": {"schema": to("Owl")}, "parameters": [{"$ref": "#/parameters/pretty"}]},
                },
                "definitions": {
                    "Meta": {"type": "object"}, "Same": {"type": "string"},
                    "Meta_v2": {"type": "object", "description": "another"},
                    "Owl": {"properties": {"metadata": to("Meta_v2"), "same": to("Same"), "mate": to("Owl")}},
                },
                "parameters": {"pretty": {"in": "query"}},
            })
        );
    }
}
