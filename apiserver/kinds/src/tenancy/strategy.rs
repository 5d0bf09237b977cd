//! What a `VirtualCluster` decides for itself.

use kplane_machinery::field::{ErrorList, FieldError, Path};
use kplane_machinery::object;
use serde_json::{Value, json};

use crate::check::NameRule;
use crate::strategy::{Context, StatusKeeps, Strategy, keep_other_part};

/// Names that mean something else in a path.
const RESERVED: [&str; 3] = ["root", "management", "*"];
/// Holds a record until its data is removed.
pub const DATA_FINALIZER: &str = "tenancy.kplane.dev/data";

/// The strategy.
pub struct VirtualClusters;

fn owner(virtual_cluster: &Value) -> String {
    virtual_cluster["spec"]["owner"]["uid"].as_str().unwrap_or("").to_owned()
}

fn epoch(virtual_cluster: &Value) -> i64 {
    virtual_cluster["spec"]["credentialEpoch"].as_i64().unwrap_or(0)
}

fn phase(virtual_cluster: &Value) -> &'static str {
    if virtual_cluster["metadata"].get("deletionTimestamp").is_some() {
        "Terminating"
    } else if virtual_cluster["spec"]["detached"].as_bool() == Some(true) {
        "Detached"
    } else {
        "Active"
    }
}

fn set_phase(object: &mut Value, phase: &str) {
    if let Some(status) = object.as_object_mut().and_then(|fields| crate::val::ensure(fields, "status")) {
        status.insert("phase".into(), phase.into());
    }
}

/// A range that cannot be read would allow nothing, and say so nowhere.
fn ranges_of_addresses(object: &Value) -> ErrorList {
    let mut errors = Vec::new();
    let path = Path::new("spec").child("egress").child("allowedCIDRs");
    let ranges = object["spec"]["egress"]["allowedCIDRs"].as_array();
    for (at, range) in ranges.into_iter().flatten().enumerate() {
        let text = range.as_str().unwrap_or("");
        if crate::check::parse_cidr(text).is_none() && text.parse::<std::net::IpAddr>().is_err() {
            let why = "must be a range of addresses, such as 10.0.0.0/8, or one address";
            errors.push(FieldError::invalid_str(&path.index(at), text, why));
        }
    }
    errors
}

impl Strategy for VirtualClusters {
    fn status_keeps(&self) -> StatusKeeps {
        StatusKeeps::All
    }

    fn default(&self, _version: &str, object: &mut Value) {
        if let Some(fields) = object.as_object_mut() {
            fields.entry("spec").or_insert_with(|| json!({}));
            fields.entry("status").or_insert_with(|| json!({}));
        }
    }

    fn prepare_create(&self, _cx: &Context<'_>, object: &mut Value) {
        let phase = phase(object);
        crate::val::set_status(object, json!({"phase": phase}));
        object::set_meta(object, "generation", Some(1.into()));
        let mut finalizers = object["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
        if !finalizers.iter().any(|f| f == DATA_FINALIZER) {
            finalizers.push(DATA_FINALIZER.into());
        }
        object::set_meta(object, "finalizers", Some(finalizers.into()));
    }

    fn prepare_update(&self, cx: &Context<'_>, object: &mut Value, old: &Value) {
        keep_other_part(cx, object, old);
        // What was given out for one owner is nothing to the next.
        let (now, before) = (owner(object), owner(old));
        if !before.is_empty() && now != before && epoch(object) <= epoch(old) {
            object["spec"]["credentialEpoch"] = (epoch(old) + 1).into();
        }
        // Where it is in its life follows from the rest.
        let phase = phase(object);
        set_phase(object, phase);
    }

    fn validate_create(&self, _cx: &Context<'_>, object: &Value) -> ErrorList {
        let name = object::name(object);
        if RESERVED.contains(&name) {
            let path = Path::new("metadata").child("name");
            return vec![FieldError::invalid_str(&path, name, "this name is reserved")];
        }
        ranges_of_addresses(object)
    }

    fn validate_update(&self, _cx: &Context<'_>, object: &Value, old: &Value) -> ErrorList {
        // Whoever declared it may let go of it, and another may take what nobody holds.
        let (now, before) = (owner(object), owner(old));
        let held = old["spec"]["detached"].as_bool() != Some(true);
        if held && !before.is_empty() && now != before {
            let path = Path::new("spec").child("owner");
            let why = "belongs to another object; detach it first";
            return vec![FieldError::invalid_str(&path.child("uid"), &now, why)];
        }
        if epoch(object) < epoch(old) {
            let path = Path::new("spec").child("credentialEpoch");
            let why = format!("must not go back, it is {}", epoch(old));
            return vec![FieldError::invalid(&path, &epoch(object).into(), why)];
        }
        ranges_of_addresses(object)
    }

    fn generation(&self, _cx: &Context<'_>, object: &Value, old: &Value) -> Option<bool> {
        Some(object["spec"] != old["spec"])
    }

    fn name_rule(&self) -> NameRule {
        NameRule::Label
    }

    fn begin_deletion(&self, object: &mut Value) {
        set_phase(object, "Terminating");
    }
}
