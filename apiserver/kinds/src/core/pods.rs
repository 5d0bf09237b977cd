//! Pods.

use kplane_machinery::field::{ErrorList, FieldError};
use kplane_machinery::object::{meta_str, str_at};
use serde_json::{Value, json};

use crate::common::{first_generation, spec_changed};
use crate::podspec::{self, defaults, update, validate, warnings};
use crate::strategy::{Context, StatusKeeps, Strategy, keep_other_part};
use crate::val::{At, Obj, ensure, int, items, sub, text, truth};
use crate::{amount, rules};

/// `Pod`.
pub(crate) struct Pods;

/// The fields of the resources of a container that `resize` may change.
const RESIZED: [&str; 2] = ["resources", "resizePolicy"];

impl Strategy for Pods {
    fn status_keeps(&self) -> StatusKeeps {
        // Old kubelets are known to corrupt them.
        StatusKeeps::Fields(&["ownerReferences"])
    }

    fn default(&self, _version: &str, object: &mut Value) {
        let Some(fields) = object.as_object_mut() else { return };
        if let Some(spec) = ensure(fields, "spec") {
            defaults::pod_spec(spec);
            defaults::pod_only(spec);
        }
        ensure(fields, "status");
    }

    fn prepare_create(&self, _cx: &Context<'_>, object: &mut Value) {
        first_generation(object);
        let mut status = Obj::new();
        status.insert("phase".into(), "Pending".into());
        status.insert("qosClass".into(), qos_class(object).into());
        if object.get("spec").is_some_and(|s| !items(s, "schedulingGates").is_empty()) {
            status.insert(
                "conditions".into(),
                json!([{
                    "type": "PodScheduled", "status": "False", "reason": "SchedulingGated",
                    "message": "Scheduling is blocked due to non-empty scheduling gates",
                    "lastProbeTime": null, "lastTransitionTime": null,
                }]),
            );
        }
        crate::val::set_status(object, Value::Object(status));
    }

    fn prepare_update(&self, cx: &Context<'_>, object: &mut Value, old: &Value) {
        match cx.subresource {
            Some("ephemeralcontainers") => keep_all_but(object, old, &["ephemeralContainers"]),
            Some("resize") => keep_resources(object, old),
            Some("status") => {
                keep_other_part(cx, object, old);
                // What the server computed stays.
                let qos = str_at(old, &["status", "qosClass"]).to_owned();
                if let Some(status) = crate::val::map_mut(object, "status")
                    && !qos.is_empty()
                {
                    crate::val::dflt_str(status, "qosClass", &qos);
                }
            }
            _ => keep_other_part(cx, object, old),
        }
    }

    fn validate_create(&self, _cx: &Context<'_>, object: &Value) -> ErrorList {
        let mut errors = Vec::new();
        let root = At::root(object);
        validate::pod_spec(&root.f("spec"), &mut errors);
        let ephemeral = root.at(&["spec", "ephemeralContainers"]);
        if ephemeral.len() > 0 {
            ephemeral.forbidden(&mut errors, "cannot be set on create");
        }
        let gates = root.at(&["spec", "schedulingGates"]);
        let node = root.at(&["spec", "nodeName"]);
        if gates.len() > 0 && !node.str().is_empty() {
            node.forbidden(&mut errors, "cannot be set until all schedulingGates have been cleared");
        }
        errors
    }

    fn validate_update(&self, cx: &Context<'_>, object: &Value, old: &Value) -> ErrorList {
        let mut errors = Vec::new();
        let (new, old) = (At::root(object), At::root(old));
        match cx.subresource {
            Some("status") => {
                let nominated = new.at(&["status", "nominatedNodeName"]);
                if !nominated.str().is_empty() {
                    nominated.invalid_all(&mut errors, crate::check::subdomain(nominated.str()));
                }
                transitions(&new, &old, &mut errors);
            }
            Some("ephemeralcontainers") => {
                validate::pod_spec(&new.f("spec"), &mut errors);
                ephemeral_kept(&new, &old, &mut errors);
            }
            Some("resize") => validate::pod_spec(&new.f("spec"), &mut errors),
            // The one way to assign a node, which has made sure of what it changes.
            Some("binding") => {}
            _ => {
                update::validate(&new.f("spec"), &old.f("spec"), &mut errors);
                rules::labels(&new.at(&["metadata", "labels"]), &mut Vec::new());
                for image in podspec::all_containers(&new.f("spec")) {
                    let image = image.f("image");
                    if image.str().is_empty() {
                        image.required(&mut errors, "");
                    }
                }
            }
        }
        errors
    }

