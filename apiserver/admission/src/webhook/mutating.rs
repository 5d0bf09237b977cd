//! Webhooks that change objects, one after the other.

use std::collections::HashSet;

use async_trait::async_trait;
use kplane_machinery::{Status, patch};
use serde_json::Value;

use super::call::{self, Failure, Turn};
use super::hook::Hook;
use super::matching::{Matched, Seen, converted, is_exempt, matches};
use super::review;
use crate::{Attributes, Plugin};

/// The plugin.
pub struct MutatingAdmissionWebhook;

/// What is remembered between the two times that a write's webhooks may be asked.
#[derive(Debug, Default)]
struct Invocations {
    /// Those asked so far that want to see what others change after them.
    eligible: Vec<String>,
    /// Those of them that are to be asked again.
    again: HashSet<String>,
    /// The object as the webhooks left it.
    left: Option<Value>,
}

impl Invocations {
    fn require(&mut self) {
        self.again.extend(self.eligible.drain(..));
    }
}

#[async_trait]
impl Plugin for MutatingAdmissionWebhook {
    fn name(&self) -> &'static str {
        "MutatingAdmissionWebhook"
    }

    fn handles(&self, attributes: &Attributes<'_>) -> bool {
        !is_exempt(attributes)
    }

    fn asks_others(&self) -> bool {
        true
    }

    async fn mutate(&self, attributes: &Attributes<'_>, object: &mut Value) -> Result<(), Status> {
        let configuration = attributes.reader.configuration().await?;
        if configuration.mutating.is_empty() {
            return Ok(());
        }
        let mut invocations = Invocations::default();
        let outcome = run(&configuration.mutating, attributes, object, &mut invocations, false).await;
        attributes.memory.put(self.name(), invocations);
        outcome
    }

    async fn reinvoke(&self, attributes: &Attributes<'_>, object: &mut Value) -> Result<(), Status> {
        let Some(mut invocations) = attributes.memory.take::<Invocations>(self.name()) else { return Ok(()) };
        // Whatever stands in the chain between has changed it since.
        if invocations.left.as_ref() != Some(object) {
            invocations.require();
        }
        let configuration = attributes.reader.configuration().await?;
        run(&configuration.mutating, attributes, object, &mut invocations, true).await
    }
}

async fn run(
    hooks: &[Hook],
    attributes: &Attributes<'_>,
    object: &mut Value,
    invocations: &mut Invocations,
    again: bool,
) -> Result<(), Status> {
    for (index, hook) in hooks.iter().enumerate() {
        let shown = review::has_object(attributes).then_some(&*object);
        let seen = match matches(hook, attributes, shown).await? {
            Matched::No => continue,
            Matched::Ignored(why) => {
                call::failed_open(hook, &why);
                continue;
            }
            Matched::Seen(seen) => seen,
        };
        // What was not asked the first time is not asked now.
        if again && !invocations.again.contains(&hook.uid) {
            continue;
        }
        let turn = Turn { again, index };
        let mut patch = None;
        let outcome = change(hook, attributes, object, &seen, &mut patch).await;
        let mutated = matches!(outcome, Ok(true));
        call::annotate_mutation(hook, attributes, turn, mutated, patch.as_ref());
        if matches!(outcome, Ok(true)) {
            invocations.require();
        }
        if hook.reinvoked {
            invocations.eligible.push(hook.uid.clone());
        }
        match outcome {
            Ok(_) => {}
            Err(Failure::Calling(why)) if !hook.fails_closed => {
                call::failed_open(hook, &why);
                call::annotate_failed_open(hook, attributes, "mutation", turn);
            }
            Err(failure) => return Err(failure.into_status(hook)),
        }
    }
    invocations.left = Some(object.clone());
    Ok(())
}

/// Asks a webhook and does what it says; whether that changed the object. What it said then is left in `told`.
async fn change(
    hook: &Hook,
    attributes: &Attributes<'_>,
    object: &mut Value,
    seen: &Seen,
    told: &mut Option<Value>,
) -> Result<bool, Failure> {
    let shown = review::has_object(attributes).then_some(&*object);
    let unconverted = |status: Status| Failure::Internal(status);
    let current = converted(attributes, shown, seen).await.map_err(unconverted)?;
    let old = converted(attributes, attributes.old, seen).await.map_err(unconverted)?;
    let answer = call::call(hook, attributes, &seen.version, current.clone(), old, true).await?;
    let Some(bytes) = answer.patch else { return Ok(false) };
    let operations: Value = serde_json::from_slice(&bytes).map_err(call::internal)?;
    if operations.as_array().is_none_or(Vec::is_empty) {
        return match operations {
            Value::Array(_) | Value::Null => Ok(false),
            _ => Err(call::internal("json: cannot unmarshal the patch: it is no list of operations")),
        };
    }
    let Some(current) = current else {
        return Err(call::internal(format!(
            "admission webhook {:?} attempted to modify the object, which is not supported for this operation",
            hook.name
        )));
    };
    if let Some(other) = answer.patch_type.filter(|given| given != "JSONPatch") {
        return Err(Failure::Calling(format!("unsupported patch type {other:?}")));
    }
    let mut patched = current.clone();
    patch::json::apply(&mut patched, &operations).map_err(call::internal)?;
    settle(attributes, &mut patched, &seen.version).map_err(call::internal)?;
    if patched == current {
        return Ok(false);
    }
    if seen.version != attributes.version && attributes.own_kind().is_none() {
        let reader = attributes.reader;
        patched = reader
            .convert(attributes.def, patched, &seen.version, attributes.version)
            .await
            .map_err(Failure::Internal)?;
    }
    attributes.keep(object, patched).map_err(Failure::Internal)?;
    *told = Some(operations);
    Ok(true)
}

/// Gives a patched object the form that a decoder would: without fields nobody knows, and with defaults.
pub(crate) fn settle(attributes: &Attributes<'_>, object: &mut Value, version: &str) -> Result<(), String> {
    let def = attributes.def;
    if let Some(own) = attributes.own_schema() {
        kplane_schema::check(own, object, false).map_err(|e| e.to_string())?;
        kplane_schema::default(own, object);
        return Ok(());
    }
    let described = def.version(version).ok_or_else(|| format!("{} has no version {version}", def.kind))?;
    let expected = def.gvk(version);
    let given = object.get("kind").and_then(Value::as_str).unwrap_or_default();
    let api_version = object.get("apiVersion").and_then(Value::as_str).unwrap_or_default();
    if given != &*expected.kind || api_version != expected.group_version().to_string() {
        return Err(format!("the patch made a {api_version} {given} of it"));
    }
    kplane_schema::check(&described.schema, object, def.custom).map_err(|e| {
        let kind = &def.kind;
        format!("{kind} in version {version:?} cannot be handled as a {kind}: {e}")
    })?;
    kplane_schema::default(&described.schema, object);
    def.strategy.default(version, object);
    Ok(())
}
