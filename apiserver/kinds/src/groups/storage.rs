//! The `storage.k8s.io` group.

use kplane_machinery::field::ErrorList;
use kplane_machinery::object::str_at;
use serde_json::{Value, json};

use super::simple::marked_name;
use crate::check;
use crate::common::add_finalizer;
use crate::print;
use crate::strategy::{Context, StatusKeeps, Strategy};
use crate::val::{At, dflt, dflt_str, ensure, items, same, text, truth};

/// `StorageClass`.
pub(crate) struct StorageClasses;

/// Fields that may not change, in the words of this group.
fn frozen(object: &Value, old: &Value, fields: &[&str], errors: &mut ErrorList) {
    let (new, old) = (At::root(object), At::root(old));
    for field in fields {
        if !same(new.f(field).value(), old.f(field).value()) {
            new.f(field).forbidden(errors, format!("updates to {field} are forbidden."));
        }
    }
}

impl Strategy for StorageClasses {
    fn default(&self, _version: &str, object: &mut Value) {
        if let Some(fields) = object.as_object_mut() {
            dflt_str(fields, "reclaimPolicy", "Delete");
            dflt_str(fields, "volumeBindingMode", "Immediate");
        }
    }

    fn validate_create(&self, _cx: &Context<'_>, object: &Value) -> ErrorList {
        let mut errors = Vec::new();
        let root = At::root(object);
        let provisioner = root.f("provisioner");
        if provisioner.str().is_empty() {
            provisioner.required(&mut errors, "");
        } else {
            provisioner.invalid_all(&mut errors, check::qualified(&provisioner.str().to_lowercase()));
        }
        for (key, parameter) in root.f("parameters").entries() {
            if key.is_empty() {
                At::new(Some(parameter.value()), root.f("parameters").path)
                    .invalid(&mut errors, "field can not be empty.");
            }
        }
        root.f("reclaimPolicy").one_of(&mut errors, &["Delete", "Retain"]);
        root.f("volumeBindingMode").one_of(&mut errors, &["Immediate", "WaitForFirstConsumer"]);
        errors
    }

    fn validate_update(&self, _cx: &Context<'_>, object: &Value, old: &Value) -> ErrorList {
        let mut errors = Vec::new();
        frozen(object, old, &["parameters", "provisioner"], &mut errors);
        for field in ["reclaimPolicy", "volumeBindingMode"] {
            At::root(object).f(field).immutable(&mut errors, &At::root(old).f(field));
        }
        errors
    }

    fn returns_deleted_object(&self) -> bool {
        true
    }

    fn row(&self, _version: &str, object: &Value, now: i64) -> Option<Vec<Value>> {
        let marks = [
            "storageclass.kubernetes.io/is-default-class",
            "storageclass.beta.kubernetes.io/is-default-class",
        ];
        Some(vec![
            marked_name(object, &marks),
            text(object, "provisioner").into(),
            text(object, "reclaimPolicy").into(),
            text(object, "volumeBindingMode").into(),
            truth(object, "allowVolumeExpansion").into(),
            print::age(object, now),
        ])
    }
}

/// `VolumeAttributesClass`.
pub(crate) struct AttributesClasses;

impl Strategy for AttributesClasses {
    fn prepare_create(&self, _cx: &Context<'_>, object: &mut Value) {
        add_finalizer(object, "kubernetes.io/vac-protection");
    }

    fn validate_create(&self, _cx: &Context<'_>, object: &Value) -> ErrorList {
        let mut errors = Vec::new();
        let root = At::root(object);
        if root.f("driverName").str().is_empty() {
            root.f("driverName").required(&mut errors, "");
        }
        if root.f("parameters").len() == 0 {
            root.f("parameters").required(&mut errors, "must contain at least one key/value pair");
        }
        errors
    }

    fn validate_update(&self, _cx: &Context<'_>, object: &Value, old: &Value) -> ErrorList {
        let mut errors = Vec::new();
        frozen(object, old, &["driverName", "parameters"], &mut errors);
        errors
    }

