//! PersistentVolumes.

use kplane_machinery::field::{ErrorList, FieldError};
use kplane_machinery::object::{meta_str, str_at};
use serde_json::{Value, json};

use super::claims;
use crate::common::add_finalizer;
use crate::podspec::{affinity, defaults, volumes};
use crate::strategy::{Context, Strategy, keep_other_part};
use crate::val::{At, Obj, dflt_str, ensure, items, map_mut, same, text};
use crate::{amount, check, print};

/// The fields of the spec that are no source of a volume.
const OTHERS: [&str; 10] = [
    "accessModes",
    "capacity",
    "claimRef",
    "mountOptions",
    "nodeAffinity",
    "persistentVolumeReclaimPolicy",
    "storageClassName",
    "volumeAttributesClassName",
    "volumeMode",
    "",
];

/// `PersistentVolume`.
pub(crate) struct Volumes;

fn sources(spec: &Value) -> Obj {
    spec.as_object()
        .into_iter()
        .flatten()
        .filter(|(name, v)| !OTHERS.contains(&name.as_str()) && !v.is_null())
        .map(|(name, v)| (name.clone(), v.clone()))
        .collect()
}

fn validate(spec: &At<'_>, errors: &mut ErrorList) {
    let (modes, capacity) = (spec.f("accessModes"), spec.f("capacity"));
    if modes.len() == 0 {
        modes.required(errors, "");
    }
    claims::access_modes(&modes, errors);
    if capacity.len() == 0 {
        capacity.required(errors, "");
    }
    if capacity.len() != 1 || !capacity.key("storage").there() {
        errors.push(FieldError::not_supported(&capacity.path, capacity.value(), &["storage"]));
    }
    for (_, quantity) in capacity.entries() {
        if amount::negative(quantity.value()) {
            quantity.invalid_text(errors, "must be greater than or equal to 0");
        } else if amount::of(quantity.value()).is_some_and(|q| q.is_zero()) {
            quantity.invalid_text(errors, "must be greater than zero");
        }
    }
    let affinity = spec.at(&["nodeAffinity", "required"]);
    if affinity.there() {
        affinity::node_selector(&affinity, errors);
    }
    let mut count = 0;
    for name in sources(spec.value()).keys() {
        let source = spec.f(name);
        count += 1;
        if count > 1 {
            source.forbidden(errors, "may not specify more than 1 volume type");
        } else {
            volumes::one(name, &source, errors);
        }
    }
    if count == 0 {
        spec.required(errors, "must specify a volume type");
    }
    let policy = spec.f("persistentVolumeReclaimPolicy");
    if !policy.str().is_empty() {
        policy.one_of(errors, &["Delete", "Recycle", "Retain"]);
    }
    if spec.at(&["hostPath", "path"]).str() == "/" && policy.str() == "Recycle" {
        policy.forbidden(errors, "may not be 'recycle' for a hostPath mount of '/'");
    }
    let class = spec.f("storageClassName");
    if !class.str().is_empty() {
        class.invalid_all(errors, check::subdomain(class.str()));
    }
    let mode = spec.f("volumeMode");
    if mode.there() {
        mode.one_of(errors, &["Block", "Filesystem"]);
    }
}

impl Strategy for Volumes {
    fn default(&self, _version: &str, object: &mut Value) {
        let Some(fields) = object.as_object_mut() else { return };
        if let Some(spec) = ensure(fields, "spec") {
            dflt_str(spec, "persistentVolumeReclaimPolicy", "Retain");
            dflt_str(spec, "volumeMode", "Filesystem");
            for (name, source) in spec.iter_mut() {
                if let Some(source) = source.as_object_mut() {
                    defaults::volume_source(name, source);
                }
            }
        }
        if let Some(status) = ensure(fields, "status") {
            dflt_str(status, "phase", "Pending");
        }
    }

    fn prepare_create(&self, cx: &Context<'_>, object: &mut Value) {
        crate::val::set_status(object, json!({"phase": "Pending", "lastPhaseTransitionTime": cx.now}));
        add_finalizer(object, "kubernetes.io/pv-protection");
    }

