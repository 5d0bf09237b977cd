use super::*;
use kplane_machinery::schema::Schema;
use proptest::prelude::*;
use serde_json::{Map, json};

use crate::table::{Shape, shape};

fn there_and_back(value: &Value) -> Value {
    decode(&encode(value).unwrap(), None).unwrap()
}

#[test]
fn the_envelope_is_upstreams() {
    let bytes = encode(&json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}})).unwrap();
    assert_eq!(bytes, b"k8s\0\x0a\x0f\x0a\x02v1\x12\x09ConfigMap\x12\x05\x0a\x03\x0a\x01a");
}

#[test]
fn objects_survive() {
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "a", "labels": {"x": "", "y": "1"}, "creationTimestamp": "2020-01-01T00:00:00Z",
            "managedFields": [{"manager": "m", "fieldsV1": {"f:spec": {}}}]},
        "spec": {
            "containers": [{"name": "c", "resources": {"limits": {"cpu": "500m"}},
                "livenessProbe": {"httpGet": {"port": "http"}, "periodSeconds": 3},
                "readinessProbe": {"tcpSocket": {"port": 80}},
                "env": [{"name": "E", "valueFrom": {"configMapKeyRef": {"name": "n", "key": "k", "optional": false}}}]}],
            "volumes": [{"name": "v", "emptyDir": {}}, {"name": "s", "secret": {"secretName": "s", "defaultMode": 420}}],
            "tolerations": [{"tolerationSeconds": -1}], "activeDeadlineSeconds": 0,
        },
    });
    assert_eq!(there_and_back(&pod), pod);
    let review = json!({
        "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {},
        "status": {"user": {"extra": {"a": ["1", "2"], "b": []}}},
    });
    assert_eq!(there_and_back(&review), review);
    let webhook = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
        "webhooks": [{"name": "w", "clientConfig": {"caBundle": "YQ=="},
            "rules": [{"operations": ["CREATE"], "apiGroups": [""], "scope": "*"}]}],
    });
    assert_eq!(there_and_back(&webhook), webhook);
    let crd = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "spec": {"versions": [{"name": "v1", "schema": {"openAPIV3Schema": {
            "type": "object", "additionalProperties": true, "default": {"a": [1, null]}, "enum": ["x", 1],
            "properties": {"a": {"items": {"type": "string", "maximum": 1.5}, "$ref": "r"}},
            "dependencies": {"d": ["x"]}, "x-kubernetes-preserve-unknown-fields": false,
        }}}]},
    });
    let mut wanted = crd.clone();
    wanted["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["x-kubernetes-preserve-unknown-fields"] =
        json!(false);
    assert_eq!(there_and_back(&crd), wanted);
}

#[test]
fn a_custom_resource_is_refused() {
    let told = encode(&json!({"apiVersion": "example.com/v1", "kind": "Widget"})).unwrap_err().to_string();
    assert_eq!(
        told,
        "object example.com/v1, Kind=Widget does not implement the protobuf marshalling interface"
    );
}

#[test]
fn lists_and_texts_are_written_like_values() {
    let items: Vec<Value> = (0..3)
        .map(|n| json!({"metadata": {"name": format!("a{n}")}, "data": {"text": "x".repeat(n * 9000), "quotes": "\"\n\u{1F980}"}}))
        .collect();
    let metadata = json!({"resourceVersion": "7", "continue": "x", "remainingItemCount": 300});
    let list = json!({"apiVersion": "v1", "kind": "ConfigMapList", "metadata": metadata, "items": items});
    let kind = GroupVersionKind::new("", "v1", "ConfigMapList");
    let mut writer = ListWriter::new(kind, &metadata, 0).unwrap();
    for item in &items {
        writer.push(item.to_string().as_bytes()).unwrap();
    }
    let bytes = writer.finish().unwrap();
    assert_eq!(decode(&bytes, None).unwrap(), list);
    assert_eq!(there_and_back(&list), list);

    let kind = GroupVersionKind::new("", "v1", "ConfigMap");
    let mut one = items[2].clone();
    one["apiVersion"] = "v1".into();
    one["kind"] = "ConfigMap".into();
    assert_eq!(encode_json(&kind, one.to_string().as_bytes()).unwrap(), encode(&one).unwrap());
    assert_eq!(
        encode_watch_event_json("ADDED", &kind, one.to_string().as_bytes()).unwrap(),
        encode_watch_event("ADDED", &one).unwrap()
    );
}

