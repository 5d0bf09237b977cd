//! sig-api-machinery: fields that are unknown or given twice.

use crate::common::*;

#[test]
fn fieldvalidation_should_detect_unknown_and_duplicate_fields_of_a_typed_object() {
    let (a, _kubectl, _server) = setup();
    let manifest = r#"{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"d"},"spec":{"unknown1":"val1",
        "replicas":1,"replicas":2,"selector":{"matchLabels":{"a":"b"}},
        "template":{"metadata":{"labels":{"a":"b"}},"spec":{"containers":[{"name":"n","image":"i","unknownNested":"v"}]}}}}"#;
    let path = "/apis/apps/v1/namespaces/default/deployments";
    let told =
        a.post_text(&format!("{path}?fieldValidation=Strict"), "application/json", manifest).refused(400);
    for part in [
        "strict decoding error",
        "unknown field \"spec.unknown1\"",
        "duplicate field \"spec.replicas\"",
        "unknown field \"spec.template.spec.containers[0].unknownNested\"",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    let made = a.post_text(&format!("{path}?fieldValidation=Ignore"), "application/json", manifest).ok();
    assert_eq!(made["spec"]["replicas"], 2);
}

#[test]
fn fieldvalidation_should_detect_unknown_metadata_fields_of_a_typed_object() {
    let (a, _kubectl, _server) = setup();
    let manifest =
        r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"c","unknownMeta":"unknown"}}"#;
    let told = a
        .post_text(&format!("{CONFIG_MAPS}?fieldValidation=Strict"), "application/json", manifest)
        .refused(400);
    assert!(told.contains("unknown field \"metadata.unknownMeta\""), "{told}");
}

#[test]
fn fieldvalidation_should_create_apply_an_invalid_cr_with_extra_properties_for_crd_with_validation_schema() {
    let (a, _kubectl, _server) = setup();
    let schema = json!({ "type": "object", "properties": { "spec": { "type": "object", "properties": { "foo": { "type": "string" } } } } });
    let path = define(&a, "fv.example.com", "foos", "Foo", schema);
    let manifest = "{\"apiVersion\":\"fv.example.com/v1\",\"kind\":\"Foo\",\"metadata\":{\"name\":\"f\"},\"spec\":{\"foo\":\"x\",\"extra\":1,\"foo\":\"y\"}}";
    let told =
        a.post_text(&format!("{path}?fieldValidation=Strict"), "application/json", manifest).refused(400);
    assert!(
        told.contains("unknown field \"spec.extra\"") && told.contains("duplicate field \"spec.foo\""),
        "{told}"
    );
    let told = a
        .apply(
            &format!("{path}/f?fieldManager=me&fieldValidation=Strict"),
            &manifest.replace(",\"foo\":\"y\"", ""),
        )
        .refused(400);
    assert!(told.contains("spec.extra"), "{told}");
    let made = a.post_text(&path, "application/json", manifest).ok();
    assert_eq!(made["spec"], json!({ "foo": "y" }));
}

fn nested_schema() -> Value {
    json!({
        "type": "object", "properties": {
            "spec": { "type": "object", "properties": {
                "foo": { "type": "string" }, "cronSpec": { "type": "string", "pattern": "^(\\d+|\\*)(/\\d+)?(\\s+(\\d+|\\*)(/\\d+)?){4}$" },
                "ports": { "type": "array", "x-kubernetes-list-map-keys": ["containerPort", "protocol"], "x-kubernetes-list-type": "map",
                    "items": { "type": "object", "required": ["containerPort", "protocol"], "properties": {
                        "containerPort": { "type": "integer", "format": "int32" }, "hostIP": { "type": "string" },
                        "hostPort": { "type": "integer", "format": "int32" }, "name": { "type": "string" }, "protocol": { "type": "string" },
                    } } },
            } },
        },
    })
}

#[test]
fn fieldvalidation_should_create_apply_a_valid_cr_for_crd_with_validation_schema() {
    let (a, _kubectl, _server) = setup();
    let path = define(&a, "valid.example.com", "foos", "Foo", nested_schema());
    let manifest = "apiVersion: valid.example.com/v1\nkind: Foo\nmetadata: {name: mytest}\nspec:\n  foo: foo1\n  cronSpec: '* * * * */5'\n  ports: [{name: x, containerPort: 80, protocol: TCP}]\n";
    let made = a
        .apply(&format!("{path}/mytest?fieldManager=field_validation_sa&fieldValidation=Strict"), manifest)
        .ok();
    assert_eq!(made["spec"]["foo"], "foo1");
    let second = json!({
        "apiVersion": "valid.example.com/v1", "kind": "Foo", "metadata": { "name": "second" }, "spec": { "foo": "foo1", "cronSpec": "* * * * */5" },
    });
    a.post(&format!("{path}?fieldValidation=Strict"), &second).ok();
    let bad = json!({ "apiVersion": "valid.example.com/v1", "kind": "Foo", "metadata": { "name": "bad" }, "spec": { "cronSpec": "often" } });
    a.post(&path, &bad).refused(422);
}

