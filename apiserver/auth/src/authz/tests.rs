use std::sync::Arc;

use serde_json::{Value, json};

use super::*;

fn rule(value: Value) -> PolicyRule {
    serde_json::from_value(value).unwrap()
}

fn ask<'a>(
    user: &'a UserInfo,
    verb: &'a str,
    what: (&'a str, &'a str, &'a str),
    at: (&'a str, &'a str),
) -> Attributes<'a> {
    let (group, resource, subresource) = what;
    let (namespace, name) = at;
    Attributes {
        user,
        verb,
        group,
        version: "v1",
        resource,
        subresource,
        namespace,
        name,
        path: "",
        selectors: None,
    }
}

#[test]
fn rules_match_as_upstream() {
    let user = UserInfo::default();
    let core = |resources: &[&str]| json!({"verbs": ["get"], "apiGroups": [""], "resources": resources});
    type Case = (Value, &'static str, (&'static str, &'static str, &'static str), &'static str, bool);
    let cases: &[Case] = &[
        (core(&["pods"]), "get", ("", "pods", ""), "", true),
        (core(&["pods"]), "list", ("", "pods", ""), "", false),
        (core(&["pods"]), "get", ("apps", "pods", ""), "", false),
        (core(&["pods"]), "get", ("", "pods", "log"), "", false),
        (core(&["pods/log"]), "get", ("", "pods", "log"), "", true),
        (core(&["pods/log"]), "get", ("", "pods", ""), "", false),
        (core(&["*"]), "get", ("", "pods", "log"), "", true),
        (core(&["*/scale"]), "get", ("", "x", "scale"), "", true),
        (core(&["*/scale"]), "get", ("", "x", ""), "", false),
        (core(&["*/*"]), "get", ("", "x", "scale"), "", false),
        (core(&["pods/*"]), "get", ("", "pods", "log"), "", false),
        (json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}), "x", ("g", "r", "s"), "n", true),
        (json!({"verbs": ["*"], "apiGroups": [], "resources": ["*"]}), "get", ("", "r", ""), "", false),
        (
            json!({"verbs": ["get"], "apiGroups": [""], "resources": ["pods"], "resourceNames": ["a"]}),
            "get",
            ("", "pods", ""),
            "a",
            true,
        ),
        (
            json!({"verbs": ["get"], "apiGroups": [""], "resources": ["pods"], "resourceNames": ["a"]}),
            "get",
            ("", "pods", ""),
            "",
            false,
        ),
        (json!({"verbs": ["*"], "nonResourceURLs": ["*"]}), "get", ("", "pods", ""), "", false),
    ];
    for (value, verb, what, name, allowed) in cases {
        let attributes = ask(&user, verb, *what, ("ns", name));
        assert_eq!(rule(value.clone()).allows(&attributes), *allowed, "{value} {attributes:?}");
    }
    for (pattern, path, allowed) in [
        ("*", "/x", true),
        ("/healthz", "/healthz", true),
        ("/healthz", "/healthz/x", false),
        ("/healthz/*", "/healthz/x", true),
        ("/healthz*", "/healthzx", true),
        ("/a/*/b", "/a/x/b", false),
    ] {
        let rule = rule(json!({"verbs": ["get"], "nonResourceURLs": [pattern]}));
        assert_eq!(rule.allows(&Attributes::of_path(&user, "get", path)), allowed, "{pattern} {path}");
    }
}

fn role(namespace: &str, name: &str, rules: Value) -> Value {
    json!({"metadata": {"namespace": namespace, "name": name}, "rules": rules})
}

fn binding(namespace: &str, name: &str, role: (&str, &str), subjects: Value) -> Value {
    json!({"metadata": {"namespace": namespace, "name": name}, "subjects": subjects,
           "roleRef": {"apiGroup": RBAC_GROUP, "kind": role.0, "name": role.1}})
}

fn read_pods() -> Value {
    json!([{"verbs": ["get", "list"], "apiGroups": [""], "resources": ["pods"]}])
}

fn index() -> RbacIndex {
    RbacIndex::build(
        [&role("ns", "reader", read_pods())],
        [
            &binding("ns", "b", ("Role", "reader"), json!([{"kind": "User", "name": "jane"}])),
            &binding("ns", "sa", ("ClusterRole", "view"), json!([{"kind": "ServiceAccount", "name": "sa"}])),
        ],
        [&role("", "view", read_pods()), &role("", "none", Value::Null)],
        [
            &binding("", "g", ("ClusterRole", "view"), json!([{"kind": "Group", "name": "dev"}])),
            &binding("", "lost", ("ClusterRole", "gone"), json!([{"kind": "User", "name": "joe"}])),
            &binding(
                "",
                "nowhere",
                ("ClusterRole", "view"),
                json!([{"kind": "ServiceAccount", "name": "sa"}]),
            ),
        ],
    )
}

