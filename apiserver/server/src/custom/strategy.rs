//! What all custom resources decide alike: [`CustomStrategy`].

use std::collections::HashMap;
use std::sync::Arc;

use kplane_admission::apart;
use kplane_kinds::{Context, StatusKeeps, Strategy};
use kplane_machinery::field::ErrorList;
use kplane_rules::CompiledRules;
use serde_json::Value;

use super::scale;

/// The rules of a definition, by version; without those that have none.
pub type VersionRules = HashMap<Arc<str>, Arc<dyn CompiledRules>>;

/// The strategy of a kind that a definition made.
pub struct CustomStrategy {
    rules: VersionRules,
}

impl CustomStrategy {
    /// For a definition with these rules.
    pub fn new(rules: VersionRules) -> Self {
        Self { rules }
    }

    fn validate(&self, cx: &Context<'_>, object: &Value, old: Option<&Value>) -> ErrorList {
        let Some(version) = cx.def.version(cx.version) else { return Vec::new() };
        let mut errors = kplane_schema::validate(&version.schema, object, old);
        errors.extend(scale::validate(cx, object));
        match self.rules.get(&version.name) {
            Some(rules) => {
                let run = || kplane_rules::validate_after(&**rules, object, old, errors);
                if rules.may_take_long() { apart(run) } else { run() }
            }
            None => errors,
        }
    }
}

/// Whether status is a subresource in the version of the request.
fn has_status(cx: &Context<'_>) -> bool {
    cx.def.subresource(cx.version, "status").is_some()
}

impl Strategy for CustomStrategy {
    fn status_keeps(&self) -> StatusKeeps {
        StatusKeeps::All
    }

    fn prepare_create(&self, cx: &Context<'_>, object: &mut Value) {
        if has_status(cx)
            && let Some(fields) = object.as_object_mut()
        {
            fields.remove("status");
            // A status that has a default shows it from the beginning.
            if let Some(version) = cx.def.version(cx.version) {
                kplane_schema::default(&version.schema, object);
            }
        }
        kplane_machinery::object::set_meta(object, "generation", Some(1.into()));
    }

    fn may_take_long(&self, version: &str, _object: &Value) -> bool {
        self.rules.get(version).is_some_and(|rules| rules.may_take_long())
    }

    fn validate_create(&self, cx: &Context<'_>, object: &Value) -> ErrorList {
        self.validate(cx, object, None)
    }

    fn validate_update(&self, cx: &Context<'_>, object: &Value, old: &Value) -> ErrorList {
        self.validate(cx, object, Some(old))
    }

    /// Everything but metadata and, where it is a subresource, status counts.
    fn generation(&self, cx: &Context<'_>, object: &Value, old: &Value) -> Option<bool> {
        let has_status = has_status(cx);
        let counted = |object: &Value| -> Vec<(String, Value)> {
            object
                .as_object()
                .into_iter()
                .flatten()
                .filter(|(name, _)| !matches!(name.as_str(), "apiVersion" | "kind" | "metadata"))
                .filter(|(name, _)| !has_status || *name != "status")
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect()
        };
        Some(counted(object) != counted(old))
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }

    fn allow_create_on_update(&self) -> bool {
        false
    }
}
