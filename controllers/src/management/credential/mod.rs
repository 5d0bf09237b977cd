//! `ControlPlaneCredential`: a role in one control plane, for a time, written to a Secret.

mod plan;

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kplane_crds::conditions::reason;
use kplane_crds::reference::SecretReference;
use kplane_crds::v1alpha1::{
    ControlPlane, ControlPlaneCredential, ControlPlaneCredentialStatus, FINALIZER, NAME_LABEL,
};
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::runtime::controller::{Action, Config};
use kube::runtime::reflector::ObjectRef;
use kube::runtime::{Controller, watcher};
use kube::{Api, ResourceExt};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::access::{self, is_controlled_by};
use super::context::{Context, POLL, error_policy};
use super::kubeconfig::{Validity, is_current};
use super::run::{changes, drain};
use crate::Error;
use crate::runtime::conditions::Conditions;
use crate::runtime::raw;

use plan::{Plan, Refusal, grant, plan, secret_reference};

/// The longest duration of a credential.
const LONGEST: Duration = Duration::from_secs(8760 * 3600);

/// Runs the controller.
pub async fn run(context: Arc<Context>, shutdown: CancellationToken) {
    let client = context.client.clone();
    let (stream, reader) = changes(Api::<ControlPlaneCredential>::all(client.clone()));
    let by_control_plane = reader.clone();
    let controller = Controller::for_stream(stream, reader)
        .with_config(Config::default().concurrency(context.options.concurrency))
        .watches(
            Api::<ControlPlane>::all(client.clone()),
            watcher::Config::default(),
            move |control_plane: ControlPlane| {
                let name = control_plane.name_any();
                by_control_plane
                    .state()
                    .iter()
                    .filter(|credential| credential.spec.control_plane_ref.name == name)
                    .map(|credential| ObjectRef::from_obj(credential.as_ref()))
                    .collect::<Vec<_>>()
            },
        )
        .owns(Api::<Secret>::all(client), watcher::Config::default().labels(NAME_LABEL))
        .graceful_shutdown_on(shutdown.cancelled_owned())
        .run(reconcile, error_policy, context);
    drain("ControlPlaneCredential", controller).await;
}

async fn reconcile(credential: Arc<ControlPlaneCredential>, context: Arc<Context>) -> Result<Action, Error> {
    let action = if credential.metadata.deletion_timestamp.is_some() {
        revoke(&credential, &context).await?
    } else {
        provide(&credential, &context).await?
    };
    context.succeeded(credential.as_ref());
    Ok(action)
}

async fn provide(credential: &ControlPlaneCredential, context: &Context) -> Result<Action, Error> {
    if !credential.finalizers().iter().any(|f| f == FINALIZER) {
        let mut finalizers = credential.finalizers().to_vec();
        finalizers.push(FINALIZER.to_owned());
        write_finalizers(credential, context, &finalizers).await?;
    }
    let now = jiff::Timestamp::now();
    let control_planes: Api<ControlPlane> = Api::all(context.client.clone());
    let control_plane = control_planes.get_opt(&credential.spec.control_plane_ref.name).await?;
    let result = match plan(credential, control_plane.as_ref()) {
        Err(refusal) => Ok(Err(refusal)),
        Ok(plan) => apply(plan, context, now).await,
    };
    let status = compute(credential, &result, now);
    let api: Api<ControlPlaneCredential> = Api::all(context.client.clone());
    crate::runtime::status::write(&api, credential, credential.status.as_ref(), &status).await?;
    Ok(match result? {
        Ok(validity) => Action::requeue(validity.until_renewal(now).max(Duration::from_secs(1))),
        Err(refusal) if refusal.stalled => Action::await_change(),
        Err(_) => Action::requeue(POLL),
    })
}

/// Sees to the role, the certificate and the Secret.
async fn apply(
    mut plan: Plan,
    context: &Context,
    now: jiff::Timestamp,
) -> Result<Result<Validity, Refusal>, Error> {
    let access = match context.planes.access().await {
        Ok(access) => access,
        Err(Error::PlaneUnknown(why)) => {
            return Ok(Err(Refusal::waiting(reason::MANAGEMENT_PLANE_PENDING, why)));
        }
        Err(error) => return Err(error),
    };
    plan.complete(&access);
    let api: Api<Secret> = Api::namespaced(context.client.clone(), &plan.secret.namespace);
    let current = api.get_opt(&plan.secret.name).await?;
    if let Some(secret) = &current {
        if !is_controlled_by(&secret.metadata, &plan.secret.owner.uid) {
            let (namespace, name) = (&plan.secret.namespace, &plan.secret.name);
            return Ok(Err(Refusal::stalled(
                reason::NOT_OURS,
                format!("there is a Secret {namespace}/{name} that this object did not make"),
            )));
        }
        if is_current(secret, &plan.secret.inputs, now)
            && let Some(validity) = Validity::of(secret)
        {
            plan.secret.grant.verify(&access).await?;
            return Ok(Ok(validity));
        }
    }
    let grant = &plan.secret.grant;
    // The old ones first: they are good no more before the new one is there.
    let generation = Some(&*grant.generation);
    access::write_revocation(&access, &grant.cluster_path, &grant.user, generation, plan.lifetime, now)
        .await?;
    grant.ensure(&access).await?;
    let issued = access::request(&access, grant, plan.lifetime).await?;
    let secret = plan.secret.build(&issued, now)?;
    let written = access::write_secret(&api, secret, current.as_ref()).await?;
    Validity::of(&written).map(Ok).ok_or_else(|| Error::Convert {
        what: "the Secret that was written",
        message: "it does not say when it ends".into(),
    })
}

