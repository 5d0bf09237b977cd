use super::*;
use crate::names::name_is_dns_subdomain;
use crate::status::Status;
use crate::time::Time;
use serde_json::json;

fn words(errors: &ErrorList) -> Vec<String> {
    errors.iter().map(ToString::to_string).collect()
}

#[test]
fn bad_metadata_is_refused_in_upstreams_words() {
    let object = json!({"metadata": {"namespace": "n", "labels": {"ok": "b!"}, "finalizers": ["nope"],
        "ownerReferences": [{"kind": "X"}]}});
    let errors = validate_object_meta(&object, true, name_is_dns_subdomain);
    let words = words(&errors);
    assert_eq!(words[0], "metadata.name: Required value: name or generateName is required");
    assert!(words[1].starts_with("metadata.labels: Invalid value: \"b!\": a valid label must be"));
    assert_eq!(
        words[2],
        "metadata.ownerReferences.apiVersion: Invalid value: \"\": version must not be empty"
    );
    assert_eq!(words[3], "metadata.ownerReferences.name: Invalid value: \"\": must not be empty");
    assert_eq!(words[4], "metadata.ownerReferences.uid: Invalid value: \"\": must not be empty");
    assert_eq!(
        validate_kube_finalizers(&object)[0].to_string(),
        "metadata.finalizers[0]: Invalid value: \"nope\": name is neither a standard finalizer name nor is it fully qualified"
    );
}

#[test]
fn finalizers_cannot_be_added_while_terminating() {
    let old = json!({"metadata": {"name": "u", "resourceVersion": "1", "deletionTimestamp": "t", "finalizers": ["a/f"]}});
    let mut new = old.clone();
    new["metadata"]["finalizers"] = json!(["a/f", "a/g"]);
    assert_eq!(
        words(&validate_object_meta_update(&new, &old)),
        [
            "metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers []string{\"a/g\"}"
        ]
    );
}

#[test]
fn new_objects_get_what_the_server_gives() {
    let mut object = json!({"metadata": {"generateName": "g-", "uid": "mine", "creationTimestamp": null}});
    prepare_create_meta(&mut object, new_uid(), Time::from_unix(0, 0));
    assert_eq!(object["metadata"]["creationTimestamp"], "1970-01-01T00:00:00Z");
    let uid = meta_str(&object, "uid");
    assert!(uid.len() == 36 && uid.as_bytes()[14] == b'4', "{uid}");
    assert_eq!(meta_str(&object, "name").len(), 7);
}

#[test]
fn updates_keep_what_they_cannot_change() {
    let old = json!({"metadata": {"uid": "u", "creationTimestamp": "c", "generation": 3}});
    let mut new = json!({"metadata": {"generation": 9, "creationTimestamp": "x"}});
    prepare_update_meta(&mut new, &old);
    assert_eq!(new, json!({"metadata": {"uid": "u", "creationTimestamp": "c", "generation": 3}}));
}

#[test]
fn options_are_refused_in_upstreams_words() {
    let message = |kind: &str, errors: ErrorList| -> String {
        invalid_options(kind, &errors).map_err(|s: Status| s.message).unwrap_err()
    };
    assert_eq!(
        message("PatchOptions", validate_patch_options(true, None, "", &[], "")),
        "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: is required for apply patch"
    );
    assert_eq!(
        message("CreateOptions", validate_create_options("", &["Nope".to_owned()], "")),
        "CreateOptions.meta.k8s.io \"\" is invalid: dryRun: Unsupported value: [\"Nope\"]: supported values: \"All\""
    );
    assert_eq!(
        message("CreateOptions", validate_create_options("", &[], "Nope")),
        "CreateOptions.meta.k8s.io \"\" is invalid: fieldValidation: Unsupported value: \"Nope\": supported values: \"\", \"Ignore\", \"Strict\", \"Warn\""
    );
    let options = ListOptions { resource_version_match: "Exact", ..Default::default() };
    assert_eq!(
        message("ListOptions", validate_list_options(&options)),
        "ListOptions.meta.k8s.io \"\" is invalid: resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided"
    );
}

#[test]
fn an_owner_is_named_once() {
    let owner = |uid: &str, kind: &str| json!({"apiVersion": "v1", "kind": kind, "name": "x", "uid": uid});
    let all = json!([owner("1", "Node"), owner("2", "Node"), owner("1", "Pod"), owner("1", "Node")]);
    let mut object = json!({"metadata": {"ownerReferences": all}});
    assert_eq!(without_repeated_owners(&mut object), ["1"]);
    let left = json!([owner("1", "Node"), owner("2", "Node"), owner("1", "Pod")]);
    assert_eq!(object["metadata"]["ownerReferences"], left);
    assert_eq!(without_repeated_owners(&mut object), Vec::<String>::new());
    assert_eq!(without_repeated_owners(&mut json!({})), Vec::<String>::new());
}

#[test]
fn managed_fields_are_whole_or_at_fault() {
    let fault = |entry: Value| managed_fields_fault(&json!({"metadata": {"managedFields": [entry]}}));
    let entry = json!({"manager": "m", "operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": {}});
    assert_eq!(fault(entry.clone()), None);
    let without = |field: &str| {
        let mut entry = entry.clone();
        entry.as_object_mut().unwrap().remove(field);
        entry
    };
    assert_eq!(fault(without("apiVersion")).as_deref(), Some("apiVersion must not be empty"));
    let told = "metadata.managedFields[0].operation: Invalid value: \"\": must be `Apply` or `Update`";
    assert_eq!(fault(without("operation")).as_deref(), Some(told));
}
