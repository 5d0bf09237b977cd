//! What a real control plane's own loops say of an object soon after it is written, where that needs nothing but the API:
//! a volume that nobody claims is available, a flow schema refers to a priority level or dangles.
//!
//! One loop a kind over all control planes; it holds nothing for those where nothing changes.

use std::sync::Arc;

use kplane_machinery::{Status, object};
use kplane_registry::{EventKind, ListRequest, ObjectKey, ResourceKey, Stored, Vcp};
use serde_json::{Value, json};

use crate::app::App;
use crate::endpoints::cx::{Cx, Resource};
use crate::endpoints::managed::{self, Tracking};
use crate::endpoints::write::{self, Change, Preconditions};
use crate::endpoints::{failures, system};
use crate::follow;
use crate::legacy_tokens;
use crate::signing;

const FLOW_CONTROL: &str = "flowcontrol.apiserver.k8s.io";
/// The manager that the status of a flow schema is applied by.
const FLOW_MANAGER: &str = "api-priority-and-fairness-config-consumer-v1";

/// What a loop does with the objects of its kind.
#[derive(Clone, Copy, Debug)]
enum Work {
    Volume,
    FlowSchema,
    PriorityLevel,
    SigningRequest,
    TokenSecret,
    TokenAccount,
    TokenEpoch,
}

/// A kind that is followed.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    group: &'static str,
    plural: &'static str,
    work: Work,
}

/// PersistentVolumes: nobody's are available.
pub const VOLUMES: Kind = Kind { group: "", plural: "persistentvolumes", work: Work::Volume };
/// FlowSchemas: whether their priority level exists.
pub const FLOW_SCHEMAS: Kind = Kind { group: FLOW_CONTROL, plural: "flowschemas", work: Work::FlowSchema };
/// PriorityLevelConfigurations: their flow schemas are looked at again.
pub const PRIORITY_LEVELS: Kind =
    Kind { group: FLOW_CONTROL, plural: "prioritylevelconfigurations", work: Work::PriorityLevel };

/// Secrets with service account tokens: a token is put into them, or they go with their account.
pub const TOKEN_SECRETS: Kind = Kind { group: "", plural: "secrets", work: Work::TokenSecret };
/// Service accounts: what was issued to one that is gone goes too.
pub const TOKEN_ACCOUNTS: Kind = Kind { group: "", plural: "serviceaccounts", work: Work::TokenAccount };
/// Records of control planes: in another epoch such tokens are issued anew.
pub const TOKEN_EPOCHS: Kind =
    Kind { group: kplane_kinds::tenancy::GROUP, plural: crate::tenancy::PLURAL, work: Work::TokenEpoch };

/// Runs until the server ends.
pub async fn run(app: Arc<App>, kind: Kind) {
    follow::again(&app, kind.plural, || follow(&app, kind)).await;
}

/// Every object that is there, then every change. A failure begins all of it again.
async fn follow(app: &Arc<App>, kind: Kind) -> Result<(), Status> {
    let mut objects = follow::objects(app, ResourceKey::new(kind.group, kind.plural));
    while let Some(seen) = objects.next().await? {
        settle(app, kind, &seen.vcp, &seen.object, seen.change.unwrap_or(EventKind::Modified)).await?;
    }
    Ok(())
}

/// Brings one object to where it should be. One that went meanwhile, or whose control plane did, needs nothing.
async fn settle(
    app: &Arc<App>,
    kind: Kind,
    vcp: &Arc<Vcp>,
    stored: &Stored,
    event: EventKind,
) -> Result<(), Status> {
    // Most objects need nothing: they are told apart before they are read.
    let idle = match kind.work {
        Work::TokenSecret => !legacy_tokens::is_one(&stored.raw_json()),
        Work::TokenEpoch => !legacy_tokens::has_epoch(&stored.raw_json()),
        Work::TokenAccount => event != EventKind::Deleted,
        Work::Volume | Work::FlowSchema | Work::PriorityLevel | Work::SigningRequest => false,
    };
    if idle {
        return Ok(());
    }
    let value = stored.to_value().map_err(Status::internal)?;
    let gone = event == EventKind::Deleted;
    let done = match kind.work {
        Work::SigningRequest if !gone => signing::sign(app, vcp, &value).await,
        Work::Volume if !gone => volume(app, vcp, &value).await,
        Work::FlowSchema if !gone => flow_schema(app, vcp, &value).await,
        // Only coming and going matters to those that refer to it.
        Work::PriorityLevel if event != EventKind::Modified => {
            priority_level(app, vcp, object::name(&value)).await
        }
        Work::TokenSecret if !gone => legacy_tokens::secret(app, vcp, &value).await,
        Work::TokenAccount if gone => legacy_tokens::account_gone(app, vcp, &value).await,
        Work::TokenEpoch if !gone && vcp.is_root() => legacy_tokens::epoch(app, &value).await,
        _ => Ok(()),
    };
    match done {
        Err(status) if status.code == 404 => Ok(()),
        Err(status) if status.code < 500 => {
            tracing::warn!(vcp = %vcp.name, name = stored.name(), %status, "an object could not be settled");
            Ok(())
        }
        done => done,
    }
}

