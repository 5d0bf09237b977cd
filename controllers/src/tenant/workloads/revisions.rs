//! ControllerRevisions: the templates that StatefulSets and DaemonSets had.

use kplane_machinery::labels::Selector;
use serde_json::{Value, json};

use super::pods::{self, Parent};
use crate::Error;
use crate::runtime::raw;
use crate::tenant::api::REVISIONS;
use crate::tenant::tasks::Cx;
use crate::tenant::value::{FNV_SEED, canonical, count, fnv1, map_at, name, namespace, safe_encode};

/// The label of a pod with the revision it was made from.
pub const REVISION_LABEL: &str = "controller-revision-hash";
/// The label of a revision with the hash of its data.
const HASH_LABEL: &str = "controller.kubernetes.io/hash";
/// The longest part of a name before the hash.
const LONGEST_PREFIX: usize = 223;

/// What a revision of an object holds: the patch that gives it back its template.
pub fn data(object: &Value) -> Value {
    let mut template = object["spec"]["template"].clone();
    map_at(&mut template, &[]).insert("$patch".into(), "replace".into());
    json!({ "spec": { "template": template } })
}

/// The template that a revision holds.
pub fn template(revision: &Value) -> Value {
    let mut template = revision["data"]["spec"]["template"].clone();
    map_at(&mut template, &[]).remove("$patch");
    template
}

fn hash(data: &Value, collisions: i64) -> String {
    let hash = fnv1(FNV_SEED, canonical(data).as_bytes());
    safe_encode(&fnv1(hash, collisions.to_string().as_bytes()).to_string())
}

/// The revisions of an object, the oldest first.
pub async fn of(cx: &Cx<'_>, parent: &Parent<'_>, selector: &Selector) -> Result<Vec<Value>, kube::Error> {
    let mut found = pods::claim(cx, parent, &REVISIONS, selector, |_| true).await?;
    found.sort_by_cached_key(|revision| (count(revision, "/revision"), name(revision).to_owned()));
    Ok(found)
}

/// The revision of the present template: the latest if it is that, an earlier one made the latest, or a new one.
/// `collisions` counts up when another revision has the same hash.
pub async fn present(
    cx: &Cx<'_>,
    parent: &Parent<'_>,
    known: &mut Vec<Value>,
    collisions: &mut i64,
) -> Result<Value, Error> {
    let data = data(parent.object);
    let next = known.last().map_or(0, |last| count(last, "/revision")) + 1;
    let same = known.iter().rposition(|revision| revision["data"] == data);
    match same {
        Some(at) if at + 1 == known.len() => Ok(known[at].clone()),
        Some(at) => {
            let mut again = known.remove(at);
            again["revision"] = next.into();
            let written = cx.api.update(&REVISIONS, &again).await?;
            known.push(written.clone());
            Ok(written)
        }
        None => {
            let made = make(cx, parent, &data, next, collisions).await?;
            known.push(made.clone());
            Ok(made)
        }
    }
}

async fn make(
    cx: &Cx<'_>,
    parent: &Parent<'_>,
    data: &Value,
    number: i64,
    collisions: &mut i64,
) -> Result<Value, Error> {
    let object = parent.object;
    let space = namespace(object);
    loop {
        let hash = hash(data, *collisions);
        let prefix: String = name(object).chars().take(LONGEST_PREFIX).collect();
        let revision_name = format!("{prefix}-{hash}");
        let mut labels =
            object.pointer("/spec/template/metadata/labels").cloned().unwrap_or_else(|| json!({}));
        let label = if parent.kind.kind == "DaemonSet" { REVISION_LABEL } else { HASH_LABEL };
        map_at(&mut labels, &[]).insert(label.into(), hash.as_str().into());
        let mut revision = json!({
            "apiVersion": REVISIONS.api_version, "kind": REVISIONS.kind,
            "metadata": {
                "name": revision_name, "namespace": space, "labels": labels,
                "ownerReferences": [parent.reference()],
            },
            "data": data, "revision": number,
        });
        if let Some(annotations) = object.pointer("/metadata/annotations").filter(|a| a.is_object()) {
            revision["metadata"]["annotations"] = annotations.clone();
        }
        match cx.api.create(&REVISIONS, space, &revision).await {
            Ok(made) => return Ok(made),
            Err(error) if raw::is_conflict(&error) => {
                let Some(other) = cx.api.get(&REVISIONS, space, &revision_name).await? else {
                    return Err(error.into());
                };
                if other["data"] == *data {
                    return Ok(other);
                }
                *collisions += 1;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Deletes the oldest revisions that nothing uses, down to as many as are to be kept.
pub async fn clean_up(
    cx: &Cx<'_>,
    object: &Value,
    known: &[Value],
    in_use: impl Fn(&Value) -> bool,
) -> Result<(), Error> {
    let kept = usize::try_from(object["spec"]["revisionHistoryLimit"].as_i64().unwrap_or(10)).unwrap_or(0);
    let unused: Vec<&Value> = known.iter().filter(|revision| !in_use(revision)).collect();
    for revision in unused.iter().take(unused.len().saturating_sub(kept)) {
        cx.api.delete(&REVISIONS, revision, None).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revision_gives_back_its_template() {
        let object =
            json!({ "spec": { "template": { "metadata": { "labels": { "a": "b" } }, "spec": { "x": 1 } } } });
        let revision = json!({ "data": data(&object) });
        assert_eq!(template(&revision), object["spec"]["template"]);
        assert_ne!(hash(&revision["data"], 0), hash(&revision["data"], 1));
    }
}
