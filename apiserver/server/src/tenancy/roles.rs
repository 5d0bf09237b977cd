//! Policy that a control plane has changed, when the layers beneath it change: what is new in the inherited object is added
//! to the control plane's own, and nothing is taken away (`rbac/reconciliation` upstream).

use std::sync::Arc;

use kplane_auth::authz::{PolicyRule, covers};
use kplane_machinery::{Status, object};
use kplane_registry::{AcrossRequest, ListRequest, ObjectKey, ResourceKey, Stored, Vcp};
use serde_json::Value;

use crate::app::App;
use crate::endpoints::cx::{Cx, Resource};
use crate::endpoints::failures;
use crate::endpoints::managed::Tracking;
use crate::endpoints::write::{self, Change, Preconditions};

const GROUP: &str = "rbac.authorization.k8s.io";
const PLURALS: [&str; 4] = ["clusterroles", "clusterrolebindings", "roles", "rolebindings"];
/// Says whether an object follows what it was made from.
const AUTO_UPDATE: &str = "rbac.authorization.kubernetes.io/autoupdate";
const PAGE: usize = 500;

/// Reconciles the policy of one control plane.
pub async fn reconcile(app: &Arc<App>, vcp: &Arc<Vcp>) -> Result<(), Status> {
    for plural in PLURALS {
        let key = ResourceKey::new(GROUP, plural);
        let mut request = ListRequest { limit: Some(PAGE), ..ListRequest::default() };
        loop {
            let page = app.registry.list(vcp, &key, request.clone()).await.map_err(failures::store)?;
            for stored in page.items.iter().filter(|stored| !stored.is_inherited()) {
                reconcile_one(app, vcp, plural, stored).await?;
            }
            match page.next {
                Some(next) => request.after = Some(next),
                None => break,
            }
        }
    }
    Ok(())
}

/// Reconciles the policy of all control planes: after a start, in case a change was missed. Only what was changed is
/// looked at.
pub async fn reconcile_all(app: &Arc<App>) -> Result<(), Status> {
    for plural in PLURALS {
        let key = ResourceKey::new(GROUP, plural);
        let mut request = AcrossRequest::default();
        loop {
            let page = app.registry.list_all(Some(&key), request.clone()).await.map_err(failures::store)?;
            for item in &page.items {
                reconcile_one(app, &item.vcp, plural, &item.object).await?;
            }
            match page.next {
                Some(next) => {
                    request.after = Some(next);
                    request.revision = Some(page.revision);
                }
                None => break,
            }
        }
    }
    Ok(())
}

async fn reconcile_one(app: &Arc<App>, vcp: &Arc<Vcp>, plural: &str, stored: &Stored) -> Result<(), Status> {
    let key = ObjectKey::new(ResourceKey::new(GROUP, plural), stored.namespace(), stored.name());
    let Some(inherited) = app.registry.inherited(vcp, &key).await.map_err(failures::store)? else {
        return Ok(());
    };
    let inherited = inherited.to_value().map_err(Status::internal)?;
    let own = stored.to_value().map_err(Status::internal)?;
    if added(&own, &inherited)?.is_none() {
        return Ok(());
    }
    let def = app
        .kinds
        .get(GROUP, plural)
        .ok_or_else(|| Status::internal(format!("the kind of {plural} is missing from the table")))?;
    let resource = Resource { def: def.clone(), version: def.storage_version.clone() };
    let cx = Cx::system(app, vcp, stored.namespace().unwrap_or(""), stored.name());
    let change = Change {
        name: stored.name(),
        subresource: None,
        create: false,
        preconditions: Preconditions::default(),
        tracking: Tracking::update("kube-apiserver", None),
        operation: kplane_admission::Operation::Update,
    };
    let written = write::update(&cx, &resource, change, |old| {
        let old = old.ok_or_else(|| Status::not_found(&resource.group_resource(), stored.name()))?;
        Ok(added(old, &inherited)?.unwrap_or_else(|| old.clone()))
    })
    .await;
    match written {
        Err(status) if status.code != 404 => Err(status),
        _ => Ok(()),
    }
}

