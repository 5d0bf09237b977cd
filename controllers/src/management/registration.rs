//! `ControlPlaneRegistration`: resolves what its references lead to, and follows their changes.

use std::sync::Arc;

use kplane_crds::conditions::reason;
use kplane_crds::reference::SecretReference;
use kplane_crds::v1alpha1::{
    ControlPlane, ControlPlaneEndpoint, ControlPlaneRegistration, ControlPlaneRegistrationStatus,
};
use kube::runtime::controller::{Action, Config};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::{Controller, watcher};
use kube::{Api, ResourceExt};
use tokio_util::sync::CancellationToken;

use super::context::{Context, error_policy};
use super::run::{changes, drain};
use crate::Error;
use crate::runtime::conditions::Conditions;

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
    context.succeeded(registration.as_ref());
    Ok(Action::await_change())
}

#[derive(Default)]
struct Found {
    control_plane: Option<ControlPlane>,
    endpoint: Option<ControlPlaneEndpoint>,
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
    Ok(found)
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
    let Some(control_plane) = &found.control_plane else {
        let message = format!("there is no ControlPlane {}", reference.name);
        return Err((reason::CONTROL_PLANE_NOT_FOUND, message));
    };
    let status = control_plane.status.clone().unwrap_or_default();
    let endpoint = match (&spec.endpoint_ref, &found.endpoint) {
        (Some(_), Some(endpoint)) => {
            endpoint.spec.endpoint.clone().or_else(|| endpoint.status.as_ref()?.endpoint.clone())
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
    let Some(secret) = spec.kubeconfig_secret_ref.clone().or(status.kubeconfig_secret_ref) else {
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
    match resolve(registration, found) {
        Ok((endpoint, secret)) => {
            status.ready = true;
            status.resolved_endpoint = Some(endpoint);
            status.resolved_kubeconfig_secret_ref = Some(secret);
            conditions.ready(reason::RESOLVED, "all references are resolved");
        }
        Err((reason::CONTROL_PLANE_REF_MISSING, message)) => {
            status.ready = false;
            conditions.stalled(reason::CONTROL_PLANE_REF_MISSING, message);
        }
        Err((why, message)) => {
            status.ready = false;
            conditions.reconciling(why, message);
        }
    }
    status.conditions = conditions.finish();
    status.observed_generation = generation.unwrap_or(status.observed_generation);
    status
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::conditions::find;
    use kplane_crds::conditions::READY;
    use kplane_crds::reference::LocalObjectReference;
    use kplane_crds::v1alpha1::{ControlPlaneRegistrationSpec, ControlPlaneSpec, ControlPlaneStatus};

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
    }
}
