//! Roles and their bindings.

use kplane_machinery::field::{ErrorList, FieldError};
use serde_json::Value;

use crate::check::{self, NameRule};
use crate::print;
use crate::strategy::{Context, Strategy};
use crate::val::{At, child, dflt, dflt_str, each, items, text};

const GROUP: &str = "rbac.authorization.k8s.io";

/// `Role` and `ClusterRole`.
pub(crate) struct Roles {
    /// Of a namespace: without non-resource URLs.
    pub(crate) namespaced: bool,
}

fn rule(rule: &At<'_>, namespaced: bool, errors: &mut ErrorList) {
    let list = |name: &str| rule.f(name);
    if list("verbs").len() == 0 {
        list("verbs").required(errors, "verbs must contain at least one value");
    }
    if list("nonResourceURLs").len() > 0 {
        if namespaced {
            list("nonResourceURLs").invalid(errors, "namespaced rules cannot apply to non-resource URLs");
        }
        let others = ["apiGroups", "resources", "resourceNames"];
        if others.iter().any(|name| list(name).len() > 0) {
            list("nonResourceURLs")
                .invalid(errors, "rules cannot apply to both regular resources and non-resource URLs");
        }
        return;
    }
    if list("apiGroups").len() == 0 {
        list("apiGroups").required(errors, "resource rules must supply at least one api group");
    }
    if list("resources").len() == 0 {
        list("resources").required(errors, "resource rules must supply at least one resource");
    }
}

impl Roles {
    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = Vec::new();
        let root = At::root(object);
        for one in root.f("rules").items() {
            rule(&one, self.namespaced, &mut errors);
        }
        for selector in root.at(&["aggregationRule", "clusterRoleSelectors"]).items() {
            crate::rules::label_selector(&selector, &mut errors);
        }
        let aggregation = root.f("aggregationRule");
        if aggregation.there() && aggregation.f("clusterRoleSelectors").len() == 0 {
            aggregation.f("clusterRoleSelectors").required(
                &mut errors,
                "at least one clusterRoleSelector required if aggregationRule is non-nil",
            );
        }
        errors
    }
}

impl Strategy for Roles {
    fn name_rule(&self) -> NameRule {
        NameRule::PathSegment
    }

    fn default(&self, _version: &str, object: &mut Value) {
        if let Some(fields) = object.as_object_mut() {
            dflt(fields, "rules", Value::Null);
        }
    }

    fn validate_create(&self, _cx: &Context<'_>, object: &Value) -> ErrorList {
        self.validate(object)
    }

    fn validate_update(&self, _cx: &Context<'_>, object: &Value, _old: &Value) -> ErrorList {
        self.validate(object)
    }

    fn allow_create_on_update(&self) -> bool {
        true
    }
}

/// `RoleBinding` and `ClusterRoleBinding`.
pub(crate) struct Bindings {
    /// Of a namespace.
    pub(crate) namespaced: bool,
}

fn subject(subject: &At<'_>, errors: &mut ErrorList) {
    let (kind, name, group) = (subject.f("kind"), subject.f("name"), subject.f("apiGroup"));
    if name.str().is_empty() {
        name.required(errors, "");
    }
    match kind.str() {
        "ServiceAccount" => {
            if !name.str().is_empty() {
                name.invalid_all(errors, check::subdomain(name.str()));
            }
            if !group.str().is_empty() {
                group.unsupported(errors, &[""]);
            }
            if subject.f("namespace").str().is_empty() {
                subject.f("namespace").required(errors, "");
            }
        }
        "User" | "Group" => {
            if group.str() != GROUP {
                group.unsupported(errors, &[GROUP]);
            }
        }
        _ => kind.unsupported(errors, &["Group", "ServiceAccount", "User"]),
    }
}

impl Bindings {
    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = Vec::new();
        let root = At::root(object);
        let role = root.f("roleRef");
        if role.f("apiGroup").str() != GROUP {
            role.f("apiGroup").unsupported(&mut errors, &[GROUP]);
        }
        let kinds: &[&str] = if self.namespaced { &["ClusterRole", "Role"] } else { &["ClusterRole"] };
        role.f("kind").one_of(&mut errors, kinds);
        if role.f("name").str().is_empty() {
            role.f("name").required(&mut errors, "");
        } else {
            role.f("name").invalid_all(&mut errors, check::path_segment(role.f("name").str()));
        }
        for one in root.f("subjects").items() {
            subject(&one, &mut errors);
        }
        errors
    }
}

impl Strategy for Bindings {
    fn name_rule(&self) -> NameRule {
        NameRule::PathSegment
    }

    fn default(&self, _version: &str, object: &mut Value) {
        let Some(fields) = object.as_object_mut() else { return };
        if let Some(role) = child(fields, "roleRef") {
            dflt_str(role, "apiGroup", GROUP);
        }
        each(fields, "subjects", |subject| {
            if matches!(subject.get("kind").and_then(Value::as_str), Some("User" | "Group")) {
                dflt_str(subject, "apiGroup", GROUP);
            }
        });
    }

    fn validate_create(&self, _cx: &Context<'_>, object: &Value) -> ErrorList {
        self.validate(object)
    }

    fn validate_update(&self, _cx: &Context<'_>, object: &Value, old: &Value) -> ErrorList {
        let mut errors = self.validate(object);
        let role = At::root(object).f("roleRef");
        if !crate::val::same(role.value(), At::root(old).f("roleRef").value()) {
            errors.push(FieldError::invalid(&role.path, role.value(), "cannot change roleRef"));
        }
        errors
    }

    fn allow_create_on_update(&self) -> bool {
        true
    }

    fn row(&self, _version: &str, object: &Value, now: i64) -> Option<Vec<Value>> {
        let role = object.get("roleRef").unwrap_or(&Value::Null);
        let of = |kind: &str| -> Value {
            let names: Vec<String> = items(object, "subjects")
                .iter()
                .filter(|s| text(s, "kind") == kind)
                .map(|s| match kind {
                    "ServiceAccount" => format!("{}/{}", text(s, "namespace"), text(s, "name")),
                    _ => text(s, "name").to_owned(),
                })
                .collect();
            names.join(", ").into()
        };
        Some(vec![
            print::name(object),
            format!("{}/{}", text(role, "kind"), text(role, "name")).into(),
            print::age(object, now),
            of("User"),
            of("Group"),
            of("ServiceAccount"),
        ])
    }
}
