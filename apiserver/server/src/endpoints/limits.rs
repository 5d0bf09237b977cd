//! The objects and bytes that a control plane may keep, where its class limits them.
//!
//! What is kept is counted when a limit is first asked about and followed from then on (`kplane_registry::Usage`). Writes
//! that are decided at the same moment, on this replica or on several, may go over a limit by what is in flight.

use kplane_machinery::Status;

use super::cx::{Cx, Resource};
use super::failures;

/// 403 when a write would keep more than the class of its control plane allows.
pub async fn check(
    cx: &Cx,
    resource: &Resource,
    name: &str,
    objects: u64,
    bytes: usize,
) -> Result<(), Status> {
    // What the server does for itself, such as counting quotas, is no use of the tenant's.
    if cx.vcp.is_root() || cx.user.username == "system:apiserver" || (objects == 0 && bytes == 0) {
        return Ok(());
    }
    let limits = cx.app.fairness.policy(&cx.app, &cx.vcp).await?.limits;
    if limits.objects.is_none() && limits.bytes.is_none() {
        return Ok(());
    }
    let used = cx.app.registry.usage(&cx.vcp).await.map_err(failures::store)?;
    let bytes = bytes as u64;
    for (what, requested, used, limit) in
        [("objects", objects, used.objects, limits.objects), ("bytes", bytes, used.bytes, limits.bytes)]
    {
        let Some(limit) = limit else { continue };
        if requested > 0 && used.saturating_add(requested) > limit {
            return Err(Status::forbidden(
                &resource.group_resource(),
                name,
                format!(
                    "exceeded limit of the control plane: requested: {what}={requested}, used: {what}={used}, limited: {what}={limit}"
                ),
            ));
        }
    }
    Ok(())
}
