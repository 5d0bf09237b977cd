//! Access to devices as an administrator, which a namespace must be meant for. Upstream asks for that in the registries of
//! these kinds.

use async_trait::async_trait;
use kplane_machinery::field::{FieldError, Path};
use kplane_machinery::{GroupResource, Status, object};
use serde_json::Value;

use crate::access::items;
use crate::{Attributes, Operation, Plugin};

const GROUP: &str = "resource.k8s.io";
/// The label of namespaces in which devices may be had as an administrator.
const LABEL: &str = "resource.kubernetes.io/admin-access";

/// Refuses claims, and templates of them, that want devices as an administrator in a namespace which is not labelled for it.
pub struct DeviceAdminAccess;

#[async_trait]
impl Plugin for DeviceAdminAccess {
    fn name(&self) -> &'static str {
        "DeviceAdminAccess"
    }

    fn handles(&self, attributes: &Attributes<'_>) -> bool {
        matches!(attributes.operation, Operation::Create | Operation::Update)
            && (attributes.is(GROUP, "resourceclaims", "")
                || attributes.is(GROUP, "resourceclaims", "status")
                || attributes.is(GROUP, "resourceclaimtemplates", ""))
    }

    async fn validate(&self, attributes: &Attributes<'_>, new: &Value) -> Result<(), Status> {
        let Some(field) = wanted(attributes, new) else { return Ok(()) };
        // What was granted stays as it is: it cannot be changed.
        if attributes.old.is_some_and(|old| wanted(attributes, old).is_some()) {
            return Ok(());
        }
        let namespaces = GroupResource::new("", "namespaces");
        let namespace = attributes.reader.get(&namespaces, "", attributes.namespace).await?;
        if namespace.is_some_and(|found| object::str_at(&found, &["metadata", "labels", LABEL]) == "true") {
            return Ok(());
        }
        let why =
            format!("admin access to devices requires the `{LABEL}: true` label on the containing namespace");
        let error = FieldError::forbidden(&field, why);
        Err(Status::invalid(&attributes.def.group_kind(), object::name(new), &vec![error]))
    }
}

/// Where an object wants access as an administrator, if it does.
fn wanted(attributes: &Attributes<'_>, object: &Value) -> Option<Path> {
    let asks = |value: &Value| value.get("adminAccess").and_then(Value::as_bool) == Some(true);
    if attributes.subresource == "status" {
        let results = items(object, &["status", "allocation", "devices", "results"]);
        let index = results.iter().position(asks)?;
        let at = Path::new("status").child("allocation").child("devices").child("results");
        return Some(at.index(index).child("adminAccess"));
    }
    let path: &[&str] = if &*attributes.def.plural == "resourceclaims" {
        &["spec", "devices", "requests"]
    } else {
        &["spec", "spec", "devices", "requests"]
    };
    let requests = items(object, path);
    // In versions before v1beta2 the fields of a request for exactly one kind are its own.
    let index = requests.iter().position(|one| asks(one) || one.get("exactly").is_some_and(asks))?;
    // Upstream names this path for templates too.
    Some(Path::new("spec").child("devices").child("requests").index(index).child("adminAccess"))
}
