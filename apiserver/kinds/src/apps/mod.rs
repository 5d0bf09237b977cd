//! The `apps` group.

pub(crate) mod daemon_sets;
pub(crate) mod deployments;
pub(crate) mod replica_sets;
pub(crate) mod revisions;
pub(crate) mod stateful_sets;

use kplane_machinery::field::{ErrorList, FieldError};

use crate::podspec::validate;
use crate::rules::{label_selector, selector_empty, selector_matches};
use crate::val::At;

/// The selector of a workload and the template it must match.
fn selected_template(spec: &At<'_>, kind: &str, required: bool, errors: &mut ErrorList) {
    let selector = spec.f("selector");
    if selector.there() {
        label_selector(&selector, errors);
        if selector_empty(&selector) {
            selector.invalid(errors, format!("empty selector is invalid for {}", kind.to_lowercase()));
        }
    } else if required {
        selector.required(errors, "");
    }
    template(spec, kind, errors);
}

fn template(spec: &At<'_>, kind: &str, errors: &mut ErrorList) {
    let (selector, template) = (spec.f("selector"), spec.f("template"));
    let labels = template.at(&["metadata", "labels"]);
    let matches = selector.there() && selector_matches(selector.value(), labels.value().as_object());
    if !matches {
        errors.push(FieldError::invalid(
            &labels.path,
            labels.value(),
            "`selector` does not match template `labels`",
        ));
    }
    validate::template(&template, errors);
    if template.at(&["spec", "containers"]).len() > 0 || kind != "DaemonSet" {
        crate::core::controllers::long_running(&template, kind, errors);
    }
}