fn list(index: &RbacIndex, user: &UserInfo, namespace: &str) -> Verdict {
    Authorizer::new(index).authorize(&ask(user, "list", ("", "pods", ""), (namespace, "")))
}

#[test]
fn decisions_carry_upstreams_reasons() {
    let index = index();
    let nobody: [&str; 0] = [];
    let jane = UserInfo::new("jane", nobody);
    assert_eq!(
        list(&index, &jane, "ns").reason,
        "RBAC: allowed by RoleBinding \"b/ns\" of Role \"reader\" to User \"jane\""
    );
    assert_eq!(list(&index, &jane, "other"), Verdict::no_opinion(""));
    assert_eq!(list(&index, &jane, ""), Verdict::no_opinion(""));
    let dev = UserInfo::new("x", ["dev"]);
    assert_eq!(
        list(&index, &dev, "").reason,
        "RBAC: allowed by ClusterRoleBinding \"g\" of ClusterRole \"view\" to Group \"dev\""
    );
    let account = UserInfo::new("system:serviceaccount:ns:sa", nobody);
    assert_eq!(
        list(&index, &account, "ns").reason,
        "RBAC: allowed by RoleBinding \"sa/ns\" of ClusterRole \"view\" to ServiceAccount \"sa/ns\""
    );
    assert!(!list(&index, &account, "").allowed());
    let joe = list(&index, &UserInfo::new("joe", nobody), "ns");
    assert_eq!(joe.reason, "RBAC: clusterrole.rbac.authorization.k8s.io \"gone\" not found");
    assert!(list(&RbacIndex::default(), &UserInfo::new("x", [MASTERS]), "ns").allowed());
}

#[test]
fn denials_read_as_upstream() {
    let jane = UserInfo::new("jane", ["x"]);
    let said = |attributes: Attributes<'_>| attributes.forbidden("").message;
    assert_eq!(
        said(ask(&jane, "list", ("", "pods", ""), ("default", ""))),
        "pods is forbidden: User \"jane\" cannot list resource \"pods\" in API group \"\" in the namespace \"default\""
    );
    assert_eq!(
        said(ask(&jane, "update", ("apps", "deployments", "scale"), ("", "d"))),
        "deployments.apps \"d\" is forbidden: User \"jane\" cannot update resource \"deployments/scale\" in API group \
         \"apps\" at the cluster scope"
    );
    assert_eq!(
        said(Attributes::of_path(&jane, "get", "/metrics")),
        "forbidden: User \"jane\" cannot get path \"/metrics\""
    );
}

#[test]
fn an_overlay_changes_what_is_shared_for_itself_only() {
    let base = Arc::new(index());
    let mut own = RbacIndex::over(base.clone());
    let nobody: [&str; 0] = [];
    let (jane, dev) = (UserInfo::new("jane", nobody), UserInfo::new("x", ["dev"]));
    assert!(own.is_plain() && list(&own, &dev, "").allowed());

    own.apply_event(RbacKind::ClusterRoleBinding, RbacEvent::Removed { namespace: "", name: "g" }).unwrap();
    assert!(!list(&own, &dev, "").allowed());
    assert!(list(&base, &dev, "").allowed());

    let again = binding("", "g", ("ClusterRole", "view"), json!([{"kind": "User", "name": "jane"}]));
    own.apply_event(RbacKind::ClusterRoleBinding, RbacEvent::Set(&again)).unwrap();
    assert!(list(&own, &jane, "").allowed());
    assert!(!list(&own, &dev, "").allowed());

    own.apply_event(RbacKind::ClusterRole, RbacEvent::Set(&role("", "view", json!([])))).unwrap();
    assert!(!list(&own, &jane, "").allowed());
    own.apply_event(RbacKind::ClusterRole, RbacEvent::Removed { namespace: "", name: "view" }).unwrap();
    assert!(list(&own, &jane, "").reason.ends_with("\"view\" not found"));

    let new = binding("ns", "new", ("Role", "reader"), json!([{"kind": "User", "name": "new"}]));
    own.apply_event(RbacKind::RoleBinding, RbacEvent::Set(&new)).unwrap();
    assert!(list(&own, &UserInfo::new("new", nobody), "ns").allowed());
    own.apply_event(RbacKind::RoleBinding, RbacEvent::Removed { namespace: "ns", name: "new" }).unwrap();
    assert!(!list(&own, &UserInfo::new("new", nobody), "ns").allowed());

    // What is not inherited leaves no trace.
    let mut own = RbacIndex::over(base);
    own.apply_event(RbacKind::RoleBinding, RbacEvent::Set(&new)).unwrap();
    assert!(!own.is_plain());
    own.apply_event(RbacKind::RoleBinding, RbacEvent::Removed { namespace: "ns", name: "new" }).unwrap();
    assert!(own.is_plain());
}

