//! Amounts of resources: of a pod, and of any object as quotas count it.

use std::collections::BTreeMap;

use kplane_machinery::object;
use kplane_machinery::quantity::{Format, Quantity};
use serde_json::Value;

use crate::Attributes;
use crate::access::items;

/// Amounts by the resource's name.
pub(crate) type Amounts = BTreeMap<String, Quantity>;

/// Reads a map of amounts; what is no quantity is left to validation.
pub(crate) fn amounts(map: Option<&Value>) -> Amounts {
    map.and_then(Value::as_object)
        .into_iter()
        .flatten()
        .filter_map(|(name, amount)| Some((name.clone(), Quantity::from_value(amount).ok()?)))
        .collect()
}

/// Adds amounts to others.
pub(crate) fn add(to: &mut Amounts, more: &Amounts) {
    for (name, amount) in more {
        let sum = to.get(name).map_or(*amount, |held| held.add(*amount));
        to.insert(name.clone(), sum);
    }
}

fn most(of: &mut Amounts, other: &Amounts) {
    for (name, amount) in other {
        let held = of.entry(name.clone()).or_insert(*amount);
        if *held < *amount {
            *held = *amount;
        }
    }
}

/// The `requests` or `limits` of a whole pod: its containers and sidecars at once, or the init container that needs
/// more, and what its runtime costs.
pub(crate) fn of_pod(pod: &Value, field: &str) -> Amounts {
    let of = |container: &Value| amounts(object::at(container, &["resources", field]));
    let mut total = Amounts::new();
    for container in items(pod, &["spec", "containers"]) {
        add(&mut total, &of(container));
    }
    let mut sidecars = Amounts::new();
    let mut init = Amounts::new();
    for container in items(pod, &["spec", "initContainers"]) {
        let mut at_once = of(container);
        if container["restartPolicy"] == "Always" {
            add(&mut total, &at_once);
            add(&mut sidecars, &at_once);
            at_once = sidecars.clone();
        } else {
            add(&mut at_once, &sidecars);
        }
        most(&mut init, &at_once);
    }
    most(&mut total, &init);
    // What is asked for the pod as a whole counts before its parts.
    for (name, amount) in amounts(object::at(pod, &["spec", "resources", field])) {
        total.insert(name, amount);
    }
    for (name, amount) in amounts(object::at(pod, &["spec", "overhead"])) {
        if field == "requests" || total.contains_key(&name) {
            add(&mut total, &Amounts::from([(name, amount)]));
        }
    }
    total
}

fn one() -> Quantity {
    Quantity::from_int(1, Format::DecimalSi)
}

/// The resources that quotas count by a name of their own.
const COUNTED: [&str; 7] = [
    "configmaps",
    "persistentvolumeclaims",
    "pods",
    "replicationcontrollers",
    "resourcequotas",
    "secrets",
    "services",
];

/// What an object uses, by the names that quotas know.
pub(crate) fn of_object(attributes: &Attributes<'_>, value: &Value) -> Amounts {
    let resource = attributes.def.group_resource();
    let mut used = Amounts::new();
    used.insert(format!("count/{resource}"), one());
    if !attributes.def.group.is_empty() {
        return used;
    }
    let plural = &*attributes.def.plural;
    if plural == "pods" {
        // A pod that has ended, or is overdue to, uses nothing but its own place.
        if matches!(object::str_at(value, &["status", "phase"]), "Failed" | "Succeeded") {
            return used;
        }
        for (field, prefix) in [("requests", "requests."), ("limits", "limits.")] {
            for (name, amount) in of_pod(value, field) {
                let native = matches!(name.as_str(), "cpu" | "memory" | "ephemeral-storage")
                    || name.starts_with("hugepages-");
                if field == "requests" {
                    if native {
                        used.insert(name.clone(), amount);
                    }
                    used.insert(format!("{prefix}{name}"), amount);
                } else if native {
                    used.insert(format!("{prefix}{name}"), amount);
                }
            }
        }
    } else if plural == "services" {
        let ports = items(value, &["spec", "ports"]);
        let count = |n: usize| Quantity::from_int(i64::try_from(n).unwrap_or(i64::MAX), Format::DecimalSi);
        let (balancers, nodes) = match object::str_at(value, &["spec", "type"]) {
            "NodePort" => (0, ports.len()),
            "LoadBalancer" if value["spec"]["allocateLoadBalancerNodePorts"] == false => {
                (1, ports.iter().filter(|p| p["nodePort"].as_i64().unwrap_or(0) != 0).count())
            }
            "LoadBalancer" => (1, ports.len()),
            _ => (0, 0),
        };
        used.insert("services.loadbalancers".into(), count(balancers));
        used.insert("services.nodeports".into(), count(nodes));
    } else if plural == "persistentvolumeclaims" {
        let class = crate::access::annotation(value, "volume.beta.kubernetes.io/storage-class")
            .unwrap_or_else(|| object::str_at(value, &["spec", "storageClassName"]));
        let storage = amounts(object::at(value, &["spec", "resources", "requests"])).remove("storage");
        for prefix in [String::new(), format!("{class}.storageclass.storage.k8s.io/")] {
            if prefix.is_empty() || !class.is_empty() {
                used.insert(format!("{prefix}persistentvolumeclaims"), one());
                if let Some(storage) = storage {
                    used.insert(format!("{prefix}requests.storage"), storage);
                }
            }
        }
    }
    if COUNTED.contains(&plural) {
        used.insert(plural.to_owned(), one());
    }
    used
}
