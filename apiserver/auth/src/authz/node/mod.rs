//! What a node may do (`plugin/pkg/auth/authorizer/node`): its own objects, and of others what the pods bound to it use.
//!
//! There is no graph kept up to date: the pods of the control plane are asked when a node asks, and what stands behind
//! claims and volumes is read then.

mod references;

use std::sync::{Arc, LazyLock};

use async_trait::async_trait;
use kplane_machinery::{Status, object};

pub use references::{PodReferences, secrets_of_volume};

use super::{Attributes, PolicyRule, Verdict};
use crate::ObjectReader;
use crate::user::UserInfo;

/// The group of all nodes.
pub const NODES: &str = "system:nodes";
const PREFIX: &str = "system:node:";
const LEASES: &str = "kube-node-lease";

/// The node that a user is: `None` for who is no node, empty for a node without a name.
pub fn identity(user: &UserInfo) -> Option<&str> {
    user.username.strip_prefix(PREFIX).filter(|_| user.in_group(NODES))
}

/// The pods of one control plane.
#[async_trait]
pub trait NodePods: ObjectReader {
    /// What the pods bound to a node refer to.
    async fn pods_on(&self, node: &str) -> Result<Vec<Arc<PodReferences>>, Status>;
}

/// What may be related to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Secret,
    ConfigMap,
    VolumeClaim,
    Volume,
    ResourceClaim,
    VolumeAttachment,
    ServiceAccount,
    ResourceSlice,
    Pod,
}

/// The rules of the cluster role `system:node`, which hold for what is not told apart by node.
static RULES: LazyLock<Vec<PolicyRule>> = LazyLock::new(|| {
    let role = crate::bootstrap::objects()
        .into_iter()
        .find(|object| object.resource == "clusterroles" && object.name == "system:node");
    role.and_then(|role| PolicyRule::all_of(&role.value).ok()).unwrap_or_default()
});

/// Decides about a request of a node; has no opinion about anybody else.
pub async fn authorize(attributes: &Attributes<'_>, pods: &dyn NodePods) -> Result<Verdict, Status> {
    let Some(node) = identity(attributes.user) else { return Ok(Verdict::no_opinion("")) };
    if node.is_empty() {
        let user = kplane_machinery::field::go_quote(&attributes.user.username);
        return Ok(Verdict::no_opinion(format!("unknown node for user {user}")));
    }
    let asked = Asked { node, attributes, pods };
    match (attributes.group, attributes.resource) {
        ("", "secrets") => asked.read(Kind::Secret).await,
        ("", "configmaps") => asked.read(Kind::ConfigMap).await,
        ("", "persistentvolumeclaims") if attributes.subresource == "status" => match attributes.verb {
            "update" | "patch" => asked.related(Kind::VolumeClaim).await,
            _ => no("can only get/update/patch this type"),
        },
        ("", "persistentvolumeclaims") => asked.get(Kind::VolumeClaim).await,
        ("", "persistentvolumes") => asked.get(Kind::Volume).await,
        ("resource.k8s.io", "resourceclaims") => asked.get(Kind::ResourceClaim).await,
        ("storage.k8s.io", "volumeattachments") => asked.get(Kind::VolumeAttachment).await,
        ("", "serviceaccounts") => asked.token().await,
        ("coordination.k8s.io", "leases") => asked.lease(),
        ("storage.k8s.io", "csinodes") => asked.csi_node(),
        ("resource.k8s.io", "resourceslices") => asked.slice().await,
        ("", "nodes") => asked.own_node(),
        ("", "pods") => asked.pod().await,
        _ if RULES.iter().any(|rule| rule.allows(attributes)) => Ok(Verdict::allow("")),
        _ => Ok(Verdict::no_opinion("")),
    }
}

fn no(reason: impl Into<String>) -> Result<Verdict, Status> {
    Ok(Verdict::no_opinion(reason))
}

fn yes() -> Result<Verdict, Status> {
    Ok(Verdict::allow(""))
}

