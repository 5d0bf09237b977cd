//! Validation of pod specs and templates (`k8s.io/kubernetes/pkg/apis/core/validation`).

use std::collections::HashSet;

use kplane_machinery::field::{ErrorList, FieldError};
use serde_json::Value;

use super::{affinity, containers, security, volumes};
use crate::check;
use crate::rules::{annotations, labels};
use crate::val::At;

/// A pod spec.
pub(crate) fn pod_spec(spec: &At<'_>, errors: &mut ErrorList) {
    let known = volumes::validate(&spec.f("volumes"), errors);
    containers::validate(spec, &known, errors);
    if spec.f("resources").there() {
        containers::resources(&spec.f("resources"), false, errors);
    }
    spec.f("restartPolicy").required_one_of(errors, &["Always", "Never", "OnFailure"]);
    dns(spec, errors);
    labels(&spec.f("nodeSelector"), errors);
    security::pod(&spec.f("securityContext"), errors);
    host_namespaces(spec, errors);
    for secret in spec.f("imagePullSecrets").items() {
        if secret.f("name").str().is_empty() && secret.f("name").there() {
            secret.f("name").required(errors, "");
        }
    }
    affinity::affinity(&spec.f("affinity"), errors);
    dns_config(spec, errors);
    for gate in spec.f("readinessGates").items() {
        let kind = gate.f("conditionType");
        kind.invalid_all(errors, check::qualified(kind.str()));
    }
    gates(&spec.f("schedulingGates"), errors);
    affinity::spread(&spec.f("topologySpreadConstraints"), errors);
    subdomain(&spec.f("serviceAccountName"), errors);
    subdomain(&spec.f("nodeName"), errors);
    let deadline = spec.f("activeDeadlineSeconds");
    if deadline.there() && !(1..=i64::from(i32::MAX)).contains(&deadline.num()) {
        deadline.invalid(errors, "must be between 1 and 2147483647, inclusive");
    }
    for name in ["hostname", "subdomain"] {
        let field = spec.f(name);
        if !field.str().is_empty() {
            field.invalid_all(errors, check::label(field.str()));
        }
    }
    affinity::tolerations(&spec.f("tolerations"), errors);
    for alias in spec.f("hostAliases").items() {
        let address = alias.f("ip");
        address.invalid_all(errors, check::ip(address.str()));
        for name in alias.f("hostnames").items() {
            name.invalid_all(errors, check::subdomain(name.str()));
        }
    }
    subdomain(&spec.f("priorityClassName"), errors);
    subdomain(&spec.f("runtimeClassName"), errors);
    let preemption = spec.f("preemptionPolicy");
    if preemption.there() {
        preemption.one_of(errors, &["Never", "PreemptLowerPriority"]);
    }
    let os = spec.f("os");
    if os.there() {
        os.f("name").required_one_of(errors, &["linux", "windows"]);
    }
}

fn subdomain(name: &At<'_>, errors: &mut ErrorList) {
    if !name.str().is_empty() {
        name.invalid_all(errors, check::subdomain(name.str()));
    }
}

fn dns(spec: &At<'_>, errors: &mut ErrorList) {
    spec.f("dnsPolicy")
        .required_one_of(errors, &["ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"]);
}

fn dns_config(spec: &At<'_>, errors: &mut ErrorList) {
    let config = spec.f("dnsConfig");
    let servers = config.f("nameservers");
    if spec.f("dnsPolicy").str() == "None" {
        if !config.there() {
            config.required(errors, "must provide `dnsConfig` when `dnsPolicy` is None");
            return;
        }
        if servers.len() == 0 {
            servers.required(errors, "must provide at least one DNS nameserver when `dnsPolicy` is None");
            return;
        }
    }
    if servers.len() > 3 {
        servers.invalid(errors, "must not have more than 3 nameservers");
    }
    for server in servers.items() {
        server.invalid_all(errors, check::ip(server.str()));
    }
    let searches = config.f("searches");
    if searches.len() > 32 {
        searches.invalid(errors, "must not have more than 32 search paths");
    }
    for search in searches.items() {
        let name = search.str().strip_suffix('.').unwrap_or(search.str());
        if search.str() != "." {
            search.invalid_all(errors, check::subdomain(&name.replace('_', "-")));
        }
    }
    for option in config.f("options").items() {
        if option.f("name").str().is_empty() {
            option.required(errors, "must not be empty");
        }
    }
}

fn host_namespaces(spec: &At<'_>, errors: &mut ErrorList) {
    if spec.f("hostNetwork").is_true() {
        for list in ["containers", "initContainers"] {
            for container in spec.f(list).items() {
                for port in container.f("ports").items() {
                    let host = port.f("hostPort");
                    let (want, have) = (port.f("containerPort").num(), host.num());
                    if want != have {
                        let shown = Value::from(want);
                        errors.push(FieldError::invalid(
                            &port.f("containerPort").path,
                            &shown,
                            "must match `hostPort` when `hostNetwork` is true",
                        ));
                    }
                }
            }
        }
    }
    if spec.f("shareProcessNamespace").is_true() && spec.f("hostPID").is_true() {
        spec.f("shareProcessNamespace")
            .invalid(errors, "ShareProcessNamespace and HostPID cannot both be enabled");
    }
}

fn gates(gates: &At<'_>, errors: &mut ErrorList) {
    let mut seen = HashSet::new();
    for gate in gates.items() {
        let name = gate.f("name");
        for message in check::qualified(name.str()) {
            errors.push(FieldError::invalid_str(&gate.path, name.str(), message));
        }
        if !seen.insert(name.str()) {
            name.duplicate(errors);
        }
    }
}

/// A template: its labels, annotations and pod spec.
pub(crate) fn template(template: &At<'_>, errors: &mut ErrorList) {
    labels(&template.at(&["metadata", "labels"]), errors);
    annotations(&template.at(&["metadata", "annotations"]), errors);
    pod_spec(&template.f("spec"), errors);
    let ephemeral = template.at(&["spec", "ephemeralContainers"]);
    if ephemeral.len() > 0 {
        ephemeral.forbidden(errors, "ephemeral containers not allowed in pod template");
    }
}
