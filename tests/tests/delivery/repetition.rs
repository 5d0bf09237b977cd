//! A tool applies what git says again and again: the controllers must not have written what it writes.

use kplane_tests::User;
use serde_json::Value;

use super::{checkout, settled};

#[test]
fn applying_every_sample_again_changes_nothing_and_conflicts_with_nobody() {
    let user = User::up();
    let kubectl = user.management();
    let samples = checkout("config/samples").display().to_string();
    let apply = ["apply", "--server-side", "--field-manager=argocd", "-f", &samples, "-o", "json"];
    let applied = || -> Vec<Value> {
        let told = kubectl.ok(&apply);
        let list: Value = serde_json::from_str(&told).expect("a list");
        list["items"].as_array().expect("items").clone()
    };
    let first = applied();
    let names: Vec<String> = first
        .iter()
        .map(|object| {
            let text = |value: &Value| value.as_str().expect("a text").to_owned();
            format!("{}/{}", text(&object["kind"]), text(&object["metadata"]["name"]))
        })
        .collect();
    let ready: Vec<Value> = names
        .iter()
        .map(|name| {
            let resolved = name.contains("Endpoint") || name.contains("Registration");
            settled(&kubectl, name, if resolved { "Resolved" } else { "Reconciled" })
        })
        .collect();
    let again = applied();
    for (before, after) in ready.iter().zip(&again) {
        let name = &before["metadata"]["name"];
        assert_eq!(
            before["metadata"]["resourceVersion"], after["metadata"]["resourceVersion"],
            "{name} was written"
        );
        assert_eq!(before["spec"], after["spec"], "{name}");
        let owns_spec = |manager: &&Value| manager["fieldsV1"].get("f:spec").is_some();
        let full = kubectl.json(&[
            "get",
            &format!("{}/{}", before["kind"].as_str().unwrap_or_default(), name.as_str().unwrap_or_default()),
            "--show-managed-fields",
        ]);
        let managers = full["metadata"]["managedFields"].as_array().expect("managed fields").iter();
        let of_spec: Vec<&Value> = managers.filter(owns_spec).map(|manager| &manager["manager"]).collect();
        assert_eq!(of_spec, ["argocd"], "{name}: who else writes its spec?");
    }
    let diff = ["diff", "--server-side", "--field-manager=argocd", "-f", &samples];
    assert_eq!(kubectl.ok(&diff), "", "a difference");
    // Its end does not wait for anything of ours that is not told.
    let kinds_with_ours: Vec<&str> = ready
        .iter()
        .filter(|object| !object["metadata"]["finalizers"].is_null())
        .filter_map(|object| object["kind"].as_str())
        .collect();
    assert_eq!(
        kinds_with_ours,
        ["ControlPlane", "ControlPlaneCredential"],
        "each has a test of how it can be forced"
    );
}
