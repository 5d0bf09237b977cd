//! One webhook of a configuration: [`Hook`].

use std::time::Duration;

use kplane_machinery::labels::Selector;
use kplane_machinery::object;
use kplane_rules::admission::{MatchConditions, Scope};
use serde_json::Value;

use super::ClientConfig;

/// A webhook, compiled.
pub struct Hook {
    /// What tells it from all others of the control plane: the configuration, its name, its place.
    pub(super) uid: String,
    pub(super) configuration: String,
    pub(super) name: String,
    pub(super) client: Result<ClientConfig, String>,
    pub(super) rules: Vec<Rule>,
    /// A failure to ask refuses the write.
    pub(super) fails_closed: bool,
    /// Rules match what is the same in another version too.
    pub(super) equivalent: bool,
    pub(super) namespace_selector: Result<Selector, String>,
    pub(super) object_selector: Result<Selector, String>,
    pub(super) side_effects: Option<String>,
    pub(super) timeout: Duration,
    /// The version of `AdmissionReview` it is sent.
    pub(super) review: Option<&'static str>,
    /// It is asked again when others changed the object after it.
    pub(super) reinvoked: bool,
    pub(super) conditions: MatchConditions,
}

impl std::fmt::Debug for Hook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Hook").field(&self.uid).finish()
    }
}

/// Which writes are seen.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    pub operations: Vec<String>,
    pub groups: Vec<String>,
    pub versions: Vec<String>,
    pub resources: Vec<String>,
    /// Of policies: the objects' names; empty for all.
    pub names: Vec<String>,
    pub scope: String,
}

fn texts(value: &Value, field: &str) -> Vec<String> {
    let list = value.get(field).and_then(Value::as_array);
    list.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

impl Hook {
    /// Reads a webhook, which whoever stored it has checked and defaulted.
    pub fn read(configuration: &str, place: usize, hook: &Value) -> Self {
        let text = |field| object::str_at(hook, &[field]);
        let name = text("name").to_owned();
        let rules = hook.get("rules").and_then(Value::as_array);
        let review =
            texts(hook, "admissionReviewVersions").iter().find_map(|version| match version.as_str() {
                "v1" => Some("v1"),
                "v1beta1" => Some("v1beta1"),
                _ => None,
            });
        Self {
            uid: format!("{configuration}/{name}/{place}"),
            configuration: configuration.to_owned(),
            client: ClientConfig::read(&hook["clientConfig"]),
            rules: rules.into_iter().flatten().map(Rule::read).collect(),
            fails_closed: text("failurePolicy") != "Ignore",
            equivalent: text("matchPolicy") != "Exact",
            namespace_selector: Selector::from_label_selector(hook.get("namespaceSelector")),
            object_selector: Selector::from_label_selector(hook.get("objectSelector")),
            side_effects: hook.get("sideEffects").and_then(Value::as_str).map(str::to_owned),
            timeout: Duration::from_secs(hook.get("timeoutSeconds").and_then(Value::as_u64).unwrap_or(10)),
            review,
            reinvoked: text("reinvocationPolicy") == "IfNeeded",
            conditions: MatchConditions::compile(
                &hook["matchConditions"],
                Scope { params: false, authorizer: true },
            ),
            name,
        }
    }
}

impl Rule {
    pub(crate) fn read(rule: &Value) -> Self {
        Self {
            operations: texts(rule, "operations"),
            groups: texts(rule, "apiGroups"),
            versions: texts(rule, "apiVersions"),
            resources: texts(rule, "resources"),
            names: texts(rule, "resourceNames"),
            scope: rule.get("scope").and_then(Value::as_str).unwrap_or("*").to_owned(),
        }
    }
}
