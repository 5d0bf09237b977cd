//! What deleting a ControlPlane does: detach or destroy (client required).

use std::time::Duration;

use k8s_openapi::api::core::v1::Namespace;
use kplane_crds::conditions::reason;
use kplane_crds::names;
use kplane_crds::tenancy::VirtualCluster;
use kplane_crds::v1alpha1::{ControlPlane, DeletionPolicy, FINALIZER};
use kube::api::{DeleteParams, PostParams, Preconditions};
use kube::runtime::controller::Action;
use kube::{Api, ResourceExt};

use super::dereference::{AtServer, Reference, class, server};
use super::set_finalizers;
use super::validate::{deletion_policy, is_ours};
use crate::Error;
use crate::management::access::is_controlled_by;
use crate::management::context::{Context, POLL};
use crate::management::exports;
use crate::management::finalizer::{Settled, Verdict, verdict};
use crate::runtime::conditions::Conditions;
use crate::runtime::raw;

/// How soon a record that is being destroyed is looked at again.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// What is left to do.
#[derive(Debug, PartialEq)]
enum Next {
    /// The record is dealt with.
    Finish,
    /// Delete the record.
    Destroy,
    /// Detach the record.
    Detach,
    /// The record is on its way out.
    Wait,
}

/// Decides what is to be done about the record.
fn next(control_plane: &ControlPlane, record: Option<&VirtualCluster>, policy: DeletionPolicy) -> Next {
    let Some(record) = record.filter(|record| is_ours(control_plane, record)) else { return Next::Finish };
    match (policy, record.metadata.deletion_timestamp.is_some(), record.spec.detached) {
        (_, true, _) => Next::Wait,
        (DeletionPolicy::Destroy, false, _) => Next::Destroy,
        (DeletionPolicy::Retain, false, Some(true)) => Next::Finish,
        (DeletionPolicy::Retain, false, _) => Next::Detach,
    }
}

/// One pass towards the end of a ControlPlane.
pub async fn run(control_plane: &ControlPlane, context: &Context) -> Result<Action, Error> {
    if !control_plane.finalizers().iter().any(|f| f == FINALIZER) {
        return Ok(Action::await_change());
    }
    match verdict(&control_plane.metadata, settle(control_plane, context).await) {
        Verdict::Release => {}
        Verdict::Force(why) => {
            let note = format!("the record of the path was left as it is: {why}");
            context.events.warning(control_plane, "Forced", note).await;
        }
        Verdict::Hold { reason, message, again } => {
            tell(control_plane, context, reason, &message).await?;
            return again.map(Action::requeue);
        }
    }
    remove_objects(control_plane, context).await?;
    let rest: Vec<String> = control_plane.finalizers().iter().filter(|f| *f != FINALIZER).cloned().collect();
    set_finalizers(control_plane, context, &rest).await?;
    Ok(Action::await_change())
}

/// Sees to the record: detached or destroyed, as the policy says.
async fn settle(control_plane: &ControlPlane, context: &Context) -> Result<Settled, Error> {
    let AtServer { access, record } = match server(control_plane, context).await? {
        Ok(server) => server,
        Err(why) => {
            return Ok(Settled::Waiting {
                reason: reason::MANAGEMENT_PLANE_PENDING,
                message: format!("cannot detach or destroy the data yet: {why}"),
                again: POLL,
            });
        }
    };
    let class = match class(control_plane, context).await? {
        Reference::Found(class) => Some(class),
        // Without its class the policy is the one that loses nothing.
        Reference::Unset | Reference::Missing(_) => None,
    };
    let removing = || Settled::Waiting {
        reason: reason::DELETING,
        message: "the data is being removed".into(),
        again: LOOK_AGAIN,
    };
    let policy = deletion_policy(control_plane, class.as_deref());
    let records: Api<VirtualCluster> = Api::all(access.client.clone());
    let path = control_plane.cluster_path();
    match (next(control_plane, record.as_ref(), policy), record) {
        (Next::Finish, _) | (_, None) => {}
        (Next::Wait, _) => return Ok(removing()),
        (Next::Destroy, Some(mut record)) => {
            // The record may still say what an earlier spec said.
            if record.spec.deletion_policy != Some(DeletionPolicy::Destroy) {
                record.spec.deletion_policy = Some(DeletionPolicy::Destroy);
                records.replace(path, &PostParams::default(), &record).await?;
            }
            let exactly = Preconditions { uid: record.uid(), resource_version: None };
            let deleted = records.delete(path, &DeleteParams::default().preconditions(exactly)).await;
            if raw::optional(deleted)?.is_some_and(|answer| answer.is_left()) {
                return Ok(removing());
            }
            context.events.normal(control_plane, "Destroyed", "the data is removed").await;
        }
        (Next::Detach, Some(mut record)) => {
            record.spec.detached = Some(true);
            records.replace(path, &PostParams::default(), &record).await?;
            let uid = record.uid().unwrap_or_default();
            let note = format!("the data is kept as VirtualCluster {path} with uid {uid}");
            context.events.normal(control_plane, "Detached", note).await;
        }
    }
    Ok(Settled::Done)
}

