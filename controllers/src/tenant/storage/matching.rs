//! Which volume a claim gets (no client required).

use kplane_machinery::labels::Selector;
use kplane_machinery::quantity::Quantity;
use serde_json::Value;

use super::is_free;
use crate::tenant::value::{is_deleting, items, name, text};

/// Whether a volume is what a claim asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fit {
    /// It is.
    Yes,
    /// It is not, and why.
    No(&'static str),
}

fn storage(object: &Value, pointer: &str) -> i64 {
    object.pointer(pointer).and_then(|value| Quantity::from_value(value).ok()).map_or(0, |q| q.value())
}

fn mode(object: &Value) -> &str {
    match text(object, "/spec/volumeMode") {
        "" => "Filesystem",
        other => other,
    }
}

/// Whether a volume is what a claim that names it asks for.
pub fn fit(volume: &Value, claim: &Value) -> Fit {
    if storage(volume, "/spec/capacity/storage") < storage(claim, "/spec/resources/requests/storage") {
        return Fit::No("requested PV is too small");
    }
    if text(volume, "/spec/storageClassName") != text(claim, "/spec/storageClassName") {
        return Fit::No("storageClassName does not match");
    }
    if mode(volume) != mode(claim) {
        return Fit::No("incompatible volumeMode");
    }
    let has = |wanted: &Value| items(volume, "/spec/accessModes").contains(wanted);
    if !items(claim, "/spec/accessModes").iter().all(has) {
        return Fit::No("incompatible accessMode");
    }
    if text(volume, "/spec/volumeAttributesClassName") != text(claim, "/spec/volumeAttributesClassName") {
        return Fit::No("volumeAttributesClassName does not match");
    }
    Fit::Yes
}

/// The smallest free volume that is what a claim asks for.
pub fn best<'a>(volumes: &'a [Value], claim: &Value) -> Option<&'a Value> {
    let selector = match claim.pointer("/spec/selector").filter(|s| !s.is_null()) {
        Some(selector) => Selector::from_label_selector(Some(selector)).ok()?,
        None => Selector::everything(),
    };
    volumes
        .iter()
        .filter(|volume| {
            is_free(volume)
                && !is_deleting(volume)
                && text(volume, "/status/phase") == "Available"
                && selector.matches_object(volume)
                && fit(volume, claim) == Fit::Yes
        })
        .min_by_key(|volume| (storage(volume, "/spec/capacity/storage"), name(volume).to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn volume(name: &str, size: &str) -> Value {
        json!({ "metadata": { "name": name, "labels": { "disk": name } },
            "spec": { "capacity": { "storage": size }, "accessModes": ["ReadWriteOnce"] },
            "status": { "phase": "Available" } })
    }

    fn claim(size: &str) -> Value {
        json!({ "metadata": { "name": "c", "namespace": "farm" },
            "spec": { "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": size } } } })
    }

    #[test]
    fn the_smallest_that_fits_is_taken() {
        let volumes = [volume("big", "10Gi"), volume("small", "1Gi"), volume("middle", "2Gi")];
        assert_eq!(best(&volumes, &claim("1500Mi")).map(name), Some("middle"));
        assert_eq!(best(&volumes, &claim("20Gi")).map(name), None);
        let mut picky = claim("1Gi");
        picky["spec"]["selector"] = json!({ "matchLabels": { "disk": "big" } });
        assert_eq!(best(&volumes, &picky).map(name), Some("big"));
        let mut shared = claim("1Gi");
        shared["spec"]["accessModes"] = json!(["ReadWriteMany"]);
        assert_eq!(best(&volumes, &shared).map(name), None);
    }
}
