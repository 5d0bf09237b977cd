//! Secrets of type `kubernetes.io/service-account-token`: what kube-controller-manager's token controller does for them,
//! here because only the server has the keys.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kplane_machinery::time::Time;
use kplane_machinery::{Status, object};
use kplane_registry::{ListRequest, ObjectKey, ResourceKey, Vcp, VcpId};
use serde_json::{Value, json};
use tokio::sync::{Mutex, mpsc};

use crate::app::App;
use crate::endpoints::delete::{DeleteOptions, delete_object};
use crate::endpoints::failures;
use crate::endpoints::managed::Tracking;
use crate::endpoints::write::{self, Change, Preconditions};
use crate::settle::own_request;

const TYPE: &str = "kubernetes.io/service-account-token";
const ACCOUNT_NAME: &str = "kubernetes.io/service-account.name";
const ACCOUNT_UID: &str = "kubernetes.io/service-account.uid";
const MANAGER: &str = "kube-controller-manager";
/// Says when the token of a Secret was last used: `2006-01-02`.
const LAST_USED: &str = "kubernetes.io/legacy-token-last-used";
/// How many Secrets wait at most to be marked. One that finds no place is marked when its token is used again.
const WAITING: usize = 256;
/// How long it may take to mark one.
const MARKING: Duration = Duration::from_secs(30);
/// As many Secrets a page.
const PAGE: usize = 500;

/// Whether the JSON of a Secret may be that of one of these.
pub fn is_one(json: &[u8]) -> bool {
    json.windows(TYPE.len()).any(|window| window == TYPE.as_bytes())
}

/// Whether the JSON of a record may be that of a control plane in another epoch than the first.
pub fn has_epoch(json: &[u8]) -> bool {
    const FIELD: &[u8] = b"credentialEpoch";
    json.windows(FIELD.len()).any(|window| window == FIELD)
}

fn annotation<'a>(object: &'a Value, key: &str) -> &'a str {
    object["metadata"]["annotations"][key].as_str().unwrap_or("")
}

fn decoded(secret: &Value, key: &str) -> Vec<u8> {
    STANDARD.decode(secret["data"][key].as_str().unwrap_or("")).unwrap_or_default()
}

async fn account(app: &App, vcp: &Vcp, namespace: &str, name: &str) -> Result<Option<Value>, Status> {
    let key = ObjectKey::new(ResourceKey::new("", "serviceaccounts"), Some(namespace), name);
    match app.registry.get(vcp, &key).await.map_err(failures::store)? {
        Some(stored) => stored.to_value().map(Some).map_err(Status::internal),
        None => Ok(None),
    }
}

/// Sees to it that a Secret holds a token of its account; one whose account is gone or another goes.
pub async fn secret(app: &Arc<App>, vcp: &Arc<Vcp>, secret: &Value) -> Result<(), Status> {
    if secret["type"] != TYPE || secret["metadata"].get("deletionTimestamp").is_some() {
        return Ok(());
    }
    // The epoch may be newer than the request that led here.
    let vcp = &app.registry.vcp_by_id(vcp.id).await.map_err(failures::store)?.unwrap_or_else(|| vcp.clone());
    let (namespace, name) = (object::namespace(secret), object::name(secret));
    let account_name = annotation(secret, ACCOUNT_NAME);
    if account_name.is_empty() {
        return Ok(());
    }
    let wanted = annotation(secret, ACCOUNT_UID);
    let account = account(app, vcp, namespace, account_name).await?;
    let Some(account) = account.filter(|found| wanted.is_empty() || object::uid(found) == wanted) else {
        return remove(app, vcp, secret).await;
    };
    if is_whole(app, vcp, secret, &account) {
        return Ok(());
    }
    let (cx, resource) = own_request(app, vcp, "", "secrets", (namespace, name))?;
    let change = Change {
        name,
        subresource: None,
        create: false,
        preconditions: Preconditions { uid: Some(object::uid(secret).to_owned()), resource_version: None },
        tracking: Tracking::update(MANAGER, None),
        operation: kplane_admission::Operation::Update,
    };
    let key_name = app.identities.of_vcp(vcp).key_name();
    write::update(&cx, &resource, change, |old| {
        let mut new = old.cloned().ok_or_else(|| Status::not_found(&resource.group_resource(), name))?;
        // Another replica may have been faster.
        if is_whole(app, vcp, &new, &account) {
            return Ok(new);
        }
        let now = Time::now().unix();
        let mut data = new["data"].as_object().cloned().unwrap_or_default();
        let held = String::from_utf8(decoded(&new, "token")).unwrap_or_default();
        if !app.identities.tokens().is_current_legacy(&key_name, &held, &account, now) {
            let token = app.identities.tokens().sign_legacy(&key_name, &account, name, now)?;
            data.insert("token".into(), STANDARD.encode(token).into());
        }
        data.insert("ca.crt".into(), STANDARD.encode(&app.identities.ca_pem).into());
        data.insert("namespace".into(), STANDARD.encode(namespace).into());
        new["data"] = data.into();
        let mut annotations = new["metadata"]["annotations"].as_object().cloned().unwrap_or_default();
        annotations.insert(ACCOUNT_UID.into(), object::uid(&account).into());
        object::set_meta(&mut new, "annotations", Some(json!(annotations)));
        Ok(new)
    })
    .await
    .map(|_| ())
}

