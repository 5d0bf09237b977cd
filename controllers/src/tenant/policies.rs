//! ValidatingAdmissionPolicies: whether their expressions fit the kinds they are about is said in their status.

use std::sync::Arc;

use kplane_machinery::GroupVersionKind;
use kplane_machinery::field::Path;
use kplane_machinery::schema::Schema;
use kplane_rules::admission::{MOST_KINDS, type_check};
use kplane_schema::structural;
use serde_json::{Value, json};

use crate::Error;
use crate::runtime::raw;
use crate::tenant::api::VALIDATING_POLICIES;
use crate::tenant::queue::Next;
use crate::tenant::tasks::Cx;
use crate::tenant::value::{is_deleting, items, name, text};

/// The manager of the status.
const MANAGER: &str = "validatingadmissionpolicy-status";

/// Looks at one.
pub async fn reconcile(cx: &Cx<'_>) -> Result<Next, Error> {
    let Some(policy) = cx.object(&VALIDATING_POLICIES).await? else { return Ok(Next::Done) };
    let generation = policy.pointer("/metadata/generation").cloned().unwrap_or_default();
    if is_deleting(&policy) || policy.pointer("/status/observedGeneration") == Some(&generation) {
        return Ok(Next::Done);
    }
    let mut kinds = Vec::new();
    for rule in items(&policy, "/spec/matchConstraints/resourceRules") {
        find_kinds(cx, rule, &mut kinds).await?;
    }
    kinds.sort_by(|(a, _), (b, _)| (&a.group, &a.version, &a.kind).cmp(&(&b.group, &b.version, &b.kind)));
    kinds.dedup_by(|(a, _), (b, _)| a == b);
    let kind = policy.pointer("/spec/paramKind");
    let params = match kind.filter(|kind| kind.is_object()) {
        Some(kind) => {
            let (group, version) =
                text(kind, "/apiVersion").split_once('/').unwrap_or(("", text(kind, "/apiVersion")));
            find(cx, group, version, |resource| text(resource, "/kind") == text(kind, "/kind")).await?
        }
        None => None,
    };
    let params = params.as_ref().map(|(kind, schema)| (&*kind.kind, &**schema));
    let seen: Vec<(GroupVersionKind, &Schema)> =
        kinds.iter().map(|(kind, schema)| (kind.clone(), &**schema)).collect();
    let spec = policy.get("spec").cloned().unwrap_or_default();
    let warnings: Vec<Value> = type_check(&spec, &seen, params)
        .into_iter()
        .map(|(field, warning)| json!({"fieldRef": field, "warning": warning}))
        .collect();
    let mut checking = json!({});
    if !warnings.is_empty() {
        checking["expressionWarnings"] = warnings.into();
    }
    let kind = &VALIDATING_POLICIES;
    let body = json!({
        "apiVersion": kind.api_version, "kind": kind.kind, "metadata": {"name": name(&policy)},
        "status": {"observedGeneration": generation, "typeChecking": checking},
    });
    let path = format!("/apis/{}/{}/{}/status", kind.api_version, kind.plural, name(&policy));
    raw::optional(cx.api.apply(&path, MANAGER, &body).await)?;
    Ok(Next::Done)
}

type Found = (GroupVersionKind, Arc<Schema>);

/// The kinds that a rule names one by one.
async fn find_kinds(cx: &Cx<'_>, rule: &Value, found: &mut Vec<Found>) -> Result<(), Error> {
    let texts = |field: &str| items(rule, field).iter().filter_map(Value::as_str);
    for group in texts("/apiGroups").filter(|group| *group != "*") {
        for version in texts("/apiVersions").filter(|version| *version != "*") {
            for plural in texts("/resources").filter(|plural| !plural.contains(['*', '/'])) {
                if found.len() >= MOST_KINDS {
                    return Ok(());
                }
                found.extend(find(cx, group, version, |resource| text(resource, "/name") == plural).await?);
            }
        }
    }
    Ok(())
}

/// A kind of a group and version, and its schema.
async fn find(
    cx: &Cx<'_>,
    group: &str,
    version: &str,
    is: impl Fn(&Value) -> bool,
) -> Result<Option<Found>, Error> {
    let path = if group.is_empty() { format!("/api/{version}") } else { format!("/apis/{group}/{version}") };
    let Some(listed) = cx.api.get_path(&path).await? else { return Ok(None) };
    let whole = |resource: &&Value| !text(resource, "/name").contains('/') && is(resource);
    let Some(resource) = items(&listed, "/resources").iter().find(whole) else { return Ok(None) };
    let kind = GroupVersionKind::new(group, version, text(resource, "/kind"));
    if let Some(schema) = kplane_schema::builtin().for_gvk(&kind) {
        return Ok(Some((kind, Arc::new(Schema::clone(&schema)))));
    }
    let definition = format!(
        "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{}.{group}",
        text(resource, "/name")
    );
    let Some(definition) = cx.api.get_path(&definition).await? else { return Ok(None) };
    let own = items(&definition, "/spec/versions").iter().find(|v| text(v, "/name") == version);
    let Some(raw) = own.and_then(|own| own.pointer("/schema/openAPIV3Schema")) else { return Ok(None) };
    // One that cannot be read says nothing that could be checked.
    let Ok(mut schema) = structural::from_json(raw, &Path::root()) else { return Ok(None) };
    structural::add_type_and_object_meta(&mut schema);
    Ok(Some((kind, Arc::new(schema))))
}
