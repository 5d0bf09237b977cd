//! Nobody hands out what they do not hold (`k8s.io/component-helpers/auth/rbac/validation`).

use std::fmt::Write;

use super::PolicyRule;
use crate::user::UserInfo;

/// Splits a rule into its simplest parts: one verb, one group, one resource, one name; or one verb and one path.
fn break_down(rule: &PolicyRule) -> Vec<PolicyRule> {
    let one = |text: &String| vec![text.clone()];
    let mut parts = Vec::new();
    for group in &rule.api_groups {
        for resource in &rule.resources {
            for verb in &rule.verbs {
                let part = PolicyRule {
                    verbs: one(verb),
                    api_groups: one(group),
                    resources: one(resource),
                    ..PolicyRule::default()
                };
                if rule.resource_names.is_empty() {
                    parts.push(part);
                    continue;
                }
                parts.extend(
                    rule.resource_names
                        .iter()
                        .map(|name| PolicyRule { resource_names: one(name), ..part.clone() }),
                );
            }
        }
    }
    for path in &rule.non_resource_urls {
        for verb in &rule.verbs {
            parts.push(PolicyRule {
                verbs: one(verb),
                non_resource_urls: one(path),
                ..PolicyRule::default()
            });
        }
    }
    parts
}

fn has(set: &[String], wanted: &[String]) -> bool {
    set.iter().any(|s| s == "*") || wanted.iter().all(|w| set.contains(w))
}

fn resources_cover(set: &[String], wanted: &[String]) -> bool {
    set.iter().any(|s| s == "*")
        || wanted.iter().all(|w| {
            set.contains(w)
                || w.split_once('/')
                    .is_some_and(|(_, sub)| set.iter().any(|s| s.strip_prefix("*/") == Some(sub)))
        })
}

fn paths_cover(set: &[String], wanted: &[String]) -> bool {
    wanted
        .iter()
        .all(|w| set.iter().any(|s| s == w || s.strip_suffix('*').is_some_and(|start| w.starts_with(start))))
}

fn rule_covers(held: &PolicyRule, part: &PolicyRule) -> bool {
    let names = held.resource_names.is_empty()
        || (!part.resource_names.is_empty()
            && part.resource_names.iter().all(|n| held.resource_names.contains(n)));
    has(&held.verbs, &part.verbs)
        && has(&held.api_groups, &part.api_groups)
        && resources_cover(&held.resources, &part.resources)
        && paths_cover(&held.non_resource_urls, &part.non_resource_urls)
        && names
}

/// The parts of what is wanted that are not held.
pub fn uncovered(held: &[PolicyRule], wanted: &[PolicyRule]) -> Vec<PolicyRule> {
    wanted
        .iter()
        .flat_map(break_down)
        .filter(|part| !held.iter().any(|rule| rule_covers(rule, part)))
        .collect()
}

/// Whether all that is wanted is held.
pub fn covers(held: &[PolicyRule], wanted: &[PolicyRule]) -> bool {
    uncovered(held, wanted).is_empty()
}

pub(super) fn confirm(
    user: &UserInfo,
    held: &[PolicyRule],
    errors: &[String],
    wanted: &[PolicyRule],
) -> Result<(), String> {
    let missing = uncovered(held, wanted);
    if missing.is_empty() {
        return Ok(());
    }
    let mut lines: Vec<_> = compact(missing).iter().map(compact_string).collect();
    lines.sort();
    let mut said = format!(
        "user {:?} (groups={}) is attempting to grant RBAC permissions not currently held:\n{}",
        user.username,
        go_list(&user.groups),
        lines.join("\n")
    );
    if !errors.is_empty() {
        let _ = write!(said, "; resolution errors: [{}]", errors.join(" "));
    }
    Err(said)
}

/// Joins parts that differ in the verb only (upstream's `CompactRules`).
fn compact(parts: Vec<PolicyRule>) -> Vec<PolicyRule> {
    let mut compacted: Vec<PolicyRule> = Vec::new();
    for part in parts {
        let simple = part.non_resource_urls.is_empty();
        let same = compacted.iter_mut().find(|known| {
            simple
                && known.api_groups == part.api_groups
                && known.resources == part.resources
                && known.resource_names == part.resource_names
                && known.non_resource_urls.is_empty()
        });
        match same {
            Some(known) => known.verbs.extend(part.verbs),
            None => compacted.push(part),
        }
    }
    compacted
}

/// Upstream's `CompactString`.
fn compact_string(rule: &PolicyRule) -> String {
    let mut fields = Vec::new();
    for (name, values) in [
        ("APIGroups", &rule.api_groups),
        ("Resources", &rule.resources),
        ("NonResourceURLs", &rule.non_resource_urls),
        ("ResourceNames", &rule.resource_names),
        ("Verbs", &rule.verbs),
    ] {
        if !values.is_empty() {
            fields.push(format!("{name}:{}", go_list(values)));
        }
    }
    format!("{{{}}}", fields.join(", "))
}

/// Go's `%q` of a list.
fn go_list(values: &[String]) -> String {
    let quoted: Vec<_> = values.iter().map(|v| kplane_machinery::field::go_quote(v)).collect();
    format!("[{}]", quoted.join(" "))
}
