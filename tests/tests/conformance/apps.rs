//! sig-apps: the objects of workloads. What their controllers do is tested beside these.

use crate::common::*;

#[test]
fn cronjob_should_support_cronjob_api_operations() {
    let (a, _kubectl, _server) = setup();
    let job = json!({
        "apiVersion": "batch/v1", "kind": "CronJob", "metadata": { "name": "e2e-example-cj" },
        "spec": { "schedule": "* */1 * * ?", "concurrencyPolicy": "Allow", "suspend": true, "jobTemplate": { "spec": { "template": {
            "spec": { "restartPolicy": "OnFailure", "containers": [{ "name": "c", "image": "i" }] },
        } } } },
    });
    let collection = "/apis/batch/v1/namespaces/default/cronjobs";
    supports_api_operations(&a, collection, &job, Some("/apis/batch/v1/cronjobs"));
    a.post(collection, &job).ok();
    supports_status(
        &a,
        &format!("{collection}/e2e-example-cj"),
        &json!({ "lastScheduleTime": "2026-01-01T00:00:00Z" }),
    );
}

const BUDGETS: &str = "/apis/policy/v1/namespaces/default/poddisruptionbudgets";

fn budget() -> Value {
    json!({
        "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": { "name": "foo" },
        "spec": { "minAvailable": 1, "selector": { "matchLabels": { "a": "b" } } },
    })
}

#[test]
fn disruptioncontroller_listing_poddisruptionbudgets_for_all_namespaces_should_list_and_delete_a_collection_of_poddisruptionbudgets()
 {
    let (a, _kubectl, _server) = setup();
    supports_api_operations(&a, BUDGETS, &budget(), Some("/apis/policy/v1/poddisruptionbudgets"));
}

#[test]
fn disruptioncontroller_should_create_a_poddisruptionbudget() {
    let (a, _kubectl, _server) = setup();
    let path = format!("{BUDGETS}/foo");
    a.post(BUDGETS, &budget()).ok();
    let updated = update(&a, &path, |object| object["spec"]["minAvailable"] = "2%".into());
    assert_eq!(updated["spec"]["minAvailable"], "2%");
    let patched = a.strategic(&path, &json!({ "spec": { "minAvailable": "3%" } })).ok();
    assert_eq!(
        (&patched["spec"]["minAvailable"], &patched["metadata"]["generation"]),
        (&json!("3%"), &json!(3))
    );
    a.delete(&path).ok();
    a.get(&path).refused(404);
}
