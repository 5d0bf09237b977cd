//! The row of a ResourceQuota.

use kplane_machinery::object::at;
use serde_json::Value;

use crate::amount;
use crate::print;

/// The cells: what is used of what there is, requests before limits.
pub(super) fn row(quota: &Value, now: i64) -> Vec<Value> {
    let used = at(quota, &["status", "used"]);
    let mut requests = Vec::new();
    let mut limits = Vec::new();
    for (name, hard) in at(quota, &["status", "hard"]).and_then(Value::as_object).into_iter().flatten() {
        let used = used.and_then(|u| u.get(name)).map_or_else(|| "0".to_owned(), amount::text);
        let said = format!("{name}: {used}/{}", amount::text(hard));
        if name.starts_with("limits") { limits.push(said) } else { requests.push(said) }
    }
    vec![print::name(quota), requests.join(", ").into(), limits.join(", ").into(), print::age(quota, now)]
}
