//! The parameters a binding names.

use kplane_machinery::{GroupVersionKind, Status, object};
use serde_json::Value;

use super::definition::Binding;
use crate::Attributes;

/// Why there are none to evaluate with.
pub(super) enum Missing {
    /// The kind is not known, which is said of the policy.
    Kind(String),
    /// What the binding says cannot be followed.
    Binding(String),
    /// They could not be read.
    Unread(Status),
}

/// The objects to evaluate a policy with, each for itself; null where it takes none.
pub(super) async fn collect(
    attributes: &Attributes<'_>,
    kind: Option<&GroupVersionKind>,
    binding: &Binding,
) -> Result<Vec<Value>, Missing> {
    let Some(kind) = kind else { return Ok(vec![Value::Null]) };
    let reader = attributes.reader;
    let unknown = || {
        let (group, version) = (&kind.group, &kind.version);
        let shown = if group.is_empty() { format!("/{version}") } else { format!("{group}/{version}") };
        Missing::Kind(format!(
            "failed to find resource referenced by paramKind: '{shown}, Kind={}'",
            kind.kind
        ))
    };
    let def = reader.find_kind(kind).await.map_err(Missing::Unread)?.ok_or_else(unknown)?;
    let Some(wanted) = &binding.params else { return Ok(vec![Value::Null]) };
    let refuse = |told: &str| Err(Missing::Binding(told.to_owned()));
    let namespace = match (def.namespaced(), wanted.namespace.is_empty()) {
        (true, false) => wanted.namespace.as_str(),
        (true, true) if attributes.namespace.is_empty() => {
            return refuse(
                "cannot use namespaced paramRef in policy binding that matches cluster-scoped resources",
            );
        }
        (true, true) => attributes.namespace,
        (false, false) => {
            return refuse("paramRef.namespace must not be provided for a cluster-scoped `paramKind`");
        }
        (false, true) => "",
    };
    let resource = def.group_resource();
    let found: Vec<Value> = if !wanted.name.is_empty() {
        let found = reader.get(&resource, namespace, &wanted.name).await.map_err(Missing::Unread)?;
        found.into_iter().collect()
    } else {
        match &wanted.selector {
            Some(Ok(selector)) => {
                let all = reader.list(&resource, namespace).await.map_err(Missing::Unread)?;
                all.into_iter().filter(|param| selector.matches_object(param)).collect()
            }
            Some(Err(told)) => return refuse(told),
            None => return refuse("one of name or selector must be provided"),
        }
    };
    if found.is_empty() && wanted.denies_without {
        return refuse("no params found for policy binding with `Deny` parameterNotFoundAction");
    }
    let mut params = Vec::with_capacity(found.len());
    for param in found {
        let stored =
            object::str_at(&param, &["apiVersion"]).rsplit('/').next().unwrap_or_default().to_owned();
        params.push(if *stored == *kind.version {
            param
        } else {
            reader.convert(&def, param, &stored, &kind.version).await.map_err(Missing::Unread)?
        });
    }
    Ok(params)
}
