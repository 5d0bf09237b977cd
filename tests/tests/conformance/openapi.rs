//! sig-api-machinery: what is published of custom resources.

use crate::common::*;

fn published(a: &Client, path: &str) -> Option<Value> {
    let answer = a.get(&format!("/openapi/v3/{path}"));
    (answer.code == 200).then(|| answer.body["components"]["schemas"].clone())
}

/// The schema of a kind in version 2 of the document.
fn published_v2(a: &Client, name: &str) -> Option<Value> {
    let document = a.get("/openapi/v2").ok();
    document["definitions"].get(name).cloned()
}

#[test]
fn customresourcepublishopenapi_works_for_crd_without_validation_schema() {
    let (a, kubectl, _server) = setup();
    define(&a, "empty.example.com", "foos", "Foo", open_schema());
    let found = published_v2(&a, "com.example.empty.v1.Foo").expect("it is published");
    assert_eq!(found["x-kubernetes-group-version-kind"][0]["kind"], "Foo");
    let manifest = "apiVersion: empty.example.com/v1\nkind: Foo\nmetadata: {name: f}\na: {b: [{c: d}]}\n";
    assert!(kubectl.run_with(&["create", "-f", "-"], manifest).success);
    assert!(kubectl.run_with(&["apply", "-f", "-"], manifest).success);
    let told = kubectl.ok(&["explain", "foos"]);
    assert!(told.contains("KIND:") && told.contains("Foo") && told.contains("<empty>"), "{told}");
}

#[test]
fn customresourcepublishopenapi_works_for_crd_preserving_unknown_fields_in_an_embedded_object() {
    let (a, kubectl, _server) = setup();
    let schema = json!({
        "type": "object", "description": "preserve-unknown-properties in nested field for Testing",
        "properties": {
            "spec": { "type": "object", "description": "Specification of Waldo", "x-kubernetes-preserve-unknown-fields": true,
                "properties": { "dummy": { "type": "string", "description": "Dummy property." } } },
            "status": { "type": "object", "description": "Status of Waldo" },
        },
    });
    define(&a, "nested.example.com", "waldos", "Waldo", schema);
    let found = published_v2(&a, "com.example.nested.v1.Waldo").expect("it is published");
    assert_eq!(found["properties"]["spec"]["description"], "Specification of Waldo");
    let manifest =
        "apiVersion: nested.example.com/v1\nkind: Waldo\nmetadata: {name: w}\nspec: {a: null, b: [{c: d}]}\n";
    let output = kubectl.run_with(&["create", "-f", "-"], manifest);
    assert!(output.success, "{}", output.stderr);
    let output = kubectl.run_with(&["apply", "-f", "-"], manifest);
    assert!(output.success, "{}", output.stderr);
    assert!(kubectl.ok(&["explain", "waldos.spec"]).contains("Specification of Waldo"));
    assert_eq!(
        a.get("/apis/nested.example.com/v1/namespaces/default/waldos/w").ok()["spec"]["b"],
        json!([{ "c": "d" }])
    );
}

#[test]
fn customresourcepublishopenapi_works_for_multiple_crds_of_different_groups() {
    let (a, _kubectl, _server) = setup();
    for group in ["foo.one.example.com", "foo.two.example.com"] {
        define(&a, group, "foos", "Foo", open_schema());
    }
    for name in ["com.example.one.foo.v1.Foo", "com.example.two.foo.v1.Foo"] {
        assert!(published_v2(&a, name).is_some(), "{name}");
    }
    for group in ["foo.one.example.com", "foo.two.example.com"] {
        assert!(published(&a, &format!("apis/{group}/v1")).is_some(), "{group}");
    }
}

#[test]
fn customresourcepublishopenapi_works_for_multiple_crds_of_same_group_but_different_versions() {
    let (a, _kubectl, _server) = setup();
    let mut both = definition("multi.example.com", "foos", "Foo", open_schema());
    let mut second = both["spec"]["versions"][0].clone();
    (second["name"], second["storage"]) = ("v3".into(), false.into());
    both["spec"]["versions"].as_array_mut().expect("versions").push(second);
    a.post(DEFINITIONS, &both).ok();
    established(&a, "multi.example.com", "foos");
    let mut other = definition("multi.example.com", "bars", "Bar", open_schema());
    other["spec"]["versions"][0]["name"] = "v4".into();
    a.post(DEFINITIONS, &other).ok();
    established(&a, "multi.example.com", "bars");
    for name in ["v1.Foo", "v3.Foo", "v4.Bar"] {
        assert!(published_v2(&a, &format!("com.example.multi.{name}")).is_some(), "{name}");
    }
    for version in ["v1", "v3", "v4"] {
        assert!(published(&a, &format!("apis/multi.example.com/{version}")).is_some(), "{version}");
    }
}

