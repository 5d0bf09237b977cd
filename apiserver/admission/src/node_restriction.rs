//! `NodeRestriction`: a node's own credentials change that node and what runs on it, and nothing else.

use async_trait::async_trait;
use kplane_machinery::{GroupResource, Status, object};
use serde_json::Value;

use crate::access::{annotation, items, set};
use crate::{Attributes, Operation, Plugin};

/// The plugin.
pub struct NodeRestriction;

const MIRROR: &str = "kubernetes.io/config.mirror";
const LABELS: [&str; 12] = [
    "beta.kubernetes.io/arch",
    "beta.kubernetes.io/instance-type",
    "beta.kubernetes.io/os",
    "failure-domain.beta.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "kubernetes.io/arch",
    "kubernetes.io/hostname",
    "kubernetes.io/os",
    "node.kubernetes.io/instance-type",
    "node.kubernetes.io/windows-build",
    "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone",
];

/// The node that a user is; empty for a node without a name.
fn node_of<'a>(attributes: &Attributes<'a>) -> Option<&'a str> {
    let name = attributes.user.strip_prefix("system:node:")?;
    attributes.groups.iter().any(|g| g == "system:nodes").then_some(name)
}

#[async_trait]
impl Plugin for NodeRestriction {
    fn name(&self) -> &'static str {
        "NodeRestriction"
    }

    fn handles(&self, attributes: &Attributes<'_>) -> bool {
        node_of(attributes).is_some()
    }

    async fn mutate(&self, attributes: &Attributes<'_>, object: &mut Value) -> Result<(), Status> {
        let Some(node) = node_of(attributes) else { return Ok(()) };
        if node.is_empty() {
            let why = format!("could not determine node from user {:?}", attributes.user);
            return Err(attributes.forbidden(object, why));
        }
        match (&*attributes.def.group, &*attributes.def.plural) {
            ("", "pods") => pods(attributes, node, object).await,
            ("", "nodes") => nodes(attributes, node, object),
            ("", "serviceaccounts") if attributes.subresource == "token" => {
                token(attributes, node, object).await
            }
            ("coordination.k8s.io", "leases") => lease(attributes, node, object),
            ("storage.k8s.io", "csinodes") => {
                let name = if attributes.name.is_empty() { object::name(object) } else { attributes.name };
                if name == node {
                    return Ok(());
                }
                let why = format!("node {node:?} is not allowed to modify CSINode {name:?}");
                Err(attributes.forbidden(object, why))
            }
            _ => Ok(()),
        }
    }
}

async fn pods(attributes: &Attributes<'_>, node: &str, pod: &Value) -> Result<(), Status> {
    let forbidden = |why: String| Err(attributes.forbidden(pod, why));
    match (attributes.operation, attributes.subresource) {
        (Operation::Create, "") => {
            if annotation(pod, MIRROR).is_none() {
                return forbidden(format!(
                    "pod does not have {MIRROR:?} annotation, node {node:?} can only create mirror pods"
                ));
            }
            if object::str_at(pod, &["spec", "nodeName"]) != node {
                return forbidden(format!(
                    "node {node:?} can only create pods with spec.nodeName set to itself"
                ));
            }
            if !object::str_at(pod, &["spec", "serviceAccountName"]).is_empty() {
                return forbidden(format!(
                    "node {node:?} can not create pods that reference a service account"
                ));
            }
            let banned = [
                ("secret", "secrets"),
                ("configMap", "configmaps"),
                ("persistentVolumeClaim", "persistentvolumeclaims"),
            ];
            for volume in items(pod, &["spec", "volumes"]) {
                if let Some((_, words)) = banned.iter().find(|(kind, _)| set(volume, &[kind]).is_some()) {
                    return forbidden(format!("node {node:?} can not create pods that reference {words}"));
                }
            }
            Ok(())
        }
        (Operation::Delete, "") | (Operation::Create, "eviction") => {
            let pods = GroupResource::new("", "pods");
            let Some(there) = attributes.reader.get(&pods, attributes.namespace, attributes.name).await?
            else {
                return Err(Status::not_found(&pods, attributes.name));
            };
            if object::str_at(&there, &["spec", "nodeName"]) == node {
                return Ok(());
            }
            let verb = if attributes.operation == Operation::Delete { "delete" } else { "evict" };
            forbidden(format!("node {node:?} can only {verb} pods with spec.nodeName set to itself"))
        }
        (Operation::Update, "status") => {
            let old = attributes.old.unwrap_or(pod);
            if object::str_at(old, &["spec", "nodeName"]) != node {
                return forbidden(format!(
                    "node {node:?} can only update pod status for pods with spec.nodeName set to itself"
                ));
            }
            if object::at(old, &["metadata", "labels"]) != object::at(pod, &["metadata", "labels"]) {
                return forbidden(format!("node {node:?} cannot update labels through pod status"));
            }
            Ok(())
        }
        (_, subresource) => {
            let what = if subresource.is_empty() { String::new() } else { format!("/{subresource}") };
            forbidden(format!(
                "unexpected operation {:?}, node {node:?} can only create and delete mirror pods{what}",
                attributes.operation.as_str()
            ))
        }
    }
}