    fn returns_deleted_object(&self) -> bool {
        true
    }

    fn row(&self, _version: &str, object: &Value, now: i64) -> Option<Vec<Value>> {
        let marks = ["volumeattributesclass.kubernetes.io/is-default-class"];
        Some(vec![marked_name(object, &marks), text(object, "driverName").into(), print::age(object, now)])
    }
}

/// `CSIDriver`.
pub(crate) struct Drivers;

impl Strategy for Drivers {
    fn default(&self, _version: &str, object: &mut Value) {
        let Some(spec) = crate::common::ensure_spec(object) else { return };
        dflt(spec, "attachRequired", true);
        dflt_str(spec, "fsGroupPolicy", "ReadWriteOnceWithFSType");
        for field in ["podInfoOnMount", "requiresRepublish", "seLinuxMount", "storageCapacity"] {
            dflt(spec, field, false);
        }
        if spec.get("volumeLifecycleModes").is_none_or(crate::val::is_empty) {
            spec.insert("volumeLifecycleModes".into(), json!(["Persistent"]));
        }
    }

    fn validate_create(&self, _cx: &Context<'_>, object: &Value) -> ErrorList {
        let mut errors = Vec::new();
        let root = At::root(object);
        let name = root.at(&["metadata", "name"]);
        if name.len() > 63 {
            errors.push(kplane_machinery::field::FieldError::too_long(&name.path, 63));
        }
        for mode in root.at(&["spec", "volumeLifecycleModes"]).items() {
            mode.one_of(&mut errors, &["Ephemeral", "Persistent"]);
        }
        root.at(&["spec", "fsGroupPolicy"]).one_of(&mut errors, &["File", "None", "ReadWriteOnceWithFSType"]);
        errors
    }

    fn validate_update(&self, cx: &Context<'_>, object: &Value, old: &Value) -> ErrorList {
        let mut errors = self.validate_create(cx, object);
        let (new, old) = (At::root(object).f("spec"), At::root(old).f("spec"));
        for field in ["attachRequired", "volumeLifecycleModes"] {
            new.f(field).immutable(&mut errors, &old.f(field));
        }
        errors
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }

    fn returns_deleted_object(&self) -> bool {
        true
    }

    fn row(&self, _version: &str, object: &Value, now: i64) -> Option<Vec<Value>> {
        let spec = object.get("spec").unwrap_or(&Value::Null);
        let flag = |name: &str| Value::from(truth(spec, name));
        let join = |texts: Vec<&str>| texts.join(",");
        let tokens = join(items(spec, "tokenRequests").iter().map(|t| text(t, "audience")).collect());
        let modes = join(items(spec, "volumeLifecycleModes").iter().filter_map(Value::as_str).collect());
        Some(vec![
            print::name(object),
            flag("attachRequired"),
            flag("podInfoOnMount"),
            flag("storageCapacity"),
            if items(spec, "tokenRequests").is_empty() { print::UNSET.into() } else { tokens.into() },
            flag("requiresRepublish"),
            modes.into(),
            print::age(object, now),
        ])
    }
}

/// `CSINode`.
pub(crate) struct Nodes;

impl Strategy for Nodes {
    fn default(&self, _version: &str, object: &mut Value) {
        let Some(spec) = crate::common::ensure_spec(object) else { return };
        spec.entry("drivers").or_insert(Value::Null);
        crate::val::each(spec, "drivers", |driver| dflt(driver, "topologyKeys", Value::Null));
    }

    fn validate_create(&self, _cx: &Context<'_>, object: &Value) -> ErrorList {
        let mut errors = Vec::new();
        let mut names = std::collections::HashSet::new();
        for driver in At::root(object).at(&["spec", "drivers"]).items() {
            let (name, id) = (driver.f("name"), driver.f("nodeID"));
            if name.str().is_empty() {
                name.required(&mut errors, "");
            } else if !names.insert(name.str()) {
                name.duplicate(&mut errors);
            }
            if id.str().is_empty() {
                id.required(&mut errors, "");
            }
        }
        errors
    }