/// Whether nothing is to be done about a Secret.
fn is_whole(app: &App, vcp: &Vcp, secret: &Value, account: &Value) -> bool {
    let Ok(token) = String::from_utf8(decoded(secret, "token")) else { return false };
    let key_name = app.identities.of_vcp(vcp).key_name();
    annotation(secret, ACCOUNT_UID) == object::uid(account)
        && decoded(secret, "ca.crt") == app.identities.ca_pem.as_bytes()
        && decoded(secret, "namespace") == object::namespace(secret).as_bytes()
        && app.identities.tokens().is_current_legacy(&key_name, &token, account, Time::now().unix())
}

async fn remove(app: &Arc<App>, vcp: &Arc<Vcp>, secret: &Value) -> Result<(), Status> {
    let (namespace, name) = (object::namespace(secret), object::name(secret));
    let (cx, resource) = own_request(app, vcp, "", "secrets", (namespace, name))?;
    let uid = json!({"preconditions": {"uid": object::uid(secret)}});
    let options = DeleteOptions::parse(&cx, Some(&uid))?;
    match delete_object(&cx, &resource, name, namespace, &options).await {
        // Another of its name came meanwhile.
        Err(status) if status.code == 409 => Ok(()),
        done => done.map(|_| ()),
    }
}

/// The Secrets with tokens in a control plane, or in one namespace of it, each as it is now.
async fn all(app: &App, vcp: &Vcp, namespace: Option<&str>) -> Result<Vec<Value>, Status> {
    let key = ResourceKey::new("", "secrets");
    let namespace = namespace.map(Arc::from);
    let mut request = ListRequest { namespace, limit: Some(PAGE), ..ListRequest::default() };
    let mut found = Vec::new();
    loop {
        let page = app.registry.list(vcp, &key, request.clone()).await.map_err(failures::store)?;
        for stored in page.items.iter().filter(|stored| is_one(&stored.raw_json())) {
            found.push(stored.to_value().map_err(Status::internal)?);
        }
        match page.next {
            Some(next) => {
                request.after = Some(next);
                request.version = kplane_registry::ResourceVersion::Exact(page.revision);
            }
            None => return Ok(found),
        }
    }
}

/// An account is gone: so is what was issued to it.
pub async fn account_gone(app: &Arc<App>, vcp: &Arc<Vcp>, account: &Value) -> Result<(), Status> {
    for found in all(app, vcp, Some(object::namespace(account))).await? {
        if annotation(&found, ACCOUNT_NAME) == object::name(account) {
            secret(app, vcp, &found).await?;
        }
    }
    Ok(())
}

/// A record changed: in another epoch the keys are others, and the tokens are issued anew.
pub async fn epoch(app: &Arc<App>, record: &Value) -> Result<(), Status> {
    if record["spec"]["credentialEpoch"].as_i64().unwrap_or(0) == 0 {
        return Ok(());
    }
    let Some(id) = VcpId::parse(object::uid(record)) else { return Ok(()) };
    let vcp = app.registry.vcp_by_id(id).await.map_err(failures::store)?;
    let Some(vcp) = vcp.filter(|vcp| vcp.state() == kplane_registry::VcpState::Active) else { return Ok(()) };
    for found in all(app, &vcp, None).await? {
        secret(app, &vcp, &found).await?;
    }
    Ok(())
}