#[test]
fn an_unreadable_role_grants_nothing() {
    let mut index = index();
    let broken = role("", "view", json!([{"verbs": "get"}]));
    assert!(index.apply_event(RbacKind::ClusterRole, RbacEvent::Set(&broken)).is_err());
    assert!(!list(&index, &UserInfo::new("x", ["dev"]), "").allowed());
}

#[test]
fn nobody_hands_out_what_they_do_not_hold() {
    let index = index();
    let authorizer = Authorizer::new(&index);
    let jane = UserInfo::new("jane", ["dev", "ops"]);
    let wanted =
        [rule(json!({"verbs": ["get", "delete"], "apiGroups": [""], "resources": ["pods", "secrets"]}))];
    assert_eq!(
        authorizer.confirm_no_escalation(&jane, "ns", &wanted).unwrap_err(),
        "user \"jane\" (groups=[\"dev\" \"ops\"]) is attempting to grant RBAC permissions not currently held:\n\
         {APIGroups:[\"\"], Resources:[\"pods\"], Verbs:[\"delete\"]}\n\
         {APIGroups:[\"\"], Resources:[\"secrets\"], Verbs:[\"get\" \"delete\"]}"
    );
    let held =
        [rule(json!({"verbs": ["get"], "apiGroups": [""], "resources": ["pods"], "resourceNames": ["a"]}))];
    assert!(authorizer.may_write_role(&jane, "roles", "ns", "r", &held).is_ok());
    assert_eq!(authorizer.may_write_role(&jane, "roles", "ns", "r", &wanted).unwrap_err().code, 403);
    let root = UserInfo::new("x", [MASTERS]);
    assert!(authorizer.may_write_role(&root, "roles", "ns", "r", &wanted).is_ok());
    let role = |name: &str| RoleRef { kind: "ClusterRole".into(), name: name.into() };
    assert!(authorizer.may_bind(&jane, "rolebindings", "ns", "b", &role("view")).is_ok());
    assert_eq!(authorizer.may_bind(&jane, "rolebindings", "ns", "b", &role("gone")).unwrap_err().code, 404);
    let anyone = UserInfo::new("eve", ["x"]);
    assert_eq!(authorizer.may_bind(&anyone, "rolebindings", "ns", "b", &role("view")).unwrap_err().code, 403);
}

#[test]
fn covering_knows_wildcards() {
    let all = [rule(json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}))];
    let scale = [rule(json!({"verbs": ["get"], "apiGroups": ["*"], "resources": ["*/scale"]}))];
    let one = [rule(json!({"verbs": ["get"], "apiGroups": ["apps"], "resources": ["deployments/scale"]}))];
    let named =
        [rule(json!({"verbs": ["get"], "apiGroups": ["apps"], "resources": ["x"], "resourceNames": ["a"]}))];
    let unnamed = [rule(json!({"verbs": ["get"], "apiGroups": ["apps"], "resources": ["x"]}))];
    let paths = [rule(json!({"verbs": ["get"], "nonResourceURLs": ["/a*"]}))];
    let path = [rule(json!({"verbs": ["get"], "nonResourceURLs": ["/ab"]}))];
    assert!(
        covers(&all, &scale) && covers(&scale, &one) && covers(&unnamed, &named) && covers(&paths, &path)
    );
    assert!(
        !covers(&one, &scale) && !covers(&named, &unnamed) && !covers(&path, &paths) && !covers(&scale, &all)
    );
    assert!(!covers(&all, &path));
}

#[test]
fn the_rules_of_a_user_are_told() {
    let index = index();
    let (rules, errors) = Authorizer::new(&index).rules_for(&UserInfo::new("joe", ["dev"]), "ns");
    assert_eq!((rules.len(), errors.len()), (1, 1));
}

#[test]
fn aggregation_gathers_each_rule_once() {
    let labelled = |name: &str, verb: &str| {
        json!({"metadata": {"name": name, "labels": {"a": "true"}},
               "rules": [{"verbs": [verb], "apiGroups": [""], "resources": ["pods"]}]})
    };
    let roles =
        [labelled("z", "get"), labelled("y", "list"), labelled("x", "get"), role("", "other", read_pods())];
    let whole = json!({"metadata": {"name": "w", "labels": {"a": "true"}},
                       "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"a": "true"}}]}});
    let rules = aggregated_rules(&whole, roles.iter()).unwrap().unwrap();
    assert_eq!(rules.iter().map(|r| r.verbs[0].as_str()).collect::<Vec<_>>(), ["get", "list"]);
    assert_eq!(aggregated_rules(&roles[0], roles.iter()).unwrap(), None);
}
