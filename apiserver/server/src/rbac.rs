//! RBAC as it stands in a control plane.

use std::collections::hash_map::DefaultHasher;
use std::collections::{HashMap, HashSet};
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use kplane_auth::authz::{Authorizer, PolicyRule, RbacEvent, RbacIndex, RbacKind, RoleRef};
use kplane_auth::bootstrap;
use kplane_auth::user::MASTERS;
use kplane_machinery::{Status, object};
use kplane_registry::{ListRequest, ResourceKey, Stored, Vcp, VcpId};
use serde_json::Value;

use crate::app::App;
use crate::endpoints::cx::{Cx, Resource};
use crate::endpoints::failures;

const GROUP: &str = "rbac.authorization.k8s.io";
const RESOURCES: [&str; 4] = ["roles", "rolebindings", "clusterroles", "clusterrolebindings"];
/// How many control planes' indexes are kept. They are made again when needed.
const KEPT: usize = 512;
/// More objects of one kind than any control plane's policy has: a limit that only says not to keep what is read.
const MOST: usize = 100_000;

/// An index, and what it was made from.
struct Known {
    /// The registry's mark on the objects, if they were hot.
    mark: Option<Vec<u64>>,
    /// The objects by name and revision.
    state: u64,
    index: Arc<RbacIndex>,
}

/// Indexes of the control planes in use, each as of the objects it was made from.
#[derive(Default)]
pub struct Policies {
    indexes: Mutex<HashMap<VcpId, Known>>,
    /// What every control plane starts with: the answer to strangers where there is none.
    base: OnceLock<Arc<RbacIndex>>,
}

impl Policies {
    /// The index of a control plane, as fresh as any read. As long as no policy changes it costs no more than knowing so.
    pub async fn index_of(&self, app: &App, vcp: &Vcp) -> Result<Arc<RbacIndex>, Status> {
        let keys = RESOURCES.map(|resource| ResourceKey::new(GROUP, resource));
        let mark = app.registry.mark(vcp, &keys).await.map_err(failures::store)?;
        {
            let indexes = self.indexes.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(known) = indexes.get(&vcp.id)
                && mark.is_some()
                && known.mark == mark
            {
                return Ok(known.index.clone());
            }
        }
        self.index_with(app, Some(vcp), ListRequest::default(), mark).await
    }

    /// The same for somebody nobody knows: what is cold stays cold, because a list with a limit is read from the store.
    pub async fn index_for_stranger(&self, app: &App, vcp: Option<&Vcp>) -> Result<Arc<RbacIndex>, Status> {
        let request = ListRequest { limit: Some(MOST), ..ListRequest::default() };
        self.index_with(app, vcp, request, None).await
    }

    async fn index_with(
        &self,
        app: &App,
        vcp: Option<&Vcp>,
        request: ListRequest,
        mark: Option<Vec<u64>>,
    ) -> Result<Arc<RbacIndex>, Status> {
        let Some(vcp) = vcp else { return Ok(self.base.get_or_init(base).clone()) };
        let mut lists: Vec<Vec<Stored>> = Vec::with_capacity(RESOURCES.len());
        for resource in RESOURCES {
            let key = ResourceKey::new(GROUP, resource);
            let page = app.registry.list(vcp, &key, request.clone()).await.map_err(failures::store)?;
            lists.push(page.items);
        }
        let state = state_of(vcp, &lists);
        {
            let mut indexes = self.indexes.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(known) = indexes.get_mut(&vcp.id)
                && known.state == state
            {
                if mark.is_some() {
                    known.mark = mark;
                }
                return Ok(known.index.clone());
            }
        }
        // Those who start from the bootstrap policy alone share its index, and hold only what they changed.
        let shared = vcp.layers.layers() == app.base.layers.as_slice();
        let base = if shared { self.base.get_or_init(base).clone() } else { Arc::default() };
        let index = Arc::new(index_over(base, &lists)?);
        let mut indexes = self.indexes.lock().unwrap_or_else(PoisonError::into_inner);
        if indexes.len() >= KEPT {
            indexes.clear();
        }
        indexes.insert(vcp.id, Known { mark, state, index: index.clone() });
        Ok(index)
    }
}