/// The resource of a kind, and a request of the server's own for one of its objects.
pub fn own_request(
    app: &Arc<App>,
    vcp: &Arc<Vcp>,
    group: &str,
    plural: &str,
    (namespace, name): (&str, &str),
) -> Result<(Cx, Resource), Status> {
    let def = app
        .kinds
        .get(group, plural)
        .ok_or_else(|| Status::internal(format!("{plural} are missing from the table of kinds")))?
        .clone();
    Ok((Cx::system(app, vcp, namespace, name), Resource { version: def.storage_version.clone(), def }))
}

/// A change of the status of an object, if it is still the same object.
pub fn status_change<'a>(name: &'a str, uid: &str, tracking: Tracking<'a>) -> Change<'a> {
    Change {
        name,
        subresource: Some("status"),
        create: false,
        preconditions: Preconditions { uid: Some(uid.to_owned()), resource_version: None },
        tracking,
        operation: kplane_admission::Operation::Update,
    }
}

/// CertificateSigningRequests: those that are approved get their certificate.
pub const SIGNING_REQUESTS: Kind =
    Kind { group: signing::GROUP, plural: signing::PLURAL, work: Work::SigningRequest };

fn unclaimed(volume: &Value) -> bool {
    volume["status"]["phase"] == "Pending"
        && volume["spec"].get("claimRef").is_none()
        && volume["metadata"].get("deletionTimestamp").is_none()
}

/// A volume without a claim is available.
async fn volume(app: &Arc<App>, vcp: &Arc<Vcp>, volume: &Value) -> Result<(), Status> {
    if !unclaimed(volume) {
        return Ok(());
    }
    let name = object::name(volume);
    let (cx, resource) = own_request(app, vcp, VOLUMES.group, VOLUMES.plural, ("", name))?;
    let tracking = Tracking::update("kube-controller-manager", Some("status"));
    let change = status_change(name, object::uid(volume), tracking);
    write::update(&cx, &resource, change, |old| {
        let mut new = old.cloned().ok_or_else(|| Status::not_found(&resource.group_resource(), name))?;
        if unclaimed(&new) {
            new["status"]["phase"] = "Available".into();
        }
        Ok(new)
    })
    .await
    .map(|_| ())
}

/// Says of a flow schema whether its priority level exists.
async fn flow_schema(app: &Arc<App>, vcp: &Arc<Vcp>, schema: &Value) -> Result<(), Status> {
    if schema["metadata"].get("deletionTimestamp").is_some() {
        return Ok(());
    }
    let name = object::name(schema);
    let level = schema["spec"]["priorityLevelConfiguration"]["name"].as_str().unwrap_or("");
    let key = ObjectKey {
        resource: ResourceKey::new(PRIORITY_LEVELS.group, PRIORITY_LEVELS.plural),
        namespace: None,
        name: level.into(),
    };
    let found = app.registry.get(vcp, &key).await.map_err(failures::store)?.is_some();
    let start = "This FlowSchema references the PriorityLevelConfiguration object named";
    let (status, reason, message) = if found {
        ("False", "Found", format!("{start} {level:?} and it exists"))
    } else {
        ("True", "NotFound", format!("{start} {level:?} but there is no such object"))
    };
    let conditions = schema["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let was = conditions.iter().find(|condition| condition["type"] == "Dangling");
    if was.is_some_and(|was| was["status"] == status && was["reason"] == reason && was["message"] == message)
    {
        return Ok(());
    }
    let now = system::now();
    let since = was
        .filter(|was| was["status"] == status)
        .and_then(|was| was["lastTransitionTime"].as_str())
        .unwrap_or(&now);
    let (cx, resource) = own_request(app, vcp, FLOW_SCHEMAS.group, FLOW_SCHEMAS.plural, ("", name))?;
    let config = json!({
        "apiVersion": resource.api_version(), "kind": &*resource.def.kind, "metadata": {"name": name},
        "status": {"conditions": [{
            "type": "Dangling", "status": status, "lastTransitionTime": since, "reason": reason, "message": message,
        }]},
    });
    write::update(&cx, &resource, status_change(name, object::uid(schema), Tracking::applied()), |old| {
        managed::apply(&cx, &resource, Some("status"), old, &config, FLOW_MANAGER, true)
    })
    .await
    .map(|_| ())
}

/// A priority level came or went: those that refer to it are looked at again.
async fn priority_level(app: &Arc<App>, vcp: &Arc<Vcp>, name: &str) -> Result<(), Status> {
    let key = ResourceKey::new(FLOW_SCHEMAS.group, FLOW_SCHEMAS.plural);
    let page = app.registry.list(vcp, &key, ListRequest::default()).await.map_err(failures::store)?;
    for stored in &page.items {
        let schema = stored.to_value().map_err(Status::internal)?;
        if schema["spec"]["priorityLevelConfiguration"]["name"] == name {
            flow_schema(app, vcp, &schema).await?;
        }
    }
    Ok(())
}
