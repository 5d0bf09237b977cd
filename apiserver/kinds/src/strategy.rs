//! What a kind decides for itself: [`Strategy`], after `k8s.io/apiserver/pkg/registry/rest`.

use std::collections::BTreeMap;

use kplane_machinery::field::ErrorList;
use serde_json::Value;

use crate::check::NameRule;
use crate::def::ResourceDef;

/// What is being done to the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// A new object.
    Create,
    /// A change to an existing one.
    Update,
}

/// What a hook may know of the request.
#[derive(Clone, Debug)]
pub struct Context<'a> {
    /// The kind at hand.
    pub def: &'a ResourceDef,
    /// The version of the objects handed over.
    pub version: &'a str,
    /// The namespace of the request; empty for cluster-scoped kinds.
    pub namespace: &'a str,
    /// The subresource written to, such as `status`; `None` for the object itself.
    pub subresource: Option<&'a str>,
    /// Now, as `metav1.Time` is written: RFC 3339 in UTC, whole seconds.
    pub now: &'a str,
    /// The name of the user.
    pub user: &'a str,
    /// The groups of the user.
    pub groups: &'a [String],
    /// The uid of the user; empty when it has none.
    pub uid: &'a str,
    /// What else is known of the user.
    pub extra: Option<&'a BTreeMap<String, Vec<String>>>,
}

/// The decisions that are a kind's own. Every hook has a default that does nothing, so that a kind without
/// quirks needs none. Hooks are pure: they see the object and the [`Context`] and touch nothing else.
///
/// Objects are in the version of `Context::version`, decoded and with the schema's static defaults set, and are
/// maps with a `metadata` map. The machinery itself has done what holds for all kinds: name and namespace, uid,
/// creationTimestamp, generation counting by [`Strategy::generation`], `metadata` validation, immutability of
/// `metadata`, structural checks of types and enums of custom resources. A hook validates `spec`, `data` and the like.
///
/// Order: `default` → `prepare_create`/`prepare_update` → admission → `validate_create`/`validate_update` →
/// `canonicalize` → stored.
pub trait Strategy: Send + Sync {
    /// Defaults that depend on other fields (`SetDefaults_*` upstream), beyond those the schema states. Run after
    /// decoding and again when an object is read from a store that an older version wrote. Must be idempotent.
    fn default(&self, _version: &str, _object: &mut Value) {}

    /// Clears or sets what a client may not choose: `status` at creation, allocated fields.
    fn prepare_create(&self, _cx: &Context<'_>, _object: &mut Value) {}

    /// What is wrong with a new object.
    fn validate_create(&self, _cx: &Context<'_>, _object: &Value) -> ErrorList {
        Vec::new()
    }

    /// Whether validating this object may keep a processor busy, as rules of custom resources do: it is done then when the
    /// control plane has a place for it.
    fn may_take_long(&self, _version: &str, _object: &Value) -> bool {
        false
    }

    /// `Warning` headers for a create or update; `old` is there on update.
    fn warnings(&self, _cx: &Context<'_>, _object: &Value, _old: Option<&Value>) -> Vec<String> {
        Vec::new()
    }

    /// Restores what this request may not change: `status` on an update of the object, all but `status` on an
    /// update of the `status` subresource. The default does both for kinds that have a `status` subresource.
    fn prepare_update(&self, cx: &Context<'_>, object: &mut Value, old: &Value) {
        keep_other_part(cx, object, old);
    }

    /// What of `metadata` an update of `status` leaves as it was.
    fn status_keeps(&self) -> StatusKeeps {
        StatusKeeps::Nothing
    }

    /// What is wrong with a changed object.
    fn validate_update(&self, _cx: &Context<'_>, _object: &Value, _old: &Value) -> ErrorList {
        Vec::new()
    }

    /// Puts the object in the one form that is stored; for what validation must see first.
    fn canonicalize(&self, _object: &mut Value) {}

    /// Whether `metadata.generation` counts this change. `None`: the kind has no generation.
    /// `Some(true)` makes the machinery add one.
    fn generation(&self, _cx: &Context<'_>, _object: &Value, _old: &Value) -> Option<bool> {
        None
    }

    /// Whether a PUT to a name that does not exist creates it.
    fn allow_create_on_update(&self) -> bool {
        false
    }

    /// Whether a PUT without a resourceVersion overwrites whatever is there.
    fn allow_unconditional_update(&self) -> bool {
        true
    }

    /// The value of a selectable field of the object, beside `metadata.name` and `metadata.namespace`.
    /// The default follows the path; absent is the empty text.
    fn selectable_value(&self, object: &Value, path: &str) -> String {
        match path.split('.').try_fold(object, |value, field| value.get(field)) {
            Some(Value::String(s)) => s.clone(),
            Some(Value::Null) | None => String::new(),
            Some(other) => other.to_string(),
        }
    }

    /// The cells of the object's row, one for each [`crate::Column`] of the version; `None` lets the machinery fill in
    /// name and age, and the JSON paths of custom columns. `now` is in seconds since the epoch.
    fn row(&self, _version: &str, _object: &Value, _now: i64) -> Option<Vec<Value>> {
        None
    }

    /// The annotations by which the versions of the kind carry what is a field of upstream's own form of it. That form is
    /// what `Table` and `PartialObjectMetadata` are made of, so that they do not have them.
    fn versioned_annotations(&self) -> &'static [&'static str] {
        &[]
    }

