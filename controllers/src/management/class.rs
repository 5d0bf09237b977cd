//! `ControlPlaneClass`: says whether its fields are valid, and which of them do something.

use std::sync::Arc;

use kplane_crds::conditions::{FIELDS_SUPPORTED, reason};
use kplane_crds::v1alpha1::{
    ControlPlaneClass, ControlPlaneClassSpec, ControlPlaneClassStatus, ControlPlaneMode,
};
use kube::Api;
use kube::runtime::Controller;
use kube::runtime::controller::Action;
use tokio_util::sync::CancellationToken;

use super::context::{Context, error_policy};
use super::run::{changes, drain};
use crate::Error;
use crate::runtime::conditions::Conditions;

/// Runs the controller.
pub async fn run(context: Arc<Context>, shutdown: CancellationToken) {
    let (stream, reader) = changes(Api::<ControlPlaneClass>::all(context.client.clone()));
    let controller = Controller::for_stream(stream, reader)
        .graceful_shutdown_on(shutdown.cancelled_owned())
        .run(reconcile, error_policy, context);
    drain("ControlPlaneClass", controller).await;
}

async fn reconcile(class: Arc<ControlPlaneClass>, context: Arc<Context>) -> Result<Action, Error> {
    let status = compute(&class, jiff::Timestamp::now());
    let api: Api<ControlPlaneClass> = Api::all(context.client.clone());
    crate::runtime::status::write(&api, class.as_ref(), class.status.as_ref(), &status).await?;
    context.succeeded(class.as_ref());
    Ok(Action::await_change())
}

/// The fields that are set and do nothing.
fn unsupported(spec: &ControlPlaneClassSpec) -> Vec<&'static str> {
    let model = spec.auth.as_ref().and_then(|auth| auth.model.as_deref()).unwrap_or_default();
    let issuers = spec.auth.as_ref().is_some_and(|auth| !auth.issuers.is_empty());
    [
        (!spec.addons.is_empty(), "spec.addons"),
        (!(matches!(model, "" | "basic") || model == "oidc" && issuers), "spec.auth.model"),
        (spec.gateway.is_some(), "spec.gateway"),
        (spec.modes_allowed.contains(&ControlPlaneMode::Dedicated), "spec.modesAllowed[Dedicated]"),
    ]
    .into_iter()
    .filter_map(|(set, name)| set.then_some(name))
    .collect()
}

fn compute(class: &ControlPlaneClass, now: jiff::Timestamp) -> ControlPlaneClassStatus {
    let mut status = class.status.clone().unwrap_or_default();
    let mut conditions = Conditions::new(&status.conditions, class.metadata.generation, now);
    let unsupported = unsupported(&class.spec);
    if unsupported.is_empty() {
        conditions.set(FIELDS_SUPPORTED, true, reason::RESOLVED, "every field that is set does something");
    } else {
        let message = format!("these fields do nothing yet: {}", unsupported.join(", "));
        conditions.set(FIELDS_SUPPORTED, false, reason::UNSUPPORTED_FIELDS, message);
    }
    conditions.ready(reason::RECONCILED, "the class can be used");
    status.conditions = conditions.finish();
    status.observed_generation = class.metadata.generation.unwrap_or(status.observed_generation);
    status
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::conditions::{find, is_true};
    use kplane_crds::conditions::READY;

    #[test]
    fn fields_that_do_nothing_are_named() {
        let spec =
            ControlPlaneClassSpec { addons: vec!["starter".into()], ..ControlPlaneClassSpec::default() };
        let status = compute(&ControlPlaneClass::new("owls", spec), jiff::Timestamp::UNIX_EPOCH);
        assert!(is_true(&status.conditions, READY));
        let supported = find(&status.conditions, FIELDS_SUPPORTED).unwrap();
        assert_eq!(supported.status, "False");
        assert!(supported.message.contains("spec.addons"), "{}", supported.message);
    }
}
