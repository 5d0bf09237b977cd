//! Defaults of pod specs (`k8s.io/kubernetes/pkg/apis/core/v1/defaults.go`).

use serde_json::{Value, json};

use super::CONTAINER_LISTS;
use crate::val::{Obj, child, dflt, dflt_str, each, ensure, is_empty};

/// What an object is given when no mode is said.
const DEFAULT_MODE: i64 = 0o644;

/// Defaults of a template at a field: its `metadata` and its pod spec.
pub(crate) fn template(object: &mut Obj, field: &str) {
    let Some(template) = ensure(object, field) else { return };
    ensure(template, "metadata");
    if let Some(spec) = ensure(template, "spec") {
        pod_spec(spec);
    }
}

/// Defaults that hold for Pods and templates alike.
pub(crate) fn pod_spec(spec: &mut Obj) {
    dflt_str(spec, "dnsPolicy", "ClusterFirst");
    dflt_str(spec, "restartPolicy", "Always");
    dflt_str(spec, "schedulerName", "default-scheduler");
    dflt(spec, "terminationGracePeriodSeconds", 30);
    dflt(spec, "securityContext", Obj::new());
    dflt(spec, "containers", Value::Null);
    service_account(spec);
    let host_network = spec.get("hostNetwork") == Some(&Value::Bool(true));
    for list in CONTAINER_LISTS {
        each(spec, list, |c| container(c, host_network && list != "ephemeralContainers"));
    }
    each(spec, "volumes", volume);
}

/// Defaults that hold for Pods alone.
pub(crate) fn pod_only(spec: &mut Obj) {
    dflt(spec, "enableServiceLinks", true);
    for list in CONTAINER_LISTS {
        if list != "ephemeralContainers" {
            each(spec, list, requests_from_limits);
        }
    }
    if spec.contains_key("resources") {
        requests_from_limits(spec);
    }
}

/// `serviceAccount` is the old name of `serviceAccountName`: both say the same.
fn service_account(spec: &mut Obj) {
    let name = match (spec.get("serviceAccountName"), spec.get("serviceAccount")) {
        (Some(name), _) if !is_empty(name) => name.clone(),
        (_, Some(name)) if !is_empty(name) => name.clone(),
        _ => {
            spec.remove("serviceAccountName");
            spec.remove("serviceAccount");
            return;
        }
    };
    spec.insert("serviceAccountName".into(), name.clone());
    spec.insert("serviceAccount".into(), name);
}

/// A limit without a request asks for as much.
fn requests_from_limits(owner: &mut Obj) {
    let Some(resources) = child(owner, "resources") else { return };
    let Some(Value::Object(limits)) = resources.get("limits").cloned() else { return };
    if let Some(requests) = ensure(resources, "requests") {
        for (name, quantity) in limits {
            requests.entry(name).or_insert(quantity);
        }
    }
}

fn container(container: &mut Obj, host_network: bool) {
    let image = container.get("image").and_then(Value::as_str).unwrap_or("");
    let policy = pull_policy(image);
    dflt_str(container, "imagePullPolicy", policy);
    dflt_str(container, "terminationMessagePath", "/dev/termination-log");
    dflt_str(container, "terminationMessagePolicy", "File");
    dflt(container, "resources", Obj::new());
    each(container, "ports", |port| {
        dflt_str(port, "protocol", "TCP");
        if host_network
            && port.get("hostPort").and_then(Value::as_i64).unwrap_or(0) == 0
            && let Some(number) = port.get("containerPort").cloned()
        {
            port.insert("hostPort".into(), number);
        }
    });
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(probe) = child(container, name) {
            self::probe(probe);
        }
    }
    if let Some(lifecycle) = child(container, "lifecycle") {
        for name in ["postStart", "preStop"] {
            if let Some(handler) = child(lifecycle, name) {
                self::handler(handler);
            }
        }
    }
    each(container, "env", |env| {
        if let Some(from) = child(env, "valueFrom") {
            if let Some(field) = child(from, "fieldRef") {
                dflt_str(field, "apiVersion", "v1");
            }
            if let Some(field) = child(from, "resourceFieldRef") {
                dflt(field, "divisor", "0");
            }
            if let Some(file) = child(from, "fileKeyRef") {
                dflt(file, "optional", false);
            }
        }
    });
}

fn probe(probe: &mut Obj) {
    for (field, value) in
        [("timeoutSeconds", 1), ("periodSeconds", 10), ("successThreshold", 1), ("failureThreshold", 3)]
    {
        if probe.get(field).and_then(Value::as_i64).unwrap_or(0) == 0 {
            probe.insert(field.into(), value.into());
        }
    }
    handler(probe);
}

