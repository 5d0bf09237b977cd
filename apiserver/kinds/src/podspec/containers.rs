//! Validation of containers: ports, environment, mounts, probes, resources.

use std::collections::HashSet;

use kplane_machinery::field::{ErrorList, FieldError, Path};
use serde_json::Value;

use super::security;
use crate::amount;
use crate::check;
use crate::rules::{local_descending_path, metadata_name};
use crate::val::{At, Obj};

const PROTOCOLS: [&str; 3] = ["SCTP", "TCP", "UDP"];
const PULL_POLICIES: [&str; 3] = ["Always", "IfNotPresent", "Never"];
const ENV_FIELDS: [&str; 9] = [
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];
const FILE_FIELDS: [&str; 5] =
    ["metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"];
const RESOURCES: [&str; 6] = [
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
];

/// The containers and init containers of a pod.
pub(super) fn validate(spec: &At<'_>, volumes: &Obj, errors: &mut ErrorList) {
    let containers = spec.f("containers");
    if containers.len() == 0 {
        containers.required(errors, "");
        return;
    }
    let mut names = HashSet::new();
    for container in containers.items() {
        common(&container, volumes, errors);
        unique_name(&container, &mut names, errors);
        lifecycle(&container.f("lifecycle"), errors);
        probes(&container, errors);
    }
    host_ports(&containers, errors);
    for container in spec.f("initContainers").items() {
        common(&container, volumes, errors);
        unique_name(&container, &mut names, errors);
        let restarts = container.f("restartPolicy").str() == "Always";
        if restarts {
            lifecycle(&container.f("lifecycle"), errors);
            probes(&container, errors);
        } else {
            for name in ["lifecycle", "livenessProbe", "readinessProbe", "startupProbe"] {
                let field = container.f(name);
                if field.there() {
                    field
                        .forbidden(errors, "may not be set for init containers without restartPolicy=Always");
                }
            }
        }
    }
    host_ports(&spec.f("initContainers"), errors);
    ephemeral(spec, volumes, &mut names, errors);
}

fn ephemeral(spec: &At<'_>, volumes: &Obj, names: &mut HashSet<String>, errors: &mut ErrorList) {
    for container in spec.f("ephemeralContainers").items() {
        common(&container, volumes, errors);
        unique_name(&container, names, errors);
        let target = container.f("targetContainerName");
        if !target.str().is_empty() {
            let found = ["containers", "initContainers"]
                .iter()
                .any(|list| spec.f(list).items().any(|c| c.f("name").str() == target.str()));
            if !found {
                errors.push(FieldError::not_found(&target.path, target.value()));
            }
        }
        for name in ["ports", "livenessProbe", "readinessProbe", "startupProbe", "lifecycle", "resources"] {
            let field = container.f(name);
            if !field.empty() {
                field.forbidden(errors, "cannot be set for an Ephemeral Container");
            }
        }
        for mount in container.f("volumeMounts").items() {
            for name in ["subPath", "subPathExpr"] {
                let field = mount.f(name);
                if !field.str().is_empty() {
                    field.forbidden(errors, "cannot be set for an Ephemeral Container");
                }
            }
        }
    }
}

fn unique_name(container: &At<'_>, names: &mut HashSet<String>, errors: &mut ErrorList) {
    let name = container.f("name");
    if !name.str().is_empty() && !names.insert(name.str().to_owned()) {
        name.duplicate(errors);
    }
}

fn common(container: &At<'_>, volumes: &Obj, errors: &mut ErrorList) {
    let name = container.f("name");
    if name.str().is_empty() {
        name.required(errors, "");
    } else {
        name.invalid_all(errors, check::label(name.str()));
    }
    let image = container.f("image");
    if image.str().is_empty() {
        image.required(errors, "");
    } else if image.str().trim() != image.str() {
        image.invalid(errors, "must not have leading or trailing whitespace");
    }
    container.f("terminationMessagePolicy").required_one_of(errors, &["FallbackToLogsOnError", "File"]);
    ports(&container.f("ports"), errors);
    env(&container.f("env"), errors);
    env_from(&container.f("envFrom"), errors);
    mounts(container, volumes, errors);
    container.f("imagePullPolicy").required_one_of(errors, &PULL_POLICIES);
    resources(&container.f("resources"), true, errors);
    security::container(&container.f("securityContext"), errors);
}

