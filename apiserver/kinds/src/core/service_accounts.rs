//! ServiceAccounts.

use kplane_machinery::field::ErrorList;
use serde_json::Value;

use crate::print;
use crate::strategy::{Context, Strategy};
use crate::val::{At, items, text};

/// `ServiceAccount`.
pub(crate) struct ServiceAccounts;

impl Strategy for ServiceAccounts {
    fn prepare_create(&self, _cx: &Context<'_>, object: &mut Value) {
        clean_secrets(object);
    }

    fn prepare_update(&self, _cx: &Context<'_>, object: &mut Value, _old: &Value) {
        clean_secrets(object);
    }

    fn warnings(&self, _cx: &Context<'_>, object: &Value, old: Option<&Value>) -> Vec<String> {
        const MOUNTABLE: &str = "kubernetes.io/enforce-mountable-secrets";
        let has = |o: &Value| At::root(o).at(&["metadata", "annotations"]).key(MOUNTABLE).there();
        if has(object) && !old.is_some_and(has) {
            vec![format!(
                "metadata.annotations[{MOUNTABLE}]: deprecated in v1.32+; prefer separate namespaces to isolate access to mounted secrets"
            )]
        } else {
            Vec::new()
        }
    }

    fn validate_update(&self, _cx: &Context<'_>, _object: &Value, _old: &Value) -> ErrorList {
        Vec::new()
    }

    fn returns_deleted_object(&self) -> bool {
        true
    }

    fn row(&self, _version: &str, object: &Value, now: i64) -> Option<Vec<Value>> {
        Some(vec![print::name(object), print::age(object, now)])
    }
}

/// Of a reference to a secret only the name counts.
fn clean_secrets(object: &mut Value) {
    let kept: Vec<Value> =
        items(object, "secrets").iter().map(|s| serde_json::json!({"name": text(s, "name")})).collect();
    if let Some(secrets) = object.get_mut("secrets") {
        *secrets = Value::Array(kept);
    }
}
