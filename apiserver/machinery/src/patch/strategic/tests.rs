use super::*;
use crate::schema::{ListType, MapType, Property, SchemaLink};
use proptest::prelude::*;
use serde_json::json;
use std::sync::Arc;

fn property(name: &str, schema: Schema, patch: PatchStrategy) -> Property {
    Property {
        name: name.into(),
        number: 0,
        schema: SchemaLink::from(schema),
        description: "".into(),
        default: None,
        patch,
        list_type: ListType::Atomic,
        map_type: MapType::Granular,
        enumeration: Vec::new(),
    }
}

fn scalar() -> Schema {
    Schema { schema_type: SchemaType::String, ..Schema::default() }
}

fn list_of(items: Schema) -> Schema {
    Schema { schema_type: SchemaType::Array, items: Some(items.into()), ..Schema::default() }
}

/// containers (by name), finalizers (scalars, merged), args (atomic), labels (a map).
fn schema() -> Schema {
    let container = Schema {
        schema_type: SchemaType::Object,
        type_name: Some("io.k8s.api.core.v1.Container".into()),
        properties: ["image", "name", "policy"]
            .map(|n| property(n, scalar(), PatchStrategy::default()))
            .into_iter()
            .collect(),
        ..Schema::default()
    };
    let merge =
        |key: Option<&str>| PatchStrategy { merge: true, retain_keys: false, merge_key: key.map(Arc::from) };
    let map =
        Schema { schema_type: SchemaType::Object, additional: Some(scalar().into()), ..Schema::default() };
    Schema {
        schema_type: SchemaType::Object,
        type_name: Some("io.k8s.api.core.v1.PodSpec".into()),
        properties: vec![
            property("args", list_of(scalar()), PatchStrategy::default()),
            property("containers", list_of(container), merge(Some("name"))),
            property("finalizers", list_of(scalar()), merge(None)),
            property("labels", map, PatchStrategy::default()),
        ],
        ..Schema::default()
    }
}

fn patched(object: Value, patch: Value) -> Result<Value, PatchError> {
    let mut object = object;
    apply(&mut object, patch, &schema()).map(|()| object)
}

#[test]
fn lists_merge_by_key_and_directives_hold() {
    let pod = json!({"containers": [{"name": "a", "image": "1"}, {"name": "b", "image": "1"}]});
    for (patch, result) in [
        (
            json!({"containers": [{"name": "b", "image": "2"}]}),
            json!({"containers": [{"name": "a", "image": "1"}, {"name": "b", "image": "2"}]}),
        ),
        (
            json!({"containers": [{"name": "c", "image": "3", "policy": null}]}),
            json!({"containers": [{"name": "c", "image": "3"}, {"name": "a", "image": "1"}, {"name": "b", "image": "1"}]}),
        ),
        (
            json!({"containers": [{"name": "a", "$patch": "delete"}]}),
            json!({"containers": [{"name": "b", "image": "1"}]}),
        ),
        (
            json!({"containers": [{"$patch": "replace"}, {"name": "z"}]}),
            json!({"containers": [{"name": "z"}]}),
        ),
        (json!({"$patch": "replace", "args": ["x"]}), json!({"args": ["x"]})),
        (json!({"$patch": "delete"}), json!({})),
        (json!({"$retainKeys": ["args"], "args": ["x"]}), json!({"args": ["x"]})),
        (
            json!({"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}]}),
            json!({"containers": [{"name": "b", "image": "1"}, {"name": "a", "image": "1"}]}),
        ),
        (
            json!({"$setElementOrder/containers": [{"name": "b"}, {"name": "c"}], "containers": [{"name": "c"}]}),
            json!({"containers": [{"name": "a", "image": "1"}, {"name": "b", "image": "1"}, {"name": "c"}]}),
        ),
    ] {
        assert_eq!(patched(pod.clone(), patch.clone()), Ok(result), "{patch}");
    }
}

#[test]
fn scalars_merge_or_are_replaced() {
    let object = json!({"finalizers": ["a", "b"], "args": ["1", "2"], "labels": {"x": "1", "y": "2"}});
    for (patch, field, result) in [
        (json!({"finalizers": ["c"]}), "finalizers", json!(["c", "a", "b"])),
        (json!({"$deleteFromPrimitiveList/finalizers": ["a"]}), "finalizers", json!(["b"])),
        (json!({"args": ["3"]}), "args", json!(["3"])),
        (json!({"labels": {"x": null, "z": "3"}}), "labels", json!({"y": "2", "z": "3"})),
    ] {
        assert_eq!(patched(object.clone(), patch).unwrap()[field], result);
    }
}

#[test]
fn errors_read_as_upstream() {
    let pod = json!({"containers": [{"name": "a"}]});
    for (patch, error) in [
        (
            json!({"containers": [{"image": "x"}]}),
            "map: map[image:x] does not contain declared merge key: name",
        ),
        (json!({"$patch": "nope"}), "unknown patch type: nope in map: map[$patch:nope]"),
        (json!({"$retainKeys": 1}), "invalid patch format of retainKeys"),
        (
            json!({"$setElementOrder/nope": []}),
            "unable to find api field in struct PodSpec for the json field \"nope\"",
        ),
        (
            json!({"$setElementOrder/containers": [{"name": "a"}], "containers": [{"name": "z"}]}),
            "The order in patch list:\n[map[name:z]]\n doesn't match $setElementOrder list:\n[map[name:a]]\n",
        ),
    ] {
        assert_eq!(patched(pod.clone(), patch).unwrap_err().to_string(), error);
    }
}

fn containers() -> impl Strategy<Value = Vec<Value>> {
    prop::collection::btree_map("[a-e]", "[0-9]", 0..5).prop_shuffle_values()
}

/// Maps of name to image as lists of containers.
trait ShuffleValues {
    fn prop_shuffle_values(self) -> BoxedStrategy<Vec<Value>>;
}

impl<S: Strategy<Value = std::collections::BTreeMap<String, String>> + 'static> ShuffleValues for S {
    fn prop_shuffle_values(self) -> BoxedStrategy<Vec<Value>> {
        self.prop_map(|m| {
            m.into_iter().map(|(name, image)| json!({"name": name, "image": image})).collect::<Vec<_>>()
        })
        .prop_shuffle()
        .boxed()
    }
}

proptest! {
    #[test]
    fn merging_keeps_every_element_once(before in containers(), given in containers()) {
        let patch = json!({"containers": given});
        let once = patched(json!({"containers": before}), patch.clone()).unwrap();
        let names: Vec<&str> = once["containers"].as_array().unwrap().iter().map(|c| c["name"].as_str().unwrap()).collect();
        let mut expected: Vec<&str> =
            before.iter().chain(&given).map(|c| c["name"].as_str().unwrap()).collect();
        expected.sort_unstable();
        expected.dedup();
        let mut sorted = names.clone();
        sorted.sort_unstable();
        prop_assert_eq!(sorted, expected);
        // What the patch gives stands in the patch's order, with its images.
        let ours: Vec<&Value> = once["containers"].as_array().unwrap().iter().filter(|c| given.contains(c)).collect();
        prop_assert_eq!(ours, given.iter().collect::<Vec<_>>());
        prop_assert_eq!(patched(once.clone(), patch).unwrap(), once);
    }
}