/// The index of these objects, one list a resource, over a base that has those that are inherited.
fn index_over(base: Arc<RbacIndex>, lists: &[Vec<Stored>]) -> Result<RbacIndex, Status> {
    let mut index = RbacIndex::over(base.clone());
    for (resource, list) in RESOURCES.iter().zip(lists) {
        let Some(kind) = RbacKind::of_resource(resource) else { continue };
        let mut here = HashSet::with_capacity(list.len());
        for stored in list {
            let (namespace, name) = (stored.namespace().unwrap_or_default(), stored.name());
            here.insert((namespace, name));
            if stored.is_inherited() && base.contains(kind, namespace, name) {
                continue;
            }
            let value = stored.to_value().map_err(Status::internal)?;
            if let Err(error) = index.apply_event(kind, RbacEvent::Set(&value)) {
                tracing::warn!(?kind, error, "a role cannot be read and grants nothing");
            }
        }
        for (namespace, name) in base.own_names(kind) {
            if !here.contains(&(namespace, name)) {
                let gone = RbacEvent::Removed { namespace, name };
                index.apply_event(kind, gone).map_err(Status::internal)?;
            }
        }
    }
    Ok(index)
}

/// Refuses a role with rules that its writer does not hold, and a binding to such a role (`policybased` storage
/// upstream). What is not changed is not asked about.
pub async fn confirm(cx: &Cx, resource: &Resource, new: &Value, old: Option<&Value>) -> Result<(), Status> {
    if &*resource.def.group != GROUP || cx.user.in_group(MASTERS) {
        return Ok(());
    }
    let plural = &*resource.def.plural;
    let (namespace, name) = (object::namespace(new), object::name(new));
    let same = |field: &str| old.is_some_and(|old| old.get(field) == new.get(field));
    let rbac = cx.app.identities.policies().index_of(&cx.app, &cx.vcp).await?;
    let authorizer = Authorizer::new(&rbac);
    if matches!(plural, "roles" | "clusterroles") {
        if same("rules") && same("aggregationRule") {
            return Ok(());
        }
        let mut rules = PolicyRule::all_of(new).map_err(|e| Status::bad_request(e.to_string()))?;
        // An aggregated role may come to hold anything.
        if new.get("aggregationRule").is_some_and(|rule| !rule.is_null()) && !same("aggregationRule") {
            rules.extend(PolicyRule::everything());
        }
        return authorizer.may_write_role(&cx.user, plural, namespace, name, &rules);
    }
    if same("roleRef") && same("subjects") {
        return Ok(());
    }
    authorizer.may_bind(&cx.user, plural, namespace, name, &RoleRef::of(new))
}

/// Tells one state of the objects from another: by names and revisions, without reading them.
fn state_of(vcp: &Vcp, lists: &[Vec<Stored>]) -> u64 {
    let mut hasher = DefaultHasher::new();
    vcp.fence.hash(&mut hasher);
    for list in lists {
        list.len().hash(&mut hasher);
        for stored in list {
            (stored.namespace(), stored.name(), stored.revision()).hash(&mut hasher);
        }
    }
    hasher.finish()
}

fn base() -> Arc<RbacIndex> {
    let of = |resource: &str| -> Vec<Value> {
        bootstrap::objects()
            .into_iter()
            .filter(|object| object.group == GROUP && object.resource == resource)
            .map(|object| object.value)
            .collect()
    };
    Arc::new(RbacIndex::build(
        &of("roles"),
        &of("rolebindings"),
        &of("clusterroles"),
        &of("clusterrolebindings"),
    ))
}
