//! The RBAC objects of a control plane, found by subject.
//!
//! What many control planes inherit is one shared index; each adds a small overlay of its own changes, so that an
//! idle one costs nothing. The cost of a decision is that of the user's bindings, whatever the number of others.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use kplane_machinery::{field::go_quote, object};
use serde_json::Value;

use super::{Attributes, PolicyRule, Verdict};
use crate::user::{UserInfo, parse_service_account};

/// A kind of RBAC object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RbacKind {
    /// Rules for the whole control plane.
    ClusterRole,
    /// Who has a cluster role everywhere.
    ClusterRoleBinding,
    /// Rules for a namespace.
    Role,
    /// Who has a role in a namespace.
    RoleBinding,
}

impl RbacKind {
    /// The kind of a resource of the group, `None` for another.
    pub fn of_resource(resource: &str) -> Option<Self> {
        Some(match resource {
            "clusterroles" => Self::ClusterRole,
            "clusterrolebindings" => Self::ClusterRoleBinding,
            "roles" => Self::Role,
            "rolebindings" => Self::RoleBinding,
            _ => return None,
        })
    }

    fn is_binding(self) -> bool {
        matches!(self, Self::ClusterRoleBinding | Self::RoleBinding)
    }
}

/// A change of one object.
#[derive(Clone, Copy, Debug)]
pub enum RbacEvent<'a> {
    /// It is now this: added or changed.
    Set(&'a Value),
    /// There is none of this namespace (empty for cluster kinds) and name any more.
    Removed {
        /// The namespace.
        namespace: &'a str,
        /// The name.
        name: &'a str,
    },
}

/// What a binding refers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoleRef {
    /// `Role` or `ClusterRole`.
    pub kind: String,
    /// The name.
    pub name: String,
}

impl RoleRef {
    /// The role of a binding.
    pub fn of(binding: &Value) -> Self {
        let text = |field| object::str_at(binding, &["roleRef", field]).to_owned();
        Self { kind: text("kind"), name: text("name") }
    }
}

/// The kind of a subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SubjectKind {
    /// A user by name.
    User,
    /// All users of a group.
    Group,
    /// A service account.
    ServiceAccount,
}

/// Who is bound to a role.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subject {
    /// The kind.
    pub kind: SubjectKind,
    /// The namespace of a service account, else empty.
    pub namespace: String,
    /// The name.
    pub name: String,
}

impl Subject {
    /// A subject of a binding in a namespace (empty for a cluster role binding), `None` when it can match nobody.
    fn read(value: &Value, namespace: &str) -> Option<Self> {
        let text = |field: &str| value.get(field).and_then(Value::as_str).unwrap_or("");
        let kind = match text("kind") {
            "User" => SubjectKind::User,
            "Group" => SubjectKind::Group,
            "ServiceAccount" => SubjectKind::ServiceAccount,
            _ => return None,
        };
        let namespace = match (kind, text("namespace")) {
            (SubjectKind::ServiceAccount, "") if namespace.is_empty() => return None,
            (SubjectKind::ServiceAccount, "") => namespace,
            (SubjectKind::ServiceAccount, said) => said,
            _ => "",
        };
        Some(Self { kind, namespace: namespace.to_owned(), name: text("name").to_owned() })
    }

    /// Whom a user's requests may match.
    fn all_of(user: &UserInfo) -> Vec<Self> {
        let plain = |kind, name: &str| Self { kind, namespace: String::new(), name: name.to_owned() };
        let mut all = vec![plain(SubjectKind::User, &user.username)];
        if let Some((namespace, name)) = parse_service_account(&user.username) {
            all.push(Self {
                kind: SubjectKind::ServiceAccount,
                namespace: namespace.to_owned(),
                name: name.to_owned(),
            });
        }
        all.extend(user.groups.iter().map(|group| plain(SubjectKind::Group, group)));
        all
    }

    fn described(&self) -> String {
        match self.kind {
            SubjectKind::User => format!("User {}", go_quote(&self.name)),
            SubjectKind::Group => format!("Group {}", go_quote(&self.name)),
            SubjectKind::ServiceAccount => {
                format!("ServiceAccount {}", go_quote(&format!("{}/{}", self.name, self.namespace)))
            }
        }
    }
}

