//! Cluster roles that gather the rules of others by their labels: `admin`, `edit` and `view` have what definitions of custom
//! resources bring for them (`clusterrole-aggregation-controller`).

use kplane_auth::authz::{PolicyRule, aggregated_rules};
use serde_json::json;

use crate::Error;
use crate::runtime::raw;
use crate::tenant::api::CLUSTER_ROLES;
use crate::tenant::queue::Next;
use crate::tenant::tasks::Cx;
use crate::tenant::value::name;

/// The manager of the rules.
const MANAGER: &str = "clusterrole-aggregation-controller";

/// Gives all that gather what there is to gather. One that another gathers from is seen again when it changed.
pub async fn reconcile(cx: &Cx<'_>) -> Result<Next, Error> {
    let roles = cx.api.list(&CLUSTER_ROLES, "").await?;
    for role in &roles {
        let gathered = match aggregated_rules(role, roles.iter()) {
            Ok(Some(gathered)) => gathered,
            Ok(None) => continue,
            Err(why) => {
                tracing::warn!(
                    vcp = &*cx.key.cluster,
                    role = name(role),
                    why,
                    "a cluster role cannot gather rules"
                );
                continue;
            }
        };
        if PolicyRule::all_of(role).is_ok_and(|rules| rules == gathered) {
            continue;
        }
        // Apply would make one that is gone anew: the uid says which one is meant.
        let metadata = json!({"name": name(role), "uid": role["metadata"]["uid"]});
        let body = json!({
            "apiVersion": CLUSTER_ROLES.api_version, "kind": CLUSTER_ROLES.kind, "metadata": metadata,
            "rules": gathered,
        });
        let path = format!("/apis/{}/{}/{}", CLUSTER_ROLES.api_version, CLUSTER_ROLES.plural, name(role));
        raw::optional(cx.api.apply(&path, MANAGER, &body).await)?;
    }
    Ok(Next::Done)
}
