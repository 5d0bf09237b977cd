//! What an identity may do: `system:masters`, what a node may, then RBAC.

mod aggregate;
mod escalation;
mod index;
pub mod node;
mod rule;

use kplane_machinery::field::go_quote;
use kplane_machinery::fields::Term;
use kplane_machinery::labels::Requirement;
use kplane_machinery::{GroupResource, Status};

pub use aggregate::aggregated_rules;
pub use escalation::{covers, uncovered};
pub use index::{RbacEvent, RbacIndex, RbacKind, RoleRef, Subject, SubjectKind};
pub use rule::PolicyRule;

use crate::user::{MASTERS, UserInfo};

/// What somebody wants to do.
#[derive(Clone, Debug)]
pub struct Attributes<'a> {
    /// Who.
    pub user: &'a UserInfo,
    /// The verb: `get`, `list`, `watch`, `create`, … or for a path the method in lower case.
    pub verb: &'a str,
    /// The group of the resource, empty for core.
    pub group: &'a str,
    /// The version asked for.
    pub version: &'a str,
    /// The plural resource; empty for a path that is none.
    pub resource: &'a str,
    /// The subresource, or empty.
    pub subresource: &'a str,
    /// The namespace, or empty.
    pub namespace: &'a str,
    /// The name, or empty.
    pub name: &'a str,
    /// The path, when it is no resource.
    pub path: &'a str,
    /// What a list, a watch or a deletion of a collection is narrowed to, if anything.
    pub selectors: Option<&'a Selectors>,
}

/// What a request for many objects is narrowed to. What cannot be read narrows nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selectors {
    /// By fields.
    pub fields: Vec<Term>,
    /// By labels.
    pub labels: Vec<Requirement>,
}

impl<'a> Attributes<'a> {
    /// About resources of a group, everywhere, of any version.
    pub fn of_resource(user: &'a UserInfo, verb: &'a str, group: &'a str, resource: &'a str) -> Self {
        Self { group, resource, version: "*", ..Self::of_path(user, verb, "") }
    }

    /// About a path that is no resource.
    pub fn of_path(user: &'a UserInfo, verb: &'a str, path: &'a str) -> Self {
        Self {
            user,
            verb,
            group: "",
            version: "",
            resource: "",
            subresource: "",
            namespace: "",
            name: "",
            path,
            selectors: None,
        }
    }

    /// Whether a field must have this value.
    pub fn requires_field(&self, field: &str, value: &str) -> bool {
        self.selectors.is_some_and(|selectors| {
            selectors.fields.iter().any(|term| !term.negated && term.field == field && term.value == value)
        })
    }

    /// Whether it is about a resource.
    pub fn is_resource(&self) -> bool {
        !self.resource.is_empty()
    }

    /// What is denied, in upstream's words.
    pub fn denied(&self) -> String {
        let (user, verb) = (go_quote(&self.user.username), self.verb);
        if !self.is_resource() {
            return format!("User {user} cannot {verb} path {}", go_quote(self.path));
        }
        let resource = if self.subresource.is_empty() {
            go_quote(self.resource)
        } else {
            go_quote(&format!("{}/{}", self.resource, self.subresource))
        };
        let scope = if self.namespace.is_empty() {
            "at the cluster scope".to_owned()
        } else {
            format!("in the namespace {}", go_quote(self.namespace))
        };
        format!("User {user} cannot {verb} resource {resource} in API group {} {scope}", go_quote(self.group))
    }

    /// The 403 to answer with.
    pub fn forbidden(&self, reason: &str) -> Status {
        let mut why = self.denied();
        if !reason.is_empty() {
            why.push_str(": ");
            why.push_str(reason);
        }
        Status::forbidden(&GroupResource::new(self.group, self.resource), self.name, why)
    }
}

/// What an authorizer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// No, whatever the others say.
    Deny,
    /// Yes.
    Allow,
    /// Nothing: ask the next, and when nobody says yes, it is no.
    NoOpinion,
}

/// A decision and what led to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The decision.
    pub decision: Decision,
    /// Upstream's reason, may be empty.
    pub reason: String,
}

impl Verdict {
    /// Whether it is a yes.
    pub fn allowed(&self) -> bool {
        self.decision == Decision::Allow
    }

    /// A yes.
    pub fn allow(reason: impl Into<String>) -> Self {
        Self { decision: Decision::Allow, reason: reason.into() }
    }

