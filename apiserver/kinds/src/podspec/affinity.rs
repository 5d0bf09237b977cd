//! Validation of what binds a pod to nodes: affinity, tolerations, spread.

use kplane_machinery::field::{ErrorList, FieldError};
use serde_json::Value;

use crate::check;
use crate::rules::label_selector;
use crate::val::At;

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";
const EFFECTS: [&str; 3] = ["NoExecute", "NoSchedule", "PreferNoSchedule"];

/// `affinity` of a pod spec.
pub(super) fn affinity(affinity: &At<'_>, errors: &mut ErrorList) {
    let node = affinity.f("nodeAffinity");
    if node.f(REQUIRED).there() {
        node_selector(&node.f(REQUIRED), errors);
    }
    for term in node.f(PREFERRED).items() {
        weight(&term.f("weight"), errors);
        node_term(&term.f("preference"), errors);
    }
    for kind in ["podAffinity", "podAntiAffinity"] {
        let pod = affinity.f(kind);
        for term in pod.f(REQUIRED).items() {
            pod_term(&term, errors);
        }
        for term in pod.f(PREFERRED).items() {
            weight(&term.f("weight"), errors);
            pod_term(&term.f("podAffinityTerm"), errors);
        }
    }
}

fn weight(weight: &At<'_>, errors: &mut ErrorList) {
    if !(1..=100).contains(&weight.num()) {
        weight.invalid(errors, "must be in the range 1-100");
    }
}

/// A `NodeSelector`.
pub(crate) fn node_selector(selector: &At<'_>, errors: &mut ErrorList) {
    let terms = selector.f("nodeSelectorTerms");
    if terms.len() == 0 {
        terms.required(errors, "must have at least one node selector term");
        return;
    }
    for term in terms.items() {
        node_term(&term, errors);
    }
}

fn node_term(term: &At<'_>, errors: &mut ErrorList) {
    for expression in term.f("matchExpressions").items() {
        node_requirement(&expression, errors);
        let key = expression.f("key");
        key.invalid_all(errors, check::qualified(key.str()));
    }
    for field in term.f("matchFields").items() {
        let (operator, values, key) = (field.f("operator"), field.f("values"), field.f("key"));
        if !["In", "NotIn"].contains(&operator.str()) {
            operator.invalid_text(errors, "not a valid selector operator");
        } else if values.len() != 1 {
            values.required(
                errors,
                "must be only one value when `operator` is 'In' or 'NotIn' for node field selector",
            );
        }
        if key.str() != "metadata.name" {
            key.invalid_text(errors, "not a valid field selector key");
        }
    }
}

fn node_requirement(expression: &At<'_>, errors: &mut ErrorList) {
    let (operator, values) = (expression.f("operator"), expression.f("values"));
    match operator.str() {
        "In" | "NotIn" => {
            if values.len() == 0 {
                values.required(errors, "must be specified when `operator` is 'In' or 'NotIn'");
            }
        }
        "Exists" | "DoesNotExist" => {
            if values.len() > 0 {
                values
                    .forbidden(errors, "may not be specified when `operator` is 'Exists' or 'DoesNotExist'");
            }
        }
        "Gt" | "Lt" => {
            if values.len() != 1 {
                values.required(errors, "must be specified single value when `operator` is 'Lt' or 'Gt'");
            }
        }
        _ => operator.invalid_text(errors, "not a valid selector operator"),
    }
}

fn pod_term(term: &At<'_>, errors: &mut ErrorList) {
    label_selector(&term.f("labelSelector"), errors);
    label_selector(&term.f("namespaceSelector"), errors);
    for namespace in term.f("namespaces").items() {
        errors.extend(
            check::label(namespace.str())
                .into_iter()
                .map(|m| FieldError::invalid_str(&term.path.child("namespace"), namespace.str(), m)),
        );
    }
    let topology = term.f("topologyKey");
    if topology.str().is_empty() {
        topology.required(errors, "can not be empty");
    } else {
        topology.invalid_all(errors, check::qualified(topology.str()));
    }
}

