//! One call of one webhook.

use std::time::{Duration, Instant};

use kplane_machinery::Status;
use serde_json::{Value, json};

use super::hook::Hook;
use super::review::{self, Answer, Unusable};
use crate::{Attributes, Operation};

/// A call that was made, for metrics. It names no webhook: tenants choose those names.
#[derive(Clone, Copy, Debug)]
pub struct Observation {
    /// The kind of webhook: `admit` or `validating`.
    pub webhook: &'static str,
    /// What the write does.
    pub operation: Operation,
    /// Whether the write was refused.
    pub rejected: bool,
    /// Whether the webhook could not be asked.
    pub failed: bool,
    /// How long it took.
    pub elapsed: Duration,
}

/// Why a webhook's word is not known, or what it said.
#[derive(Debug)]
pub(super) enum Failure {
    /// It could not be asked: its failure policy decides.
    Calling(String),
    /// It refused the write, or the write cannot be shown to it.
    Rejected(Status),
    /// What it said cannot be done.
    Internal(Status),
}

impl Failure {
    /// What the client reads when it ends the write.
    pub fn into_status(self, hook: &Hook) -> Status {
        match self {
            Self::Calling(why) => Status::internal(format!("failed calling webhook {:?}: {why}", hook.name)),
            Self::Rejected(status) | Self::Internal(status) => status,
        }
    }
}

/// Shows a write to a webhook, as it is in a version, and returns what it says; a refusal is an error.
pub(super) async fn call(
    hook: &Hook,
    attributes: &Attributes<'_>,
    version: &str,
    object: Option<Value>,
    old: Option<Value>,
    mutating: bool,
) -> Result<Answer, Failure> {
    let started = Instant::now();
    let outcome = exchange(hook, attributes, version, object, old, mutating).await;
    attributes.reader.observe(Observation {
        webhook: if mutating { "admit" } else { "validating" },
        operation: attributes.operation,
        rejected: match &outcome {
            Ok(_) => false,
            Err(Failure::Calling(_)) => hook.fails_closed,
            Err(_) => true,
        },
        failed: matches!(outcome, Err(Failure::Calling(_))),
        elapsed: started.elapsed(),
    });
    outcome
}

async fn exchange(
    hook: &Hook,
    attributes: &Attributes<'_>,
    version: &str,
    object: Option<Value>,
    old: Option<Value>,
    mutating: bool,
) -> Result<Answer, Failure> {
    if attributes.dry_run {
        match hook.side_effects.as_deref() {
            None => return Err(Failure::Calling("Webhook SideEffects is nil".into())),
            Some("None" | "NoneOnDryRun") => {}
            Some(_) => {
                let why = format!("admission webhook {:?} does not support dry run", hook.name);
                return Err(Failure::Rejected(Status::bad_request(why)));
            }
        }
    }
    let Some(review) = hook.review else {
        let why = "could not create admission objects: webhook does not accept known AdmissionReview versions (v1, v1beta1)";
        return Err(Failure::Calling(why.into()));
    };
    let client = hook.client.as_ref();
    let client = client.map_err(|why| Failure::Calling(format!("could not get REST client: {why}")))?;
    let uid = uuid::Uuid::new_v4().to_string();
    let request = review::request(attributes, &uid, version);
    let body = review::review(review, request, object, old).to_string();
    let answered = attributes.reader.post(client, body.into_bytes(), hook.timeout).await;
    let body = answered.map_err(|why| Failure::Calling(format!("failed to call webhook: {why}")))?;
    let answer = review::read(&body, review, &uid, mutating).map_err(|unusable| {
        Failure::Calling(match unusable {
            Unusable::Undecoded(why) => format!("failed to call webhook: {why}"),
            Unusable::Invalid(why) => format!("received invalid webhook response: {why}"),
        })
    })?;
    for (key, value) in &answer.annotations {
        (attributes.annotate)(format!("{}/{key}", hook.name), value.clone());
    }
    for warning in &answer.warnings {
        (attributes.warn)(warning.clone());
    }
    if !answer.allowed {
        return Err(Failure::Rejected(review::refusal(&hook.name, answer.status.as_ref())));
    }
    Ok(answer)
}

/// Which of the webhooks that are asked about a write one is, for the audit log: the round and its place there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Turn {
    pub again: bool,
    pub index: usize,
}

impl std::fmt::Display for Turn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "round_{}_index_{}", u8::from(self.again), self.index)
    }
}

/// Says in the audit log what a webhook changed; the change itself only where objects are shown, too.
pub(super) fn annotate_mutation(
    hook: &Hook,
    attributes: &Attributes<'_>,
    turn: Turn,
    mutated: bool,
    patch: Option<&Value>,
) {
    let named = json!({"configuration": hook.configuration, "webhook": hook.name, "mutated": mutated});
    (attributes.annotate)(format!("mutation.webhook.admission.k8s.io/{turn}"), named.to_string());
    if let Some(patch) = patch.filter(|_| attributes.shows_content) {
        let shown = json!({
            "configuration": hook.configuration, "webhook": hook.name, "patch": patch, "patchType": "JSONPatch",
        });
        (attributes.annotate)(format!("patch.webhook.admission.k8s.io/{turn}"), shown.to_string());
    }
}

/// Says in the audit log that a webhook could not be asked and was passed over.
pub(super) fn annotate_failed_open(hook: &Hook, attributes: &Attributes<'_>, kind: &str, turn: Turn) {
    let key = format!("failed-open.{kind}.webhook.admission.k8s.io/{turn}");
    (attributes.annotate)(key, hook.name.clone());
}

/// Notes that a webhook was passed over.
pub(super) fn failed_open(hook: &Hook, why: &str) {
    tracing::warn!(
        webhook = hook.name,
        configuration = hook.configuration,
        why,
        "a webhook could not be asked; its policy ignores that"
    );
}

/// 500 about a patch.
pub(super) fn internal(why: impl std::fmt::Display) -> Failure {
    Failure::Internal(Status::internal(why))
}
