//! `ControlPlaneCredential`: a role in one control plane, for a time, written to a Secret.

mod plan;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kplane_crds::conditions::reason;
use kplane_crds::names;
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
use super::exports::{self, Exported};
use super::finalizer::{Settled, Verdict, verdict};
use super::kubeconfig::{Validity, is_current};
use super::run::{changes, drain, owner_of};
use super::secrets::Found;
use crate::Error;
use crate::runtime::conditions::Conditions;
use crate::runtime::raw;

use plan::{Plan, Refusal, grant, owner, plan};

pub use plan::secret_reference;

/// How soon another form of the kubeconfig that could not be written is tried again.
const RETRY_EXPORTS: Duration = Duration::from_secs(30);
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
        .graceful_shutdown_on(shutdown.cancelled_owned());
    let controller = if context.secrets.can_watch() {
        // By name, not by owner: an owner in no namespace would not be the one that is worked on already.
        controller.watches(
            Api::<Secret>::all(client),
            watcher::Config::default().labels(NAME_LABEL),
            |secret: Secret| owner_of(&secret.metadata),
        )
    } else {
        controller
    };
    drain("ControlPlaneCredential", controller.run(reconcile, error_policy, context)).await;
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
    let mut result = match plan(credential, control_plane.as_ref()) {
        Err(refusal) => Ok(Err(refusal)),
        Ok(plan) => apply(plan, context, now).await,
    };
    let mut exported = None;
    if let Ok(Ok((secret, _))) = &result {
        match export(credential, secret, context).await {
            Ok(mut done) => {
                let error = done.error.take();
                exported = Some(done);
                result = error.map_or(result, Err);
            }
            Err(error) => result = Err(error),
        }
    }
    let status = compute(credential, &result, exported.as_ref(), now);
    let api: Api<ControlPlaneCredential> = Api::all(context.client.clone());
    crate::runtime::status::write(&api, credential, credential.status.as_ref(), &status).await?;
    Ok(match result? {
        // A namespace that is missing may come, and a Secret that is in the way may go, and nobody tells.
        Ok(_) if exported.is_some_and(|exported| exported.trouble.is_some()) => {
            Action::requeue(RETRY_EXPORTS)
        }
        Ok((_, validity)) => {
            let then = context.secrets.look_again(validity.until_renewal(now));
            Action::requeue(then.max(Duration::from_secs(1)))
        }
        Err(refusal) if refusal.stalled => Action::await_change(),
        Err(_) => Action::requeue(POLL),
    })
}

/// Sees to the role, the certificate and the Secret.
async fn apply(
    mut plan: Plan,
    context: &Context,
    now: jiff::Timestamp,
) -> Result<Result<(Secret, Validity), Refusal>, Error> {
    let access = match context.planes.access().await {
        Ok(access) => access,
        Err(Error::PlaneUnknown(why)) => {
            return Ok(Err(Refusal::waiting(reason::MANAGEMENT_PLANE_PENDING, why)));
        }
        Err(error) => return Err(error),
    };
    plan.complete(&access);
    let api = context.secrets.of(&plan.secret.namespace);
    let (namespace, name) = (&plan.secret.namespace, &plan.secret.name);
    let current = match context.secrets.find(namespace, name).await? {
        Found::Secret(secret) if is_controlled_by(&secret.metadata, &plan.secret.owner.uid) => Some(secret),
        Found::Secret(_) | Found::Hidden => {
            return Ok(Err(Refusal::stalled(
                reason::NOT_OURS,
                format!("there is a Secret {namespace}/{name} that this object did not make"),
            )));
        }
        Found::Nothing => None,
    };
    if let Some(secret) = &current
        && is_current(secret, &plan.secret.inputs, now)
        && let Some(validity) = Validity::of(secret)
    {
        plan.secret.grant.verify(&access).await?;
        return Ok(Ok((secret.as_ref().clone(), validity)));
    }
    let grant = &plan.secret.grant;
    // The old ones first: they are good no more before the new one is there.
    let generation = Some(&*grant.generation);
    access::write_revocation(&access, &grant.cluster_path, &grant.user, generation, plan.lifetime, now)
        .await?;
    grant.ensure(&access).await?;
    let issued = access::request(&access, grant, plan.lifetime).await?;
    let secret = plan.secret.build(&issued, now)?;
    let written = access::write_secret(&api, secret, current.as_deref()).await?;
    let validity = Validity::of(&written).ok_or_else(|| Error::Convert {
        what: "the Secret that was written",
        message: "it does not say when it ends".into(),
    })?;
    Ok(Ok((written, validity)))
}

