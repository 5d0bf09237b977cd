//! How many pods a Deployment may have, and how they are shared among its ReplicaSets (no client required).

use serde_json::Value;

use crate::tenant::value::{annotation, count, number, scaled, text};

/// How many pods the Deployment wanted when a ReplicaSet was last scaled.
pub const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
/// How many it might have had then.
pub const MOST: &str = "deployment.kubernetes.io/max-replicas";

/// How many pods an object asks for.
pub fn replicas(object: &Value) -> i64 {
    number(object, "/spec/replicas").unwrap_or(1)
}

/// The sum over ReplicaSets of what they ask for.
pub fn total<'a>(sets: impl IntoIterator<Item = &'a Value>) -> i64 {
    sets.into_iter().map(replicas).sum()
}

/// The sum over ReplicaSets of a count of their status.
pub fn counted<'a>(sets: impl IntoIterator<Item = &'a Value>, field: &str) -> i64 {
    sets.into_iter().map(|set| count(set, field)).sum()
}

fn is_rolling(deployment: &Value) -> bool {
    text(deployment, "/spec/strategy/type") != "Recreate"
}

/// How many pods more than wanted, and how many fewer than wanted, there may be while a Deployment rolls.
pub fn fence(deployment: &Value) -> (i64, i64) {
    let wanted = replicas(deployment);
    let part = |field: &str, up: bool| {
        deployment
            .pointer(&format!("/spec/strategy/rollingUpdate/{field}"))
            .and_then(|value| scaled(value, wanted, up))
            .unwrap_or(0)
    };
    let surge = part("maxSurge", true);
    let unavailable = part("maxUnavailable", false);
    // With neither nothing could ever move.
    if surge == 0 && unavailable == 0 { (0, 1) } else { (surge, unavailable) }
}

/// How many pods more than wanted there may be.
pub fn max_surge(deployment: &Value) -> i64 {
    if is_rolling(deployment) { fence(deployment).0 } else { 0 }
}

/// How many pods fewer than wanted there may be.
pub fn max_unavailable(deployment: &Value) -> i64 {
    if !is_rolling(deployment) || replicas(deployment) == 0 {
        return 0;
    }
    fence(deployment).1.min(replicas(deployment))
}

/// How many pods the new ReplicaSet may have now.
pub fn new_replicas<'a>(deployment: &Value, sets: impl IntoIterator<Item = &'a Value>, new: i64) -> i64 {
    let wanted = replicas(deployment);
    if !is_rolling(deployment) {
        return wanted;
    }
    let most = wanted + fence(deployment).0;
    let now = total(sets);
    if now >= most { new } else { new + (most - now).min(wanted - new) }
}

fn noted(set: &Value, key: &str) -> Option<i64> {
    annotation(set, key).and_then(|text| text.parse().ok())
}

/// How many pods the Deployment wanted when this ReplicaSet was last scaled.
pub fn desired(set: &Value) -> Option<i64> {
    noted(set, DESIRED)
}

/// Whether the new ReplicaSet has all that the Deployment wants.
pub fn is_saturated(deployment: &Value, new: Option<&Value>) -> bool {
    let wanted = replicas(deployment);
    new.is_some_and(|new| {
        replicas(new) == wanted
            && desired(new) == Some(wanted)
            && count(new, "/status/availableReplicas") == wanted
    })
}

/// What a ReplicaSet gets of those to be added, or loses of those to be removed, by its size.
pub fn share(deployment: &Value, set: &Value, to_add: i64, added: i64) -> i64 {
    let size = replicas(set);
    if size == 0 || to_add == 0 || to_add == added {
        return 0;
    }
    let fraction = fraction(deployment, set, size);
    let allowed = to_add - added;
    if to_add > 0 { fraction.min(allowed) } else { fraction.max(allowed) }
}

fn fraction(deployment: &Value, set: &Value, size: i64) -> i64 {
    if replicas(deployment) == 0 {
        return -size;
    }
    let most = replicas(deployment) + max_surge(deployment);
    let before = match noted(set, MOST) {
        Some(before) if before != 0 => before,
        _ => count(deployment, "/status/replicas"),
    };
    if before == 0 {
        return 0;
    }
    // Rounded half away from zero.
    let (product, twice) = (2 * size * most, 2 * before);
    (product + before).div_euclid(twice) - size
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn deployment(replicas: i64, surge: Value, unavailable: Value) -> Value {
        json!({ "spec": { "replicas": replicas, "strategy": { "type": "RollingUpdate",
            "rollingUpdate": { "maxSurge": surge, "maxUnavailable": unavailable } } } })
    }

    #[test]
    fn the_fence_leaves_room_to_move() {
        assert_eq!(fence(&deployment(10, json!("25%"), json!("25%"))), (3, 2));
        assert_eq!(fence(&deployment(1, json!(0), json!("25%"))), (0, 1));
        assert_eq!(max_unavailable(&deployment(0, json!(1), json!(1))), 0);
        assert_eq!(max_surge(&json!({ "spec": { "replicas": 5, "strategy": { "type": "Recreate" } } })), 0);
    }

    #[test]
    fn a_new_set_grows_as_far_as_the_surge_lets_it() {
        let owner = deployment(10, json!(2), json!(0));
        let old = json!({ "spec": { "replicas": 10 } });
        let new = json!({ "spec": { "replicas": 0 } });
        assert_eq!(new_replicas(&owner, [&old, &new], 0), 2);
        let alone = [&new];
        assert_eq!(new_replicas(&owner, alone, 0), 10);
    }

    #[test]
    fn a_scaled_deployment_is_shared_by_size() {
        let owner = deployment(20, json!(0), json!(1));
        let set =
            |n: i64| json!({ "metadata": { "annotations": { MOST: "10" } }, "spec": { "replicas": n } });
        assert_eq!(share(&owner, &set(6), 10, 0), 6);
        assert_eq!(share(&owner, &set(4), 10, 6), 4);
        let smaller = deployment(5, json!(0), json!(1));
        assert_eq!(share(&smaller, &set(6), -5, 0), -3);
        assert_eq!(share(&deployment(0, json!(0), json!(1)), &set(6), -10, 0), -6);
    }
}
