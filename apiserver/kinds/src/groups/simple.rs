//! Kinds that decide nothing but whether they have a generation and a status, and what their row shows.

use kplane_machinery::object::{meta_map, str_at};
use serde_json::Value;

use crate::common::{clear_status, first_generation, spec_changed};
use crate::print;
use crate::strategy::{Context, Strategy};
use crate::val::{ensure, text};

/// A kind without rules of its own.
pub(crate) struct Simple {
    /// Has a `status`, which a client does not choose at creation.
    pub(crate) status: bool,
    /// Counts changes of its spec.
    pub(crate) generation: bool,
    /// The cells after the name, before the age.
    pub(crate) cells: fn(&Value) -> Vec<Value>,
    /// Shows its age.
    pub(crate) age: bool,
}

/// Without status and generation, a row of name and age.
pub(crate) const PLAIN: Simple =
    Simple { status: false, generation: false, cells: |_| Vec::new(), age: true };
/// With both, a row of name and age.
pub(crate) const WITH_STATUS: Simple = Simple { status: true, generation: true, ..PLAIN };

impl Strategy for Simple {
    fn default(&self, _version: &str, object: &mut Value) {
        if self.status
            && let Some(fields) = object.as_object_mut()
        {
            ensure(fields, "status");
        }
    }

    fn prepare_create(&self, _cx: &Context<'_>, object: &mut Value) {
        if self.status {
            clear_status(object);
        }
        if self.generation {
            first_generation(object);
        }
    }

    fn generation(&self, cx: &Context<'_>, object: &Value, old: &Value) -> Option<bool> {
        if self.generation { spec_changed(cx, object, old) } else { None }
    }

    fn row(&self, _version: &str, object: &Value, now: i64) -> Option<Vec<Value>> {
        let mut row = vec![print::name(object)];
        row.extend((self.cells)(object));
        if self.age {
            row.push(print::age(object, now));
        }
        Some(row)
    }
}

/// A name marked as that of the default, for kinds of which one may be the default.
pub(crate) fn marked_name(object: &Value, annotations: &[&str]) -> Value {
    let name = kplane_machinery::object::name(object);
    let marked = meta_map(object, "annotations").any(|(k, v)| annotations.contains(&k) && v == "true");
    if marked { format!("{name} (default)").into() } else { name.into() }
}

/// `LeaseCandidate`.
pub(crate) fn lease_candidate(object: &Value) -> Vec<Value> {
    ["leaseName", "binaryVersion", "emulationVersion"]
        .iter()
        .map(|f| Value::from(str_at(object, &["spec", f])))
        .collect()
}

/// `ClusterTrustBundle`.
pub(crate) fn signer(object: &Value) -> Vec<Value> {
    vec![print::text_or(object, &["spec", "signerName"], print::NONE)]
}

/// `StorageVersion`.
pub(crate) fn storage_version(object: &Value) -> Vec<Value> {
    let common = print::text_or(object, &["status", "commonEncodingVersion"], print::UNSET);
    let status = object.get("status").unwrap_or(&Value::Null);
    let shown: Vec<String> = crate::val::items(status, "storageVersions")
        .iter()
        .map(|v| format!("{}={}", text(v, "apiServerID"), text(v, "encodingVersion")))
        .collect();
    let versions = if shown.is_empty() { print::UNSET.to_owned() } else { shown.join(",") };
    vec![common, versions.into()]
}

/// `ComponentStatus`.
pub(crate) fn component(object: &Value) -> Vec<Value> {
    let conditions = crate::val::items(object, "conditions");
    let healthy = conditions.iter().find(|c| text(c, "type") == "Healthy");
    let status = match healthy.map(|c| text(c, "status")) {
        Some("True") => "Healthy",
        Some("False") => "Unhealthy",
        _ => "Unknown",
    };
    let said = |field: &str| Value::from(healthy.map_or("", |c| text(c, field)));
    vec![status.into(), said("message"), said("error")]
}

/// `StorageVersionMigration`.
pub(crate) fn migration(object: &Value) -> Vec<Value> {
    let part = |field: &str| str_at(object, &["spec", "resource", field]);
    let shown = match part("group") {
        "" => part("resource").to_owned(),
        group => format!("{}.{group}", part("resource")),
    };
    vec![shown.into()]
}