#[derive(Debug)]
struct Binding {
    role: RoleRef,
    subjects: Vec<Subject>,
}

/// Namespace (empty for cluster kinds) and name.
type Key = (Arc<str>, Arc<str>);

fn key(namespace: &str, name: &str) -> Key {
    (namespace.into(), name.into())
}

/// What is said of a name: an object, or that what is inherited is gone.
type Entries<T> = HashMap<Key, Option<Arc<T>>>;

#[derive(Debug, Default)]
struct Roles(Entries<Vec<PolicyRule>>);

#[derive(Debug, Default)]
struct Bindings {
    entries: Entries<Binding>,
    by_subject: HashMap<Subject, BTreeSet<Key>>,
}

impl Bindings {
    fn set(&mut self, at: Key, binding: Option<Arc<Binding>>) {
        self.unset(&at);
        for subject in binding.iter().flat_map(|binding| &binding.subjects) {
            self.by_subject.entry(subject.clone()).or_default().insert(at.clone());
        }
        self.entries.insert(at, binding);
    }

    fn unset(&mut self, at: &Key) {
        let Some(Some(old)) = self.entries.remove(at) else { return };
        for subject in &old.subjects {
            if let Some(keys) = self.by_subject.get_mut(subject) {
                keys.remove(at);
                if keys.is_empty() {
                    self.by_subject.remove(subject);
                }
            }
        }
    }
}

/// The RBAC objects of a control plane: a shared base, and changes over it.
#[derive(Debug, Default)]
pub struct RbacIndex {
    base: Option<Arc<RbacIndex>>,
    cluster_roles: Roles,
    roles: Roles,
    cluster_bindings: Bindings,
    bindings: Bindings,
}

/// A binding that names the user: where, which, and through which of the user's subjects.
struct Found<'a> {
    at: Key,
    binding: &'a Binding,
    subject: Subject,
    cluster: bool,
}

impl Found<'_> {
    fn described(&self) -> String {
        let (kind, name) = if self.cluster {
            ("ClusterRoleBinding", go_quote(&self.at.1))
        } else {
            ("RoleBinding", go_quote(&format!("{}/{}", self.at.1, self.at.0)))
        };
        let role = &self.binding.role;
        format!("{kind} {name} of {} {} to {}", role.kind, go_quote(&role.name), self.subject.described())
    }
}

