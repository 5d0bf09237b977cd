use kplane_tests::{Client, Server, Store};
use serde_json::json;

use super::{at, certificate, with_certificate};

#[test]
fn who_may_act_as_another_and_how() {
    let server = Server::start(Store::Embedded);
    let farm = server.create_vcp("farm");
    let file = certificate(&server, "farm", json!({"user": "jane"}));
    let jane = at(&server, "farm", &file);

    // Nobody may without being told so, and the answer names the first way that was tried.
    let path = "/api/v1/namespaces/default/pods";
    let bare = Client::new(&file).vcp("farm");
    let told = bare.send("GET", path, &[("Impersonate-User", "joe")], "").expect("an answer").refused(403);
    assert!(
        told.contains("pods is forbidden: User \"jane\" cannot impersonate-on:user-info:list resource \"pods\" in API group \"\" in the namespace \"default\""),
        "{told}"
    );
    // The plain verb, for this user and this group alone.
    farm.ok(&[
        "create",
        "clusterrole",
        "as-joe",
        "--verb=impersonate",
        "--resource=users",
        "--resource-name=joe",
    ]);
    farm.ok(&["create", "clusterrolebinding", "as-joe", "--clusterrole=as-joe", "--user=jane"]);
    let as_joe = jane.json(&["auth", "whoami", "--as=joe"]);
    assert_eq!(as_joe["status"]["userInfo"]["username"], "joe");
    assert!(jane.fails(&["get", "pods", "--as=joe"]).contains("User \"joe\" cannot list resource \"pods\""));
    jane.fails(&["auth", "whoami", "--as=ann"]);
    jane.fails(&["auth", "whoami", "--as=joe", "--as-group=dev"]);
    jane.fails(&["auth", "whoami", "--as=joe", "--as-uid=7"]);

    // The constrained way: as whom, and for what.
    farm.apply(
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: as-ann}\nrules:\n\
         - {apiGroups: [authentication.k8s.io], resources: [users], resourceNames: [ann], verbs: ['impersonate:user-info']}\n\
         - {apiGroups: [''], resources: [pods], verbs: ['impersonate-on:user-info:list']}\n",
    );
    farm.ok(&["create", "clusterrolebinding", "as-ann", "--clusterrole=as-ann", "--user=jane"]);
    farm.ok(&["create", "clusterrolebinding", "ann", "--clusterrole=view", "--user=ann"]);
    let as_ann = |path: &str| bare.send("GET", path, &[("Impersonate-User", "ann")], "").expect("an answer");
    as_ann(path).ok();
    let told = as_ann("/api/v1/namespaces/default/configmaps").refused(403);
    assert!(told.contains("cannot impersonate-on:user-info:list resource \"configmaps\""), "{told}");

    // Headers that name no user are no request at all.
    let client = server.client().vcp("farm");
    let answer = client.send("GET", "/api", &[("Impersonate-Group", "dev")], "").expect("an answer");
    assert_eq!(answer.code, 400, "{}", answer.text);
    // Root's administrator acting as another is not root's any more.
    let crossing = server.client().send(
        "GET",
        "/clusters/*/control-plane/api/v1/namespaces",
        &[("Impersonate-User", "joe"), ("Impersonate-Group", "system:masters")],
        "",
    );
    assert_eq!(crossing.expect("an answer").code, 403);
}

#[test]
fn what_one_may_do_is_told() {
    let server = Server::start(Store::Embedded);
    let farm = server.create_vcp("farm");
    let jane = with_certificate(&server, "farm", json!({"user": "jane", "groups": ["dev"]}));
    farm.ok(&["create", "clusterrolebinding", "dev", "--clusterrole=view", "--group=dev"]);
    let table = jane.ok(&["auth", "whoami"]);
    assert!(table.contains("Username") && table.contains("jane") && table.contains("dev"), "{table}");
    assert_eq!(jane.ok(&["auth", "can-i", "list", "pods"]).trim(), "yes");
    assert_eq!(jane.run(&["auth", "can-i", "create", "pods"]).stdout.trim(), "no");
    let list = jane.ok(&["auth", "can-i", "--list"]);
    let line = |start: &str| list.lines().find(|line| line.starts_with(start)).unwrap_or_default().to_owned();
    assert!(line("configmaps ").contains("[get list watch]"), "{list}");
    assert!(line("selfsubjectreviews.authentication.k8s.io").contains("[create]"), "{list}");
    // Selectors are part of what is asked.
    let review = json!({
        "apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
        "spec": {"user": "system:node:barn", "groups": ["system:nodes"], "resourceAttributes": {
            "verb": "list", "resource": "pods",
            "fieldSelector": {"requirements": [{"key": "spec.nodeName", "operator": "In", "values": ["barn"]}]}}},
    });
    let path = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
    let client = server.client().vcp("farm");
    assert_eq!(client.post(path, &review).ok()["status"]["allowed"], true);
    let mut broken = review.clone();
    broken["spec"]["resourceAttributes"]["fieldSelector"] = json!({"rawSelector": "spec.nodeName"});
    let status = client.post(path, &broken).ok()["status"].clone();
    assert_eq!(status["allowed"], false);
    assert_eq!(status["evaluationError"], "spec.resourceAttributes.fieldSelector ignored due to parse error");
    let mut empty = review;
    empty["spec"]["resourceAttributes"]["fieldSelector"] = json!({});
    let told = client.post(path, &empty).refused(422);
    assert!(told.contains("requirements or rawSelector is required"), "{told}");
}

#[test]
fn who_may_change_objects_may_not_make_them() {
    let server = Server::start(Store::Embedded);
    let farm = server.create_vcp("farm");
    let client = Client::new(&certificate(&server, "farm", json!({"user": "jane"}))).vcp("farm");
    let admin = server.client().vcp("farm");
    farm.ok(&["create", "role", "changes", "--verb=get,update,patch", "--resource=configmaps,services"]);
    farm.ok(&["create", "rolebinding", "changes", "--role=changes", "--user=jane"]);
    let map = "/api/v1/namespaces/default/configmaps/hay";
    let apply = || {
        let object =
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "hay"}, "data": {"a": "1"}});
        client.apply(&format!("{map}?fieldManager=jane"), &object.to_string())
    };
    let told = apply().refused(403);
    assert!(told.contains("configmaps \"hay\" is forbidden: User \"jane\" cannot create resource \"configmaps\" in API group \"\" in the namespace \"default\""), "{told}");
    assert_eq!(admin.get(map).code, 404);
    // A PUT makes some kinds as well.
    let service = json!({"metadata": {"name": "hay"}, "spec": {"ports": [{"port": 1}]}});
    let told = client.put("/api/v1/namespaces/default/services/hay", &service).refused(403);
    assert!(told.contains("cannot create resource \"services\""), "{told}");
    // What is there may be changed; and by its name somebody may be let make it.
    admin.post("/api/v1/namespaces/default/configmaps", &json!({"metadata": {"name": "hay"}})).ok();
    apply().ok();
    admin.delete(map).ok();
    farm.ok(&["create", "role", "makes", "--verb=create", "--resource=configmaps", "--resource-name=hay"]);
    farm.ok(&["create", "rolebinding", "makes", "--role=makes", "--user=jane"]);
    assert_eq!(apply().code, 201);
}