fn nodes(attributes: &Attributes<'_>, node: &str, object: &Value) -> Result<(), Status> {
    let name = if attributes.name.is_empty() { object::name(object) } else { attributes.name };
    if name != node {
        let why = format!("node {node:?} is not allowed to modify node {name:?}");
        return Err(attributes.forbidden(object, why));
    }
    if attributes.operation == Operation::Delete {
        return Ok(());
    }
    if set(object, &["spec", "configSource"])
        != attributes.old.and_then(|old| set(old, &["spec", "configSource"]))
    {
        let why =
            format!("node {node:?} is not allowed to update configSource to a new non-nil configSource");
        return Err(attributes.forbidden(object, why));
    }
    if let Some(old) = attributes.old {
        if object::at(old, &["spec", "taints"]) != object::at(object, &["spec", "taints"]) {
            return Err(
                attributes.forbidden(object, format!("node {node:?} is not allowed to modify taints"))
            );
        }
        let owners = ["metadata", "ownerReferences"];
        if object::at(old, &owners) != object::at(object, &owners) {
            let why = format!("node {node:?} is not allowed to modify ownerReferences");
            return Err(attributes.forbidden(object, why));
        }
    }
    let label = |of: &Value, key: &str| of["metadata"]["labels"].get(key).cloned();
    let mut keys: Vec<&str> = object::meta_map(object, "labels").map(|(k, _)| k).collect();
    keys.extend(attributes.old.into_iter().flat_map(|old| object::meta_map(old, "labels")).map(|(k, _)| k));
    keys.retain(|key| attributes.old.and_then(|old| label(old, key)) != label(object, key));
    keys.retain(|key| restricted(key));
    keys.sort_unstable();
    keys.dedup();
    if keys.is_empty() {
        return Ok(());
    }
    let verb = if attributes.old.is_some() { "modify" } else { "set" };
    let why = format!("is not allowed to {verb} the following labels: {}", keys.join(", "));
    Err(attributes.forbidden(object, why))
}

/// Labels that say what may run on a node are not the node's to set.
fn restricted(key: &str) -> bool {
    let domain = key.split_once('/').map_or("", |(domain, _)| domain);
    let within = |of: &str| domain == of || domain.ends_with(&format!(".{of}"));
    if within("node-restriction.kubernetes.io") {
        return true;
    }
    let free = within("kubelet.kubernetes.io") || within("node.kubernetes.io");
    (within("kubernetes.io") || within("k8s.io")) && !free && !LABELS.contains(&key)
}

async fn token(attributes: &Attributes<'_>, node: &str, request: &Value) -> Result<(), Status> {
    let forbidden = |why: String| Err(attributes.forbidden(request, why));
    let bound = &request["spec"]["boundObjectRef"];
    if bound["kind"] != "Pod"
        || bound["apiVersion"] != "v1"
        || bound["name"].as_str().unwrap_or("").is_empty()
    {
        return forbidden("node requested token not bound to a pod".into());
    }
    let uid = bound["uid"].as_str().unwrap_or("");
    if uid.is_empty() {
        return forbidden("node requested token with a pod binding without a uid".into());
    }
    let name = bound["name"].as_str().unwrap_or("");
    let pods = GroupResource::new("", "pods");
    let Some(pod) = attributes.reader.get(&pods, attributes.namespace, name).await? else {
        return Err(Status::not_found(&pods, name));
    };
    if object::uid(&pod) != uid {
        return forbidden(format!(
            "the UID in the bound object reference ({uid}) does not match the UID in record. The object might have been deleted and then recreated"
        ));
    }
    if object::str_at(&pod, &["spec", "nodeName"]) != node {
        return forbidden("node requested token bound to a pod scheduled on a different node".into());
    }
    Ok(())
}

fn lease(attributes: &Attributes<'_>, node: &str, lease: &Value) -> Result<(), Status> {
    if attributes.namespace != "kube-node-lease" {
        return Err(
            attributes.forbidden(lease, "can only access leases in the \"kube-node-lease\" system namespace")
        );
    }
    let name = if attributes.name.is_empty() { object::name(lease) } else { attributes.name };
    if name != node {
        return Err(attributes
            .forbidden(lease, "can only access node lease with the same name as the requesting node"));
    }
    Ok(())
}