    fn prepare_update(&self, cx: &Context<'_>, object: &mut Value, old: &Value) {
        keep_other_part(cx, object, old);
        let phase = |o: &Value| str_at(o, &["status", "phase"]).to_owned();
        if cx.subresource == Some("status")
            && phase(object) != phase(old)
            && let Some(status) = map_mut(object, "status")
        {
            status.insert("lastPhaseTransitionTime".into(), cx.now.into());
        }
    }

    fn validate_create(&self, _cx: &Context<'_>, object: &Value) -> ErrorList {
        let mut errors = Vec::new();
        validate(&At::root(object).f("spec"), &mut errors);
        errors
    }

    fn validate_update(&self, cx: &Context<'_>, object: &Value, old: &Value) -> ErrorList {
        let mut errors = Vec::new();
        if cx.subresource.is_some() {
            return errors;
        }
        let (new, old) = (At::root(object).f("spec"), At::root(old).f("spec"));
        validate(&new, &mut errors);
        if !same(&Value::Object(sources(new.value())), &Value::Object(sources(old.value()))) {
            errors.push(FieldError::forbidden(
                &new.path.child("persistentvolumesource"),
                "spec.persistentvolumesource is immutable after creation",
            ));
        }
        new.f("volumeMode").immutable(&mut errors, &old.f("volumeMode"));
        if old.f("nodeAffinity").there() {
            new.f("nodeAffinity").immutable(&mut errors, &old.f("nodeAffinity"));
        }
        errors
    }

    fn warnings(&self, _cx: &Context<'_>, object: &Value, _old: Option<&Value>) -> Vec<String> {
        let spec = object.get("spec").unwrap_or(&Value::Null);
        let mut out = Vec::new();
        if text(spec, "persistentVolumeReclaimPolicy") == "Recycle" {
            out.push(
                "spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. Instead, the recommended approach is to use dynamic provisioning.".into(),
            );
        }
        for (name, when) in [
            ("cephfs", "deprecated in v1.28, non-functional in v1.31+"),
            ("glusterfs", "deprecated in v1.25, non-functional in v1.26+"),
            ("photonPersistentDisk", "deprecated in v1.11, non-functional in v1.16+"),
            ("quobyte", "deprecated in v1.22, non-functional in v1.25+"),
            ("rbd", "deprecated in v1.28, non-functional in v1.31+"),
            ("scaleIO", "deprecated in v1.16, non-functional in v1.22+"),
            ("storageos", "deprecated in v1.22, non-functional in v1.25+"),
        ] {
            if crate::val::sub(spec, name).is_some() {
                out.push(format!("spec.{name}: {when}"));
            }
        }
        out
    }

    fn returns_deleted_object(&self) -> bool {
        true
    }

    fn row(&self, _version: &str, object: &Value, now: i64) -> Option<Vec<Value>> {
        let spec = object.get("spec").unwrap_or(&Value::Null);
        let claim = match crate::val::sub(spec, "claimRef") {
            Some(claim) => format!("{}/{}", text(claim, "namespace"), text(claim, "name")),
            None => String::new(),
        };
        let capacity = spec.get("capacity").and_then(|c| c.get("storage")).map(amount::text);
        let phase = if meta_str(object, "deletionTimestamp").is_empty() {
            str_at(object, &["status", "phase"])
        } else {
            "Terminating"
        };
        Some(vec![
            print::name(object),
            capacity.unwrap_or_else(|| "0".to_owned()).into(),
            print::access_modes(items(spec, "accessModes")).into(),
            text(spec, "persistentVolumeReclaimPolicy").into(),
            phase.into(),
            claim.into(),
            print::storage_class(object).into(),
            print::text_or(spec, &["volumeAttributesClassName"], print::UNSET),
            str_at(object, &["status", "reason"]).into(),
            print::age(object, now),
            print::text_or(spec, &["volumeMode"], print::UNSET),
        ])
    }
}
