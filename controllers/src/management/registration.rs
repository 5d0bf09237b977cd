//! `ControlPlaneRegistration`: resolves what its references lead to, and follows their changes.

use std::sync::Arc;
use std::time::Duration;

use kplane_crds::conditions::{READY, reason};
use kplane_crds::names;
use kplane_crds::reference::SecretReference;
use kplane_crds::v1alpha1::{
    ControlPlane, ControlPlaneEndpoint, ControlPlaneRegistration, ControlPlaneRegistrationStatus,
};
use kube::runtime::controller::{Action, Config};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::{Controller, watcher};
use kube::{Api, ResourceExt};
use tokio_util::sync::CancellationToken;

use super::context::{Context, POLL, error_policy};
use super::plane::control_plane_url;
use super::run::{changes, drain};
use super::secrets;
use crate::Error;
use crate::runtime::conditions::{Conditions, find};

/// How often a Secret that a registration names is looked for, once it was found.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// Runs the controller.
pub async fn run(context: Arc<Context>, shutdown: CancellationToken) {
    let client = context.client.clone();
    let (stream, reader) = changes(Api::<ControlPlaneRegistration>::all(client.clone()));
    let by_control_plane = reader.clone();
    let by_endpoint = reader.clone();
    let controller = Controller::for_stream(stream, reader)
        .with_config(Config::default().concurrency(context.options.concurrency))
        .watches(
            Api::<ControlPlane>::all(client.clone()),
            watcher::Config::default(),
            move |control_plane: ControlPlane| {
                let name = control_plane.name_any();
                select(&by_control_plane, |r| {
                    r.spec.control_plane_ref.as_ref().is_some_and(|reference| reference.name == name)
                })
            },
        )
        .watches(
            Api::<ControlPlaneEndpoint>::all(client),
            watcher::Config::default(),
            move |endpoint: ControlPlaneEndpoint| {
                let name = endpoint.name_any();
                select(&by_endpoint, |r| {
                    r.spec.endpoint_ref.as_ref().is_some_and(|reference| reference.name == name)
                })
            },
        )
        .graceful_shutdown_on(shutdown.cancelled_owned())
        .run(reconcile, error_policy, context);
    drain("ControlPlaneRegistration", controller).await;
}

fn select(
    store: &Store<ControlPlaneRegistration>,
    wanted: impl Fn(&ControlPlaneRegistration) -> bool,
) -> Vec<ObjectRef<ControlPlaneRegistration>> {
    store.state().iter().filter(|r| wanted(r)).map(|r| ObjectRef::from_obj(r.as_ref())).collect()
}

async fn reconcile(
    registration: Arc<ControlPlaneRegistration>,
    context: Arc<Context>,
) -> Result<Action, Error> {
    let found = dereference(&registration, &context).await?;
    let status = compute(&registration, &found, jiff::Timestamp::now());
    let api: Api<ControlPlaneRegistration> = Api::all(context.client.clone());
    crate::runtime::status::write(&api, registration.as_ref(), registration.status.as_ref(), &status).await?;
    announce(&registration, &status, &context).await;
    context.succeeded(registration.as_ref());
    // Control planes and endpoints are watched. A Secret that is named may be anybody's, and those are too many to watch.
    Ok(match (&registration.spec.kubeconfig_secret_ref, status.ready) {
        (None, _) => Action::await_change(),
        (Some(_), true) => Action::requeue(LOOK_AGAIN),
        (Some(_), false) => Action::requeue(POLL),
    })
}

#[derive(Default)]
struct Found {
    control_plane: Option<ControlPlane>,
    endpoint: Option<ControlPlaneEndpoint>,
    /// Whether the Secret is there that the spec names. It may be anybody's: what is in it is not for the controllers.
    secret_is_there: bool,
}

async fn dereference(registration: &ControlPlaneRegistration, context: &Context) -> Result<Found, Error> {
    let mut found = Found::default();
    if let Some(reference) = &registration.spec.control_plane_ref {
        let api: Api<ControlPlane> = Api::all(context.client.clone());
        found.control_plane = api.get_opt(&reference.name).await?;
    }
    if let Some(reference) = &registration.spec.endpoint_ref {
        let api: Api<ControlPlaneEndpoint> = Api::all(context.client.clone());
        found.endpoint = api.get_opt(&reference.name).await?;
    }
    if let Some((namespace, name)) = named_secret(registration) {
        found.secret_is_there = context.secrets.find(&namespace, &name).await? != secrets::Found::Nothing;
    }
    Ok(found)
}