#[test]
fn what_does_not_fit_is_refused() {
    for (wrong, told) in [
        (json!({"data": {"a": 1}}), "the value 1 cannot be written as a scalar"),
        (json!({"data": []}), "the value […] cannot be written as a scalar"),
        (
            json!({"metadata": "x"}),
            "the value \"x\" cannot be written as io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta",
        ),
        (json!({"metadata": {"finalizers": [null]}}), "the value null cannot be written as a scalar"),
        (json!({"immutable": {}}), "the value {…} cannot be written as a scalar"),
    ] {
        let mut object = wrong;
        object["apiVersion"] = "v1".into();
        object["kind"] = "ConfigMap".into();
        assert_eq!(encode(&object).unwrap_err().to_string(), told);
    }
}

#[test]
fn a_watch_event_is_framed() {
    let frame =
        encode_watch_event("ADDED", &json!({"apiVersion": "v1", "kind": "Status", "code": 1})).unwrap();
    let (length, rest) = frame.split_first_chunk::<4>().unwrap();
    assert_eq!(u32::from_be_bytes(*length) as usize, rest.len());
    assert!(rest.starts_with(b"\x0a\x05ADDED\x12"));
}

/// A value of a type with every field filled, down to a depth.
fn filled(schema: &Schema, depth: usize) -> Option<Value> {
    Some(match shape(schema) {
        Shape::Struct if depth == 0 => return None,
        Shape::Struct => {
            let mut out = Map::new();
            for property in &schema.properties {
                if property.number > 0
                    && let Some(value) = filled(&property.schema, depth - 1)
                {
                    out.insert(property.name.to_string(), value);
                }
            }
            Value::Object(out)
        }
        Shape::Map(of) => json!({"k": filled(of, depth)?, "l": filled(of, depth)?}),
        Shape::List(of) => json!([filled(of, depth)?, filled(of, depth)?]),
        Shape::Text => "text".into(),
        Shape::Bytes => "Ynl0ZXM=".into(),
        Shape::Boolean => true.into(),
        Shape::Int32 => (-7).into(),
        Shape::Int64 => i64::MIN.into(),
        Shape::Float => 1.5.into(),
        Shape::Quantity => "1500m".into(),
        Shape::IntOrString => "50%".into(),
        Shape::Time => "2020-02-29T12:00:00Z".into(),
        Shape::MicroTime => "2020-02-29T12:00:00.000001Z".into(),
        Shape::SchemaOr(of) => filled(of, depth)?,
        Shape::Any => json!({"any": [1, {"x": null}]}),
    })
}

/// Every message of every kind has distinct numbers, and every field survives.
#[test]
fn every_kind_survives() {
    let mut kinds = 0;
    for name in builtin().names() {
        let schema = builtin().get(name).unwrap();
        let mut numbers: Vec<u32> = schema.properties.iter().map(|p| p.number).filter(|n| *n > 0).collect();
        let count = numbers.len();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), count, "{name}");
        if matches!(shape(&schema), Shape::Struct)
            && let Some(value) = filled(&schema, 3)
        {
            let mut bytes = Vec::new();
            write::message(&schema, &value, &mut bytes).unwrap();
            assert_eq!(read::message(&schema, &bytes, 0).unwrap(), value, "{name}");
            let mut of_text = Vec::new();
            let text = value.to_string();
            write::message(&schema, &mut serde_json::Deserializer::from_str(&text), &mut of_text).unwrap();
            assert_eq!(of_text, bytes, "{name}");
            kinds += 1;
        }
    }
    assert!(kinds > 700);
}

proptest! {
    #[test]
    fn nothing_breaks_the_reader(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        let pod = GroupVersionKind::new("", "v1", "Pod");
        let _ = decode(&[MAGIC, b"\x12", &[bytes.len() as u8], bytes.as_slice()].concat(), Some(&pod));
        let _ = decode(&[MAGIC, bytes.as_slice()].concat(), Some(&pod));
    }

    #[test]
    fn numbers_survive(n in any::<i64>(), m in any::<i32>(), f in -1e300..1e300_f64) {
        let mut out = Vec::new();
        wire::put_integer(&mut out, 1, n);
        wire::put_integer(&mut out, 2, i64::from(m));
        wire::put_float(&mut out, 1000, f);
        let mut rest = out.as_slice();
        prop_assert_eq!(wire::next(&mut rest).unwrap().unwrap().1.integer().unwrap(), n);
        prop_assert_eq!(wire::next(&mut rest).unwrap().unwrap().1.integer().unwrap(), i64::from(m));
        prop_assert_eq!(wire::next(&mut rest).unwrap().unwrap().1.float().unwrap(), f);
        prop_assert!(wire::next(&mut rest).unwrap().is_none());
    }
}
