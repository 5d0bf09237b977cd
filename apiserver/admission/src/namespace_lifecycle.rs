//! `NamespaceLifecycle`: nothing is created in a namespace that is not there or is on its way out, and the system
//! namespaces stay.

use async_trait::async_trait;
use kplane_machinery::{GroupResource, Status, StatusCause};
use serde_json::Value;

use crate::{Attributes, Operation, Plugin};

/// The plugin.
pub struct NamespaceLifecycle;

/// Namespaces that cannot be deleted.
const IMMORTAL: [&str; 3] = ["default", "kube-system", "kube-public"];

#[async_trait]
impl Plugin for NamespaceLifecycle {
    fn name(&self) -> &'static str {
        "NamespaceLifecycle"
    }

    fn handles(&self, attributes: &Attributes<'_>) -> bool {
        match attributes.operation {
            Operation::Delete => is_namespace(attributes),
            Operation::Create => attributes.def.namespaced(),
            Operation::Update | Operation::Connect => false,
        }
    }

    async fn mutate(&self, attributes: &Attributes<'_>, _object: &mut Value) -> Result<(), Status> {
        if attributes.operation == Operation::Delete {
            if is_namespace(attributes) && IMMORTAL.contains(&attributes.name) {
                let namespaces = GroupResource::new("", "namespaces");
                return Err(Status::forbidden(
                    &namespaces,
                    attributes.name,
                    "this namespace may not be deleted",
                ));
            }
            return Ok(());
        }
        // Access reviews ask about namespaces that need not exist.
        if &*attributes.def.group == "authorization.k8s.io" {
            return Ok(());
        }
        let namespaces = GroupResource::new("", "namespaces");
        let Some(namespace) = attributes.reader.get(&namespaces, "", attributes.namespace).await? else {
            return Err(Status::not_found(&namespaces, attributes.namespace));
        };
        if namespace["metadata"].get("deletionTimestamp").is_some() {
            let mut status = Status::forbidden(
                &attributes.def.group_resource(),
                attributes.name,
                format!(
                    "unable to create new content in namespace {} because it is being terminated",
                    attributes.namespace
                ),
            );
            if let Some(details) = &mut status.details {
                details.causes.push(StatusCause {
                    reason: "NamespaceTerminating".into(),
                    message: format!("namespace {} is being terminated", attributes.namespace),
                    field: "metadata.namespace".into(),
                });
            }
            return Err(status);
        }
        Ok(())
    }
}

fn is_namespace(attributes: &Attributes<'_>) -> bool {
    attributes.def.group.is_empty() && &*attributes.def.plural == "namespaces"
}
