use std::collections::HashSet;
use std::sync::Arc;

use super::*;
use crate::authz::{Attributes, Authorizer, PolicyRule, RbacIndex, covers};
use crate::user::UserInfo;

fn of(resource: &str) -> Vec<Value> {
    objects().into_iter().filter(|object| object.resource == resource).map(|object| object.value).collect()
}

fn named(resource: &str, name: &str) -> Value {
    of(resource).into_iter().find(|object| object["metadata"]["name"] == name).unwrap()
}

fn index() -> RbacIndex {
    RbacIndex::build(&of("roles"), &of("rolebindings"), &of("clusterroles"), &of("clusterrolebindings"))
}

#[test]
fn each_object_is_there_once_and_says_what_it_is() {
    let mut seen = HashSet::new();
    for object in objects() {
        assert!(seen.insert((object.resource, object.namespace, object.name.clone())), "{}", object.name);
        assert_eq!(object.value["metadata"]["name"], object.name.as_str());
        assert_eq!(object.value["metadata"].get("namespace").and_then(Value::as_str), object.namespace);
        assert_eq!(object.value["kind"], object.kind);
    }
}

#[test]
fn every_binding_finds_its_role() {
    let (cluster_roles, roles) = (of("clusterroles"), of("roles"));
    for binding in of("clusterrolebindings").iter().chain(&of("rolebindings")) {
        let among = if binding["roleRef"]["kind"] == "Role" { &roles } else { &cluster_roles };
        let found = among.iter().any(|role| {
            role["metadata"]["name"] == binding["roleRef"]["name"]
                && role["metadata"].get("namespace") == binding["metadata"].get("namespace")
        });
        assert!(found, "{binding}");
    }
}

#[test]
fn admin_holds_edit_and_edit_holds_view() {
    let rules = |name| PolicyRule::all_of(&named("clusterroles", name)).unwrap();
    let (admin, edit, view) = (rules("admin"), rules("edit"), rules("view"));
    assert!(!view.is_empty() && edit.len() > view.len() && admin.len() > edit.len());
    assert!(covers(&admin, &edit) && covers(&edit, &view) && !covers(&view, &edit));
}

#[test]
fn the_policy_decides_as_upstream() {
    let index = Arc::new(index());
    let overlay = RbacIndex::over(index);
    let authorizer = Authorizer::new(&overlay);
    let (anonymous, known) = (UserInfo::anonymous(), UserInfo::new("jane", ["system:authenticated"]));
    let path = |user, path| authorizer.authorize(&Attributes::of_path(user, "get", path)).allowed();
    assert!(path(&anonymous, "/readyz") && path(&anonymous, "/version"));
    assert!(!path(&anonymous, "/api") && path(&known, "/api") && path(&known, "/apis/apps/v1"));
    assert!(!path(&known, "/metrics"));
    let nobody: [&str; 0] = [];
    let controller = UserInfo::new("system:serviceaccount:kube-system:replicaset-controller", nobody);
    let attributes = |user, verb| Attributes {
        user,
        verb,
        group: "",
        version: "v1",
        resource: "pods",
        subresource: "",
        namespace: "ns",
        name: "",
        path: "",
        selectors: None,
    };
    assert!(authorizer.authorize(&attributes(&controller, "create")).allowed());
    assert!(!authorizer.authorize(&attributes(&known, "list")).allowed());
}

#[test]
fn parameters_fill_the_placeholders() {
    let parameters = Parameters {
        ca: "CA",
        front_proxy_ca: "PROXY",
        uid: "uid-1",
        service_ip: "10.0.0.1",
        service_cidr: "10.0.0.0/24",
        host_ip: "192.0.2.2",
        created: "2026-01-01T00:00:00Z",
        port: 6443,
    };
    for object in objects() {
        let mut value = object.value;
        fill(&mut value, &parameters);
        assert!(!value.to_string().contains("${"), "{value}");
    }
    let mut endpoints = named("endpoints", "kubernetes");
    fill(&mut endpoints, &parameters);
    assert_eq!(endpoints["subsets"][0]["ports"][0]["port"], 6443);
}