    /// Turns an object of one version into another. Called only for kinds with several versions.
    fn convert(&self, _object: &mut Value, _from: &str, _to: &str) -> Result<(), String> {
        Ok(())
    }

    /// The seconds a deletion gives the object to end by itself; 0 deletes at once. `requested` is what the
    /// client asked for, which the kind may override.
    fn grace_period(&self, _object: &Value, _requested: Option<i64>) -> i64 {
        0
    }

    /// Whether the kind knows grace periods at all. The answer to a deletion of one that does shows when it ended, also
    /// when that is at once.
    fn graceful(&self) -> bool {
        false
    }

    /// What `metadata.name` must look like.
    fn name_rule(&self) -> NameRule {
        NameRule::Subdomain
    }

    /// `Warning` headers for a deletion. `propagation` tells whether the client chose a propagation policy.
    fn delete_warnings(&self, _propagation: bool) -> Vec<String> {
        Vec::new()
    }

    /// Finalizers a deletion with the given propagation policy adds by the kind's own default:
    /// true makes dependents outlive their owner when the client does not say (legacy `ReplicationController`).
    fn orphan_by_default(&self) -> bool {
        false
    }

    /// Whether something beside `metadata.finalizers` holds an object whose deletion is asked for
    /// (`spec.finalizers` of a namespace, the instances of a CustomResourceDefinition).
    fn holds_deletion(&self, _object: &Value) -> bool {
        false
    }

    /// What else changes when a deletion begins (`phase: Terminating` of a namespace).
    fn begin_deletion(&self, _object: &mut Value) {}

    /// Whether a deletion that removes the object answers with it, rather than with a `Status`
    /// (`ReturnDeletedObject` upstream).
    fn returns_deleted_object(&self) -> bool {
        false
    }
}

/// What of `metadata` an update of `status` leaves as it was, beside what the server decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatusKeeps {
    /// Nothing: whoever writes a status may annotate the object too.
    Nothing,
    /// These fields.
    Fields(&'static [&'static str]),
    /// All of it.
    All,
}

/// The strategy of a kind without quirks.
#[derive(Clone, Copy, Debug, Default)]
pub struct Plain;

impl Strategy for Plain {}

/// Restores `status` on an update of an object, and everything but `status` on an update of its `status` subresource, for
/// kinds that have one; of `metadata`, what the kind keeps then.
pub fn keep_other_part(cx: &Context<'_>, object: &mut Value, old: &Value) {
    let Some(fields) = object.as_object_mut() else { return };
    match cx.subresource {
        None if cx.def.subresource(cx.version, "status").is_some() => match old.get("status") {
            Some(status) => {
                fields.insert("status".into(), status.clone());
            }
            None => {
                fields.remove("status");
            }
        },
        Some("status") => {
            let status = fields.remove("status");
            let given = fields.get("metadata").cloned();
            let managed = fields.get("metadata").and_then(|m| m.get("managedFields")).cloned();
            let version = fields.get("metadata").and_then(|m| m.get("resourceVersion")).cloned();
            let Some(kept) = old.as_object() else { return };
            *fields = kept.clone();
            match status {
                Some(status) => fields.insert("status".into(), status),
                None => fields.remove("status"),
            };
            let keeps = cx.def.strategy.status_keeps();
            if keeps != StatusKeeps::All {
                let kept = fields.get("metadata").cloned().unwrap_or_default();
                if let Some(given) = given {
                    fields.insert("metadata".into(), given);
                }
                if let (StatusKeeps::Fields(names), Some(meta)) =
                    (keeps, fields.get_mut("metadata").and_then(Value::as_object_mut))
                {
                    for name in names {
                        match kept.get(*name) {
                            Some(value) => meta.insert((*name).into(), value.clone()),
                            None => meta.remove(*name),
                        };
                    }
                }
            }
            if let Some(meta) = fields.get_mut("metadata").and_then(Value::as_object_mut) {
                for (name, value) in [("managedFields", managed), ("resourceVersion", version)] {
                    match value {
                        Some(value) => meta.insert(name.into(), value),
                        None => meta.remove(name),
                    };
                }
            }
        }
        _ => {}
    }
}
