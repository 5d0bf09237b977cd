use super::entries::{decode, encode};
use super::*;
use crate::object::set_meta;
use crate::schema::{ListType, MapType, PatchStrategy, Property, SchemaLink, SchemaType};
use crate::status::Status;
use proptest::prelude::*;
use serde_json::json;

fn property(name: &str, schema: Schema, list_type: ListType) -> Property {
    Property {
        name: name.into(),
        number: 0,
        schema: SchemaLink::from(schema),
        description: "".into(),
        default: None,
        patch: PatchStrategy::default(),
        list_type,
        map_type: MapType::Granular,
        enumeration: Vec::new(),
    }
}

fn typed(schema_type: SchemaType) -> Schema {
    Schema { schema_type, ..Schema::default() }
}

fn object(properties: Vec<Property>) -> Schema {
    Schema { properties, ..typed(SchemaType::Object) }
}

/// A custom resource: ports by number, tags as a set, a map, an atomic list and two scalars.
fn widget() -> Schema {
    let text = || typed(SchemaType::String);
    let list = |items: Schema| Schema { items: Some(items.into()), ..typed(SchemaType::Array) };
    let port = object(vec![
        property("name", text(), ListType::Atomic),
        property("port", typed(SchemaType::Integer), ListType::Atomic),
    ]);
    let map = Schema { additional: Some(text().into()), ..typed(SchemaType::Object) };
    let spec = object(vec![
        property("args", list(text()), ListType::Atomic),
        property("color", text(), ListType::Atomic),
        property("map", map, ListType::Atomic),
        property("ports", list(port), ListType::Map(vec!["port".into()])),
        property("replicas", typed(SchemaType::Integer), ListType::Atomic),
        property("tags", list(text()), ListType::Set),
    ]);
    object(vec![
        property("spec", spec, ListType::Atomic),
        property("status", typed(SchemaType::Object), ListType::Atomic),
    ])
}

const V1: &str = "example.com/v1";

