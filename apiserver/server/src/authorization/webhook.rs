//! A webhook that says what root's users may do: `SubjectAccessReview` v1 (`k8s.io/apiserver/plugin/pkg/authorizer/webhook`).

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use kplane_auth::authz::{Attributes, Decision, Verdict};
use kplane_egress::Egress;
use kplane_machinery::labels::Operator;
use kplane_rules::{Budget, PlainExpression};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::foreign::WebhookOptions;

const REMEMBERED: usize = 8192;
/// What the conditions of a request may cost, in upstream's units.
const COST: u64 = 10_000_000;

/// How a webhook is asked.
pub struct AccessWebhookOptions {
    /// Where it is.
    pub target: WebhookOptions,
    /// How long it may take.
    pub timeout: Duration,
    /// How long a yes is remembered, if it is.
    pub authorized_ttl: Option<Duration>,
    /// How long anything else is.
    pub unauthorized_ttl: Option<Duration>,
    /// Whether a failure is a no, rather than no opinion.
    pub deny_on_failure: bool,
    /// It is asked only about requests of which all these hold.
    pub conditions: Vec<PlainExpression>,
}

struct Inner {
    options: AccessWebhookOptions,
    remembered: Mutex<HashMap<[u8; 32], (Instant, Verdict)>>,
}

/// A webhook.
#[derive(Clone)]
pub struct AccessWebhook(Arc<Inner>);

impl fmt::Debug for AccessWebhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessWebhook").finish_non_exhaustive()
    }
}

/// The `spec` of a review of these attributes.
fn spec(attributes: &Attributes<'_>) -> Value {
    let user = attributes.user;
    let mut spec = json!({"user": user.username});
    if !user.uid.is_empty() {
        spec["uid"] = user.uid.as_str().into();
    }
    if !user.groups.is_empty() {
        spec["groups"] = json!(user.groups);
    }
    if !user.extra.is_empty() {
        spec["extra"] = json!(user.extra);
    }
    if !attributes.is_resource() {
        spec["nonResourceAttributes"] = json!({"path": attributes.path, "verb": attributes.verb});
        return spec;
    }
    let mut resource = json!({});
    for (field, value) in [
        ("namespace", attributes.namespace),
        ("verb", attributes.verb),
        ("group", attributes.group),
        ("version", attributes.version),
        ("resource", attributes.resource),
        ("subresource", attributes.subresource),
        ("name", attributes.name),
    ] {
        if !value.is_empty() {
            resource[field] = value.into();
        }
    }
    let selectors = attributes.selectors.cloned().unwrap_or_default();
    let fields: Vec<Value> = selectors
        .fields
        .iter()
        .map(|term| {
            let operator = if term.negated { "NotIn" } else { "In" };
            json!({"key": term.field, "operator": operator, "values": [term.value]})
        })
        .collect();
    let labels: Vec<Value> = selectors
        .labels
        .iter()
        .filter_map(|requirement| {
            let operator = match requirement.operator {
                Operator::In | Operator::Equals | Operator::DoubleEquals => "In",
                Operator::NotIn | Operator::NotEquals => "NotIn",
                Operator::Exists => "Exists",
                Operator::DoesNotExist => "DoesNotExist",
                _ => return None,
            };
            let mut entry = json!({"key": requirement.key, "operator": operator});
            if !requirement.values.is_empty() {
                entry["values"] = json!(requirement.values);
            }
            Some(entry)
        })
        .collect();
    for (field, requirements) in [("fieldSelector", fields), ("labelSelector", labels)] {
        if !requirements.is_empty() {
            resource[field] = json!({"requirements": requirements});
        }
    }
    spec["resourceAttributes"] = resource;
    spec
}

impl AccessWebhook {
    /// One that is asked so.
    pub fn new(options: AccessWebhookOptions) -> Self {
        Self(Arc::new(Inner { options, remembered: Mutex::default() }))
    }

    /// What it says.
    pub async fn authorize(&self, egress: &Egress, attributes: &Attributes<'_>) -> Verdict {
        let Inner { options, remembered } = &*self.0;
        let spec = spec(attributes);
        let failed = |why: String| {
            tracing::warn!(why, "an authorization webhook failed");
            if options.deny_on_failure { Verdict::deny(why) } else { Verdict::no_opinion(why) }
        };
        let mut budget = Budget::new(COST);
        for condition in &options.conditions {
            match condition.evaluate(&[("request", &spec)], &mut budget) {
                Ok(Value::Bool(true)) => {}
                Ok(Value::Bool(false)) => return Verdict::no_opinion(""),
                Ok(_) => return failed(format!("expression '{}' is no condition", condition.source())),
                Err(why) => {
                    return failed(format!("expression '{}' resulted in error: {why}", condition.source()));
                }
            }
        }
        let key: [u8; 32] = Sha256::digest(spec.to_string()).into();
        let now = Instant::now();
        let known = remembered.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        if let Some((_, verdict)) = known.filter(|(until, _)| *until > now) {
            return verdict;
        }
        let review =
            json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec});
        let answer = match options.target.ask(egress, &review, options.timeout).await {
            Ok(answer) => answer,
            Err(why) => return failed(why),
        };
        let status = &answer["status"];
        let said = |field: &str| status[field].as_bool() == Some(true);
        let reason = status["reason"].as_str().unwrap_or("").to_owned();
        let verdict = match (said("denied"), said("allowed")) {
            (true, true) => {
                return Verdict::deny("webhook subject access review returned both allow and deny response");
            }
            (true, false) => Verdict::deny(reason),
            (false, true) => Verdict::allow(reason),
            (false, false) => Verdict::no_opinion(reason),
        };
        let ttl = if verdict.decision == Decision::Allow {
            options.authorized_ttl
        } else {
            options.unauthorized_ttl
        };
        if let Some(ttl) = ttl {
            let mut remembered = remembered.lock().unwrap_or_else(PoisonError::into_inner);
            if remembered.len() >= REMEMBERED {
                remembered.clear();
            }
            remembered.insert(key, (now + ttl, verdict.clone()));
        }
        verdict
    }
}