    fn validate_update(&self, cx: &Context<'_>, object: &Value, _old: &Value) -> ErrorList {
        self.validate_create(cx, object)
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }

    fn returns_deleted_object(&self) -> bool {
        true
    }

    fn row(&self, _version: &str, object: &Value, now: i64) -> Option<Vec<Value>> {
        let drivers = object.get("spec").map(|s| items(s, "drivers")).unwrap_or(&[]).len();
        Some(vec![print::name(object), drivers.into(), print::age(object, now)])
    }
}

/// `CSIStorageCapacity`.
pub(crate) struct Capacities;

impl Strategy for Capacities {
    fn validate_create(&self, _cx: &Context<'_>, object: &Value) -> ErrorList {
        let mut errors = Vec::new();
        let root = At::root(object);
        let class = root.f("storageClassName");
        class.invalid_all(&mut errors, check::subdomain(class.str()));
        crate::rules::label_selector(&root.f("nodeTopology"), &mut errors);
        for field in ["capacity", "maximumVolumeSize"] {
            let amount = root.f(field);
            if crate::amount::negative(amount.value()) {
                amount.invalid_text(&mut errors, "must be greater than or equal to 0");
            }
        }
        errors
    }

    fn validate_update(&self, _cx: &Context<'_>, object: &Value, old: &Value) -> ErrorList {
        let mut errors = Vec::new();
        for field in ["nodeTopology", "storageClassName"] {
            At::root(object).f(field).immutable(&mut errors, &At::root(old).f(field));
        }
        errors
    }
}

/// `VolumeAttachment`.
pub(crate) struct Attachments;

impl Strategy for Attachments {
    fn status_keeps(&self) -> StatusKeeps {
        StatusKeeps::All
    }

    fn default(&self, _version: &str, object: &mut Value) {
        let Some(fields) = object.as_object_mut() else { return };
        if let Some(status) = ensure(fields, "status") {
            dflt(status, "attached", false);
        }
    }

    fn prepare_create(&self, _cx: &Context<'_>, object: &mut Value) {
        crate::val::set_status(object, json!({"attached": false}));
    }

    fn validate_create(&self, _cx: &Context<'_>, object: &Value) -> ErrorList {
        let mut errors = Vec::new();
        let spec = At::root(object).f("spec");
        if spec.f("attacher").str().is_empty() {
            spec.f("attacher").required(&mut errors, "");
        }
        let source = spec.f("source");
        let (inline, volume) = (source.f("inlineVolumeSpec"), source.f("persistentVolumeName"));
        if !inline.there() && !volume.there() {
            source.required(
                &mut errors,
                "must specify exactly one of inlineVolumeSpec and persistentVolumeName",
            );
        } else if inline.there() && volume.there() {
            source.invalid(
                &mut errors,
                "must specify exactly one of inlineVolumeSpec and persistentVolumeName",
            );
        }
        let node = spec.f("nodeName");
        node.invalid_all(&mut errors, check::subdomain(node.str()));
        errors
    }

    fn validate_update(&self, cx: &Context<'_>, object: &Value, old: &Value) -> ErrorList {
        let mut errors = Vec::new();
        if cx.subresource.is_none() {
            At::root(object).f("spec").immutable(&mut errors, &At::root(old).f("spec"));
        }
        errors
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }

    fn returns_deleted_object(&self) -> bool {
        true
    }

    fn row(&self, _version: &str, object: &Value, now: i64) -> Option<Vec<Value>> {
        Some(vec![
            print::name(object),
            str_at(object, &["spec", "attacher"]).into(),
            str_at(object, &["spec", "source", "persistentVolumeName"]).into(),
            str_at(object, &["spec", "nodeName"]).into(),
            object.get("status").is_some_and(|s| truth(s, "attached")).into(),
            print::age(object, now),
        ])
    }
}