fn ports(ports: &At<'_>, errors: &mut ErrorList) {
    let mut names = HashSet::new();
    for port in ports.items() {
        let name = port.f("name");
        if !name.str().is_empty() {
            let messages = check::port_name(name.str());
            if !messages.is_empty() {
                name.invalid_all(errors, messages);
            } else if !names.insert(name.str()) {
                name.duplicate(errors);
            }
        }
        let number = port.f("containerPort");
        match number.num() {
            0 => number.required(errors, ""),
            n => port_number(&number, n, errors),
        }
        let host = port.f("hostPort");
        if host.num() != 0 {
            port_number(&host, host.num(), errors);
        }
        port.f("protocol").required_one_of(errors, &PROTOCOLS);
    }
}

fn port_number(at: &At<'_>, number: i64, errors: &mut ErrorList) {
    if let Some(message) = check::port(number) {
        at.invalid(errors, message);
    }
}

fn host_ports(containers: &At<'_>, errors: &mut ErrorList) {
    let mut taken = HashSet::new();
    for container in containers.items() {
        for port in container.f("ports").items() {
            let host = port.f("hostPort");
            if host.num() == 0 {
                continue;
            }
            let key = format!("{}/{}/{}", port.f("protocol").str(), port.f("hostIP").str(), host.num());
            if !taken.insert(key.clone()) {
                errors.push(FieldError::duplicate(&host.path, &Value::from(key)));
            }
        }
    }
}

fn env(env: &At<'_>, errors: &mut ErrorList) {
    for variable in env.items() {
        let name = variable.f("name");
        if name.str().is_empty() {
            name.required(errors, "");
        } else {
            name.invalid_all(errors, check::env_name(name.str()));
        }
        let from = variable.f("valueFrom");
        if from.there() {
            value_from(&from, !variable.f("value").str().is_empty(), errors);
        }
    }
}

fn value_from(from: &At<'_>, has_value: bool, errors: &mut ErrorList) {
    let mut sources = 0;
    for name in ["fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef"] {
        let source = from.f(name);
        if !source.there() {
            continue;
        }
        sources += 1;
        match name {
            "fieldRef" => field_ref(&source, &ENV_FIELDS, errors),
            "resourceFieldRef" => resource_field_ref(&source, false, errors),
            "fileKeyRef" => {
                for field in ["volumeName", "path", "key"] {
                    let field = source.f(field);
                    if field.str().is_empty() {
                        field.required(errors, "");
                    }
                }
            }
            _ => {
                let key = source.f("key");
                if key.str().is_empty() {
                    key.required(errors, "");
                } else {
                    key.invalid_all(errors, check::config_key(key.str()));
                }
            }
        }
    }
    if sources == 0 {
        errors.push(FieldError::invalid_str(
            &from.path,
            "",
            "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`",
        ));
    } else if has_value {
        errors.push(FieldError::invalid_str(
            &from.path,
            "",
            "may not be specified when `value` is not empty",
        ));
    } else if sources > 1 {
        errors.push(FieldError::invalid_str(
            &from.path,
            "",
            "may not have more than one field specified at a time",
        ));
    }
}

/// A reference to a field of the pod, from the environment or, with `files`, from a volume.
pub(super) fn field_ref(reference: &At<'_>, supported: &[&str], errors: &mut ErrorList) {
    let version = reference.f("apiVersion");
    let path = reference.f("fieldPath");
    if version.str().is_empty() {
        version.required(errors, "");
        return;
    }
    if path.str().is_empty() {
        path.required(errors, "");
        return;
    }
    let text = path.str();
    if let Some((base, key)) = text.strip_suffix(']').and_then(|t| t.split_once("['")) {
        let key = key.strip_suffix('\'').unwrap_or(key);
        match base {
            "metadata.annotations" => path_messages(&path, check::qualified(&key.to_lowercase()), errors),
            "metadata.labels" => path_messages(&path, check::qualified(key), errors),
            _ => path.invalid(errors, "does not support subscript"),
        }
        return;
    }
    let known = ENV_FIELDS.contains(&text) || FILE_FIELDS.contains(&text);
    if !known {
        path.invalid(errors, format!("error converting fieldPath: field label not supported: {text}"));
    } else if !supported.contains(&text) {
        path.unsupported(errors, supported);
    }
}

fn path_messages(path: &At<'_>, messages: Vec<String>, errors: &mut ErrorList) {
    path.invalid_all(errors, messages);
}

/// A field of the pod as a file.
pub(super) fn file_field_ref(reference: &At<'_>, errors: &mut ErrorList) {
    field_ref(reference, &FILE_FIELDS, errors);
}