#[test]
fn fieldvalidation_should_create_apply_a_cr_with_unknown_fields_for_crd_with_no_validation_schema() {
    let (a, _kubectl, _server) = setup();
    let path = define(&a, "open.example.com", "foos", "Foo", open_schema());
    let manifest = "apiVersion: open.example.com/v1\nkind: Foo\nmetadata: {name: mytest}\nspec: {knownField1: val1, unknown: {a: 1}}\n";
    let strict = "fieldManager=field_validation_sa&fieldValidation=Strict";
    let made = a.apply(&format!("{path}/mytest?{strict}"), manifest).ok();
    assert_eq!(made["spec"]["unknown"]["a"], 1);
    let second = json!({ "apiVersion": "open.example.com/v1", "kind": "Foo", "metadata": { "name": "second" }, "any": "thing" });
    assert_eq!(a.post(&format!("{path}?fieldValidation=Strict"), &second).ok()["any"], "thing");
}

#[test]
fn fieldvalidation_should_detect_duplicates_in_a_cr_when_preserving_unknown_fields() {
    let (a, _kubectl, _server) = setup();
    let path = define(&a, "dup.example.com", "foos", "Foo", open_schema());
    let manifest = r#"{"apiVersion":"dup.example.com/v1","kind":"Foo","metadata":{"name":"mytest"},
        "spec":{"unknown":"uk1","cronSpec":"* * * * */5","ports":[{"name":"x","containerPort":80,"protocol":"TCP","unknown":"u","name":"y"}]},
        "spec":{"other":1}}"#;
    let told =
        a.post_text(&format!("{path}?fieldValidation=Strict"), "application/json", manifest).refused(400);
    assert!(told.contains("duplicate field \"spec\""), "{told}");
    let nested = r#"{"apiVersion":"dup.example.com/v1","kind":"Foo","metadata":{"name":"mytest"},
        "spec":{"unknown":"uk1","ports":[{"name":"x","containerPort":80,"name":"y"}]}}"#;
    let told =
        a.post_text(&format!("{path}?fieldValidation=Strict"), "application/json", nested).refused(400);
    assert!(
        told.contains("duplicate field \"spec.ports[0].name\"") && !told.contains("unknown field"),
        "{told}"
    );
    let yaml = "apiVersion: dup.example.com/v1\nkind: Foo\nmetadata: {name: mytest}\nspec:\n  a: 1\n  a: 2\n";
    let told = a.apply(&format!("{path}/mytest?fieldManager=m&fieldValidation=Strict"), yaml).refused(400);
    assert!(told.contains("key \"a\" already set in map") || told.contains("duplicate field"), "{told}");
}

#[test]
fn fieldvalidation_should_detect_unknown_metadata_fields_in_both_the_root_and_embedded_object_of_a_cr() {
    let (a, _kubectl, _server) = setup();
    let schema = json!({
        "type": "object", "x-kubernetes-preserve-unknown-fields": true,
        "properties": {
            "spec": { "type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {
                "template": { "type": "object", "x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true,
                    "properties": { "metadata": { "type": "object", "properties": { "name": { "type": "string" } } }, "spec": { "type": "object" } } },
            } },
        },
    });
    let path = define(&a, "embedded.example.com", "foos", "Foo", schema);
    let manifest = r#"{"apiVersion":"embedded.example.com/v1","kind":"Foo","metadata":{"name":"mytest","unknownMeta":"unk"},
        "spec":{"template":{"apiVersion":"foo/v1","kind":"Sub","metadata":{"name":"subobject","unknownSubMeta":"unk"}}}}"#;
    let told =
        a.post_text(&format!("{path}?fieldValidation=Strict"), "application/json", manifest).refused(400);
    for part in
        ["unknown field \"metadata.unknownMeta\"", "unknown field \"spec.template.metadata.unknownSubMeta\""]
    {
        assert!(told.contains(part), "{part}: {told}");
    }
    let made = a.post_text(&format!("{path}?fieldValidation=Ignore"), "application/json", manifest).ok();
    assert_eq!(made["metadata"].get("unknownMeta"), None);
    assert_eq!(made["spec"]["template"]["metadata"], json!({ "name": "subobject" }));
}