/// Writes the kubeconfig in the other forms that the spec asks for.
async fn export(
    credential: &ControlPlaneCredential,
    secret: &Secret,
    context: &Context,
) -> Result<Exported, Error> {
    let status = credential.status.clone().unwrap_or_default();
    let recorded = &status.exported_secret_refs;
    let asked = credential.spec.exports.as_deref();
    if asked.is_none() && recorded.is_empty() {
        return Ok(Exported::default());
    }
    let name = credential.name_any();
    let source = exports::Source {
        name: &name,
        control_plane: &credential.spec.control_plane_ref.name,
        argo_cd_secret: names::credential_argo_cd_secret(&name),
        owner: owner(credential),
        secret,
    };
    let wanted = match exports::build(asked, &source) {
        Ok(wanted) => wanted,
        Err(trouble) => return Ok(Exported::troubled(recorded.clone(), trouble)),
    };
    if let Some(all) = exports::to_record(&wanted, recorded) {
        let new = ControlPlaneCredentialStatus { exported_secret_refs: all, ..status.clone() };
        let api: Api<ControlPlaneCredential> = Api::all(context.client.clone());
        crate::runtime::status::write(&api, credential, credential.status.as_ref(), &new).await?;
    }
    Ok(exports::apply(&context.secrets, &source.owner.uid, &wanted, recorded).await)
}

fn compute(
    credential: &ControlPlaneCredential,
    result: &Result<Result<(Secret, Validity), Refusal>, Error>,
    exported: Option<&Exported>,
    now: jiff::Timestamp,
) -> ControlPlaneCredentialStatus {
    let generation = credential.metadata.generation;
    let mut status = credential.status.clone().unwrap_or_default();
    let mut conditions = Conditions::new(&status.conditions, generation, now);
    if let Some(exported) = exported {
        status.exported_secret_refs.clone_from(&exported.recorded);
        exported.tell(&mut conditions);
    }
    match result {
        Ok(Ok((_, validity))) => {
            let (namespace, name) = secret_reference(credential);
            status.secret_ref = Some(SecretReference::new(namespace, name));
            status.expiration_time = Some(Time(validity.expires));
            status.user = Some(grant(credential, "").user);
            status.rotation = access::rotation(&credential.metadata);
            match exported.and_then(|exported| exported.trouble.as_ref()) {
                Some((why, message)) => conditions.stalled(why, message.clone()),
                None => conditions.ready(reason::RECONCILED, "the kubeconfigs are in the Secret"),
            };
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
    match verdict(&credential.metadata, take_back(credential, context).await) {
        Verdict::Release => {
            context.events.normal(credential, "Revoked", "the role is taken back").await;
        }
        Verdict::Force(why) => {
            let note = format!("the role was not taken back; its certificate is good until it ends: {why}");
            context.events.warning(credential, "Forced", note).await;
        }
        Verdict::Hold { reason, message, again } => {
            let held = Ok(Err(Refusal::waiting(reason, message)));
            let status = compute(credential, &held, None, jiff::Timestamp::now());
            let api: Api<ControlPlaneCredential> = Api::all(context.client.clone());
            crate::runtime::status::write(&api, credential, credential.status.as_ref(), &status).await?;
            return again.map(Action::requeue);
        }
    }
    let (namespace, name) = secret_reference(credential);
    let secrets = context.secrets.of(&namespace);
    let uid = credential.uid().unwrap_or_default();
    if let Some(secret) = context.secrets.find(&namespace, &name).await?.secret()
        && is_controlled_by(&secret.metadata, &uid)
    {
        raw::optional(secrets.delete(&name, &DeleteParams::default()).await)?;
    }
    let status = credential.status.clone().unwrap_or_default();
    exports::remove_all(&context.secrets, &uid, &status.exported_secret_refs).await?;
    let rest: Vec<String> = credential.finalizers().iter().filter(|f| *f != FINALIZER).cloned().collect();
    write_finalizers(credential, context, &rest).await?;
    Ok(Action::await_change())
}

/// Takes the role back. A control plane that is gone took it with it, or is detached and answers nobody.
async fn take_back(credential: &ControlPlaneCredential, context: &Context) -> Result<Settled, Error> {
    let control_planes: Api<ControlPlane> = Api::all(context.client.clone());
    let control_plane = control_planes.get_opt(&credential.spec.control_plane_ref.name).await?;
    let Some(control_plane) = control_plane else { return Ok(Settled::Done) };
    let access = match context.planes.access().await {
        Ok(access) => access,
        Err(Error::PlaneUnknown(why)) => {
            return Ok(Settled::Waiting {
                reason: reason::MANAGEMENT_PLANE_PENDING,
                message: format!("cannot take the role back yet: {why}"),
                again: POLL,
            });
        }
        Err(error) => return Err(error),
    };
    let grant = grant(credential, control_plane.cluster_path());
    let now = jiff::Timestamp::now();
    let life = rest_of_life(credential, now);
    access::write_revocation(&access, &grant.cluster_path, &grant.user, None, life, now).await?;
    grant.revoke(&access).await?;
    Ok(Settled::Done)
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
