//! Whoever writes a policy or a binding sees in its answers what its parameters hold, and so must be able to read them.
//! Upstream asks for that in the registries of these kinds.

use async_trait::async_trait;
use kplane_machinery::field::{FieldError, Path};
use kplane_machinery::{GroupVersionKind, Status, object};
use serde_json::Value;

use crate::{AccessCheck, Attributes, Configuration, Operation, Plugin};

const GROUP: &str = "admissionregistration.k8s.io";
const MASTERS: &str = "system:masters";
/// The policies, and beside each its bindings.
const KINDS: [(&str, &str); 2] = [
    ("validatingadmissionpolicies", "validatingadmissionpolicybindings"),
    ("mutatingadmissionpolicies", "mutatingadmissionpolicybindings"),
];

/// Refuses policies and bindings with parameters that their author may not read.
pub struct ReadableParameters;

#[async_trait]
impl Plugin for ReadableParameters {
    fn name(&self) -> &'static str {
        "ReadableParameters"
    }

    fn handles(&self, attributes: &Attributes<'_>) -> bool {
        matches!(attributes.operation, Operation::Create | Operation::Update)
            && attributes.subresource.is_empty()
            && &*attributes.def.group == GROUP
            && KINDS.iter().any(|(policies, bindings)| {
                &*attributes.def.plural == *policies || &*attributes.def.plural == *bindings
            })
            && !attributes.groups.iter().any(|group| group == MASTERS)
    }

    async fn validate(&self, attributes: &Attributes<'_>, object: &Value) -> Result<(), Status> {
        let same = |path: &[&str]| {
            attributes.old.is_some_and(|old| object::at(old, path) == object::at(object, path))
        };
        let (field, asked) = if let Some(policies) = policies_of(&attributes.def.plural) {
            let at = ["spec", "paramRef"];
            let Some(reference) = given(object, &at) else { return Ok(()) };
            if same(&at) && same(&["spec", "policyName"]) {
                return Ok(());
            }
            let policy = object::str_at(object, &["spec", "policyName"]);
            let policy = attributes.reader.get(&Configuration::resource(policies), "", policy).await?;
            let kind = policy.as_ref().and_then(|policy| given(policy, &["spec", "paramKind"]));
            let asked = Asked {
                namespace: object::str_at(reference, &["namespace"]),
                name: object::str_at(reference, &["name"]),
                ..Asked::of(attributes, kind).await?
            };
            ("paramRef", asked)
        } else {
            let at = ["spec", "paramKind"];
            let Some(kind) = given(object, &at) else { return Ok(()) };
            if same(&at) {
                return Ok(());
            }
            let asked = Asked { namespace: "*", name: "*", ..Asked::of(attributes, Some(kind)).await? };
            ("paramKind", asked)
        };
        if asked.allowed(attributes).await? {
            return Ok(());
        }
        let user = shown(attributes);
        let why = if field == "paramRef" {
            format!("user {user} does not have \"get\" permission on the object referenced by paramRef")
        } else {
            let kind = &object["spec"]["paramKind"];
            format!(
                "user {user} must have \"get\" permission on all objects of the referenced paramKind (kind={}, apiVersion={})",
                object::str_at(kind, &["kind"]),
                object::str_at(kind, &["apiVersion"]),
            )
        };
        let error = FieldError::forbidden(&Path::new("spec").child(field), why);
        Err(Status::invalid(&attributes.def.group_kind(), object::name(object), &vec![error]))
    }
}

/// The policies that these are the bindings of.
fn policies_of(bindings: &str) -> Option<&'static str> {
    KINDS.iter().find(|(_, plural)| *plural == bindings).map(|(policies, _)| *policies)
}

fn given<'a>(object: &'a Value, path: &[&str]) -> Option<&'a Value> {
    object::at(object, path).filter(|value| value.is_object())
}

/// What somebody must be able to get.
struct Asked<'a> {
    group: String,
    resource: String,
    namespace: &'a str,
    name: &'a str,
}

impl<'a> Asked<'a> {
    /// Objects of this kind; of every kind, while it is not known.
    async fn of(attributes: &Attributes<'_>, kind: Option<&Value>) -> Result<Self, Status> {
        let mut asked = Self { group: "*".into(), resource: "*".into(), namespace: "", name: "" };
        let Some(kind) = kind else { return Ok(asked) };
        let api_version = object::str_at(kind, &["apiVersion"]);
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let kind = GroupVersionKind::new(group, version, object::str_at(kind, &["kind"]));
        asked.group = group.to_owned();
        if let Some(def) = attributes.reader.find_kind(&kind).await? {
            asked.resource = def.plural.to_string();
        }
        Ok(asked)
    }

    async fn allowed(&self, attributes: &Attributes<'_>) -> Result<bool, Status> {
        let check = AccessCheck {
            user: attributes.user,
            groups: attributes.groups,
            uid: attributes.user_uid,
            extra: Some(attributes.extra),
            verb: "get",
            group: &self.group,
            resource: &self.resource,
            namespace: self.namespace,
            name: self.name,
            ..AccessCheck::default()
        };
        Ok(attributes.reader.authorize(&check).await?.allowed)
    }
}

/// A user as Go shows one.
fn shown(attributes: &Attributes<'_>) -> String {
    let extra: Vec<String> =
        attributes.extra.iter().map(|(key, values)| format!("{key}:[{}]", values.join(" "))).collect();
    format!(
        "&{{{} {} [{}] map[{}]}}",
        attributes.user,
        attributes.user_uid,
        attributes.groups.join(" "),
        extra.join(" ")
    )
}
