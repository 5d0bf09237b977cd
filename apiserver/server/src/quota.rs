//! Keeps the status of ResourceQuotas: what the objects of their namespaces use.
//!
//! One loop over all control planes. It remembers the namespaces that have a quota, and counts one anew when something in it
//! changes; those without cost nothing.
//!
//! What is counted is written only if the quota is still as it was before the counting began. Whatever charges a quota is
//! stored in the same transaction as the charge (`endpoints::charges`), so what came after the counting changed the quota,
//! and a charge is never lost to an older count.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use futures::FutureExt;
use kplane_admission::recount::{counts, recount};
use kplane_kinds::ResourceDef;
use kplane_machinery::{Status, object};
use kplane_registry::{ListRequest, ResourceKey, Vcp, VcpId};
use serde_json::Value;

use crate::app::App;
use crate::endpoints::cx::{Cx, Resource};
use crate::endpoints::failures;
use crate::endpoints::managed::Tracking;
use crate::endpoints::write::{self, Change, Preconditions};
use crate::follow;

const QUOTAS: &str = "resourcequotas";

/// A namespace of a control plane.
type Place = (VcpId, Arc<str>);

/// Runs until the server ends.
pub async fn run(app: Arc<App>) {
    follow::again(&app, "quotas", || follow(&app)).await;
}

async fn follow(app: &Arc<App>) -> Result<(), Status> {
    let key = ResourceKey::new("", QUOTAS);
    let mut watched: HashMap<Place, Arc<Vcp>> = HashMap::new();
    let mut dirty: BTreeSet<Place> = BTreeSet::new();
    let mut objects = follow::objects_and_all_changes(app, key.clone());
    loop {
        for place in std::mem::take(&mut dirty) {
            let Some(vcp) = watched.get(&place) else { continue };
            if !count(app, vcp, &place.1).await? {
                watched.remove(&place);
            }
        }
        let mut next = objects.next().await?;
        // Changes that come together are counted once.
        loop {
            let Some(seen) = next else { return Ok(()) };
            if let Some(namespace) = seen.object.namespace() {
                let place: Place = (seen.vcp.id, Arc::from(namespace));
                if seen.resource == key {
                    watched.insert(place.clone(), seen.vcp);
                }
                if watched.contains_key(&place) {
                    dirty.insert(place);
                }
            }
            match objects.next().now_or_never() {
                Some(more) => next = more?,
                None => break,
            }
        }
    }
}

/// Counts what a namespace uses, and says so in its quotas. `false` when it has none any more.
async fn count(app: &Arc<App>, vcp: &Arc<Vcp>, namespace: &str) -> Result<bool, Status> {
    let quotas = match objects(app, vcp, &ResourceKey::new("", QUOTAS), namespace).await {
        Ok(quotas) => quotas,
        // The control plane went meanwhile.
        Err(kplane_registry::Error::VcpGone) => return Ok(false),
        Err(error) => return Err(failures::store(error)),
    };
    // The quotas were read first: no object that is missing from the lists below has charged them.
    for quota in &quotas {
        let mut counted: Vec<(Arc<ResourceDef>, Vec<Value>)> = Vec::new();
        for def in app.kinds.all().filter(|def| def.namespaced() && def.stored() && counts(quota, def)) {
            let stored = def.storage_resource();
            let key = ResourceKey::new(stored.group, stored.resource);
            let found = objects(app, vcp, &key, namespace).await.map_err(failures::store)?;
            counted.push((def.clone(), found));
        }
        let all = counted.iter().flat_map(|(def, found)| found.iter().map(move |value| (&**def, value)));
        let status = recount(quota, all);
        if quota["status"]["hard"] == status["hard"] && quota["status"]["used"] == status["used"] {
            continue;
        }
        match tell(app, vcp, quota, &status).await {
            Ok(()) => {}
            // Another change came first: it is seen, and counted, in its turn.
            Err(failure) if matches!(failure.code, 404 | 409) => {}
            Err(failure) => return Err(failure),
        }
    }
    Ok(!quotas.is_empty())
}

async fn objects(
    app: &App,
    vcp: &Vcp,
    key: &ResourceKey,
    namespace: &str,
) -> Result<Vec<Value>, kplane_registry::Error> {
    let request = ListRequest { namespace: Some(namespace.into()), ..ListRequest::default() };
    let page = app.registry.list(vcp, key, request).await?;
    page.items.iter().map(kplane_registry::Stored::to_value).collect()
}

async fn tell(app: &Arc<App>, vcp: &Arc<Vcp>, quota: &Value, status: &Value) -> Result<(), Status> {
    let def = app
        .kinds
        .get("", QUOTAS)
        .ok_or_else(|| Status::internal("the kind ResourceQuota is missing from the table"))?;
    let resource = Resource { def: def.clone(), version: "v1".into() };
    let name = object::name(quota);
    let cx = Cx::system(app, vcp, object::namespace(quota), name);
    let change = Change {
        name,
        subresource: Some("status"),
        create: false,
        preconditions: Preconditions {
            uid: Some(object::uid(quota).to_owned()),
            resource_version: Some(object::resource_version(quota).to_owned()),
        },
        tracking: Tracking::update("kube-controller-manager", Some("status")),
        operation: kplane_admission::Operation::Update,
    };
    write::update(&cx, &resource, change, |old| {
        let mut quota = old.cloned().ok_or_else(|| Status::not_found(&resource.group_resource(), name))?;
        quota["status"] = status.clone();
        Ok(quota)
    })
    .await
    .map(|_| ())
}
