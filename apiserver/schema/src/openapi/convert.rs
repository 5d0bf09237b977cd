//! A document of version 2 as one of version 3: [`v3_of_v2`], for servers that have no other.

use serde_json::{Map, Value, json};

use super::merge::merge_v2;

/// The methods of a path.
const METHODS: [&str; 7] = ["get", "put", "post", "delete", "options", "head", "patch"];
/// What is said of a parameter beside its schema, and of an operation beside its parameters.
const OF_PARAMETERS: [&str; 4] = ["name", "in", "description", "required"];
const OF_OPERATIONS: [&str; 7] =
    ["tags", "summary", "description", "externalDocs", "operationId", "deprecated", "security"];
/// What a body is taken for where the document does not say.
const ANY: &str = "*/*";

/// The document of version 3 of the paths that begin so, with all that they refer to; `None` when there are none.
pub fn v3_of_v2(document: Value, prefix: &str) -> Option<Value> {
    let info = document.get("info").cloned().unwrap_or_else(|| json!({"title": "", "version": ""}));
    let common = Media { consumes: media(&document, "consumes"), produces: media(&document, "produces") };
    let mut wanted = json!({});
    merge_v2(&mut wanted, document, prefix);
    let parameters = wanted.get("parameters").cloned().unwrap_or_default();
    let paths = wanted.get("paths")?.as_object().filter(|paths| !paths.is_empty())?;
    let paths: Map<String, Value> =
        paths.iter().map(|(path, item)| (path.clone(), path_item(item, &parameters, &common))).collect();
    let schemas: Map<String, Value> = wanted["definitions"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, schema)| (name.clone(), moved(schema)))
        .collect();
    Some(json!({"openapi": "3.0.0", "info": info, "paths": paths, "components": {"schemas": schemas}}))
}

/// The media types of bodies where an operation names none.
struct Media {
    consumes: Vec<String>,
    produces: Vec<String>,
}

