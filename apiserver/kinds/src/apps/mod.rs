//! The `apps` group.

pub(crate) mod daemon_sets;
pub(crate) mod deployments;
pub(crate) mod replica_sets;
pub(crate) mod revisions;
pub(crate) mod stateful_sets;

use kplane_machinery::field::{ErrorList, FieldError};
use serde_json::{Value, json};

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
    let mounted = with_claims(spec, &template);
    validate::template(&At::new(mounted.as_ref().or(Some(template.value())), template.path.clone()), errors);
    if template.at(&["spec", "containers"]).len() > 0 || kind != "DaemonSet" {
        crate::core::controllers::long_running(&template, kind, errors);
    }
}

/// The template of a StatefulSet as its pods will have it: each claim is a volume, that containers may mount.
fn with_claims(spec: &At<'_>, template: &At<'_>) -> Option<Value> {
    let claims = spec.f("volumeClaimTemplates");
    if claims.len() == 0 {
        return None;
    }
    let mut template = template.value().clone();
    let pod = template.get_mut("spec")?.as_object_mut()?;
    let volumes = pod.entry("volumes").or_insert_with(|| json!([]));
    if volumes.is_null() {
        *volumes = json!([]);
    }
    let volumes = volumes.as_array_mut()?;
    for claim in claims.items() {
        let name = claim.at(&["metadata", "name"]).value().clone();
        // A claim takes the place of a volume of its name.
        if !volumes.iter().any(|volume| volume["name"] == name) {
            volumes.push(json!({ "name": name, "emptyDir": {} }));
        }
    }
    Some(template)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containers_may_mount_the_claims_of_their_set() {
        let set = |mounted: &str| {
            let spec = json!({
                "selector": { "matchLabels": { "a": "b" } },
                "template": {
                    "metadata": { "labels": { "a": "b" } },
                    "spec": {
                        "restartPolicy": "Always", "dnsPolicy": "ClusterFirst",
                        "containers": [{
                            "name": "c", "image": "i", "imagePullPolicy": "Always", "terminationMessagePolicy": "File",
                            "volumeMounts": [{ "name": mounted, "mountPath": "/data" }],
                        }],
                    },
                },
                "volumeClaimTemplates": [{ "metadata": { "name": "data" } }],
            });
            let mut errors = Vec::new();
            template(&At::root(&spec), "StatefulSet", &mut errors);
            errors
        };
        assert_eq!(set("data"), []);
        assert_eq!(set("other").len(), 1);
    }
}