/// The namespace and the name of the Secret that the spec names: in the namespace of the control plane, if it names none.
fn named_secret(registration: &ControlPlaneRegistration) -> Option<(String, String)> {
    let spec = &registration.spec;
    let control_plane = &spec.control_plane_ref.as_ref()?.name;
    let reference = spec.kubeconfig_secret_ref.clone()?;
    Some((
        reference.namespace.unwrap_or_else(|| names::namespace(control_plane)),
        reference.name.unwrap_or_else(|| names::kubeconfig_secret(control_plane)),
    ))
}

/// The address and the Secret that the references lead to, or the reason and message of why not.
fn resolve(
    registration: &ControlPlaneRegistration,
    found: &Found,
) -> Result<(String, SecretReference), (&'static str, String)> {
    let spec = &registration.spec;
    let Some(reference) = &spec.control_plane_ref else {
        return Err((reason::CONTROL_PLANE_REF_MISSING, "spec.controlPlaneRef is not set".into()));
    };
    let name = &reference.name;
    let Some(control_plane) = &found.control_plane else {
        return Err((reason::CONTROL_PLANE_NOT_FOUND, format!("there is no ControlPlane {name}")));
    };
    if control_plane.metadata.deletion_timestamp.is_some() {
        return Err((reason::CONTROL_PLANE_PENDING, format!("ControlPlane {name} is being deleted")));
    }
    let status = control_plane.status.clone().unwrap_or_default();
    let endpoint = match (&spec.endpoint_ref, &found.endpoint) {
        (Some(_), Some(endpoint)) => {
            let address =
                endpoint.spec.endpoint.clone().or_else(|| endpoint.status.as_ref()?.endpoint.clone());
            // As for a ControlPlane, the address may be that of the server.
            address.map(|address| control_plane_url(&address, control_plane.cluster_path()))
        }
        (Some(reference), None) => {
            let message = format!("there is no ControlPlaneEndpoint {}", reference.name);
            return Err((reason::ENDPOINT_NOT_FOUND, message));
        }
        (None, _) => status.endpoint,
    };
    let Some(endpoint) = endpoint else {
        return Err((reason::ENDPOINT_PENDING, "the address is not known yet".into()));
    };
    let secret = match named_secret(registration) {
        Some((namespace, name)) if !found.secret_is_there => {
            return Err((reason::KUBECONFIG_PENDING, format!("there is no Secret {namespace}/{name}")));
        }
        Some((namespace, name)) => Some(SecretReference::new(namespace, name)),
        None => status.kubeconfig_secret_ref,
    };
    let Some(secret) = secret else {
        return Err((reason::KUBECONFIG_PENDING, "the kubeconfig is not written yet".into()));
    };
    Ok((endpoint, secret))
}

fn compute(
    registration: &ControlPlaneRegistration,
    found: &Found,
    now: jiff::Timestamp,
) -> ControlPlaneRegistrationStatus {
    let mut status = registration.status.clone().unwrap_or_default();
    let generation = registration.metadata.generation;
    let mut conditions = Conditions::new(&status.conditions, generation, now);
    let resolved = resolve(registration, found);
    status.ready = resolved.is_ok();
    match resolved {
        Ok((endpoint, secret)) => {
            status.resolved_endpoint = Some(endpoint);
            status.resolved_kubeconfig_secret_ref = Some(secret);
            conditions.ready(reason::RESOLVED, "all references are resolved");
        }
        Err((why, message)) => {
            // Who serves by this must not go on serving what is not meant any more.
            status.resolved_endpoint = None;
            status.resolved_kubeconfig_secret_ref = None;
            if why == reason::CONTROL_PLANE_REF_MISSING {
                conditions.stalled(why, message);
            } else {
                conditions.reconciling(why, message);
            }
        }
    }
    status.conditions = conditions.finish();
    status.observed_generation = generation.unwrap_or(status.observed_generation);
    status
}

