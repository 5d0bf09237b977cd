//! The rules of a cluster role that has an aggregation rule.

use kplane_machinery::labels::Selector;
use kplane_machinery::object;
use serde_json::Value;

use super::PolicyRule;

/// The rules that an aggregation rule gathers from the cluster roles, in the order of their names, each once. `None`
/// when the role has no aggregation rule; an error tells which selector or role cannot be read.
pub fn aggregated_rules<'a>(
    role: &Value,
    cluster_roles: impl Iterator<Item = &'a Value> + Clone,
) -> Result<Option<Vec<PolicyRule>>, String> {
    let Some(rule) = role.get("aggregationRule").filter(|rule| !rule.is_null()) else { return Ok(None) };
    let selectors = rule.get("clusterRoleSelectors").and_then(Value::as_array);
    let mut rules: Vec<PolicyRule> = Vec::new();
    for selector in selectors.into_iter().flatten() {
        let selector = Selector::from_label_selector(Some(selector)).map_err(|why| why.to_string())?;
        let mut chosen: Vec<&Value> = cluster_roles
            .clone()
            .filter(|found| object::name(found) != object::name(role) && selector.matches_object(found))
            .collect();
        chosen.sort_by_key(|found| object::name(found));
        for found in chosen {
            let found_rules =
                PolicyRule::all_of(found).map_err(|e| format!("{}: {e}", object::name(found)))?;
            for rule in found_rules {
                if !rules.contains(&rule) {
                    rules.push(rule);
                }
            }
        }
    }
    Ok(Some(rules))
}