struct Asked<'a> {
    node: &'a str,
    attributes: &'a Attributes<'a>,
    pods: &'a dyn NodePods,
}

impl Asked<'_> {
    async fn read(&self, kind: Kind) -> Result<Verdict, Status> {
        match self.attributes.verb {
            "get" | "list" | "watch" => {}
            _ => return no("can only read resources of this type"),
        }
        if !self.attributes.subresource.is_empty() {
            return no("cannot read subresource");
        }
        if self.attributes.namespace.is_empty() {
            return no("can only read namespaced object of this type");
        }
        self.related(kind).await
    }

    async fn get(&self, kind: Kind) -> Result<Verdict, Status> {
        if self.attributes.verb != "get" {
            return no("can only get individual resources of this type");
        }
        if !self.attributes.subresource.is_empty() {
            return no("cannot get subresource");
        }
        self.related(kind).await
    }

    async fn token(&self) -> Result<Verdict, Status> {
        if self.attributes.verb != "create" || self.attributes.name.is_empty() {
            return no("can only create tokens for individual service accounts");
        }
        if self.attributes.subresource != "token" {
            return no("can only create token subresource of serviceaccount");
        }
        self.related(Kind::ServiceAccount).await
    }

    fn lease(&self) -> Result<Verdict, Status> {
        let attributes = self.attributes;
        match attributes.verb {
            "get" | "create" | "update" | "patch" | "delete" => {}
            _ => return no("can only get, create, update, patch, or delete a node lease"),
        }
        if attributes.namespace != LEASES {
            return no(format!("can only access leases in the {LEASES:?} system namespace"));
        }
        // The name of what is created is checked by NodeRestriction.
        if attributes.verb != "create" && attributes.name != self.node {
            return no("can only access node lease with the same name as the requesting node");
        }
        yes()
    }

    fn csi_node(&self) -> Result<Verdict, Status> {
        let attributes = self.attributes;
        match attributes.verb {
            "get" | "create" | "update" | "patch" | "delete" => {}
            _ => return no("can only get, create, update, patch, or delete a CSINode"),
        }
        if !attributes.subresource.is_empty() {
            return no("cannot authorize CSINode subresources");
        }
        if attributes.verb != "create" && attributes.name != self.node {
            return no("can only access CSINode with the same name as the requesting node");
        }
        yes()
    }

    async fn slice(&self) -> Result<Verdict, Status> {
        if !self.attributes.subresource.is_empty() {
            return no("cannot authorize ResourceSlice subresources");
        }
        match self.attributes.verb {
            "create" => yes(),
            "get" | "update" | "patch" | "delete" => self.related(Kind::ResourceSlice).await,
            "watch" | "list" | "deletecollection"
                if self.attributes.requires_field("spec.nodeName", self.node) =>
            {
                yes()
            }
            "watch" | "list" | "deletecollection" => {
                no("can only list/watch/deletecollection resourceslices with nodeName field selector")
            }
            _ => no(
                "only the following verbs are allowed for a ResourceSlice: get, watch, list, create, update, \
                     patch, delete, deletecollection",
            ),
        }
    }

    fn own_node(&self) -> Result<Verdict, Status> {
        let (node, attributes) = (self.node, self.attributes);
        match (attributes.subresource, attributes.verb) {
            // NodeRestriction holds a node to its own object.
            ("", "create" | "update" | "patch") | ("status", "update" | "patch") => yes(),
            ("", "get" | "list" | "watch") if attributes.name == node => yes(),
            ("", "get" | "list" | "watch") if attributes.name.is_empty() => {
                no(format!("node '{node}' cannot read all nodes, only its own Node object"))
            }
            ("", "get" | "list" | "watch") => {
                no(format!("node '{node}' cannot read '{}', only its own Node object", attributes.name))
            }
            _ => no(""),
        }
    }

    async fn pod(&self) -> Result<Verdict, Status> {
        let attributes = self.attributes;
        match (attributes.subresource, attributes.verb) {
            ("", "get") => self.related(Kind::Pod).await,
            ("", "list" | "watch") if attributes.requires_field("spec.nodeName", self.node) => yes(),
            ("", "list" | "watch") if !attributes.name.is_empty() => self.related(Kind::Pod).await,
            ("", "list" | "watch") => no("can only list/watch pods with spec.nodeName field selector"),
            // NodeRestriction holds a node to mirror pods and to what is bound to it.
            ("", "create" | "delete") | ("status", "update" | "patch") | ("eviction", "create") => yes(),
            _ => no(""),
        }
    }

    async fn related(&self, kind: Kind) -> Result<Verdict, Status> {
        if self.attributes.name.is_empty() {
            return no("No Object name found");
        }
        if self.is_related(kind).await? {
            return yes();
        }
        no(format!("no relationship found between node '{}' and this object", self.node))
    }

    async fn is_related(&self, kind: Kind) -> Result<bool, Status> {
        let (namespace, name) = (self.attributes.namespace, self.attributes.name);
        let field = |group, resource, namespace, path: &'static [&'static str]| async move {
            let found = self.pods.get(group, resource, namespace, name).await?;
            Ok(found.is_some_and(|found| object::str_at(&found, path) == self.node))
        };
        match kind {
            Kind::Pod => return field("", "pods", namespace, &["spec", "nodeName"]).await,
            Kind::VolumeAttachment => {
                return field("storage.k8s.io", "volumeattachments", "", &["spec", "nodeName"]).await;
            }
            Kind::ResourceSlice => {
                return field("resource.k8s.io", "resourceslices", "", &["spec", "nodeName"]).await;
            }
            _ => {}
        }
        let pods = self.pods.pods_on(self.node).await?;
        let here = |of: fn(&PodReferences, &str) -> bool| {
            pods.iter().any(|pod| pod.namespace == namespace && of(pod, name))
        };
        Ok(match kind {
            Kind::ConfigMap => here(|pod, name| pod.config_maps.contains(name)),
            Kind::ServiceAccount => here(|pod, name| pod.service_account == name),
            Kind::VolumeClaim => here(|pod, name| pod.volume_claims.contains(name)),
            Kind::ResourceClaim => here(|pod, name| pod.resource_claims.contains(name)),
            Kind::Secret => {
                here(|pod, name| pod.secrets.contains(name)) || self.secret_of_volume(&pods).await?
            }
            Kind::Volume => match self.pods.get("", "persistentvolumes", "", name).await? {
                Some(volume) => {
                    let claim = |field| object::str_at(&volume, &["spec", "claimRef", field]);
                    pods.iter().any(|pod| {
                        pod.namespace == claim("namespace") && pod.volume_claims.contains(claim("name"))
                    })
                }
                None => false,
            },
            Kind::Pod | Kind::VolumeAttachment | Kind::ResourceSlice => false,
        })
    }

    /// Whether a volume that a pod here uses names the secret.
    async fn secret_of_volume(&self, pods: &[Arc<PodReferences>]) -> Result<bool, Status> {
        let wanted = (self.attributes.namespace.to_owned(), self.attributes.name.to_owned());
        for pod in pods {
            for claim in &pod.volume_claims {
                let found = self.pods.get("", "persistentvolumeclaims", &pod.namespace, claim).await?;
                let Some(found) = found else { continue };
                let volume = object::str_at(&found, &["spec", "volumeName"]);
                if volume.is_empty() {
                    continue;
                }
                let Some(volume) = self.pods.get("", "persistentvolumes", "", volume).await? else {
                    continue;
                };
                let bound = |field| object::str_at(&volume, &["spec", "claimRef", field]);
                // The volume must say so too: a claim alone could name any.
                if bound("namespace") == pod.namespace
                    && bound("name") == claim
                    && secrets_of_volume(&volume).contains(&wanted)
                {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }
}

#[cfg(test)]
mod tests;
