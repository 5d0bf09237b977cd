//! What a control plane's own objects say of admission: [`Configuration`].

use kplane_machinery::{GroupResource, object};
use serde_json::Value;

use crate::policy::Policies;
use crate::webhook::Hook;

/// The objects that configure admission in a control plane, read and compiled once for as long as they stay the same.
#[derive(Debug, Default)]
pub struct Configuration {
    /// The webhooks that may change objects, in the order they are called.
    pub mutating: Vec<Hook>,
    /// The webhooks that may refuse them.
    pub validating: Vec<Hook>,
    /// The policies that are bound.
    pub policies: Policies,
}

impl Configuration {
    /// The resources it is made of, all in `admissionregistration.k8s.io`.
    pub const RESOURCES: [&str; 6] = [
        "mutatingwebhookconfigurations",
        "validatingwebhookconfigurations",
        "validatingadmissionpolicies",
        "validatingadmissionpolicybindings",
        "mutatingadmissionpolicies",
        "mutatingadmissionpolicybindings",
    ];

    /// The group of those resources.
    pub const GROUP: &str = "admissionregistration.k8s.io";

    /// Reads the objects of each of [`Self::RESOURCES`], in that order.
    pub fn read(objects: [Vec<Value>; 6]) -> Self {
        let [mutating, validating, policies @ ..] = objects;
        Self { mutating: hooks(mutating), validating: hooks(validating), policies: Policies::read(policies) }
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.mutating.is_empty() && self.validating.is_empty() && self.policies.is_empty()
    }

    /// One of the resources, by its name.
    pub fn resource(name: &str) -> GroupResource {
        GroupResource::new(Self::GROUP, name)
    }
}

/// The webhooks of all configurations, by their names, and within one in its own order.
fn hooks(mut configurations: Vec<Value>) -> Vec<Hook> {
    configurations.sort_by(|a, b| object::name(a).cmp(object::name(b)));
    let mut hooks = Vec::new();
    for configuration in &configurations {
        let listed = configuration.get("webhooks").and_then(Value::as_array);
        for (at, hook) in listed.into_iter().flatten().enumerate() {
            hooks.push(Hook::read(object::name(configuration), at, hook));
        }
    }
    hooks
}