fn with_request<T>(seconds: i64, run: impl FnOnce(&Request<'_>) -> T) -> T {
    let schema = widget();
    let versions = OneVersion { api_version: V1, schema: &schema };
    let reset = Set::of_fields(&[&["status"]]);
    run(&Request {
        api_version: V1,
        kind: "Widget",
        subresource: "",
        versions: &versions,
        reset: &reset,
        now: Time::from_unix(seconds, 0),
    })
}

fn config(spec: Value) -> Value {
    json!({"apiVersion": V1, "kind": "Widget", "metadata": {"name": "w"}, "spec": spec})
}

fn applied(live: Option<&Value>, spec: Value, manager: &str, force: bool) -> Result<Value, Status> {
    with_request(1, |request| {
        let mut out = apply(request, live, &config(spec), manager, force)?;
        // As the server does for a stored object.
        set_meta(&mut out, "uid", Some("u".into()));
        Ok(out)
    })
}

fn updated(live: Option<&Value>, new: Value, manager: &str, seconds: i64) -> Value {
    with_request(seconds, |request| {
        let mut new = new;
        track_update(request, live, &mut new, manager);
        set_meta(&mut new, "uid", Some("u".into()));
        new
    })
}

fn fields(object: &Value, manager: &str) -> Value {
    let list = object["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
    list.into_iter().find(|e| e["manager"] == manager).map_or(Value::Null, |e| e["fieldsV1"].clone())
}

#[test]
fn field_sets_read_back_as_written() {
    let text = json!({"f:spec": {".": {}, "f:ports": {"k:{\"port\":80}": {".": {}, "f:name": {}}}},
        "f:metadata": {"f:finalizers": {"v:\"a/b\"": {}}}, "f:x": {"i:1": {}}});
    let set = Set::from_fields_v1(&text).unwrap();
    assert_eq!(set.to_fields_v1(), text);
    let paths: Vec<String> = set.paths().iter().map(|p| set::path_text(p)).collect();
    assert!(paths.contains(&".spec.ports[port=80].name".to_owned()), "{paths:?}");
    assert!(paths.contains(&".metadata.finalizers[=\"a/b\"]".to_owned()), "{paths:?}");
}

#[test]
fn creating_owns_all_that_is_set() {
    let new = json!({"apiVersion": V1, "kind": "Widget", "metadata": {"name": "w", "labels": {"a": "b"}},
        "spec": {"replicas": 1, "tags": ["x"], "args": ["1"]}, "status": {"ready": true}});
    let created = updated(None, new, "me", 1);
    assert_eq!(
        created["metadata"]["managedFields"],
        json!([{"manager": "me", "operation": "Update", "apiVersion": V1, "time": "1970-01-01T00:00:01Z",
            "fieldsType": "FieldsV1", "fieldsV1": {
                "f:metadata": {"f:labels": {".": {}, "f:a": {}}},
                "f:spec": {".": {}, "f:args": {}, "f:replicas": {}, "f:tags": {".": {}, "v:\"x\"": {}}}}}])
    );
}

#[test]
fn built_in_structs_are_there_before_they_are_set() {
    let text = || typed(SchemaType::String);
    let container = object(vec![property("name", text(), ListType::Atomic)]);
    let containers = Schema { items: Some(container.into()), ..typed(SchemaType::Array) };
    let labels = Schema { additional: Some(text().into()), ..typed(SchemaType::Object) };
    let mut spec = object(vec![
        property("containers", containers, ListType::Map(vec!["name".into()])),
        property("labels", labels, ListType::Atomic),
        property("raw", typed(SchemaType::Object), ListType::Atomic),
    ]);
    spec.properties[0].default = Some(Value::Null);
    let mut pod = object(vec![property("spec", spec, ListType::Atomic)]);
    pod.type_name = Some("io.k8s.api.core.v1.Pod".into());
    pod.properties[0].default = Some(json!({}));
    let versions = OneVersion { api_version: "v1", schema: &pod };
    let (reset, now) = (Set::new(), Time::from_unix(1, 0));
    let request =
        Request { api_version: "v1", kind: "Pod", subresource: "", versions: &versions, reset: &reset, now };
    let mut new = json!({"apiVersion": "v1", "kind": "Pod", "spec": {
        "containers": [{"name": "c"}], "labels": {"a": "b"}, "raw": {"x": {"y": 1}}}});
    track_update(&request, None, &mut new, "me");
    assert_eq!(
        fields(&new, "me"),
        json!({"f:spec": {
            "f:containers": {"k:{\"name\":\"c\"}": {".": {}, "f:name": {}}},
            "f:labels": {".": {}, "f:a": {}}, "f:raw": {}}})
    );
}

#[test]
fn updates_move_fields_and_keep_times_of_the_rest() {
    let live = updated(None, config(json!({"replicas": 1, "color": "red"})), "me", 1);
    let mut new = live.clone();
    new["spec"]["replicas"] = json!(2);
    let updated_once = updated(Some(&live), new.clone(), "other", 5);
    assert_eq!(fields(&updated_once, "me"), json!({"f:spec": {".": {}, "f:color": {}}}));
    assert_eq!(fields(&updated_once, "other"), json!({"f:spec": {"f:replicas": {}}}));
    assert_eq!(updated_once["metadata"]["managedFields"][0]["time"], "1970-01-01T00:00:01Z");
    // Without a change nothing changes, times included.
    assert_eq!(updated(Some(&updated_once), updated_once.clone(), "third", 9), updated_once);
}

#[test]
fn an_empty_list_forgets_and_untracked_objects_stay_so() {
    let live = updated(None, config(json!({"replicas": 1})), "me", 1);
    let mut new = live.clone();
    set_meta(&mut new, "managedFields", Some(json!([])));
    let forgotten = updated(Some(&live), new, "me", 2);
    assert_eq!(forgotten["metadata"].get("managedFields"), None);
    let mut changed = forgotten.clone();
    changed["spec"]["replicas"] = json!(3);
    assert_eq!(updated(Some(&forgotten), changed, "me", 3)["metadata"].get("managedFields"), None);
}

#[test]
fn old_updaters_are_merged() {
    let mut live = updated(None, config(json!({"map": {"k": "0"}})), "m0", 1);
    for i in 1..15 {
        let mut new = live.clone();
        new["spec"]["map"][format!("k{i}")] = json!("1");
        live = updated(Some(&live), new, &format!("m{i}"), 1 + i);
    }
    let managers = decode(&live).unwrap();
    assert_eq!(managers.len(), 10);
    assert_eq!(
        fields(&live, "ancient-changes")["f:spec"]["f:map"],
        json!({".": {}, "f:k": {}, "f:k1": {}, "f:k2": {}, "f:k3": {}, "f:k4": {}, "f:k5": {}})
    );
}

#[test]
fn conflicts_are_said_as_upstream() {
    let live = updated(None, config(json!({"replicas": 1, "color": "red"})), "me", 1);
    let one = applied(Some(&live), json!({"replicas": 2}), "two", false).unwrap_err();
    assert_eq!(one.code, 409);
    assert_eq!(
        one.message,
        "Apply failed with 1 conflict: conflict with \"me\" using example.com/v1: .spec.replicas"
    );
    assert_eq!(
        one.to_value()["details"],
        json!({"causes": [{"reason": "FieldManagerConflict",
            "message": "conflict with \"me\" using example.com/v1", "field": ".spec.replicas"}]})
    );
    let many = applied(Some(&live), json!({"replicas": 2, "color": "blue"}), "two", false).unwrap_err();
    assert_eq!(
        many.message,
        "Apply failed with 2 conflicts: conflicts with \"me\" using example.com/v1:\n- .spec.color\n- .spec.replicas"
    );
    let forced = applied(Some(&live), json!({"replicas": 2}), "two", true).unwrap();
    assert_eq!(forced["spec"]["replicas"], 2);
    assert_eq!(fields(&forced, "me"), json!({"f:spec": {".": {}, "f:color": {}}}));
}

#[test]
fn what_an_applier_drops_goes_unless_another_applies_it() {
    let ports = json!([{"port": 80, "name": "a"}, {"port": 81}]);
    let live =
        applied(None, json!({"ports": ports, "color": "red", "tags": ["x", "y"]}), "one", false).unwrap();
    let both = applied(Some(&live), json!({"color": "red"}), "two", false).unwrap();
    let left = applied(Some(&both), json!({"ports": [{"port": 80}], "tags": ["y"]}), "one", false).unwrap();
    assert_eq!(left["spec"], json!({"ports": [{"port": 80}], "color": "red", "tags": ["y"]}));
    assert_eq!(
        fields(&left, "one"),
        json!({"f:spec": {"f:ports": {"k:{\"port\":80}": {".": {}, "f:port": {}}}, "f:tags": {"v:\"y\"": {}}}})
    );
    let gone = applied(Some(&left), json!({}), "one", false).unwrap();
    assert_eq!(gone["spec"], json!({"color": "red"}));
}

#[test]
fn bad_configurations_are_refused() {
    let refused = |config: Value| with_request(1, |r| apply(r, None, &config, "m", false)).unwrap_err();
    let mut unknown = config(json!({"nope": 1}));
    unknown["metadata"]["namespace"] = json!("ns");
    assert_eq!(
        refused(unknown).message,
        "failed to create typed patch object (ns/w; example.com/v1, Kind=Widget): .spec.nope: field not declared in schema"
    );
    assert!(
        refused(config(json!({"ports": [{"port": 1}, {"port": 1}]})))
            .message
            .ends_with(".spec.ports: duplicate entries for key [port=1]")
    );
    assert!(
        refused(config(json!({"replicas": "x"})))
            .message
            .ends_with(".spec.replicas: expected numeric (int or float), got string")
    );
    let mut managed = config(json!({}));
    managed["metadata"]["managedFields"] = json!([{"manager": "x"}]);
    assert_eq!(refused(managed).message, "metadata.managedFields must be nil");
}

#[test]
fn kubectl_takes_over_what_it_applied_from_the_client() {
    let mut new = config(json!({"replicas": 1}));
    let last = config(json!({"replicas": 1})).to_string();
    new["metadata"]["annotations"] = json!({apply::LAST_APPLIED: last});
    let live = updated(None, new, "kubectl-client-side-apply", 1);
    let taken = applied(Some(&live), json!({"replicas": 2}), "kubectl", false).unwrap();
    assert_eq!(taken["spec"]["replicas"], 2);
    let text = taken["metadata"]["annotations"][apply::LAST_APPLIED].as_str().unwrap();
    assert_eq!(serde_json::from_str::<Value>(text).unwrap(), config(json!({"replicas": 2})));
    assert!(applied(Some(&live), json!({"replicas": 2}), "someone", false).is_err());
}

#[test]
fn scale_keeps_track_of_replicas() {
    let live = updated(None, config(json!({"replicas": 1, "color": "red"})), "me", 1);
    let versions = [(V1, scale::replicas_path(".spec.replicas"))];
    let in_scale = scale::to_scale(&live, &versions).unwrap().unwrap();
    assert_eq!(in_scale[0]["apiVersion"], "autoscaling/v1");
    assert_eq!(in_scale[0]["fieldsV1"], json!({"f:spec": {"f:replicas": {}}}));
    let by_other = json!([{"manager": "hpa", "operation": "Update", "apiVersion": "autoscaling/v1",
        "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": {"f:replicas": {}}}, "subresource": "scale"}]);
    let mut after = live.clone();
    let entries = scale::to_object(&live, Some(&by_other), V1, &versions).unwrap();
    set_meta(&mut after, "managedFields", entries);
    assert_eq!(fields(&after, "me"), json!({"f:spec": {".": {}, "f:color": {}}}));
    assert_eq!(fields(&after, "hpa"), json!({"f:spec": {"f:replicas": {}}}));
}

fn spec() -> impl Strategy<Value = Value> {
    let ports = prop::collection::btree_map(1u8..5, prop::option::of("[a-b]"), 0..3);
    let tags = prop::collection::btree_set("[a-d]", 0..3);
    let map = prop::collection::btree_map("[a-c]", "[0-1]", 0..3);
    (ports, tags, map, prop::option::of(0u8..3), prop::option::of(prop::collection::vec("[a-b]", 0..2)))
        .prop_map(|(ports, tags, map, replicas, args)| {
            let mut out = serde_json::Map::new();
            let ports: Vec<Value> = ports
                .into_iter()
                .map(|(p, n)| match n {
                    Some(n) => json!({"port": p, "name": n}),
                    None => json!({"port": p}),
                })
                .collect();
            for (name, value) in [("ports", json!(ports)), ("tags", json!(tags)), ("map", json!(map))] {
                let empty = value.as_array().is_some_and(Vec::is_empty)
                    || value.as_object().is_some_and(serde_json::Map::is_empty);
                if !empty {
                    out.insert(name.to_owned(), value);
                }
            }
            out.extend(replicas.map(|r| ("replicas".to_owned(), json!(r))));
            out.extend(args.map(|a| ("args".to_owned(), json!(a))));
            Value::Object(out)
        })
}

/// The same maps with keys that no other manager uses.
fn renamed(spec: &Value, prefix: &str, offset: u64) -> Value {
    let mut out = json!({});
    if let Some(map) = spec["map"].as_object() {
        out["map"] = map
            .iter()
            .map(|(k, v)| (format!("{prefix}{k}"), v.clone()))
            .collect::<serde_json::Map<_, _>>()
            .into();
    }
    if let Some(ports) = spec["ports"].as_array() {
        out["ports"] =
            ports.iter().map(|p| json!({"port": p["port"].as_u64().unwrap_or(0) + offset})).collect();
    }
    out
}

fn sorted(mut object: Value) -> Value {
    if let Some(ports) = object.pointer_mut("/spec/ports").and_then(Value::as_array_mut) {
        ports.sort_by_key(|p| p["port"].as_u64());
    }
    object
}

proptest! {
    #[test]
    fn applying_twice_is_applying_once(start in spec(), given in spec()) {
        let live = updated(None, config(start), "creator", 1);
        let once = applied(Some(&live), given.clone(), "me", true).unwrap();
        let twice = applied(Some(&once), given, "me", false).unwrap();
        prop_assert_eq!(once, twice);
    }

    #[test]
    fn disjoint_appliers_commute(a in spec(), b in spec()) {
        let (a, b) = (renamed(&a, "a", 0), renamed(&b, "b", 100));
        let ab = applied(Some(&applied(None, a.clone(), "a", false).unwrap()), b.clone(), "b", false).unwrap();
        let ba = applied(Some(&applied(None, b, "b", false).unwrap()), a, "a", false).unwrap();
        prop_assert_eq!(sorted(ab), sorted(ba));
    }

    #[test]
    fn only_what_is_applied_stays_of_an_applier(first in spec(), second in spec()) {
        let live = applied(None, first, "me", false).unwrap();
        let after = applied(Some(&live), second.clone(), "me", false).unwrap();
        let fresh = applied(None, second, "me", false).unwrap();
        let without = |v: &Value| { let v = sorted(v.clone()); let s = v["spec"].clone(); if s.is_null() { json!({}) } else { s } };
        prop_assert_eq!(without(&after), without(&fresh));
        prop_assert_eq!(fields(&after, "me"), fields(&fresh, "me"));
    }

    #[test]
    fn entries_read_back_as_written(start in spec(), next in spec()) {
        let live = updated(None, config(start), "one", 1);
        let mut new = live.clone();
        new["spec"] = next;
        let after = updated(Some(&live), new, "two", 2);
        let managers = decode(&after).unwrap();
        prop_assert_eq!(encode(&managers), after["metadata"].get("managedFields").cloned());
        // No field has two updaters.
        let sets: Vec<_> = managers.values().map(|o| o.set.clone()).collect();
        for (i, a) in sets.iter().enumerate() {
            for b in &sets[i + 1..] {
                prop_assert!(a.intersection(b).is_empty());
            }
        }
    }
}
