//! The RBAC policy: roles of the tables, and who is bound to them.

use serde_json::{Value, json};

use super::controllers::CONTROLLERS;
use super::roles::{CLUSTER_ROLES, ROLES};
use super::{APISERVER, BootstrapObject, kind, managed};
use crate::authz::{PolicyRule, RBAC_GROUP, aggregated_rules};

/// A rule, its lists as words; `core` is the group without a name.
pub(super) struct Rule {
    verbs: &'static str,
    groups: &'static str,
    resources: &'static str,
    names: &'static str,
    paths: &'static str,
}

/// Verbs on resources.
pub(super) const fn on(verbs: &'static str, groups: &'static str, resources: &'static str) -> Rule {
    Rule { verbs, groups, resources, names: "", paths: "" }
}

/// Verbs on resources of certain names.
pub(super) const fn named(
    verbs: &'static str,
    groups: &'static str,
    resources: &'static str,
    names: &'static str,
) -> Rule {
    Rule { verbs, groups, resources, names, paths: "" }
}

/// Verbs on paths.
pub(super) const fn path(verbs: &'static str, paths: &'static str) -> Rule {
    Rule { verbs, groups: "", resources: "", names: "", paths }
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

impl Rule {
    fn policy(&self) -> PolicyRule {
        let groups = words(self.groups).into_iter().map(|g| if g == "core" { String::new() } else { g });
        PolicyRule {
            verbs: words(self.verbs),
            api_groups: groups.collect(),
            resources: words(self.resources),
            resource_names: words(self.names),
            non_resource_urls: words(self.paths),
        }
    }
}

/// The roles that gather others': by name, and by the role that gathers them in turn.
const GATHERING: &[(&str, &str)] = &[("admin", ""), ("edit", "admin"), ("view", "edit")];

/// Who is bound to the cluster roles, beside the controllers.
const CLUSTER_BINDINGS: &[(&str, &[Who])] = &[
    ("cluster-admin", &[Who::Group("system:masters")]),
    ("system:basic-user", &[Who::Group("system:authenticated")]),
    ("system:discovery", &[Who::Group("system:authenticated")]),
    ("system:kube-controller-manager", &[Who::User("system:kube-controller-manager")]),
    ("system:kube-dns", &[Who::Account("kube-dns")]),
    ("system:kube-scheduler", &[Who::User("system:kube-scheduler")]),
    ("system:monitoring", &[Who::Group("system:monitoring")]),
    ("system:node", &[]),
    ("system:node-proxier", &[Who::User("system:kube-proxy")]),
    (
        "system:public-info-viewer",
        &[Who::Group("system:authenticated"), Who::Group("system:unauthenticated")],
    ),
    ("system:service-account-issuer-discovery", &[Who::Group("system:serviceaccounts")]),
    ("system:volume-scheduler", &[Who::User("system:kube-scheduler")]),
];

/// Who is bound to the roles: namespace, name, role.
const BINDINGS: &[(&str, &str, &str, &[Who])] = &[
    (
        "kube-public",
        "system:controller:bootstrap-signer",
        "system:controller:bootstrap-signer",
        &[Who::Account("bootstrap-signer")],
    ),
    (
        "kube-system",
        "system::extension-apiserver-authentication-reader",
        "extension-apiserver-authentication-reader",
        &[Who::User("system:kube-controller-manager"), Who::User("system:kube-scheduler")],
    ),
    (
        "kube-system",
        "system::leader-locking-kube-controller-manager",
        "system::leader-locking-kube-controller-manager",
        &[
            Who::User("system:kube-controller-manager"),
            Who::Account("kube-controller-manager"),
            Who::Account("leader-election-controller"),
        ],
    ),
    (
        "kube-system",
        "system::leader-locking-kube-scheduler",
        "system::leader-locking-kube-scheduler",
        &[Who::User("system:kube-scheduler"), Who::Account("kube-scheduler")],
    ),
    (
        "kube-system",
        "system:controller:bootstrap-signer",
        "system:controller:bootstrap-signer",
        &[Who::Account("bootstrap-signer")],
    ),
    (
        "kube-system",
        "system:controller:cloud-provider",
        "system:controller:cloud-provider",
        &[Who::Account("cloud-provider")],
    ),
    (
        "kube-system",
        "system:controller:token-cleaner",
        "system:controller:token-cleaner",
        &[Who::Account("token-cleaner")],
    ),
];

/// A subject; accounts are those of `kube-system`.
enum Who {
    User(&'static str),
    Group(&'static str),
    Account(&'static str),
}

impl Who {
    fn subject(&self) -> Value {
        match self {
            Self::User(name) => json!({ "kind": "User", "apiGroup": RBAC_GROUP, "name": name }),
            Self::Group(name) => json!({ "kind": "Group", "apiGroup": RBAC_GROUP, "name": name }),
            Self::Account(name) => account(name),
        }
    }
}

fn account(name: &str) -> Value {
    json!({ "kind": "ServiceAccount", "name": name, "namespace": "kube-system" })
}

fn metadata(gathered_by: &str) -> Value {
    let mut metadata = json!({
        "labels": { "kubernetes.io/bootstrapping": "rbac-defaults" },
        "annotations": { "rbac.authorization.kubernetes.io/autoupdate": "true" },
    });
    if !gathered_by.is_empty() {
        metadata["labels"][aggregation_label(gathered_by)] = "true".into();
    }
    metadata
}

fn aggregation_label(role: &str) -> String {
    format!("{RBAC_GROUP}/aggregate-to-{role}")
}

fn rules(of: &[Rule]) -> Value {
    json!({ "rules": of.iter().map(Rule::policy).collect::<Vec<_>>() })
}

fn cluster_role(name: &str, gathered_by: &str, fields: Value) -> BootstrapObject {
    kind(RBAC_GROUP, "ClusterRole", "clusterroles").object(
        None,
        name,
        Some(APISERVER),
        metadata(gathered_by),
        fields,
    )
}

fn binding(role_kind: &str, role: &str, subjects: &[Value]) -> Value {
    let mut binding = json!({ "roleRef": { "apiGroup": RBAC_GROUP, "kind": role_kind, "name": role } });
    if !subjects.is_empty() {
        binding["subjects"] = subjects.into();
    }
    binding
}

/// Adds the whole policy.
pub(super) fn add(objects: &mut Vec<BootstrapObject>) {
    let mut cluster_roles = Vec::new();
    for (name, table) in CLUSTER_ROLES {
        let gathered_by = name.strip_prefix("system:aggregate-to-").unwrap_or("");
        cluster_roles.push(cluster_role(name, gathered_by, rules(table)));
    }
    for (name, table) in CONTROLLERS {
        cluster_roles.push(cluster_role(&format!("system:controller:{name}"), "", rules(table)));
    }
    // From the innermost outwards, because each gathers the rules of the one before.
    for (name, gathered_by) in GATHERING.iter().rev() {
        let label = aggregation_label(name);
        let mut role = cluster_role(
            name,
            gathered_by,
            json!({ "aggregationRule": { "clusterRoleSelectors": [{ "matchLabels": { label: "true" } }] } }),
        );
        // The tables are ours: they always read back as rules, and the tests hold them to it.
        let gathered = aggregated_rules(&role.value, cluster_roles.iter().map(|role| &role.value));
        role.value["rules"] = json!(gathered.ok().flatten().unwrap_or_default());
        let gatherer =
            managed::applied(&role.value, "clusterrole-aggregation-controller", "", json!({ "f:rules": {} }));
        let created = role.value["metadata"]["managedFields"][0].clone();
        role.value["metadata"]["managedFields"] = json!([gatherer, created]);
        cluster_roles.push(role);
    }
    objects.append(&mut cluster_roles);

    let cluster_bindings = kind(RBAC_GROUP, "ClusterRoleBinding", "clusterrolebindings");
    let mut bind = |name: &str, subjects: &[Value]| {
        let fields = binding("ClusterRole", name, subjects);
        objects.push(cluster_bindings.object(None, name, Some(APISERVER), metadata(""), fields));
    };
    for (name, subjects) in CLUSTER_BINDINGS {
        bind(name, &subjects.iter().map(Who::subject).collect::<Vec<_>>());
    }
    for (name, _) in CONTROLLERS {
        bind(&format!("system:controller:{name}"), &[account(name)]);
    }
    for (namespace, name, table) in ROLES {
        objects.push(kind(RBAC_GROUP, "Role", "roles").object(
            Some(namespace),
            name,
            Some(APISERVER),
            metadata(""),
            rules(table),
        ));
    }
    for (namespace, name, role, subjects) in BINDINGS {
        let subjects: Vec<_> = subjects.iter().map(Who::subject).collect();
        objects.push(kind(RBAC_GROUP, "RoleBinding", "rolebindings").object(
            Some(namespace),
            name,
            Some(APISERVER),
            metadata(""),
            binding("Role", role, &subjects),
        ));
    }
}