/// A resource of a container; a file must name the container.
pub(super) fn resource_field_ref(reference: &At<'_>, file: bool, errors: &mut ErrorList) {
    let container = reference.f("containerName");
    if file && container.str().is_empty() {
        container.required(errors, "");
        return;
    }
    let resource = reference.f("resource");
    let name = resource.str();
    if name.is_empty() {
        resource.required(errors, "");
    } else if !RESOURCES.contains(&name) && !name.contains(".hugepages-") {
        resource.unsupported(errors, &RESOURCES);
    }
}

fn env_from(env: &At<'_>, errors: &mut ErrorList) {
    for source in env.items() {
        let prefix = source.f("prefix");
        if !prefix.str().is_empty() {
            prefix.invalid_all(errors, check::env_name(prefix.str()));
        }
        let mut sources = 0;
        for name in ["configMapRef", "secretRef"] {
            let reference = source.f(name);
            if reference.there() {
                sources += 1;
                metadata_name(&reference.f("name"), errors);
            }
        }
        if sources == 0 {
            errors.push(FieldError::invalid_str(
                &source.path,
                "",
                "must specify one of: `configMapRef` or `secretRef`",
            ));
        } else if sources > 1 {
            errors.push(FieldError::invalid_str(
                &source.path,
                "",
                "may not have more than one field specified at a time",
            ));
        }
    }
}

fn mounts(container: &At<'_>, volumes: &Obj, errors: &mut ErrorList) {
    let mut points = HashSet::new();
    for mount in container.f("volumeMounts").items() {
        let name = mount.f("name");
        if name.str().is_empty() {
            name.required(errors, "");
        } else if !volumes.contains_key(name.str()) {
            errors.push(FieldError::not_found(&name.path, name.value()));
        }
        let path = mount.f("mountPath");
        if path.str().is_empty() {
            path.required(errors, "");
        } else if !points.insert(path.str()) {
            path.invalid(errors, "must be unique");
        }
        let (sub, expression) = (mount.f("subPath"), mount.f("subPathExpr"));
        if !sub.str().is_empty() {
            local_descending_path(&sub, errors);
        }
        if !expression.str().is_empty() {
            if !sub.str().is_empty() {
                expression.invalid(errors, "subPathExpr and subPath are mutually exclusive");
            }
            local_descending_path(&expression, errors);
        }
        let propagation = mount.f("mountPropagation");
        if propagation.there() {
            propagation.one_of(errors, &["Bidirectional", "HostToContainer", "None"]);
            if propagation.str() == "Bidirectional"
                && !container.at(&["securityContext", "privileged"]).is_true()
            {
                propagation.forbidden(
                    errors,
                    "Bidirectional mount propagation is available only to privileged containers",
                );
            }
        }
    }
    for device in container.f("volumeDevices").items() {
        let name = device.f("name");
        if name.str().is_empty() {
            name.required(errors, "");
        } else if !volumes.contains_key(name.str()) {
            errors.push(FieldError::not_found(&name.path, name.value()));
        } else if volumes[name.str()].get("persistentVolumeClaim").is_none_or(|v| v.is_null())
            && volumes[name.str()].get("ephemeral").is_none_or(|v| v.is_null())
        {
            name.invalid(
                errors,
                "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode",
            );
        }
        let path = device.f("devicePath");
        if path.str().is_empty() {
            path.required(errors, "");
        } else if !points.insert(path.str()) {
            path.invalid(errors, "must be unique");
        }
    }
}

fn lifecycle(lifecycle: &At<'_>, errors: &mut ErrorList) {
    for name in ["postStart", "preStop"] {
        let handler = lifecycle.f(name);
        if handler.there() {
            self::handler(&handler, &["exec", "httpGet", "tcpSocket", "sleep"], errors);
        }
    }
    let signal = lifecycle.f("stopSignal");
    if signal.there() && !signal.str().starts_with("SIG") {
        signal.invalid(errors, "must be the name of a signal");
    }
}

fn probes(container: &At<'_>, errors: &mut ErrorList) {
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        let probe = container.f(name);
        if !probe.there() {
            continue;
        }
        handler(&probe, &["exec", "httpGet", "tcpSocket", "grpc"], errors);
        for field in
            ["initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"]
        {
            probe.f(field).non_negative(errors);
        }
        let grace = probe.f("terminationGracePeriodSeconds");
        if grace.there() && grace.num() <= 0 {
            grace.invalid(errors, "must be greater than 0");
        }
        if name == "readinessProbe" {
            if grace.there() {
                grace.forbidden(errors, "must not be set for readinessProbes");
            }
        } else if probe.f("successThreshold").num() != 1 {
            probe.f("successThreshold").invalid(errors, "must be 1");
        }
    }
}

