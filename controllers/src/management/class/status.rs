//! The status of a ControlPlaneClass (no client required).

use kplane_crds::conditions::{ADDONS_READY, FIELDS_SUPPORTED, reason};
use kplane_crds::v1alpha1::{
    ControlPlaneClass, ControlPlaneClassSpec, ControlPlaneClassStatus, ControlPlaneMode,
};

use super::addons::Addons;
use crate::runtime::conditions::Conditions;

/// The fields that are set and do nothing.
fn unsupported(spec: &ControlPlaneClassSpec) -> Vec<&'static str> {
    let model = spec.auth.as_ref().and_then(|auth| auth.model.as_deref()).unwrap_or_default();
    let issuers = spec.auth.as_ref().is_some_and(|auth| !auth.issuers.is_empty());
    [
        (!(matches!(model, "" | "basic") || model == "oidc" && issuers), "spec.auth.model"),
        (spec.gateway.is_some(), "spec.gateway"),
        (spec.modes_allowed.contains(&ControlPlaneMode::Dedicated), "spec.modesAllowed[Dedicated]"),
    ]
    .into_iter()
    .filter_map(|(set, name)| set.then_some(name))
    .collect()
}

/// The status after a pass.
pub fn compute(class: &ControlPlaneClass, addons: &Addons, now: jiff::Timestamp) -> ControlPlaneClassStatus {
    let mut status = class.status.clone().unwrap_or_default();
    let mut conditions = Conditions::new(&status.conditions, class.metadata.generation, now);
    let unsupported = unsupported(&class.spec);
    if unsupported.is_empty() {
        conditions.set(FIELDS_SUPPORTED, true, reason::RESOLVED, "every field that is set does something");
    } else {
        let message = format!("these fields do nothing yet: {}", unsupported.join(", "));
        conditions.set(FIELDS_SUPPORTED, false, reason::UNSUPPORTED_FIELDS, message);
    }
    match &addons.problem {
        None if class.spec.addons.is_empty() => {
            conditions.remove(ADDONS_READY);
            conditions.ready(reason::RECONCILED, "the class can be used");
        }
        None => {
            conditions.set(ADDONS_READY, true, reason::RESOLVED, "every add-on is a layer");
            conditions.ready(reason::RECONCILED, "the class can be used");
        }
        Some((why, message)) => {
            conditions.set(ADDONS_READY, false, why, message.clone());
            // Somebody has to mend the ConfigMap; the rest is waited for.
            if matches!(*why, reason::ADDON_NOT_FOUND | reason::ADDON_INVALID) {
                conditions.stalled(why, message.clone());
            } else {
                conditions.reconciling(why, message.clone());
            }
        }
    }
    status.addons.clone_from(&addons.layers);
    status.conditions = conditions.finish();
    status.observed_generation = class.metadata.generation.unwrap_or(status.observed_generation);
    status
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::conditions::{find, is_true};
    use kplane_crds::conditions::{READY, STALLED};
    use kplane_crds::v1alpha1::{ClassAddon, ClassGateway};

    fn class(addons: &[&str]) -> ControlPlaneClass {
        let spec = ControlPlaneClassSpec {
            addons: addons.iter().map(|name| (*name).to_owned()).collect(),
            ..ControlPlaneClassSpec::default()
        };
        ControlPlaneClass::new("owls", spec)
    }

    #[test]
    fn fields_that_do_nothing_are_named() {
        let mut class = class(&[]);
        class.spec.gateway = Some(ClassGateway::default());
        let status = compute(&class, &Addons::default(), jiff::Timestamp::UNIX_EPOCH);
        assert!(is_true(&status.conditions, READY));
        let supported = find(&status.conditions, FIELDS_SUPPORTED).unwrap();
        assert_eq!(supported.status, "False");
        assert!(supported.message.contains("spec.gateway"), "{}", supported.message);
        assert!(find(&status.conditions, ADDONS_READY).is_none());
    }

    #[test]
    fn an_addon_that_cannot_be_had_is_told() {
        let addon = ClassAddon { name: "starter".into(), layer: "ab".into(), objects: 2 };
        let good = Addons { layers: vec![addon.clone()], problem: None };
        let mut class = class(&["starter"]);
        class.status = Some(compute(&class, &good, jiff::Timestamp::UNIX_EPOCH));
        let status = class.status.as_ref().unwrap();
        assert!(is_true(&status.conditions, ADDONS_READY) && is_true(&status.conditions, READY));
        assert_eq!(status.addons.first(), Some(&addon));
        let bad = Addons { layers: vec![addon], problem: Some((reason::ADDON_INVALID, "no".into())) };
        let status = compute(&class, &bad, jiff::Timestamp::UNIX_EPOCH);
        assert!(!is_true(&status.conditions, ADDONS_READY) && !is_true(&status.conditions, READY));
        assert!(is_true(&status.conditions, STALLED));
        assert_eq!(status.addons.len(), 1, "what it had it keeps");
    }
}
