//! What a pod spec is warned about (`k8s.io/kubernetes/pkg/api/pod/warnings.go`).

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use crate::amount;
use crate::val::{At, same};

const OLD_NODE_LABELS: [(&str, &str); 5] = [
    ("beta.kubernetes.io/arch", "deprecated since v1.14; use \"kubernetes.io/arch\" instead"),
    ("beta.kubernetes.io/os", "deprecated since v1.14; use \"kubernetes.io/os\" instead"),
    (
        "beta.kubernetes.io/instance-type",
        "deprecated since v1.17; use \"node.kubernetes.io/instance-type\" instead",
    ),
    (
        "failure-domain.beta.kubernetes.io/region",
        "deprecated since v1.17; use \"topology.kubernetes.io/region\" instead",
    ),
    (
        "failure-domain.beta.kubernetes.io/zone",
        "deprecated since v1.17; use \"topology.kubernetes.io/zone\" instead",
    ),
];

const OLD_VOLUMES: [(&str, &str); 12] = [
    ("gitRepo", "deprecated in v1.11, and disabled by default in v1.33+"),
    ("glusterfs", "deprecated in v1.25, non-functional in v1.26+"),
    ("rbd", "deprecated in v1.28, non-functional in v1.31+"),
    ("cephfs", "deprecated in v1.28, non-functional in v1.31+"),
    ("scaleIO", "deprecated in v1.16, non-functional in v1.22+"),
    ("storageos", "deprecated in v1.22, non-functional in v1.25+"),
    ("flocker", "deprecated in v1.22, non-functional in v1.25+"),
    ("quobyte", "deprecated in v1.22, non-functional in v1.25+"),
    ("photonPersistentDisk", "deprecated in v1.11, non-functional in v1.16+"),
    ("flexVolume", "deprecated in v1.23; use a CSI driver instead"),
    ("awsElasticBlockStore", "deprecated in v1.17"),
    ("gcePersistentDisk", "deprecated in v1.17"),
];

/// Warnings of a pod or template: `meta` is its metadata, `spec` its pod spec, each with its path.
pub(crate) fn of(meta: &At<'_>, spec: &At<'_>) -> Vec<String> {
    let mut out = Vec::new();
    let said = |key: &str| OLD_NODE_LABELS.iter().find(|(k, _)| *k == key).map(|(_, why)| *why);
    for (key, entry) in spec.f("nodeSelector").entries() {
        if let Some(why) = said(key) {
            out.push(format!("{}: {why}", entry.path));
        }
    }
    for (i, constraint) in spec.f("topologySpreadConstraints").items().enumerate() {
        let key = constraint.f("topologyKey").str();
        if let Some(why) = said(key) {
            out.push(format!("{}.topologySpreadConstraints[{i}].topologyKey: {key} is {why}", spec.path));
        }
    }
    annotations(meta, &mut out);
    volumes(spec, &mut out);
    aliases_and_secrets(spec, &mut out);
    for container in super::all_containers(spec) {
        self::container(&container, &mut out);
    }
    ports(spec, &mut out);
    if spec.f("terminationGracePeriodSeconds").num() < 0 {
        out.push(format!(
            "{}.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be treated as 1",
            spec.path
        ));
    }
    out
}

/// Warnings of a template at a path of an object: of what is new or changed. With `named`, the names of its pods,
/// and so their hostnames, begin with the name of the object.
pub(crate) fn of_template(object: &Value, old: Option<&Value>, path: &[&str], named: bool) -> Vec<String> {
    let template = At::root(object).at(path);
    let mut out = Vec::new();
    match old {
        Some(old) if same(template.value(), At::root(old).at(path).value()) => return out,
        Some(_) => {}
        None if named => out.extend(hostname(object, "in Pod names and hostnames")),
        None => {}
    }
    out.extend(of(&template.f("metadata"), &template.f("spec")));
    out
}

/// A name that is no DNS label makes a poor hostname.
pub(crate) fn hostname(object: &Value, used: &str) -> Option<String> {
    let name = kplane_machinery::object::name(object);
    let messages = crate::check::label(name);
    (!name.is_empty() && !messages.is_empty()).then(|| {
        format!(
            "metadata.name: this is used {used}, which can result in surprising behavior; a DNS label is recommended: [{}]",
            messages.join(" ")
        )
    })
}

