//! One rule of a role.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Attributes;

/// `rbac.authorization.k8s.io/v1` `PolicyRule`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PolicyRule {
    /// What may be done; `*` is everything.
    pub verbs: Vec<String>,
    /// To which groups; `*` is every one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub api_groups: Vec<String>,
    /// To which resources: `pods`, `pods/log`, `*/scale`, `*`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub resources: Vec<String>,
    /// To which objects; none is all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub resource_names: Vec<String>,
    /// To which paths; a trailing `*` is every end.
    #[serde(rename = "nonResourceURLs", skip_serializing_if = "Vec::is_empty")]
    pub non_resource_urls: Vec<String>,
}

impl PolicyRule {
    /// The rules of a role or cluster role, an error when they are not rules.
    pub fn all_of(role: &Value) -> Result<Vec<Self>, serde_json::Error> {
        match role.get("rules") {
            None | Some(Value::Null) => Ok(Vec::new()),
            // An absent list may be stored as null.
            Some(Value::Array(rules)) => {
                rules.iter().map(|rule| Self::deserialize(&without_nulls(rule))).collect()
            }
            Some(other) => Vec::deserialize(other),
        }
    }

    /// What `system:masters` holds.
    pub fn everything() -> [Self; 2] {
        let all = || vec!["*".to_owned()];
        [
            Self { verbs: all(), api_groups: all(), resources: all(), ..Self::default() },
            Self { verbs: all(), non_resource_urls: all(), ..Self::default() },
        ]
    }

    /// Whether it allows what is wanted.
    pub fn allows(&self, wanted: &Attributes<'_>) -> bool {
        if !wanted.is_resource() {
            return self.verb_matches(wanted.verb) && self.path_matches(wanted.path);
        }
        self.verb_matches(wanted.verb)
            && self.api_groups.iter().any(|group| group == "*" || group == wanted.group)
            && self.resource_matches(wanted.resource, wanted.subresource)
            && (self.resource_names.is_empty() || self.resource_names.iter().any(|name| name == wanted.name))
    }

    fn verb_matches(&self, verb: &str) -> bool {
        self.verbs.iter().any(|v| v == "*" || v == verb)
    }

    fn resource_matches(&self, resource: &str, subresource: &str) -> bool {
        self.resources.iter().any(|rule| {
            if rule == "*" {
                return true;
            }
            match rule.split_once('/') {
                None => subresource.is_empty() && rule == resource,
                Some((of, sub)) => {
                    !subresource.is_empty() && sub == subresource && (of == "*" || of == resource)
                }
            }
        })
    }

    fn path_matches(&self, path: &str) -> bool {
        self.non_resource_urls.iter().any(|rule| {
            rule == "*" || rule == path || rule.strip_suffix('*').is_some_and(|start| path.starts_with(start))
        })
    }
}

fn without_nulls(rule: &Value) -> Value {
    match rule {
        Value::Object(fields) => {
            fields.iter().filter(|(_, v)| !v.is_null()).map(|(k, v)| (k.clone(), v.clone())).collect()
        }
        other => other.clone(),
    }
}