fn compute(
    credential: &ControlPlaneCredential,
    result: &Result<Result<Validity, Refusal>, Error>,
    now: jiff::Timestamp,
) -> ControlPlaneCredentialStatus {
    let generation = credential.metadata.generation;
    let mut status = credential.status.clone().unwrap_or_default();
    let mut conditions = Conditions::new(&status.conditions, generation, now);
    match result {
        Ok(Ok(validity)) => {
            let (namespace, name) = secret_reference(credential);
            status.secret_ref = Some(SecretReference::new(namespace, name));
            status.expiration_time = Some(Time(validity.expires));
            status.user = Some(grant(credential, "").user);
            status.rotation = access::rotation(&credential.metadata);
            conditions.ready(reason::RECONCILED, "the kubeconfigs are in the Secret");
        }
        Ok(Err(refusal)) if refusal.stalled => {
            conditions.stalled(refusal.reason, refusal.message.clone());
        }
        Ok(Err(refusal)) => {
            conditions.reconciling(refusal.reason, refusal.message.clone());
        }
        Err(error) => {
            conditions.reconciling(reason::RETRYING, error.to_string());
        }
    }
    status.conditions = conditions.finish();
    status.observed_generation = generation.unwrap_or(status.observed_generation);
    status
}

/// Takes the role back and deletes the Secret.
async fn revoke(credential: &ControlPlaneCredential, context: &Context) -> Result<Action, Error> {
    if !credential.finalizers().iter().any(|f| f == FINALIZER) {
        return Ok(Action::await_change());
    }
    let control_planes: Api<ControlPlane> = Api::all(context.client.clone());
    // A control plane that is gone took the role with it, or is detached and answers nobody.
    if let Some(control_plane) = control_planes.get_opt(&credential.spec.control_plane_ref.name).await? {
        match context.planes.access().await {
            Ok(access) => {
                let grant = grant(credential, control_plane.cluster_path());
                let now = jiff::Timestamp::now();
                let life = rest_of_life(credential, now);
                access::write_revocation(&access, &grant.cluster_path, &grant.user, None, life, now).await?;
                grant.revoke(&access).await?;
            }
            Err(Error::PlaneUnknown(why)) => {
                tracing::info!(name = credential.name_any(), why, "cannot revoke yet");
                return Ok(Action::requeue(POLL));
            }
            Err(error) => return Err(error),
        }
    }
    let (namespace, name) = secret_reference(credential);
    let secrets: Api<Secret> = Api::namespaced(context.client.clone(), &namespace);
    let uid = credential.uid().unwrap_or_default();
    if let Some(secret) = secrets.get_opt(&name).await?
        && is_controlled_by(&secret.metadata, &uid)
    {
        raw::optional(secrets.delete(&name, &DeleteParams::default()).await)?;
    }
    context.events.normal(credential, "Revoked", "the role is taken back and the Secret deleted").await;
    let rest: Vec<String> = credential.finalizers().iter().filter(|f| *f != FINALIZER).cloned().collect();
    write_finalizers(credential, context, &rest).await?;
    Ok(Action::await_change())
}

/// How long the last certificate of a credential may still be good: that of the Secret, or if that is not known, the
/// longest.
fn rest_of_life(credential: &ControlPlaneCredential, now: jiff::Timestamp) -> Duration {
    let ends = credential.status.as_ref().and_then(|status| status.expiration_time.as_ref());
    let rest = ends.map(|ends| ends.0.as_second().saturating_sub(now.as_second()));
    rest.map_or(LONGEST, |rest| Duration::from_secs(u64::try_from(rest).unwrap_or(0) + 3600))
}

async fn write_finalizers(
    credential: &ControlPlaneCredential,
    context: &Context,
    finalizers: &[String],
) -> Result<(), Error> {
    let api: Api<ControlPlaneCredential> = Api::all(context.client.clone());
    let current = credential.metadata.resource_version.as_ref();
    let patch = json!({ "metadata": {
        "uid": credential.metadata.uid, "resourceVersion": current, "finalizers": finalizers,
    }});
    let written = api.patch(&credential.name_any(), &PatchParams::default(), &Patch::Merge(&patch)).await;
    raw::optional(written)?;
    Ok(())
}