fn annotations(meta: &At<'_>, out: &mut Vec<String>) {
    for (key, entry) in meta.f("annotations").entries() {
        let why = if key == "scheduler.alpha.kubernetes.io/critical-pod" {
            "non-functional in v1.16+; use the \"priorityClassName\" field instead"
        } else if key == "seccomp.security.alpha.kubernetes.io/pod"
            || key.starts_with("container.seccomp.security.alpha.kubernetes.io/")
        {
            "non-functional in v1.27+; use the \"seccompProfile\" field instead"
        } else if key.starts_with("container.apparmor.security.beta.kubernetes.io/") {
            "deprecated since v1.30; use the \"appArmorProfile\" field instead"
        } else {
            continue;
        };
        out.push(format!("{}: {why}", entry.path));
    }
}

fn volumes(spec: &At<'_>, out: &mut Vec<String>) {
    for volume in spec.f("volumes").items() {
        for (kind, why) in OLD_VOLUMES {
            if volume.f(kind).there() && !matches!(kind, "awsElasticBlockStore" | "gcePersistentDisk") {
                out.push(format!("{}.{kind}: {why}", volume.path));
            }
        }
    }
}

fn aliases_and_secrets(spec: &At<'_>, out: &mut Vec<String>) {
    let mut names = HashSet::new();
    for secret in spec.f("imagePullSecrets").items() {
        let name = secret.f("name").str();
        if name.is_empty() {
            out.push(format!("{}: invalid empty name {:?}", secret.path, name));
        } else if !names.insert(name) {
            out.push(format!("{}: duplicate name {:?}", secret.path, name));
        }
    }
    let mut addresses = HashSet::new();
    for alias in spec.f("hostAliases").items() {
        let address = alias.f("ip").str();
        if !addresses.insert(address) {
            out.push(format!("{}.ip: duplicate ip {:?}", alias.path, address));
        }
    }
}

fn container(container: &At<'_>, out: &mut Vec<String>) {
    for part in ["limits", "requests"] {
        for (name, quantity) in container.at(&["resources", part]).entries() {
            let whole = matches!(name, "memory" | "ephemeral-storage");
            if whole && amount::fractional(quantity.value()) {
                out.push(format!(
                    "{}: fractional byte value {:?} is invalid, must be an integer",
                    quantity.path,
                    amount::text(quantity.value())
                ));
            }
        }
    }
    let mut names = HashSet::new();
    for variable in container.f("env").items() {
        let name = variable.f("name").str();
        if !names.insert(name) && !refers_to(variable.f("value").str(), name) {
            out.push(format!(
                "{}: hides previous definition of {:?}, which may be dropped when using apply",
                variable.path, name
            ));
        }
    }
}

/// A value that mentions the variable it replaces needs the former.
fn refers_to(value: &str, name: &str) -> bool {
    value.contains(&format!("$({name})"))
}

fn ports(spec: &At<'_>, out: &mut Vec<String>) {
    let mut across: HashMap<String, String> = HashMap::new();
    for list in ["containers", "initContainers"] {
        for container in spec.f(list).items() {
            let mut within: HashMap<String, String> = HashMap::new();
            for port in container.f("ports").items() {
                let number = port.f("containerPort").num();
                let (protocol, host) = (port.f("protocol").str(), port.f("hostPort").num());
                let here = port.path.to_string();
                let key = format!("{protocol}/{}/{host}/{number}", port.f("hostIP").str());
                if let Some(first) = within.get(&key) {
                    out.push(format!("{here}: duplicate port definition with {first}"));
                    continue;
                }
                within.insert(key, here.clone());
                let name = port.f("name");
                if name.value() != &Value::Null && !name.str().is_empty() {
                    match across.get(name.str()) {
                        Some(first) => out.push(format!(
                            "{}: duplicate port name {:?} with {first}, services and probes that select ports by name will use {first}",
                            here,
                            name.str()
                        )),
                        None => {
                            across.insert(name.str().to_owned(), here);
                        }
                    }
                }
            }
        }
    }
}