fn media(of: &Value, field: &str) -> Vec<String> {
    of[field].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// Those of an operation, or those of the document.
fn media_or(operation: &Value, field: &str, common: &[String]) -> Vec<String> {
    let own = media(operation, field);
    match (own.is_empty(), common.is_empty()) {
        (false, _) => own,
        (true, false) => common.to_vec(),
        (true, true) => vec![ANY.to_owned()],
    }
}

/// A value with its references where version 3 has what they refer to.
fn moved(value: &Value) -> Value {
    match value {
        Value::Array(items) => items.iter().map(moved).collect(),
        Value::Object(fields) => fields
            .iter()
            .map(|(name, value)| match (name.as_str(), value.as_str()) {
                ("$ref", Some(text)) => {
                    let name = text.strip_prefix("#/definitions/");
                    let target =
                        name.map_or_else(|| text.to_owned(), |n| format!("#/components/schemas/{n}"));
                    ("$ref".to_owned(), target.into())
                }
                _ => (name.clone(), moved(value)),
            })
            .collect::<Map<_, _>>()
            .into(),
        other => other.clone(),
    }
}

fn extensions(of: &Value) -> impl Iterator<Item = (String, Value)> {
    let fields = of.as_object().into_iter().flatten();
    fields.filter(|(name, _)| name.starts_with("x-")).map(|(name, value)| (name.clone(), value.clone()))
}

fn path_item(item: &Value, shared: &Value, common: &Media) -> Value {
    let mut out: Map<String, Value> = extensions(item).collect();
    for method in METHODS {
        if let Some(given) = item.get(method) {
            out.insert(method.to_owned(), operation(given, shared, common));
        }
    }
    let (parameters, _) = parameters(item, shared);
    if !parameters.is_empty() {
        out.insert("parameters".to_owned(), parameters.into());
    }
    out.into()
}

/// The parameters of a path or an operation, and the schema of the body, which is one of them in version 2.
fn parameters(of: &Value, shared: &Value) -> (Vec<Value>, Option<Value>) {
    let mut body = None;
    let mut out = Vec::new();
    for given in of["parameters"].as_array().into_iter().flatten() {
        let name = given["$ref"].as_str().and_then(|text| text.strip_prefix("#/parameters/"));
        let given = name.and_then(|name| shared.get(name)).unwrap_or(given);
        if given["in"] == "body" {
            body = Some(moved(&given["schema"]));
            continue;
        }
        let mut parameter: Map<String, Value> = extensions(given).collect();
        let mut schema = Map::new();
        for (name, value) in
            given.as_object().into_iter().flatten().filter(|(name, _)| !name.starts_with("x-"))
        {
            if OF_PARAMETERS.contains(&name.as_str()) {
                parameter.insert(name.clone(), value.clone());
            } else if name != "collectionFormat" && name != "allowEmptyValue" {
                schema.insert(name.clone(), moved(value));
            }
        }
        parameter.insert("schema".to_owned(), schema.into());
        out.push(parameter.into());
    }
    (out, body)
}

fn operation(given: &Value, shared: &Value, common: &Media) -> Value {
    let mut out: Map<String, Value> = extensions(given).collect();
    for field in OF_OPERATIONS {
        if let Some(value) = given.get(field) {
            out.insert(field.to_owned(), value.clone());
        }
    }
    let (parameters, body) = parameters(given, shared);
    if !parameters.is_empty() {
        out.insert("parameters".to_owned(), parameters.into());
    }
    if let Some(schema) = body {
        let consumes = media_or(given, "consumes", &common.consumes);
        out.insert("requestBody".to_owned(), json!({"content": content(&consumes, &schema)}));
    }
    let produces = media_or(given, "produces", &common.produces);
    let responses: Map<String, Value> = given["responses"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(code, response)| {
            let mut out: Map<String, Value> = extensions(response).collect();
            out.insert(
                "description".to_owned(),
                response.get("description").cloned().unwrap_or_else(|| "".into()),
            );
            if let Some(schema) = response.get("schema") {
                out.insert("content".to_owned(), content(&produces, &moved(schema)));
            }
            (code.clone(), out.into())
        })
        .collect();
    out.insert("responses".to_owned(), responses.into());
    out.into()
}

fn content(media: &[String], schema: &Value) -> Value {
    media.iter().map(|media| (media.clone(), json!({"schema": schema}))).collect::<Map<_, _>>().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_parameters_and_references_are_where_version_3_has_them() {
        let document = json!({
            "swagger": "2.0", "info": {"title": "owls", "version": "1"},
            "paths": {
                "/apis/b/v1/owls": {
                    "parameters": [{"$ref": "#/parameters/pretty"}],
                    "post": {
                        "operationId": "createOwl", "consumes": ["application/json"], "produces": ["application/json"],
                        "parameters": [{"name": "body", "in": "body", "required": true, "schema": {"$ref": "#/definitions/Owl"}}],
                        "responses": {"201": {"description": "Created", "schema": {"$ref": "#/definitions/Owl"}}},
                        "x-kubernetes-action": "post",
                    },
                },
                "/apis/other/v1/eagles": {"get": {"responses": {}}},
            },
            "definitions": {
                "Owl": {"type": "object", "properties": {"mate": {"$ref": "#/definitions/Owl"}}}, "Eagle": {},
            },
            "parameters": {"pretty": {"name": "pretty", "in": "query", "type": "string", "uniqueItems": true}},
        });
        assert!(v3_of_v2(document.clone(), "/apis/none/v1/").is_none());
        let owl = json!({"$ref": "#/components/schemas/Owl"});
        assert_eq!(
            v3_of_v2(document, "/apis/b/v1/"),
            Some(json!({
                "openapi": "3.0.0", "info": {"title": "owls", "version": "1"},
                "paths": {"/apis/b/v1/owls": {
                    "parameters": [{"name": "pretty", "in": "query", "schema": {"type": "string", "uniqueItems": true}}],
                    "post": {
                        "operationId": "createOwl", "x-kubernetes-action": "post",
                        "requestBody": {"content": {"application/json": {"schema": owl}}},
                        "responses": {"201": {"description": "Created", "content": {"application/json": {"schema": owl}}}},
                    },
                }},
                "components": {"schemas": {"Owl": {"type": "object", "properties": {"mate": owl}}}},
            }))
        );
    }
}
