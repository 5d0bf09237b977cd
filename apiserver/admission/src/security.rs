//! `PodSecurity`: the Pod Security Standards that a namespace's labels ask for.

mod checks;

use async_trait::async_trait;
use kplane_machinery::{GroupResource, Status, object};
use serde_json::Value;

use crate::access::set;
use crate::{Attributes, Operation, Plugin};

/// The plugin.
pub struct PodSecurity;

const PREFIX: &str = "pod-security.kubernetes.io/";

/// How much a pod may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    Privileged,
    Baseline,
    Restricted,
}

impl Level {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "privileged" => Some(Self::Privileged),
            "baseline" => Some(Self::Baseline),
            "restricted" => Some(Self::Restricted),
            _ => None,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Privileged => "privileged",
            Self::Baseline => "baseline",
            Self::Restricted => "restricted",
        }
    }
}

/// A level as a minor version of Kubernetes defined it.
struct Policy {
    level: Level,
    version: String,
}

/// What a namespace asks for in one mode. A label that cannot be read asks for the most, as upstream.
fn policy(namespace: &Value, mode: &str) -> Policy {
    let label = |key: String| object::meta_map(namespace, "labels").find(|(k, _)| *k == key).map(|(_, v)| v);
    let level = match label(format!("{PREFIX}{mode}")) {
        None => Level::Privileged,
        Some(text) => Level::parse(text).unwrap_or(Level::Restricted),
    };
    let version = label(format!("{PREFIX}{mode}-version")).filter(|v| minor(v).is_some()).unwrap_or("latest");
    Policy { level, version: version.to_owned() }
}

/// The minor version of `v1.25`; of `latest` the largest number.
fn minor(version: &str) -> Option<u32> {
    if version == "latest" { Some(u32::MAX) } else { version.strip_prefix("v1.")?.parse().ok() }
}

/// Where the pod of a kind stands.
fn template<'a>(attributes: &Attributes<'_>, object: &'a Value) -> Option<&'a Value> {
    let path: &[&str] = match (&*attributes.def.group, &*attributes.def.plural) {
        ("", "podtemplates") => &["template"],
        ("", "replicationcontrollers")
        | ("apps", "deployments" | "daemonsets" | "replicasets" | "statefulsets")
        | ("batch", "jobs") => &["spec", "template"],
        ("batch", "cronjobs") => &["spec", "jobTemplate", "spec", "template"],
        _ => return None,
    };
    set(object, path)
}

fn violations(policy: &Policy, pod: &Value) -> Option<String> {
    let found = checks::violations(policy.level, minor(&policy.version).unwrap_or(u32::MAX), pod);
    if found.is_empty() {
        return None;
    }
    Some(format!("PodSecurity \"{}:{}\": {}", policy.level.as_str(), policy.version, found.join(", ")))
}

#[async_trait]
impl Plugin for PodSecurity {
    fn name(&self) -> &'static str {
        "PodSecurity"
    }

    fn handles(&self, attributes: &Attributes<'_>) -> bool {
        if !matches!(attributes.operation, Operation::Create | Operation::Update) {
            return false;
        }
        match (&*attributes.def.group, &*attributes.def.plural) {
            ("", "pods") => matches!(attributes.subresource, "" | "ephemeralcontainers"),
            ("", "namespaces" | "podtemplates" | "replicationcontrollers")
            | ("apps", "deployments" | "daemonsets" | "replicasets" | "statefulsets")
            | ("batch", "jobs" | "cronjobs") => attributes.subresource.is_empty(),
            _ => false,
        }
    }

    async fn validate(&self, attributes: &Attributes<'_>, object: &Value) -> Result<(), Status> {
        if &*attributes.def.plural == "namespaces" {
            return check_labels(attributes, object);
        }
        let namespaces = GroupResource::new("", "namespaces");
        let Some(namespace) = attributes.reader.get(&namespaces, "", attributes.namespace).await? else {
            return Ok(());
        };
        let is_pod = &*attributes.def.plural == "pods";
        let pod = if is_pod { Some(object) } else { template(attributes, object) };
        let Some(pod) = pod else { return Ok(()) };
        if is_pod && attributes.old.is_some_and(|old| !significant(old, pod)) {
            return Ok(());
        }
        let enforced = policy(&namespace, "enforce");
        if is_pod && let Some(why) = violations(&enforced, pod) {
            return Err(attributes.forbidden(object, format!("violates {why}")));
        }
        let warned = policy(&namespace, "warn");
        if let Some(why) = violations(&warned, pod) {
            (attributes.warn)(format!("would violate {why}"));
        }
        Ok(())
    }
}

/// Whether a change to a pod is one that the standards look at.
fn significant(old: &Value, new: &Value) -> bool {
    let trimmed = |pod: &Value| {
        let mut spec = pod["spec"].clone();
        if let Some(spec) = spec.as_object_mut() {
            for field in ["activeDeadlineSeconds", "tolerations", "schedulingGates"] {
                spec.remove(field);
            }
            for field in ["containers", "initContainers", "ephemeralContainers"] {
                for container in spec.get_mut(field).and_then(Value::as_array_mut).into_iter().flatten() {
                    if let Some(container) = container.as_object_mut() {
                        container.remove("image");
                        container.remove("resources");
                    }
                }
            }
        }
        spec
    };
    let profiles = |pod: &Value| {
        object::meta_map(pod, "annotations")
            .filter(|(k, _)| k.starts_with("container.apparmor.security.beta.kubernetes.io/"))
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .collect::<Vec<_>>()
    };
    trimmed(old) != trimmed(new) || profiles(old) != profiles(new)
}

/// Refuses labels that say nothing known, unless they said it before.
fn check_labels(attributes: &Attributes<'_>, namespace: &Value) -> Result<(), Status> {
    use kplane_machinery::field::{FieldError, Path};
    let at = Path::new("metadata").child("labels");
    let mut errors = Vec::new();
    for mode in ["enforce", "audit", "warn"] {
        for suffix in ["", "-version"] {
            let key = format!("{PREFIX}{mode}{suffix}");
            let of = |o: &Value| o["metadata"]["labels"].get(&key).and_then(Value::as_str).map(str::to_owned);
            let Some(value) = of(namespace) else { continue };
            if attributes.old.and_then(of).as_ref() == Some(&value) {
                continue;
            }
            if suffix.is_empty() && Level::parse(&value).is_none() {
                let words = "must be one of privileged, baseline, restricted";
                errors.push(FieldError::invalid_str(&at.key(&key), &value, words));
            } else if !suffix.is_empty() && minor(&value).is_none() {
                let words = "must be \"latest\" or \"v1.x\"";
                errors.push(FieldError::invalid_str(&at.key(&key), &value, words));
            }
        }
    }
    if errors.is_empty() {
        return Ok(());
    }
    Err(Status::invalid(&attributes.def.group_kind(), object::name(namespace), &errors))
}