fn handler(handler: &At<'_>, kinds: &[&str], errors: &mut ErrorList) {
    let mut count = 0;
    for kind in kinds {
        let action = handler.f(kind);
        if !action.there() {
            continue;
        }
        count += 1;
        if count > 1 {
            action.forbidden(errors, "may not specify more than 1 handler type");
            continue;
        }
        match *kind {
            "exec" if action.f("command").len() == 0 => {
                action.f("command").required(errors, "");
            }
            "httpGet" => {
                if action.f("path").str().is_empty() {
                    action.f("path").required(errors, "");
                }
                port_number_or_name(&action.f("port"), errors);
                action.f("scheme").one_of(errors, &["HTTP", "HTTPS"]);
                for header in action.f("httpHeaders").items() {
                    let name = header.f("name");
                    name.invalid_all(errors, check::http_header(name.str()));
                }
            }
            "tcpSocket" => port_number_or_name(&action.f("port"), errors),
            "grpc" => port_number(&action.f("port"), action.f("port").num(), errors),
            "sleep" => {
                let seconds = action.f("seconds");
                if seconds.num() < 0 {
                    seconds.invalid(errors, "must be greater than or equal to 0");
                }
            }
            _ => {}
        }
    }
    if count == 0 {
        handler.required(errors, "must specify a handler type");
    }
}

/// A port by its number or its name.
pub(crate) fn port_number_or_name(port: &At<'_>, errors: &mut ErrorList) {
    match port.value() {
        Value::String(name) => port.invalid_all(errors, check::port_name(name)),
        Value::Number(_) => port_number(port, port.num(), errors),
        _ => {
            errors.push(FieldError::invalid(&port.path, &Value::from(0), check::port(0).unwrap_or_default()))
        }
    }
}

/// `resources`: of a container, or of a pod or claim when not `container`.
pub(crate) fn resources(resources: &At<'_>, container: bool, errors: &mut ErrorList) {
    let (limits, requests) = (resources.f("limits"), resources.f("requests"));
    for part in [&limits, &requests] {
        for (name, quantity) in part.entries() {
            resource_name(name, &quantity.path, container, errors);
            quantity_value(name, &quantity, errors);
        }
    }
    for (name, limit) in limits.entries() {
        let request = requests.key(name);
        if request.there()
            && let (Some(l), Some(r)) = (amount::of(limit.value()), amount::of(request.value()))
        {
            if extended(name) && l != r {
                errors.push(FieldError::invalid(
                    &requests.path,
                    request.value(),
                    format!("must be equal to {name} limit of {}", amount::text(limit.value())),
                ));
            } else if r > l {
                errors.push(FieldError::invalid(
                    &requests.path,
                    &Value::from(amount::text(request.value())),
                    format!("must be less than or equal to {name} limit of {}", amount::text(limit.value())),
                ));
            }
        }
    }
    for (name, _) in requests.entries() {
        if extended(name) && !limits.key(name).there() {
            limits.required(errors, "Limit must be set for non overcommitable resources");
        }
    }
}

/// Resources that cannot be shared: a request must equal its limit.
fn extended(name: &str) -> bool {
    name.starts_with("hugepages-") || check::is_extended_resource(name)
}

fn resource_name(name: &str, path: &Path, container: bool, errors: &mut ErrorList) {
    let messages = check::qualified(name);
    if !messages.is_empty() {
        for message in messages {
            errors.push(FieldError::invalid_str(path, name, message));
        }
        return;
    }
    let standard = matches!(name, "cpu" | "memory" | "ephemeral-storage") || name.starts_with("hugepages-");
    if container && !name.contains('/') && !standard {
        errors.push(FieldError::invalid_str(path, name, "must be a standard resource for containers"));
    }
}

/// A quantity of a resource: not negative, and whole where parts make no sense.
pub(crate) fn quantity_value(name: &str, quantity: &At<'_>, errors: &mut ErrorList) {
    let shown = Value::from(amount::text(quantity.value()));
    if amount::negative(quantity.value()) {
        errors.push(FieldError::invalid(&quantity.path, &shown, "must be greater than or equal to 0"));
    }
    let whole = extended(name)
        || matches!(
            name,
            "pods"
                | "services"
                | "replicationcontrollers"
                | "resourcequotas"
                | "secrets"
                | "configmaps"
                | "persistentvolumeclaims"
                | "services.nodeports"
                | "services.loadbalancers"
        );
    if whole && amount::fractional(quantity.value()) {
        errors.push(FieldError::invalid(&quantity.path, &shown, "must be an integer"));
    }
}
