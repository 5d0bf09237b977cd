//! `ControlPlaneEndpoint`: the addresses in force.

use std::sync::Arc;

use kplane_crds::conditions::reason;
use kplane_crds::v1alpha1::{ControlPlaneEndpoint, ControlPlaneEndpointStatus};
use kube::Api;
use kube::runtime::Controller;
use kube::runtime::controller::{Action, Config};
use tokio_util::sync::CancellationToken;

use super::context::{Context, error_policy};
use super::run::{changes, drain};
use crate::Error;
use crate::runtime::conditions::Conditions;

/// Runs the controller.
pub async fn run(context: Arc<Context>, shutdown: CancellationToken) {
    let (stream, reader) = changes(Api::<ControlPlaneEndpoint>::all(context.client.clone()));
    let controller = Controller::for_stream(stream, reader)
        .with_config(Config::default().concurrency(context.options.concurrency))
        .graceful_shutdown_on(shutdown.cancelled_owned())
        .run(reconcile, error_policy, context);
    drain("ControlPlaneEndpoint", controller).await;
}

async fn reconcile(endpoint: Arc<ControlPlaneEndpoint>, context: Arc<Context>) -> Result<Action, Error> {
    let status = compute(&endpoint, jiff::Timestamp::now());
    let api: Api<ControlPlaneEndpoint> = Api::all(context.client.clone());
    crate::runtime::status::write(&api, endpoint.as_ref(), endpoint.status.as_ref(), &status).await?;
    context.succeeded(endpoint.as_ref());
    Ok(Action::await_change())
}

/// What the spec says is in force. An address that the spec leaves out is what something else, such as a gateway,
/// wrote into the status, or follows from another address.
fn compute(endpoint: &ControlPlaneEndpoint, now: jiff::Timestamp) -> ControlPlaneEndpointStatus {
    let spec = &endpoint.spec;
    let mut status = endpoint.status.clone().unwrap_or_default();
    let mut conditions = Conditions::new(&status.conditions, endpoint.metadata.generation, now);
    if let Some(address) = &spec.endpoint {
        status.endpoint = Some(address.clone());
        status.external_endpoint = spec.external_endpoint.clone().or(Some(address.clone()));
    } else if spec.external_endpoint.is_some() {
        status.external_endpoint.clone_from(&spec.external_endpoint);
    }
    status.join_endpoint = spec.join_endpoint.clone().or_else(|| status.external_endpoint.clone());
    match &status.endpoint {
        Some(address) => conditions.ready(reason::RESOLVED, address.clone()),
        None => conditions.reconciling(reason::ENDPOINT_PENDING, "no address is set yet"),
    };
    status.conditions = conditions.finish();
    status.observed_generation = endpoint.metadata.generation.unwrap_or(status.observed_generation);
    status
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::conditions::is_true;
    use kplane_crds::conditions::READY;
    use kplane_crds::v1alpha1::ControlPlaneEndpointSpec;

    #[test]
    fn addresses_follow_from_one_another() {
        let spec = ControlPlaneEndpointSpec { endpoint: Some("https://in".into()), ..Default::default() };
        let status = compute(&ControlPlaneEndpoint::new("owl", spec), jiff::Timestamp::UNIX_EPOCH);
        assert_eq!(status.external_endpoint.as_deref(), Some("https://in"));
        assert_eq!(status.join_endpoint.as_deref(), Some("https://in"));
        assert!(is_true(&status.conditions, READY));
    }

    #[test]
    fn what_a_gateway_wrote_stays() {
        let mut endpoint = ControlPlaneEndpoint::new("owl", ControlPlaneEndpointSpec::default());
        assert!(!is_true(&compute(&endpoint, jiff::Timestamp::UNIX_EPOCH).conditions, READY));
        endpoint.status = Some(ControlPlaneEndpointStatus {
            endpoint: Some("https://gateway".into()),
            ..ControlPlaneEndpointStatus::default()
        });
        let status = compute(&endpoint, jiff::Timestamp::UNIX_EPOCH);
        assert_eq!(status.endpoint.as_deref(), Some("https://gateway"));
        assert!(is_true(&status.conditions, READY));
    }
}