impl RbacIndex {
    /// An index of these objects. A role that cannot be read grants nothing, and is told in the log.
    pub fn build<'a>(
        roles: impl IntoIterator<Item = &'a Value>,
        role_bindings: impl IntoIterator<Item = &'a Value>,
        cluster_roles: impl IntoIterator<Item = &'a Value>,
        cluster_role_bindings: impl IntoIterator<Item = &'a Value>,
    ) -> Self {
        let mut index = Self::default();
        let mut set = |kind, object| {
            if let Err(error) = index.apply_event(kind, RbacEvent::Set(object)) {
                tracing::warn!(?kind, error, "a role cannot be read and grants nothing");
            }
        };
        roles.into_iter().for_each(|role| set(RbacKind::Role, role));
        role_bindings.into_iter().for_each(|binding| set(RbacKind::RoleBinding, binding));
        cluster_roles.into_iter().for_each(|role| set(RbacKind::ClusterRole, role));
        cluster_role_bindings.into_iter().for_each(|binding| set(RbacKind::ClusterRoleBinding, binding));
        index
    }

    /// An empty overlay of what is shared.
    pub fn over(base: Arc<RbacIndex>) -> Self {
        Self { base: Some(base), ..Self::default() }
    }

    /// Whether it says nothing beyond its base.
    pub fn is_plain(&self) -> bool {
        self.cluster_roles.0.is_empty()
            && self.roles.0.is_empty()
            && self.cluster_bindings.entries.is_empty()
            && self.bindings.entries.is_empty()
    }

    /// Takes in a change of one object. An object that cannot be read counts as removed, and is an error.
    pub fn apply_event(&mut self, kind: RbacKind, event: RbacEvent<'_>) -> Result<(), String> {
        let (at, object) = match event {
            RbacEvent::Set(object) => (key(object::namespace(object), object::name(object)), Some(object)),
            RbacEvent::Removed { namespace, name } => (key(namespace, name), None),
        };
        if kind.is_binding() {
            let binding = object.map(|object| read_binding(object, &at.0));
            let hidden = binding.is_none() && self.base.as_ref().is_none_or(|base| !base.has(kind, &at));
            let table =
                if kind == RbacKind::RoleBinding { &mut self.bindings } else { &mut self.cluster_bindings };
            if hidden {
                table.unset(&at);
                table.entries.remove(&at);
            } else {
                table.set(at, binding.map(Arc::new));
            }
            return Ok(());
        }
        let (rules, error) = match object.map(PolicyRule::all_of) {
            None => (None, None),
            Some(Ok(rules)) => (Some(Arc::new(rules)), None),
            Some(Err(e)) => (None, Some(format!("{}: {e}", at.1))),
        };
        let hidden = rules.is_none() && self.base.as_ref().is_none_or(|base| !base.has(kind, &at));
        let table = if kind == RbacKind::Role { &mut self.roles } else { &mut self.cluster_roles };
        if hidden {
            table.0.remove(&at);
        } else {
            table.0.insert(at, rules);
        }
        error.map_or(Ok(()), Err)
    }

    /// Whether there is an object of this namespace (empty for cluster kinds) and name.
    pub fn contains(&self, kind: RbacKind, namespace: &str, name: &str) -> bool {
        self.has(kind, &key(namespace, name))
    }

    /// Namespace and name of each object that it holds itself, without those of its base.
    pub fn own_names(&self, kind: RbacKind) -> Vec<(&str, &str)> {
        fn of<T>(entries: &Entries<T>) -> Vec<(&str, &str)> {
            entries
                .iter()
                .filter(|(_, entry)| entry.is_some())
                .map(|((space, name), _)| (&**space, &**name))
                .collect()
        }
        match kind {
            RbacKind::ClusterRole => of(&self.cluster_roles.0),
            RbacKind::Role => of(&self.roles.0),
            RbacKind::ClusterRoleBinding => of(&self.cluster_bindings.entries),
            RbacKind::RoleBinding => of(&self.bindings.entries),
        }
    }

    fn has(&self, kind: RbacKind, at: &Key) -> bool {
        match kind {
            RbacKind::Role | RbacKind::ClusterRole => self.rules_at(kind, at).is_some(),
            RbacKind::RoleBinding | RbacKind::ClusterRoleBinding => {
                let own = if kind == RbacKind::RoleBinding { &self.bindings } else { &self.cluster_bindings };
                match own.entries.get(at) {
                    Some(entry) => entry.is_some(),
                    None => self.base.as_ref().is_some_and(|base| base.has(kind, at)),
                }
            }
        }
    }

    fn rules_at(&self, kind: RbacKind, at: &Key) -> Option<Arc<Vec<PolicyRule>>> {
        let own = if kind == RbacKind::Role { &self.roles } else { &self.cluster_roles };
        match own.0.get(at) {
            Some(entry) => entry.clone(),
            None => self.base.as_ref()?.rules_at(kind, at),
        }
    }

    /// The rules of a role; the error is the singular resource that is missing.
    pub(super) fn role_rules(
        &self,
        role: &RoleRef,
        namespace: &str,
    ) -> Result<Arc<Vec<PolicyRule>>, &'static str> {
        let (kind, namespace, missing) = match role.kind.as_str() {
            "Role" => (RbacKind::Role, namespace, "role"),
            _ => (RbacKind::ClusterRole, "", "clusterrole"),
        };
        self.rules_at(kind, &key(namespace, &role.name)).ok_or(missing)
    }

    /// The bindings that name one of the subjects, in the order of their names; with a namespace those of it, without
    /// one the cluster's.
    fn bindings_of(&self, subjects: &[Subject], namespace: Option<&str>) -> Vec<Found<'_>> {
        let cluster = namespace.is_none();
        let mut found: BTreeMap<Key, Found<'_>> = BTreeMap::new();
        let mut level = Some(self);
        let mut above: Vec<&Bindings> = Vec::new();
        while let Some(index) = level {
            let table = if cluster { &index.cluster_bindings } else { &index.bindings };
            for subject in subjects {
                for at in table.by_subject.get(subject).into_iter().flatten() {
                    let elsewhere = namespace.is_some_and(|namespace| *at.0 != *namespace);
                    let covered = above.iter().any(|upper| upper.entries.contains_key(at));
                    if elsewhere || covered || found.contains_key(at) {
                        continue;
                    }
                    if let Some(Some(binding)) = table.entries.get(at) {
                        // The subject that stands first in the binding is the one told.
                        let told = binding.subjects.iter().find(|s| subjects.contains(s)).unwrap_or(subject);
                        let one = Found { at: at.clone(), binding, subject: told.clone(), cluster };
                        found.insert(at.clone(), one);
                    }
                }
            }
            above.push(table);
            level = index.base.as_deref();
        }
        found.into_values().collect()
    }

    /// Visits the rules that a user has, the cluster's first; stops when told.
    fn visit(
        &self,
        user: &UserInfo,
        namespace: &str,
        mut visit: impl FnMut(&Found<'_>, Result<&PolicyRule, String>) -> bool,
    ) {
        let subjects = Subject::all_of(user);
        let scopes = [None, (!namespace.is_empty()).then_some(namespace)];
        for (turn, scope) in scopes.into_iter().enumerate() {
            if turn == 1 && scope.is_none() {
                return;
            }
            for found in self.bindings_of(&subjects, scope) {
                let go_on = match self.role_rules(&found.binding.role, namespace) {
                    Ok(rules) => rules.iter().all(|rule| visit(&found, Ok(rule))),
                    Err(missing) => {
                        let name = go_quote(&found.binding.role.name);
                        visit(&found, Err(format!("{missing}.{} {name} not found", super::RBAC_GROUP)))
                    }
                };
                if !go_on {
                    return;
                }
            }
        }
    }

    /// Upstream's RBAC authorizer.
    pub fn authorize(&self, attributes: &Attributes<'_>) -> Verdict {
        let mut allowed = None;
        let mut errors: Vec<String> = Vec::new();
        let namespace = if attributes.is_resource() { attributes.namespace } else { "" };
        self.visit(attributes.user, namespace, |found, rule| {
            match rule {
                Ok(rule) if rule.allows(attributes) => {
                    allowed = Some(format!("RBAC: allowed by {}", found.described()));
                }
                Ok(_) => {}
                Err(error) if errors.contains(&error) => {}
                Err(error) => errors.push(error),
            }
            allowed.is_none()
        });
        match (allowed, errors.as_slice()) {
            (Some(reason), _) => Verdict::allow(reason),
            (None, []) => Verdict::no_opinion(""),
            (None, [one]) => Verdict::no_opinion(format!("RBAC: {one}")),
            (None, many) => Verdict::no_opinion(format!("RBAC: [{}]", many.join(", "))),
        }
    }

    /// The rules of a user, in a namespace and everywhere, and what could not be resolved.
    pub fn rules_for(&self, user: &UserInfo, namespace: &str) -> (Vec<PolicyRule>, Vec<String>) {
        let (mut rules, mut errors) = (Vec::new(), Vec::new());
        self.visit(user, namespace, |_, rule| {
            match rule {
                Ok(rule) => rules.push(rule.clone()),
                Err(error) => errors.push(error),
            }
            true
        });
        (rules, errors)
    }
}

fn read_binding(object: &Value, namespace: &str) -> Binding {
    let subjects = object.get("subjects").and_then(Value::as_array);
    Binding {
        role: RoleRef::of(object),
        subjects: subjects.into_iter().flatten().filter_map(|s| Subject::read(s, namespace)).collect(),
    }
}