    /// A no.
    pub fn deny(reason: impl Into<String>) -> Self {
        Self { decision: Decision::Deny, reason: reason.into() }
    }

    /// Neither yes nor no.
    pub fn no_opinion(reason: impl Into<String>) -> Self {
        Self { decision: Decision::NoOpinion, reason: reason.into() }
    }
}

/// Decides in one control plane, over one state of its RBAC objects.
#[derive(Clone, Copy, Debug)]
pub struct Authorizer<'a> {
    rbac: &'a RbacIndex,
}

impl<'a> Authorizer<'a> {
    /// Over this state.
    pub fn new(rbac: &'a RbacIndex) -> Self {
        Self { rbac }
    }

    /// Whether it may be done.
    pub fn authorize(&self, attributes: &Attributes<'_>) -> Verdict {
        if attributes.user.in_group(MASTERS) {
            return Verdict::allow("");
        }
        self.rbac.authorize(attributes)
    }

    /// Nothing, or the 403 to answer with.
    pub fn require(&self, attributes: &Attributes<'_>) -> Result<(), Status> {
        let verdict = self.authorize(attributes);
        if verdict.allowed() { Ok(()) } else { Err(attributes.forbidden(&verdict.reason)) }
    }

    /// The rules of a user in a namespace, and what could not be resolved: for a `SelfSubjectRulesReview`.
    pub fn rules_for(&self, user: &UserInfo, namespace: &str) -> (Vec<PolicyRule>, Vec<String>) {
        let (mut rules, errors) = self.rbac.rules_for(user, namespace);
        if user.in_group(MASTERS) {
            rules.splice(0..0, PolicyRule::everything());
        }
        (rules, errors)
    }

    /// Whether the user may hand out these rules in a namespace (or, when it is empty, everywhere), because it holds
    /// them. The error is what to say after `is forbidden:`.
    pub fn confirm_no_escalation(
        &self,
        user: &UserInfo,
        namespace: &str,
        wanted: &[PolicyRule],
    ) -> Result<(), String> {
        if user.in_group(MASTERS) {
            return Ok(());
        }
        let (held, errors) = self.rbac.rules_for(user, namespace);
        escalation::confirm(user, &held, &errors, wanted)
    }

    /// Whether the user may change a role to these rules: by the verb `escalate` on it, or by holding them.
    pub fn may_write_role(
        &self,
        user: &UserInfo,
        resource: &str,
        namespace: &str,
        name: &str,
        rules: &[PolicyRule],
    ) -> Result<(), Status> {
        if self.may(user, "escalate", resource, namespace, name) {
            return Ok(());
        }
        self.confirm_no_escalation(user, namespace, rules)
            .map_err(|why| Status::forbidden(&GroupResource::new(RBAC_GROUP, resource), name, why))
    }

    /// Whether the user may write a binding to this role: by the verb `bind` on the role, or by holding its rules.
    pub fn may_bind(
        &self,
        user: &UserInfo,
        binding_resource: &str,
        namespace: &str,
        binding: &str,
        role: &RoleRef,
    ) -> Result<(), Status> {
        if user.in_group(MASTERS) {
            return Ok(());
        }
        let (resource, role_namespace) = match role.kind.as_str() {
            "Role" => ("roles", namespace),
            "ClusterRole" => ("clusterroles", ""),
            other => return Err(Status::plain(format!("unsupported role reference kind: {other:?}"))),
        };
        // The bind verb counts where the binding is: a binding in a namespace asks there.
        let allowed = self.may(user, "bind", resource, namespace, &role.name);
        if allowed {
            return Ok(());
        }
        let forbidden =
            |why: String| Status::forbidden(&GroupResource::new(RBAC_GROUP, binding_resource), binding, why);
        let rules = self
            .rbac
            .role_rules(role, role_namespace)
            .map_err(|_| Status::not_found(&GroupResource::new(RBAC_GROUP, resource), &role.name))?;
        self.confirm_no_escalation(user, namespace, &rules).map_err(forbidden)
    }

    fn may(&self, user: &UserInfo, verb: &str, resource: &str, namespace: &str, name: &str) -> bool {
        let attributes = Attributes::of_resource(user, verb, RBAC_GROUP, resource);
        self.authorize(&Attributes { namespace, name, ..attributes }).allowed()
    }
}

/// The group of RBAC's kinds.
pub const RBAC_GROUP: &str = "rbac.authorization.k8s.io";

#[cfg(test)]
mod tests;