    fn warnings(&self, cx: &Context<'_>, object: &Value, old: Option<&Value>) -> Vec<String> {
        if cx.subresource == Some("status") {
            return Vec::new();
        }
        let root = At::root(object);
        let mut out = Vec::new();
        if old.is_none() {
            out.extend(warnings::hostname(object, "in the Pod's hostname"));
        }
        out.extend(warnings::of(&root.f("metadata"), &root.f("spec")));
        out
    }

    fn generation(&self, cx: &Context<'_>, object: &Value, old: &Value) -> Option<bool> {
        spec_changed(cx, object, old)
    }

    fn selectable_value(&self, object: &Value, path: &str) -> String {
        match path {
            "spec.hostNetwork" => object.get("spec").is_some_and(|s| truth(s, "hostNetwork")).to_string(),
            "status.podIPs" => object
                .get("status")
                .map(|s| items(s, "podIPs"))
                .and_then(|l| l.first())
                .map_or_else(String::new, |ip| text(ip, "ip").to_owned()),
            _ => {
                let path: Vec<&str> = path.split('.').collect();
                str_at(object, &path).to_owned()
            }
        }
    }

    fn graceful(&self) -> bool {
        true
    }

    /// What the client asks for, else what the spec says; at once for a pod that no node has or that has ended.
    fn grace_period(&self, object: &Value, requested: Option<i64>) -> i64 {
        let spec = object.get("spec").unwrap_or(&Value::Null);
        let period = requested.or_else(|| int(spec, "terminationGracePeriodSeconds")).unwrap_or(0);
        let ended = matches!(str_at(object, &["status", "phase"]), "Failed" | "Succeeded");
        if text(spec, "nodeName").is_empty() || ended {
            return 0;
        }
        if period < 0 { 1 } else { period }
    }

    fn returns_deleted_object(&self) -> bool {
        true
    }

    fn row(&self, _version: &str, object: &Value, now: i64) -> Option<Vec<Value>> {
        Some(super::pods_print::row(object, now))
    }
}

/// The object as it was, but for some fields of its spec.
fn keep_all_but(object: &mut Value, old: &Value, fields: &[&str]) {
    let taken: Vec<(&str, Option<Value>)> =
        fields.iter().map(|f| (*f, object.get("spec").and_then(|s| sub(s, f)).cloned())).collect();
    replace_but_metadata(object, old);
    if let Some(spec) = crate::val::map_mut(object, "spec") {
        for (field, value) in taken {
            match value {
                Some(value) => spec.insert(field.into(), value),
                None => spec.remove(field),
            };
        }
    }
}

/// Takes everything from the old object, but the bookkeeping in the metadata of the new.
fn replace_but_metadata(object: &mut Value, old: &Value) {
    let kept = ["managedFields", "resourceVersion"]
        .map(|f| (f, object.get("metadata").and_then(|m| m.get(f)).cloned()));
    *object = old.clone();
    for (field, value) in kept {
        kplane_machinery::object::set_meta(object, field, value);
    }
}

/// The object as it was, but for the resources of its containers.
fn keep_resources(object: &mut Value, old: &Value) {
    let spec = object.get("spec").cloned().unwrap_or_default();
    replace_but_metadata(object, old);
    let Some(target) = crate::val::map_mut(object, "spec") else { return };
    for list in ["containers", "initContainers"] {
        if let Some(Value::Array(containers)) = target.get_mut(list) {
            for container in containers.iter_mut().filter_map(Value::as_object_mut) {
                let name = container.get("name").cloned();
                let Some(asked) = items(&spec, list).iter().find(|c| c.get("name") == name.as_ref()) else {
                    continue;
                };
                for field in RESIZED {
                    match sub(asked, field) {
                        Some(value) => container.insert(field.into(), value.clone()),
                        None => container.remove(field),
                    };
                }
            }
        }
    }
    if let Some(resources) = sub(&spec, "resources") {
        target.insert("resources".into(), resources.clone());
    }
}

