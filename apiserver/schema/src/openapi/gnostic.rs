//! Version 2 in protobuf, the form that client-go asks for: `gnostic`'s messages, of which what the document has is written.

use serde_json::{Map, Value};

use crate::proto::wire::{put_bytes, put_float, put_integer};

/// Writes a document made by [`super::v2`] as `application/com.github.proto-openapi.spec.v2@v1.0+protobuf`.
pub fn v2_protobuf(document: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    text(&mut out, 1, document, "swagger");
    message(&mut out, 2, |info| {
        text(info, 1, &document["info"], "title");
        text(info, 2, &document["info"], "version");
    });
    message(&mut out, 8, |paths| {
        for (path, item) in fields(&document["paths"]) {
            message(paths, 2, |named| {
                put_bytes(named, 1, path.as_bytes());
                message(named, 2, |out| path_item(out, item));
            });
        }
    });
    message(&mut out, 9, |definitions| named_schemas(definitions, &document["definitions"]));
    out
}

fn fields(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

fn items(value: Option<&Value>) -> impl Iterator<Item = &Value> {
    value.and_then(Value::as_array).into_iter().flatten()
}

fn message(out: &mut Vec<u8>, number: u32, fill: impl FnOnce(&mut Vec<u8>)) {
    let mut inner = Vec::new();
    fill(&mut inner);
    put_bytes(out, number, &inner);
}

fn text(out: &mut Vec<u8>, number: u32, of: &Value, name: &str) {
    if let Some(text) = of.get(name).and_then(Value::as_str) {
        put_bytes(out, number, text.as_bytes());
    }
}

fn texts(out: &mut Vec<u8>, number: u32, of: &Value, name: &str) {
    for text in items(of.get(name)).filter_map(Value::as_str) {
        put_bytes(out, number, text.as_bytes());
    }
}

fn flag(out: &mut Vec<u8>, number: u32, of: &Value, name: &str) {
    if of.get(name).and_then(Value::as_bool) == Some(true) {
        put_integer(out, number, 1);
    }
}

/// Any value, as the YAML that JSON is.
fn any(out: &mut Vec<u8>, number: u32, value: &Value) {
    message(out, number, |any| put_bytes(any, 2, value.to_string().as_bytes()));
}

fn extensions(out: &mut Vec<u8>, number: u32, of: &Value) {
    for (name, value) in fields(of).filter(|(name, _)| name.starts_with("x-")) {
        message(out, number, |named| {
            put_bytes(named, 1, name.as_bytes());
            any(named, 2, value);
        });
    }
}

fn named_schemas(out: &mut Vec<u8>, schemas: &Value) {
    for (name, value) in fields(schemas) {
        message(out, 1, |named| {
            put_bytes(named, 1, name.as_bytes());
            message(named, 2, |out| schema(out, value));
        });
    }
}

fn schema(out: &mut Vec<u8>, of: &Value) {
    for (number, name) in [(1, "$ref"), (2, "format"), (3, "title"), (4, "description")] {
        text(out, number, of, name);
    }
    if let Some(default) = of.get("default") {
        any(out, 5, default);
    }
    for (number, name) in [(6, "multipleOf"), (7, "maximum"), (9, "minimum")] {
        if let Some(value) = of.get(name).and_then(Value::as_f64) {
            put_float(out, number, value);
        }
    }
    for (number, name) in [(8, "exclusiveMaximum"), (10, "exclusiveMinimum"), (16, "uniqueItems")] {
        flag(out, number, of, name);
    }
    text(out, 13, of, "pattern");
    let counts = [
        (11, "maxLength"),
        (12, "minLength"),
        (14, "maxItems"),
        (15, "minItems"),
        (17, "maxProperties"),
        (18, "minProperties"),
    ];
    for (number, name) in counts {
        if let Some(value) = of.get(name).and_then(Value::as_i64) {
            put_integer(out, number, value);
        }
    }
    texts(out, 19, of, "required");
    for value in items(of.get("enum")) {
        any(out, 20, value);
    }
    match of.get("additionalProperties") {
        Some(Value::Bool(allowed)) => message(out, 21, |item| put_integer(item, 2, i64::from(*allowed))),
        Some(inner) => message(out, 21, |item| message(item, 1, |out| schema(out, inner))),
        None => {}
    }
    if let Some(name) = of.get("type").and_then(Value::as_str) {
        message(out, 22, |item| put_bytes(item, 1, name.as_bytes()));
    }
    if let Some(inner) = of.get("items") {
        message(out, 23, |item| message(item, 1, |out| schema(out, inner)));
    }
    if let Some(properties) = of.get("properties") {
        message(out, 25, |out| named_schemas(out, properties));
    }
    extensions(out, 31, of);
}

fn path_item(out: &mut Vec<u8>, item: &Value) {
    for (number, method) in [(2, "get"), (3, "put"), (4, "post"), (5, "delete"), (8, "patch")] {
        if let Some(of) = item.get(method) {
            message(out, number, |out| operation(out, of));
        }
    }
    parameters(out, 9, item);
}

fn operation(out: &mut Vec<u8>, of: &Value) {
    texts(out, 1, of, "tags");
    text(out, 3, of, "description");
    text(out, 5, of, "operationId");
    texts(out, 6, of, "produces");
    texts(out, 7, of, "consumes");
    parameters(out, 8, of);
    message(out, 9, |responses| {
        for (code, of) in fields(of.get("responses").unwrap_or(&Value::Object(Map::new()))) {
            message(responses, 1, |named| {
                put_bytes(named, 1, code.as_bytes());
                message(named, 2, |value| message(value, 1, |out| response(out, of)));
            });
        }
    });
    texts(out, 10, of, "schemes");
    extensions(out, 13, of);
}

fn response(out: &mut Vec<u8>, of: &Value) {
    text(out, 1, of, "description");
    if let Some(inner) = of.get("schema") {
        message(out, 2, |item| message(item, 1, |out| schema(out, inner)));
    }
}

/// Parameters: of the body, of the query and of the path.
fn parameters(out: &mut Vec<u8>, number: u32, of: &Value) {
    for parameter in items(of.get("parameters")) {
        let place = parameter.get("in").and_then(Value::as_str).unwrap_or("");
        message(out, number, |item| {
            message(item, 1, |either| match place {
                "body" => message(either, 1, |body| {
                    text(body, 1, parameter, "description");
                    text(body, 2, parameter, "name");
                    text(body, 3, parameter, "in");
                    flag(body, 4, parameter, "required");
                    if let Some(inner) = parameter.get("schema") {
                        message(body, 5, |out| schema(out, inner));
                    }
                }),
                _ => message(either, 2, |other| {
                    // The messages of the two differ by the fields that follow the name.
                    let (of, kind, unique) = if place == "path" { (4, 5, 19) } else { (3, 6, 20) };
                    message(other, of, |out| {
                        flag(out, 1, parameter, "required");
                        text(out, 2, parameter, "in");
                        text(out, 3, parameter, "description");
                        text(out, 4, parameter, "name");
                        text(out, kind, parameter, "type");
                        flag(out, unique, parameter, "uniqueItems");
                    });
                }),
            });
        });
    }
}