fn handler(handler: &mut Obj) {
    if let Some(http) = child(handler, "httpGet") {
        dflt_str(http, "path", "/");
        dflt_str(http, "scheme", "HTTP");
    }
    if let Some(grpc) = child(handler, "grpc") {
        dflt(grpc, "service", "");
    }
}

/// `Always` for the tag `latest`, which no tag and no digest stands for.
pub(crate) fn pull_policy(image: &str) -> &'static str {
    let (name, digest) = match image.split_once('@') {
        Some((name, digest)) => (name, Some(digest)),
        None => (image, None),
    };
    let last = name.rsplit('/').next().unwrap_or(name);
    let tag = match last.split_once(':') {
        Some((_, tag)) => tag,
        None if digest.is_some() => "",
        None => "latest",
    };
    if tag == "latest" { "Always" } else { "IfNotPresent" }
}

fn volume(volume: &mut Obj) {
    let sources = volume.iter().filter(|(name, v)| *name != "name" && !v.is_null()).count();
    if sources == 0 {
        volume.insert("emptyDir".into(), json!({}));
    }
    for (name, source) in volume.iter_mut() {
        if let Some(source) = source.as_object_mut() {
            volume_source(name, source);
        }
    }
}

/// Defaults of a volume source, shared with PersistentVolumes.
pub(crate) fn volume_source(kind: &str, source: &mut Obj) {
    match kind {
        "hostPath" => dflt(source, "type", ""),
        "secret" | "configMap" => dflt(source, "defaultMode", DEFAULT_MODE),
        "downwardAPI" => {
            dflt(source, "defaultMode", DEFAULT_MODE);
            each(source, "items", downward_item);
        }
        "projected" => {
            dflt(source, "defaultMode", DEFAULT_MODE);
            dflt(source, "sources", Value::Null);
            each(source, "sources", |projection| {
                if let Some(token) = child(projection, "serviceAccountToken") {
                    dflt(token, "expirationSeconds", 3600);
                }
                if let Some(downward) = child(projection, "downwardAPI") {
                    each(downward, "items", downward_item);
                }
                if let Some(certificate) = child(projection, "podCertificate") {
                    dflt(certificate, "maxExpirationSeconds", 86_400);
                }
            });
        }
        "iscsi" => dflt_str(source, "iscsiInterface", "default"),
        "rbd" => {
            dflt_str(source, "pool", "rbd");
            dflt_str(source, "user", "admin");
            dflt_str(source, "keyring", "/etc/ceph/keyring");
        }
        "azureDisk" => {
            dflt(source, "cachingMode", "ReadWrite");
            dflt(source, "fsType", "ext4");
            dflt(source, "readOnly", false);
            dflt(source, "kind", "Shared");
        }
        "scaleIO" => {
            dflt_str(source, "storageMode", "ThinProvisioned");
            dflt_str(source, "fsType", "xfs");
        }
        "ephemeral" => {
            if let Some(template) = child(source, "volumeClaimTemplate") {
                ensure(template, "metadata");
                if let Some(spec) = ensure(template, "spec") {
                    claim_spec(spec);
                }
            }
        }
        "image" => {
            let reference = source.get("reference").and_then(Value::as_str).unwrap_or("");
            let policy = pull_policy(reference);
            dflt_str(source, "pullPolicy", policy);
        }
        _ => {}
    }
}

fn downward_item(item: &mut Obj) {
    if let Some(field) = child(item, "fieldRef") {
        dflt_str(field, "apiVersion", "v1");
    }
    if let Some(field) = child(item, "resourceFieldRef") {
        dflt(field, "divisor", "0");
    }
}

/// Defaults of the spec of a PersistentVolumeClaim.
pub(crate) fn claim_spec(spec: &mut Obj) {
    dflt(spec, "volumeMode", "Filesystem");
    dflt(spec, "resources", Obj::new());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_choose_the_pull_policy() {
        for (image, policy) in [
            ("nginx", "Always"),
            ("nginx:latest", "Always"),
            ("nginx:1.27", "IfNotPresent"),
            ("host:5000/nginx", "Always"),
            ("host:5000/nginx:1", "IfNotPresent"),
            ("nginx@sha256:00", "IfNotPresent"),
        ] {
            assert_eq!(pull_policy(image), policy, "{image}");
        }
    }
}