/// Emits an Event when readiness or its reason changes.
async fn announce(
    registration: &ControlPlaneRegistration,
    new: &ControlPlaneRegistrationStatus,
    context: &Context,
) {
    let old = registration.status.as_ref().and_then(|status| find(&status.conditions, READY));
    let Some(new) = find(&new.conditions, READY) else { return };
    if old.is_some_and(|old| old.status == new.status && old.reason == new.reason) {
        return;
    }
    if new.status == "True" {
        context.events.normal(registration, &new.reason, &new.message).await;
    } else {
        context.events.warning(registration, &new.reason, &new.message).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use kplane_crds::reference::LocalObjectReference;
    use kplane_crds::v1alpha1::{
        ControlPlaneEndpointSpec, ControlPlaneRegistrationSpec, ControlPlaneSpec, ControlPlaneStatus,
    };

    fn registration() -> ControlPlaneRegistration {
        ControlPlaneRegistration::new(
            "owl-scheduler",
            ControlPlaneRegistrationSpec {
                control_plane_ref: Some(LocalObjectReference::new("owl")),
                ..ControlPlaneRegistrationSpec::default()
            },
        )
    }

    fn reason_of(status: &ControlPlaneRegistrationStatus) -> &str {
        &find(&status.conditions, READY).unwrap().reason
    }

    #[test]
    fn a_registration_waits_for_its_control_plane_and_then_resolves() {
        let now = jiff::Timestamp::UNIX_EPOCH;
        let mut found = Found::default();
        assert_eq!(reason_of(&compute(&registration(), &found, now)), "ControlPlaneNotFound");
        let mut owl = ControlPlane::new("owl", ControlPlaneSpec::default());
        found.control_plane = Some(owl.clone());
        assert_eq!(reason_of(&compute(&registration(), &found, now)), "EndpointPending");
        owl.status =
            Some(ControlPlaneStatus { endpoint: Some("https://in".into()), ..ControlPlaneStatus::default() });
        found.control_plane = Some(owl.clone());
        assert_eq!(reason_of(&compute(&registration(), &found, now)), "KubeconfigPending");
        if let Some(status) = owl.status.as_mut() {
            status.kubeconfig_secret_ref = Some(SecretReference::new("ns", "secret"));
        }
        found.control_plane = Some(owl);
        let status = compute(&registration(), &found, now);
        assert_eq!(reason_of(&status), "Resolved");
        assert!(status.ready);
        assert_eq!(status.resolved_endpoint.as_deref(), Some("https://in"));

        // What it led to is meant no more once its control plane goes, or it names another.
        let resolved = ControlPlaneRegistration { status: Some(status), ..registration() };
        for lost in ["deleted", "gone"] {
            if let Some(owl) = found.control_plane.as_mut().filter(|_| lost == "deleted") {
                owl.metadata.deletion_timestamp = Some(Time(now));
            } else {
                found.control_plane = None;
            }
            let status = compute(&resolved, &found, now);
            assert!(!status.ready && status.resolved_endpoint.is_none(), "{lost}: {status:?}");
            assert!(status.resolved_kubeconfig_secret_ref.is_none(), "{lost}");
        }
    }

    #[test]
    fn references_of_its_own_are_followed() {
        let now = jiff::Timestamp::UNIX_EPOCH;
        let mut registration = registration();
        registration.spec.endpoint_ref = Some(LocalObjectReference::new("gate"));
        registration.spec.kubeconfig_secret_ref =
            Some(SecretReference { name: Some("mine".into()), namespace: None });
        let owl = ControlPlane::new("owl", ControlPlaneSpec::default());
        let mut found = Found { control_plane: Some(owl), ..Found::default() };
        assert_eq!(reason_of(&compute(&registration, &found, now)), "EndpointNotFound");
        let spec = ControlPlaneEndpointSpec { endpoint: Some("https://gate".into()), ..Default::default() };
        found.endpoint = Some(ControlPlaneEndpoint::new("gate", spec));
        assert_eq!(reason_of(&compute(&registration, &found, now)), "KubeconfigPending");
        found.secret_is_there = true;
        let status = compute(&registration, &found, now);
        assert_eq!(status.resolved_endpoint.as_deref(), Some("https://gate/clusters/owl/control-plane"));
        let secret = SecretReference::new("kplane-cp-owl", "mine");
        assert_eq!(status.resolved_kubeconfig_secret_ref, Some(secret));
        registration.spec.control_plane_ref = None;
        assert_eq!(reason_of(&compute(&registration, &found, now)), "ControlPlaneRefMissing");
    }
}