/// A Secret whose token was used.
struct Used {
    vcp: VcpId,
    namespace: String,
    name: String,
    uid: String,
}

/// Secrets whose token was used, on their way to be marked: requests do not wait for that.
pub struct UsedTokens {
    sender: mpsc::Sender<Used>,
    receiver: Mutex<mpsc::Receiver<Used>>,
}

impl Default for UsedTokens {
    fn default() -> Self {
        let (sender, receiver) = mpsc::channel(WAITING);
        Self { sender, receiver: Mutex::new(receiver) }
    }
}

/// The day of a time, as the label writes it.
fn day(unix: i64) -> String {
    Time::from_unix(unix, 0).to_string().chars().take(10).collect()
}

/// Whether a Secret says that its token was used today; or tomorrow, by another server's clock.
fn is_marked(secret: &Value, now: i64) -> bool {
    let marked = object::str_at(secret, &["metadata", "labels", LAST_USED]);
    marked == day(now) || marked == day(now + 24 * 3600)
}

impl UsedTokens {
    /// The token of this Secret was used.
    pub fn note(&self, vcp: VcpId, secret: &Value) {
        if is_marked(secret, Time::now().unix()) {
            return;
        }
        let used = Used {
            vcp,
            namespace: object::namespace(secret).to_owned(),
            name: object::name(secret).to_owned(),
            uid: object::uid(secret).to_owned(),
        };
        if self.sender.try_send(used).is_err() {
            tracing::debug!("a Secret will be marked when its token is used again");
        }
    }
}

/// Marks Secrets with the day that their token was last used. Runs until the server ends.
pub async fn mark_used(app: Arc<App>) {
    let mut receiver = app.identities.used_tokens().receiver.lock().await;
    loop {
        let used = tokio::select! {
            () = app.shutdown.cancelled() => return,
            used = receiver.recv() => used,
        };
        let Some(used) = used else { return };
        match tokio::time::timeout(MARKING, mark(&app, &used)).await {
            Ok(Ok(())) => {}
            Ok(Err(status)) if matches!(status.code, 404 | 409) => {}
            Ok(Err(status)) => tracing::warn!(%status, "the day of use of a token could not be written"),
            Err(_) => tracing::warn!("the day of use of a token could not be written in time"),
        }
    }
}

async fn mark(app: &Arc<App>, used: &Used) -> Result<(), Status> {
    let Some(vcp) = app.registry.vcp_by_id(used.vcp).await.map_err(failures::store)? else { return Ok(()) };
    let name = used.name.as_str();
    let (cx, resource) = own_request(app, &vcp, "", "secrets", (&used.namespace, name))?;
    let change = Change {
        name,
        subresource: None,
        create: false,
        preconditions: Preconditions { uid: Some(used.uid.clone()), resource_version: None },
        tracking: Tracking::update("kube-apiserver", None),
        operation: kplane_admission::Operation::Update,
    };
    write::update(&cx, &resource, change, |old| {
        let mut new = old.cloned().ok_or_else(|| Status::not_found(&resource.group_resource(), name))?;
        let now = Time::now().unix();
        if !is_marked(&new, now) {
            let mut labels = new["metadata"]["labels"].as_object().cloned().unwrap_or_default();
            labels.insert(LAST_USED.into(), day(now).into());
            object::set_meta(&mut new, "labels", Some(labels.into()));
        }
        Ok(new)
    })
    .await
    .map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_marked_once_a_day() {
        let marked = |day: &str| is_marked(&json!({"metadata": {"labels": {LAST_USED: day}}}), 1_767_225_600);
        assert_eq!(day(1_767_225_600), "2026-01-01");
        assert!(marked("2026-01-01") && marked("2026-01-02"));
        assert!(!marked("2025-12-31") && !marked("") && !is_marked(&json!({}), 0));
    }
}
