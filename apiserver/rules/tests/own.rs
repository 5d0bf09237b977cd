//! The rules of our own definitions compile and hold.

use std::path::PathBuf;
use std::sync::Arc;

use kplane_machinery::field::Path;
use kplane_rules::{CelEngine, CompiledRules, RuleEngine, check_rules};
use kplane_schema::structural;
use serde_json::{Value, json};

fn definitions() -> Vec<Value> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../config/crd");
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        if text.contains("kind: CustomResourceDefinition") {
            found.push(serde_saphyr::from_str(&text).unwrap());
        }
    }
    found
}

fn rules(kind: &str) -> Arc<dyn CompiledRules> {
    let crd = definitions().into_iter().find(|crd| crd["spec"]["names"]["kind"] == kind).unwrap();
    let mut schema =
        structural::from_json(&crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"], &Path::root())
            .unwrap();
    structural::add_type_and_object_meta(&mut schema);
    CelEngine.compile(&schema).unwrap()
}

fn told(rules: &Arc<dyn CompiledRules>, object: &Value, old: Option<&Value>) -> Vec<String> {
    rules.validate(object, old).iter().map(ToString::to_string).collect()
}

#[test]
fn all_are_accepted() {
    let definitions = definitions();
    assert!(definitions.len() >= 6, "{}", definitions.len());
    for crd in definitions {
        for version in crd["spec"]["versions"].as_array().unwrap() {
            let raw = &version["schema"]["openAPIV3Schema"];
            assert_eq!(structural::check(raw, &Path::root()), Vec::new(), "{}", crd["metadata"]["name"]);
            assert_eq!(check_rules(raw, &Path::root()), Vec::new(), "{}", crd["metadata"]["name"]);
        }
    }
}

#[test]
fn there_is_one_management_plane() {
    let rules = rules("ManagementPlane");
    let object = |name: &str, replicas: i64| {
        json!({"apiVersion": "controlplane.kplane.dev/v1alpha1", "kind": "ManagementPlane",
            "metadata": {"name": name}, "spec": {"namespace": "kplane-system",
            "certificates": {"duration": "8760h", "renewBefore": "720h"},
            "store": {"type": "Etcd", "etcd": {"managed": {"replicas": replicas}}}}})
    };
    let none: Vec<String> = Vec::new();
    assert_eq!(told(&rules, &object("default", 3), None), none);
    assert_eq!(
        told(&rules, &object("other", 2), None),
        [
            "<nil>: Invalid value: the one ManagementPlane is named default",
            "spec.store.etcd.managed.replicas: Invalid value: replicas must be 1, 3 or 5"
        ]
    );
    // Members come and go; their volumes keep their size.
    assert_eq!(told(&rules, &object("default", 5), Some(&object("default", 3))), none);
    let sized = |size: &str| {
        let mut plane = object("default", 3);
        plane["spec"]["store"]["etcd"]["managed"]["storage"] = json!(size);
        plane
    };
    assert_eq!(
        told(&rules, &sized("9Gi"), Some(&sized("8Gi"))),
        ["spec.store.etcd.managed.storage: Invalid value: the size of etcd's volumes is immutable"]
    );
    let mut wrong = object("default", 3);
    wrong["spec"]["certificates"]["renewBefore"] = json!("8760h");
    wrong["spec"]["store"]["type"] = json!("Embedded");
    assert_eq!(told(&rules, &wrong, None).len(), 2);
}

#[test]
fn a_control_plane_keeps_its_path() {
    let rules = rules("ControlPlane");
    let object = |name: &str, path: Option<&str>| {
        let mut object = json!({"metadata": {"name": name}, "spec": {}});
        if let Some(path) = path {
            object["spec"]["virtual"] = json!({"clusterPath": path});
        }
        object
    };
    let none: Vec<String> = Vec::new();
    assert_eq!(told(&rules, &object("a", None), None), none);
    assert_eq!(told(&rules, &object("a", Some("a")), Some(&object("a", None))), none);
    assert_eq!(told(&rules, &object("a", Some("b")), Some(&object("a", Some("a")))).len(), 1);
    assert_eq!(told(&rules, &object("root", None), None).len(), 1);
    assert_eq!(told(&rules, &object("x", Some("management")), None).len(), 1);
    assert_eq!(told(&rules, &object(&"a".repeat(64), None), None).len(), 1);
}