fn ephemeral_kept(new: &At<'_>, old: &At<'_>, errors: &mut ErrorList) {
    let now = new.at(&["spec", "ephemeralContainers"]);
    for container in old.at(&["spec", "ephemeralContainers"]).items() {
        let name = container.f("name").str();
        match now.items().find(|c| c.f("name").str() == name) {
            None => {
                now.forbidden(errors, format!("existing ephemeral containers {name:?} may not be removed"))
            }
            Some(found) if !crate::val::same(found.value(), container.value()) => {
                now.forbidden(errors, format!("existing ephemeral containers {name:?} may not be changed"));
            }
            Some(_) => {}
        }
    }
}

/// A container that ended may not run again unless its policy says so.
fn transitions(new: &At<'_>, old: &At<'_>, errors: &mut ErrorList) {
    let policy = new.at(&["spec", "restartPolicy"]).str();
    if policy == "Always" {
        return;
    }
    let now = new.at(&["status", "containerStatuses"]);
    for before in old.at(&["status", "containerStatuses"]).items() {
        let ended = before.at(&["state", "terminated"]);
        if !ended.there() || (ended.f("exitCode").num() != 0 && policy == "OnFailure") {
            continue;
        }
        let name = before.f("name").str();
        if let Some(after) = now.items().find(|s| s.f("name").str() == name)
            && !after.at(&["state", "terminated"]).there()
        {
            let path = after.path.child("state");
            errors.push(FieldError::forbidden(&path, "may not be transitioned to non-terminated state"));
        }
    }
}

/// `Guaranteed`, `Burstable` or `BestEffort`, by what the containers request and may use.
pub(crate) fn qos_class(pod: &Value) -> &'static str {
    let spec = pod.get("spec").unwrap_or(&Value::Null);
    let mut any = false;
    let mut guaranteed = true;
    let pod_level =
        sub(spec, "resources").filter(|r| r.get("limits").is_some() || r.get("requests").is_some());
    let containers: Vec<&Value> = match pod_level {
        Some(_) => vec![spec],
        None => ["containers", "initContainers"].iter().flat_map(|l| items(spec, l)).collect(),
    };
    for container in containers {
        let resources = container.get("resources").unwrap_or(&Value::Null);
        let amount_of = |part: &str, name: &str| {
            resources.get(part).and_then(|p| p.get(name)).filter(|q| amount::positive(q)).and_then(amount::of)
        };
        for name in ["cpu", "memory"] {
            let (request, limit) = (amount_of("requests", name), amount_of("limits", name));
            any |= request.is_some() || limit.is_some();
            guaranteed &= limit.is_some() && request == limit;
        }
    }
    if !any {
        "BestEffort"
    } else if guaranteed {
        "Guaranteed"
    } else {
        "Burstable"
    }
}

/// Whether the pod is being deleted.
pub(crate) fn terminating(pod: &Value) -> bool {
    !meta_str(pod, "deletionTimestamp").is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_is_defaulted_once() {
        let mut pod = json!({"metadata": {"name": "p"}, "spec": {
            "containers": [{"name": "c", "image": "nginx", "resources": {"limits": {"cpu": "1"}}}],
            "volumes": [{"name": "v"}]}});
        Pods.default("v1", &mut pod);
        assert_eq!(pod["spec"]["containers"][0]["resources"]["requests"]["cpu"], "1");
        assert_eq!(pod["spec"]["volumes"][0]["emptyDir"], json!({}));
        assert_eq!(pod["spec"]["enableServiceLinks"], true);
        let once = pod.clone();
        Pods.default("v1", &mut pod);
        assert_eq!(pod, once);
        assert_eq!(qos_class(&pod), "Burstable");
    }

    #[test]
    fn only_some_fields_of_a_pod_may_change() {
        let old = json!({"spec": {"containers": [{"name": "c", "image": "a"}], "nodeName": "n"}});
        let mut new = old.clone();
        new["spec"]["containers"][0]["image"] = "b".into();
        let check = |new: &Value| {
            let mut errors = Vec::new();
            update::validate(&At::root(new).f("spec"), &At::root(&old).f("spec"), &mut errors);
            errors.len()
        };
        assert_eq!(check(&new), 0);
        new["spec"]["nodeName"] = "m".into();
        assert_eq!(check(&new), 1);
    }
}