/// Deletes the Secrets and the namespace, if they are ours.
async fn remove_objects(control_plane: &ControlPlane, context: &Context) -> Result<(), Error> {
    let name = control_plane.name_any();
    let uid = control_plane.uid().unwrap_or_default();
    let namespace = names::namespace(&name);
    let secrets = context.secrets.of(&namespace);
    let secret_name = names::kubeconfig_secret(&name);
    if let Some(secret) = context.secrets.find(&namespace, &secret_name).await?.secret()
        && is_controlled_by(&secret.metadata, &uid)
    {
        raw::optional(secrets.delete(&secret_name, &DeleteParams::default()).await)?;
    }
    let status = control_plane.status.clone().unwrap_or_default();
    exports::remove_all(&context.secrets, &uid, &status.exported_secret_refs).await?;
    let namespaces: Api<Namespace> = Api::all(context.client.clone());
    if let Some(found) = namespaces.get_opt(&namespace).await?
        && found.metadata.deletion_timestamp.is_none()
        && is_controlled_by(&found.metadata, &uid)
    {
        raw::optional(namespaces.delete(&namespace, &DeleteParams::default()).await)?;
    }
    Ok(())
}

async fn tell(
    control_plane: &ControlPlane,
    context: &Context,
    reason: &str,
    message: &str,
) -> Result<(), Error> {
    let mut status = control_plane.status.clone().unwrap_or_default();
    let mut conditions =
        Conditions::new(&status.conditions, control_plane.metadata.generation, jiff::Timestamp::now());
    conditions.reconciling(reason, message);
    status.conditions = conditions.finish();
    status.observed_generation = control_plane.metadata.generation.unwrap_or(status.observed_generation);
    let api: Api<ControlPlane> = Api::all(context.client.clone());
    crate::runtime::status::write(&api, control_plane, control_plane.status.as_ref(), &status).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use kplane_crds::tenancy::{VirtualClusterOwner, VirtualClusterSpec};
    use kplane_crds::v1alpha1::ControlPlaneSpec;

    fn owl() -> ControlPlane {
        let mut owl = ControlPlane::new("owl", ControlPlaneSpec::default());
        owl.metadata.uid = Some("1".into());
        owl
    }

    fn record(owner: &str, detached: bool) -> VirtualCluster {
        let owner = VirtualClusterOwner { uid: owner.into(), ..VirtualClusterOwner::default() };
        let spec = VirtualClusterSpec {
            owner: Some(owner),
            detached: Some(detached),
            ..VirtualClusterSpec::default()
        };
        VirtualCluster::new("owl", spec)
    }

    #[test]
    fn the_policy_decides_and_only_about_our_own_record() {
        use DeletionPolicy::{Destroy, Retain};
        let cases = [
            (None, Destroy, Next::Finish),
            (Some(record("1", false)), Destroy, Next::Destroy),
            (Some(record("1", false)), Retain, Next::Detach),
            (Some(record("1", true)), Retain, Next::Finish),
            (Some(record("2", false)), Destroy, Next::Finish),
            (Some(record("2", false)), Retain, Next::Finish),
        ];
        for (record, policy, expected) in cases {
            assert_eq!(next(&owl(), record.as_ref(), policy), expected);
        }
    }
}