#[test]
fn customresourcepublishopenapi_works_for_multiple_crds_of_same_group_and_version_but_different_kinds() {
    let (a, _kubectl, _server) = setup();
    define(&a, "kinds.example.com", "foos", "Foo", open_schema());
    define(&a, "kinds.example.com", "bars", "Bar", open_schema());
    let schemas = published(&a, "apis/kinds.example.com/v1").expect("they are published");
    for kind in ["Foo", "Bar"] {
        assert!(published_v2(&a, &format!("com.example.kinds.v1.{kind}")).is_some(), "{kind}");
        assert!(schemas.get(format!("com.example.kinds.v1.{kind}")).is_some(), "{kind}");
    }
}

#[test]
fn customresourcepublishopenapi_updates_the_published_spec_when_one_version_gets_renamed() {
    let (a, _kubectl, _server) = setup();
    let mut object = definition("renamed.example.com", "foos", "Foo", open_schema());
    let mut second = object["spec"]["versions"][0].clone();
    (second["name"], second["storage"]) = ("v3".into(), false.into());
    object["spec"]["versions"].as_array_mut().expect("versions").push(second);
    a.post(DEFINITIONS, &object).ok();
    established(&a, "renamed.example.com", "foos");
    assert!(published_v2(&a, "com.example.renamed.v3.Foo").is_some());
    let patch = json!([{ "op": "replace", "path": "/spec/versions/1/name", "value": "v4" }]);
    json_patch(&a, &format!("{DEFINITIONS}/foos.renamed.example.com"), &patch);
    eventually("it is published under its new name", SOON, || {
        published_v2(&a, "com.example.renamed.v4.Foo").is_some()
    });
    assert!(published_v2(&a, "com.example.renamed.v3.Foo").is_none());
    // The other version is as it was.
    assert!(published_v2(&a, "com.example.renamed.v1.Foo").is_some());
}

#[test]
fn customresourcepublishopenapi_works_for_crd_with_validation_schema() {
    let (a, kubectl, _server) = setup();
    let schema = json!({
        "type": "object", "description": "Foo CRD for Testing",
        "properties": { "spec": { "type": "object", "description": "Specification of Foo", "properties": {
            "bars": { "type": "array", "description": "List of Bars and their specs.", "items": {
                "type": "object", "required": ["name"], "properties": {
                    "name": { "type": "string", "description": "Name of Bar." },
                    "age": { "type": "string", "description": "Age of Bar." },
                },
            } },
        } } },
    });
    define(&a, "pub.example.com", "foos", "Foo", schema);
    eventually("it is published", SOON, || {
        published(&a, "apis/pub.example.com/v1")
            .is_some_and(|schemas| schemas.to_string().contains("List of Bars"))
    });
    assert!(kubectl.ok(&["explain", "foos.spec.bars"]).contains("List of Bars and their specs."));
    let apply = |bars: &str| {
        let manifest = format!(
            "apiVersion: pub.example.com/v1\nkind: Foo\nmetadata: {{name: f}}\nspec: {{bars: [{bars}]}}\n"
        );
        kubectl.run_with(&["apply", "-f", "-"], &manifest)
    };
    assert!(apply("{name: a}").success);
    let unknown = apply("{name: a, unknown: b}");
    assert!(!unknown.success && unknown.stderr.contains("unknown"), "{}", unknown.stderr);
    let missing = apply("{age: old}");
    assert!(!missing.success && missing.stderr.contains("name"), "{}", missing.stderr);
}

#[test]
fn customresourcepublishopenapi_works_for_crd_preserving_unknown_fields_at_the_schema_root() {
    let (a, kubectl, _server) = setup();
    define(&a, "unk.example.com", "foos", "Foo", open_schema());
    kubectl.apply(
        "apiVersion: unk.example.com/v1\nkind: Foo\nmetadata: {name: f}\nanything: {goes: [1, two]}\n",
    );
    assert_eq!(kubectl.json(&["get", "foos", "f"])["anything"]["goes"], json!([1, "two"]));
    assert!(kubectl.ok(&["explain", "foos"]).contains("KIND:"));
}

#[test]
fn customresourcepublishopenapi_removes_definition_from_spec_when_one_version_gets_changed_to_not_be_served()
{
    let (a, _kubectl, _server) = setup();
    let mut object = definition("ver.example.com", "foos", "Foo", open_schema());
    let mut second = object["spec"]["versions"][0].clone();
    second["name"] = "v2".into();
    second["storage"] = false.into();
    object["spec"]["versions"].as_array_mut().expect("versions").push(second);
    a.post(DEFINITIONS, &object).ok();
    established(&a, "ver.example.com", "foos");
    eventually("both are published", SOON, || {
        published(&a, "apis/ver.example.com/v1").is_some()
            && published(&a, "apis/ver.example.com/v2").is_some()
    });
    let patch = json!([{ "op": "replace", "path": "/spec/versions/1/served", "value": false }]);
    let kind = [("Content-Type", "application/json-patch+json")];
    a.send("PATCH", &format!("{DEFINITIONS}/foos.ver.example.com"), &kind, &patch.to_string())
        .expect("an answer")
        .ok();
    eventually("one is published no more", SOON, || published(&a, "apis/ver.example.com/v2").is_none());
    assert!(published(&a, "apis/ver.example.com/v1").is_some());
    a.get("/apis/ver.example.com/v2/namespaces/default/foos").refused(404);
}
