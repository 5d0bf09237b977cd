//! HorizontalPodAutoscalers, as far as they go without metrics: what they scale is kept between its bounds, and their status
//! says why nothing more is done.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::pods::set_condition;
use crate::Error;
use crate::tenant::api::AUTOSCALERS;
use crate::tenant::object::object_path;
use crate::tenant::queue::Next;
use crate::tenant::tasks::Cx;
use crate::tenant::value::{count, is_deleting, items, map_at, number, set_count, stamp, text};

const COMPONENT: &str = "horizontal-pod-autoscaler";
/// How long after a change it is looked at.
pub const DELAY: Duration = Duration::from_secs(15);
/// How often it is looked at again: what it scales may be scaled by others.
const AGAIN: Duration = Duration::from_secs(60);

/// What an autoscaler does about a number of replicas.
#[derive(Debug, PartialEq, Eq)]
enum Advice {
    /// Nothing: the target is switched off.
    Off,
    /// Another number, and why.
    Scale(i64, &'static str),
    /// What the metrics say, which nobody knows.
    Metrics,
}

fn advice(autoscaler: &Value, replicas: i64) -> Advice {
    let least = number(autoscaler, "/spec/minReplicas").unwrap_or(1);
    let most = count(autoscaler, "/spec/maxReplicas");
    if replicas == 0 && least != 0 {
        Advice::Off
    } else if replicas > most {
        Advice::Scale(most, "Current number of replicas above Spec.MaxReplicas")
    } else if replicas < least {
        Advice::Scale(least, "Current number of replicas below Spec.MinReplicas")
    } else {
        Advice::Metrics
    }
}

/// Looks at one.
pub async fn reconcile(cx: &Cx<'_>) -> Result<Next, Error> {
    let Some(autoscaler) = cx.object(&AUTOSCALERS).await? else { return Ok(Next::Done) };
    if is_deleting(&autoscaler) {
        return Ok(Next::Done);
    }
    let mut next = autoscaler.clone();
    if !next["status"].is_object() {
        next["status"] = json!({});
    }
    let now = Timestamp::now();
    match scale(cx, &autoscaler).await? {
        Ok((path, scale)) => look(cx, &mut next, &path, scale, now).await?,
        Err(why) => {
            cx.api.warning(COMPONENT, &autoscaler, "FailedGetScale", &why);
            let message = format!("the HPA controller was unable to get the target's current scale: {why}");
            condition(&mut next, "AbleToScale", "False", "FailedGetScale", &message, now);
        }
    }
    if next["status"] != autoscaler["status"] {
        cx.api.update_status(&AUTOSCALERS, &next).await?;
    }
    Ok(Next::After(AGAIN))
}

fn condition(autoscaler: &mut Value, kind: &str, holds: &str, reason: &str, message: &str, now: Timestamp) {
    set_condition(&mut autoscaler["status"], kind, holds, reason, message, now);
}

/// The scale of the target and where it is; the inner error is one to be told.
async fn scale(cx: &Cx<'_>, autoscaler: &Value) -> Result<Result<(String, Value), String>, Error> {
    let of = |field: &str| text(autoscaler, &format!("/spec/scaleTargetRef/{field}"));
    let (api_version, kind, target) = (of("apiVersion"), of("kind"), of("name"));
    let resource = cx.tasks.discovery().of_kind(&cx.key.cluster, api_version, kind).await?;
    let Some(resource) = resource else {
        let group = api_version.split_once('/').map_or("", |(group, _)| group);
        return Ok(Err(format!("no matches for kind {kind:?} in group {group:?}")));
    };
    let path = object_path(&resource.api_version, &resource.plural, &cx.key.namespace, target);
    let path = format!("{path}/scale");
    Ok(match cx.api.get_path(&path).await? {
        Some(scale) => Ok((path, scale)),
        None => {
            let group =
                resource.api_version.split_once('/').map_or(String::new(), |(group, _)| format!(".{group}"));
            Err(format!("{}{group} {target:?} not found", resource.plural))
        }
    })
}

async fn look(
    cx: &Cx<'_>,
    autoscaler: &mut Value,
    path: &str,
    mut scale: Value,
    now: Timestamp,
) -> Result<(), Error> {
    let message = "the HPA controller was able to get the target's current scale";
    condition(autoscaler, "AbleToScale", "True", "SucceededGetScale", message, now);
    let replicas = count(&scale, "/spec/replicas");
    let mut desired = count(autoscaler, "/status/desiredReplicas");
    match advice(autoscaler, replicas) {
        Advice::Off => {
            let message = "scaling is disabled since the replica count of the target is zero";
            condition(autoscaler, "ScalingActive", "False", "ScalingDisabled", message, now);
            desired = 0;
        }
        Advice::Scale(to, why) => {
            scale["spec"]["replicas"] = to.into();
            cx.api.put_path(path, &scale).await?;
            desired = to;
            let message = format!("New size: {to}; reason: {why}");
            cx.api.normal(COMPONENT, autoscaler, "SuccessfulRescale", &message);
            let message = format!("the HPA controller was able to update the target scale to {to}");
            condition(autoscaler, "AbleToScale", "True", "SucceededRescale", &message, now);
            map_at(autoscaler, &["status"]).insert("lastScaleTime".into(), stamp(now).into());
        }
        Advice::Metrics => {
            let (reason, message) = unknown(autoscaler);
            cx.api.warning(COMPONENT, autoscaler, reason, &message);
            condition(autoscaler, "ScalingActive", "False", reason, &message, now);
        }
    }
    let status = &mut autoscaler["status"];
    set_count(status, "currentReplicas", replicas);
    status["desiredReplicas"] = desired.into();
    Ok(())
}

/// Why the first metric is not known.
fn unknown(autoscaler: &Value) -> (&'static str, String) {
    let start = "the HPA was unable to compute the replica count:";
    let missing = |api: &str| {
        format!(
            "unable to fetch metrics from {api} metrics API: the server could not find the requested resource"
        )
    };
    let metric = items(autoscaler, "/spec/metrics").first().cloned().unwrap_or_default();
    match text(&metric, "/type") {
        "Resource" | "ContainerResource" => {
            let resource = match text(&metric, "/resource/name") {
                "" => text(&metric, "/containerResource/name").to_owned(),
                named => named.to_owned(),
            };
            let why = missing("resource");
            let message = format!(
                "{start} failed to get {resource} utilization: unable to get metrics for resource {resource}: {why} (get pods.metrics.k8s.io)"
            );
            ("FailedGetResourceMetric", message)
        }
        "Pods" => ("FailedGetPodsMetric", format!("{start} {}", missing("custom"))),
        "Object" => ("FailedGetObjectMetric", format!("{start} {}", missing("custom"))),
        _ => ("FailedGetExternalMetric", format!("{start} {}", missing("external"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_scaled_stays_between_its_bounds() {
        let autoscaler = json!({ "spec": { "minReplicas": 2, "maxReplicas": 5 } });
        assert_eq!(advice(&autoscaler, 0), Advice::Off);
        assert!(matches!(advice(&autoscaler, 1), Advice::Scale(2, _)));
        assert!(matches!(advice(&autoscaler, 9), Advice::Scale(5, _)));
        assert_eq!(advice(&autoscaler, 3), Advice::Metrics);
    }

    #[test]
    fn a_metric_that_is_not_known_is_named() {
        let autoscaler =
            json!({ "spec": { "metrics": [{ "type": "Resource", "resource": { "name": "cpu" } }] } });
        let (reason, message) = unknown(&autoscaler);
        assert_eq!(reason, "FailedGetResourceMetric");
        assert!(message.contains("failed to get cpu utilization"), "{message}");
    }
}