/// The object with what the inherited one has and it has not; `None` if there is nothing, or it is not to follow.
fn added(own: &Value, inherited: &Value) -> Result<Option<Value>, Status> {
    let follows = |object: &Value| object["metadata"]["annotations"][AUTO_UPDATE].as_str().map(str::to_owned);
    if follows(inherited).as_deref() != Some("true") || follows(own).as_deref() == Some("false") {
        return Ok(None);
    }
    // A role of another's choosing is no longer this binding.
    if own.get("roleRef") != inherited.get("roleRef") {
        return Ok(None);
    }
    let mut new = own.clone();
    for kept in ["labels", "annotations"] {
        for (name, value) in inherited["metadata"][kept].as_object().into_iter().flatten() {
            if new["metadata"][kept].get(name).is_none() {
                new["metadata"][kept][name] = value.clone();
            }
        }
    }
    let gathers = inherited.get("aggregationRule").is_some_and(|rule| !rule.is_null());
    if gathers {
        // Its rules are gathered from others.
        extend(
            &mut new["aggregationRule"]["clusterRoleSelectors"],
            &inherited["aggregationRule"]["clusterRoleSelectors"],
        );
    } else {
        let invalid = |e: serde_json::Error| Status::internal(format!("the rules of a role: {e}"));
        let held = PolicyRule::all_of(own).map_err(invalid)?;
        let wanted = PolicyRule::all_of(inherited).map_err(invalid)?;
        let rules = inherited["rules"].as_array().into_iter().flatten();
        let missing: Vec<Value> = rules
            .zip(&wanted)
            .filter(|(_, rule)| !covers(&held, std::slice::from_ref(rule)))
            .map(|(value, _)| value.clone())
            .collect();
        extend(&mut new["rules"], &missing.into());
    }
    extend(&mut new["subjects"], &inherited["subjects"]);
    for field in ["rules", "subjects", "aggregationRule"] {
        if let Some(fields) = new.as_object_mut()
            && fields.get(field).is_some_and(Value::is_null)
            && own.get(field).is_none()
        {
            fields.remove(field);
        }
    }
    Ok((object::name(own) == object::name(inherited) && new != *own).then_some(new))
}

/// Adds the items that are not there.
fn extend(list: &mut Value, more: &Value) {
    for item in more.as_array().into_iter().flatten() {
        if list.is_null() {
            *list = Value::Array(Vec::new());
        }
        if let Some(list) = list.as_array_mut()
            && !list.contains(item)
        {
            list.push(item.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn role(auto: &str, rules: Value) -> Value {
        json!({"metadata": {"name": "view", "annotations": {AUTO_UPDATE: auto}}, "rules": rules})
    }

    #[test]
    fn what_is_new_is_added_and_nothing_is_taken_away() {
        let pods = json!({"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]});
        let mine = json!({"apiGroups": ["mine"], "resources": ["*"], "verbs": ["*"]});
        let owls = json!({"apiGroups": ["birds.test"], "resources": ["owls"], "verbs": ["get"]});
        let own = role("true", json!([mine, pods]));
        let inherited = role("true", json!([pods, owls]));
        assert_eq!(added(&own, &inherited).unwrap().unwrap()["rules"], json!([mine, pods, owls]));
        assert_eq!(added(&role("false", json!([])), &inherited).unwrap(), None);
        assert_eq!(added(&role("true", json!([pods, owls, mine])), &inherited).unwrap(), None);
    }

    #[test]
    fn bindings_get_subjects_unless_they_bind_another_role() {
        let binding = |role: &str, users: &[&str]| {
            let subjects: Vec<Value> = users.iter().map(|u| json!({"kind": "User", "name": u})).collect();
            json!({"metadata": {"name": "b", "annotations": {AUTO_UPDATE: "true"}},
                "roleRef": {"name": role}, "subjects": subjects})
        };
        let inherited = binding("view", &["a", "b"]);
        let new = added(&binding("view", &["c"]), &inherited).unwrap().unwrap();
        assert_eq!(new["subjects"], binding("view", &["c", "a", "b"])["subjects"]);
        assert_eq!(added(&binding("edit", &["c"]), &inherited).unwrap(), None);
    }
}