/// `tolerations` of a pod spec.
pub(crate) fn tolerations(tolerations: &At<'_>, errors: &mut ErrorList) {
    for toleration in tolerations.items() {
        let (key, operator, value, effect) =
            (toleration.f("key"), toleration.f("operator"), toleration.f("value"), toleration.f("effect"));
        if !key.str().is_empty() {
            key.invalid_all(errors, check::qualified(key.str()));
        } else if operator.str() != "Exists" {
            operator.invalid_text(
                errors,
                "operator must be Exists when `key` is empty, which means \"match all values and all keys\"",
            );
        }
        if toleration.f("tolerationSeconds").there() && effect.str() != "NoExecute" {
            effect.invalid_text(errors, "effect must be 'NoExecute' when `tolerationSeconds` is set");
        }
        match operator.str() {
            "" | "Equal" => {
                for message in check::label_value(value.str()) {
                    errors.push(FieldError::invalid_str(&operator.path, value.str(), message));
                }
            }
            "Exists" => {
                if !value.str().is_empty() {
                    errors.push(FieldError::invalid(
                        &operator.path,
                        toleration.value(),
                        "value must be empty when `operator` is 'Exists'",
                    ));
                }
            }
            _ => operator.unsupported(errors, &["Equal", "Exists"]),
        }
        if !effect.str().is_empty() {
            effect.one_of(errors, &EFFECTS);
        }
    }
}

/// `taints` of a node.
pub(crate) fn taints(taints: &At<'_>, errors: &mut ErrorList) {
    let mut seen = std::collections::HashSet::new();
    for taint in taints.items() {
        let (key, value, effect) = (taint.f("key"), taint.f("value"), taint.f("effect"));
        if key.str().is_empty() {
            key.required(errors, "");
        } else {
            key.invalid_all(errors, check::qualified(key.str()));
        }
        value.invalid_all(errors, check::label_value(value.str()));
        effect.required_one_of(errors, &EFFECTS);
        if !seen.insert((key.str(), effect.str())) {
            errors.push(FieldError::duplicate(&taint.path, taint.value()));
        }
    }
}

/// `topologySpreadConstraints` of a pod spec.
pub(super) fn spread(constraints: &At<'_>, errors: &mut ErrorList) {
    let mut seen = std::collections::HashSet::new();
    for constraint in constraints.items() {
        let (skew, topology, unsatisfiable) =
            (constraint.f("maxSkew"), constraint.f("topologyKey"), constraint.f("whenUnsatisfiable"));
        if skew.num() <= 0 {
            let shown = Value::from(skew.num());
            errors.push(FieldError::invalid(&skew.path, &shown, "must be greater than 0"));
        }
        if topology.str().is_empty() {
            topology.required(errors, "can not be empty");
        } else {
            topology.invalid_all(errors, check::qualified(topology.str()));
        }
        unsatisfiable.one_of(errors, &["DoNotSchedule", "ScheduleAnyway"]);
        if !seen.insert((topology.str(), unsatisfiable.str())) {
            let shown = Value::from(format!("{{{}, {}}}", topology.str(), unsatisfiable.str()));
            errors.push(FieldError::duplicate(
                &constraint.path.child("{topologyKey, whenUnsatisfiable}"),
                &shown,
            ));
        }
        let domains = constraint.f("minDomains");
        if domains.there() {
            if domains.num() <= 0 {
                domains.invalid(errors, "must be greater than 0");
            }
            if unsatisfiable.str() != "DoNotSchedule" {
                domains.invalid(
                    errors,
                    format!(
                        "can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {}",
                        unsatisfiable.str()
                    ),
                );
            }
        }
        for policy in ["nodeAffinityPolicy", "nodeTaintsPolicy"] {
            let policy = constraint.f(policy);
            if policy.there() {
                policy.one_of(errors, &["Honor", "Ignore"]);
            }
        }
        label_selector(&constraint.f("labelSelector"), errors);
    }
}
