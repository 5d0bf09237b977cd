//! On which nodes the pods of a DaemonSet run (no client required).

use kplane_machinery::labels::{Operator, Requirement};
use serde_json::{Value, json};

use crate::tenant::value::{items, label, map_at, name, text};

/// How a pod and a node get on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fit {
    /// A pod is to run there.
    pub runs: bool,
    /// One that is there may stay.
    pub stays: bool,
}

/// What every pod of a DaemonSet tolerates: it comes before the node is well, and stays when it is not.
const TOLERATED: [(&str, &str); 6] = [
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
];

fn tolerations(spec: &Value) -> Vec<Value> {
    let mut all = items(spec, "/tolerations").to_vec();
    let network = spec["hostNetwork"] == true;
    let more = TOLERATED
        .into_iter()
        .chain(network.then_some(("node.kubernetes.io/network-unavailable", "NoSchedule")));
    for (key, effect) in more {
        let toleration = json!({ "key": key, "operator": "Exists", "effect": effect });
        if !all.contains(&toleration) {
            all.push(toleration);
        }
    }
    all
}

fn tolerates(toleration: &Value, taint: &Value) -> bool {
    let (effect, key) = (text(toleration, "/effect"), text(toleration, "/key"));
    if !effect.is_empty() && effect != text(taint, "/effect") {
        return false;
    }
    if !key.is_empty() && key != text(taint, "/key") {
        return false;
    }
    match text(toleration, "/operator") {
        "" | "Equal" => !key.is_empty() && text(toleration, "/value") == text(taint, "/value"),
        "Exists" => true,
        other => {
            let number = |value: &Value| text(value, "/value").parse::<i64>().ok();
            match (number(taint), number(toleration)) {
                (Some(taint), Some(bound)) => match other {
                    "Lt" => taint < bound,
                    "Gt" => taint > bound,
                    _ => false,
                },
                _ => false,
            }
        }
    }
}

fn requirement_holds(requirement: &Value, value: Option<&str>) -> bool {
    let operator = match text(requirement, "/operator") {
        "In" => Operator::In,
        "NotIn" => Operator::NotIn,
        "Exists" => Operator::Exists,
        "DoesNotExist" => Operator::DoesNotExist,
        "Gt" => Operator::GreaterThan,
        "Lt" => Operator::LessThan,
        _ => return false,
    };
    let values = items(requirement, "/values").iter().filter_map(Value::as_str).map(str::to_owned).collect();
    Requirement::new(text(requirement, "/key"), operator, values).is_ok_and(|r| r.matches(value))
}

fn field_holds(requirement: &Value, node: &Value) -> bool {
    let named = items(requirement, "/values").iter().any(|v| v == name(node));
    match (text(requirement, "/key"), text(requirement, "/operator")) {
        ("metadata.name", "In") => named,
        ("metadata.name", "NotIn") => !named,
        _ => false,
    }
}

/// Whether a node has what a pod asks of it.
fn is_wanted(spec: &Value, node: &Value) -> bool {
    let wanted = spec["nodeSelector"].as_object();
    if !wanted.into_iter().flatten().all(|(key, value)| label(node, key) == value.as_str()) {
        return false;
    }
    let pointer = "/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms";
    let Some(terms) = spec.pointer(pointer).and_then(Value::as_array) else { return true };
    terms.iter().any(|term| {
        let (expressions, fields) = (items(term, "/matchExpressions"), items(term, "/matchFields"));
        // An empty term matches nothing.
        (!expressions.is_empty() || !fields.is_empty())
            && expressions.iter().all(|e| requirement_holds(e, label(node, text(e, "/key"))))
            && fields.iter().all(|f| field_holds(f, node))
    })
}

/// How the pods of a DaemonSet and a node get on.
pub fn fit(set: &Value, node: &Value) -> Fit {
    let spec = &set["spec"]["template"]["spec"];
    let bound = text(spec, "/nodeName");
    if (!bound.is_empty() && bound != name(node)) || !is_wanted(spec, node) {
        return Fit { runs: false, stays: false };
    }
    let tolerations = tolerations(spec);
    let bears = |effects: &[&str]| {
        items(node, "/spec/taints")
            .iter()
            .filter(|taint| effects.contains(&text(taint, "/effect")))
            .all(|taint| tolerations.iter().any(|toleration| tolerates(toleration, taint)))
    };
    Fit { runs: bears(&["NoSchedule", "NoExecute"]), stays: bears(&["NoExecute"]) }
}

/// Binds a pod to a node: it tolerates what all such pods do, and no other node will do.
pub fn bind(pod: &mut Value, node: &str) {
    let tolerations = tolerations(&pod["spec"]);
    pod["spec"]["tolerations"] = tolerations.into();
    let affinity = map_at(pod, &["spec", "affinity", "nodeAffinity"]);
    affinity.insert(
        "requiredDuringSchedulingIgnoredDuringExecution".into(),
        json!({ "nodeSelectorTerms": [{ "matchFields": [
            { "key": "metadata.name", "operator": "In", "values": [node] },
        ]}]}),
    );
}

/// The node that a pod is on, or is bound to.
pub fn node_of(pod: &Value) -> String {
    let on = text(pod, "/spec/nodeName");
    if !on.is_empty() {
        return on.to_owned();
    }
    let pointer =
        "/spec/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms";
    items(pod, pointer)
        .iter()
        .flat_map(|term| items(term, "/matchFields"))
        .find(|field| text(field, "/key") == "metadata.name")
        .and_then(|field| items(field, "/values").first())
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(taint: Option<(&str, &str)>) -> Value {
        let taints: Vec<Value> =
            taint.into_iter().map(|(key, effect)| json!({ "key": key, "effect": effect })).collect();
        json!({ "metadata": { "name": "n1", "labels": { "zone": "a" } }, "spec": { "taints": taints } })
    }

    fn set(spec: Value) -> Value {
        json!({ "spec": { "template": { "spec": spec } } })
    }

    #[test]
    fn taints_keep_pods_away_unless_they_are_tolerated() {
        let plain = set(json!({}));
        assert_eq!(fit(&plain, &node(None)), Fit { runs: true, stays: true });
        let sick = node(Some(("node.kubernetes.io/not-ready", "NoExecute")));
        assert_eq!(fit(&plain, &sick), Fit { runs: true, stays: true });
        let own = node(Some(("owner", "NoSchedule")));
        assert_eq!(fit(&plain, &own), Fit { runs: false, stays: true });
        let tolerant = set(json!({ "tolerations": [{ "operator": "Exists" }] }));
        assert_eq!(fit(&tolerant, &own), Fit { runs: true, stays: true });
    }

    #[test]
    fn selectors_and_affinity_are_both_asked() {
        let fits = |spec: Value| fit(&set(spec), &node(None)).runs;
        assert!(fits(json!({ "nodeSelector": { "zone": "a" } })));
        assert!(!fits(json!({ "nodeSelector": { "zone": "b" } })));
        let affinity = |operator: &str| {
            json!({ "affinity": { "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": { "nodeSelectorTerms": [{ "matchExpressions": [
                { "key": "zone", "operator": operator, "values": ["a"] }] }] } } } })
        };
        assert!(fits(affinity("In")));
        assert!(!fits(affinity("NotIn")));
    }

    #[test]
    fn a_bound_pod_names_its_node() {
        let mut pod = json!({ "spec": {} });
        bind(&mut pod, "n1");
        assert_eq!(node_of(&pod), "n1");
        assert_eq!(items(&pod, "/spec/tolerations").len(), 6);
    }
}
