//! `ServiceAccount`: a pod runs as a service account that exists, and gets a token for it.

use std::time::Duration;

use async_trait::async_trait;
use kplane_machinery::{GroupResource, Status, names, object};
use serde_json::{Value, json};

use crate::access::{annotation, items, list_mut, set};
use crate::{Attributes, Operation, Plugin};

/// The plugin.
pub struct ServiceAccount;

const DEFAULT: &str = "default";
const VOLUME_PREFIX: &str = "kube-api-access-";
const MOUNT_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const MIRROR: &str = "kubernetes.io/config.mirror";
const ENFORCE_MOUNTABLE: &str = "kubernetes.io/enforce-mountable-secrets";
/// An hour and a little: the kubelet knows by the odd seconds that the pod did not ask for it.
const TOKEN_SECONDS: u32 = 3607;
/// The default account is made by a controller soon after its namespace; so long a pod waits for it.
const DEFAULT_ATTEMPTS: usize = 10;
const RETRY: Duration = Duration::from_millis(150);

#[async_trait]
impl Plugin for ServiceAccount {
    fn name(&self) -> &'static str {
        "ServiceAccount"
    }

    fn handles(&self, attributes: &Attributes<'_>) -> bool {
        match attributes.operation {
            Operation::Create => attributes.is("", "pods", ""),
            Operation::Update => attributes.is("", "pods", "ephemeralcontainers"),
            Operation::Delete | Operation::Connect => false,
        }
    }

    async fn mutate(&self, attributes: &Attributes<'_>, pod: &mut Value) -> Result<(), Status> {
        if attributes.operation != Operation::Create || annotation(pod, MIRROR).is_some() {
            return Ok(());
        }
        let name = match object::str_at(pod, &["spec", "serviceAccountName"]) {
            "" => DEFAULT.to_owned(),
            name => name.to_owned(),
        };
        let account = account(attributes, pod, &name).await?;
        let Some(spec) = pod.get_mut("spec").filter(|spec| spec.is_object()) else { return Ok(()) };
        spec["serviceAccountName"] = name.as_str().into();
        // The name's old spelling follows it.
        spec["serviceAccount"] = name.into();
        if automounts(&account, spec) {
            mount_token(spec);
        }
        let secrets = items(&account, &["imagePullSecrets"]);
        if items(spec, &["imagePullSecrets"]).is_empty() && !secrets.is_empty() {
            spec["imagePullSecrets"] =
                secrets.iter().map(|s| json!({"name": s["name"].as_str().unwrap_or("")})).collect();
        }
        Ok(())
    }

    async fn validate(&self, attributes: &Attributes<'_>, pod: &Value) -> Result<(), Status> {
        let forbidden = |why: &str| Err(attributes.forbidden(pod, why));
        let name = object::str_at(pod, &["spec", "serviceAccountName"]);
        if attributes.operation == Operation::Create && annotation(pod, MIRROR).is_some() {
            if !name.is_empty() {
                return forbidden("a mirror pod may not reference service accounts");
            }
            if !secrets_of(pod).is_empty() || !items(pod, &["spec", "imagePullSecrets"]).is_empty() {
                return forbidden("a mirror pod may not reference secrets");
            }
            let token = |volume: &Value| {
                items(volume, &["projected", "sources"])
                    .iter()
                    .any(|s| set(s, &["serviceAccountToken"]).is_some())
            };
            if items(pod, &["spec", "volumes"]).iter().any(token) {
                return forbidden("a mirror pod may not use ServiceAccountToken volume projections");
            }
            return Ok(());
        }
        if name.is_empty() {
            if attributes.operation == Operation::Update {
                return Ok(());
            }
            return Err(attributes.forbidden(
                pod,
                format!(
                    "no service account specified for pod {}/{}",
                    attributes.namespace,
                    object::name(pod)
                ),
            ));
        }
        let account = match attributes.operation {
            Operation::Create => account(attributes, pod, name).await?,
            // An account that went since the pod began does not keep it from being debugged.
            _ => match attributes.reader.get(&accounts(), attributes.namespace, name).await? {
                Some(account) => account,
                None => return Ok(()),
            },
        };
        if annotation(&account, ENFORCE_MOUNTABLE) == Some("true") {
            limit_secrets(attributes, pod, &account)?;
        }
        Ok(())
    }
}

fn accounts() -> GroupResource {
    GroupResource::new("", "serviceaccounts")
}

async fn account(attributes: &Attributes<'_>, pod: &Value, name: &str) -> Result<Value, Status> {
    let attempts = if name == DEFAULT { DEFAULT_ATTEMPTS } else { 1 };
    for attempt in 0..attempts {
        if attempt > 0 {
            tokio::time::sleep(RETRY).await;
        }
        if let Some(account) = attributes.reader.get(&accounts(), attributes.namespace, name).await? {
            return Ok(account);
        }
    }
    Err(attributes.forbidden(
        pod,
        format!(
            "error looking up service account {}/{name}: serviceaccount {name:?} not found",
            attributes.namespace
        ),
    ))
}

/// The pod's word counts before the account's.
fn automounts(account: &Value, spec: &Value) -> bool {
    let flag = |value: &Value| value.get("automountServiceAccountToken").and_then(Value::as_bool);
    flag(spec).or_else(|| flag(account)).unwrap_or(true)
}

fn mount_token(spec: &mut Value) {
    let known = items(spec, &["volumes"])
        .iter()
        .filter_map(|v| v["name"].as_str())
        .find(|name| name.starts_with(VOLUME_PREFIX))
        .map(str::to_owned);
    let name = known.clone().unwrap_or_else(|| names::generate_name(VOLUME_PREFIX));
    let mut needed = false;
    for field in ["initContainers", "containers"] {
        let Some(containers) = spec.get_mut(field).and_then(Value::as_array_mut) else { continue };
        for container in containers {
            // What is mounted there on purpose stays.
            if items(container, &["volumeMounts"]).iter().any(|m| m["mountPath"] == MOUNT_PATH) {
                continue;
            }
            if let Some(mounts) = list_mut(container, "volumeMounts") {
                mounts.push(json!({"name": name, "readOnly": true, "mountPath": MOUNT_PATH}));
                needed = true;
            }
        }
    }
    if known.is_none()
        && needed
        && let Some(volumes) = list_mut(spec, "volumes")
    {
        volumes.push(json!({"name": name, "projected": {"defaultMode": 420, "sources": [
            {"serviceAccountToken": {"expirationSeconds": TOKEN_SECONDS, "path": "token"}},
            {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
            {"downwardAPI": {"items": [
                {"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}]}},
        ]}}));
    }
}

/// The secrets that volumes and environments name, each with the words that lead to it.
fn secrets_of(pod: &Value) -> Vec<(String, &str)> {
    let mut found = Vec::new();
    for volume in items(pod, &["spec", "volumes"]) {
        if let Some(name) = object::at(volume, &["secret", "secretName"]).and_then(Value::as_str) {
            found.push((format!("volume with secret.secretName={name:?}"), name));
        }
        for source in items(volume, &["projected", "sources"]) {
            if let Some(name) = object::at(source, &["secret", "name"]).and_then(Value::as_str) {
                found.push((format!("volume with secret.secretName={name:?}"), name));
            }
        }
    }
    for (field, kind) in [
        ("initContainers", "init container"),
        ("containers", "container"),
        ("ephemeralContainers", "ephemeral container"),
    ] {
        for container in items(pod, &["spec", field]) {
            let called = container["name"].as_str().unwrap_or("");
            for env in items(container, &["env"]) {
                let name = object::str_at(env, &["valueFrom", "secretKeyRef", "name"]);
                if !name.is_empty() {
                    let variable = env["name"].as_str().unwrap_or("");
                    let words = format!(
                        "{kind} {called} with envVar {variable} referencing secret.secretName={name:?}"
                    );
                    found.push((words, name));
                }
            }
            for env in items(container, &["envFrom"]) {
                let name = object::str_at(env, &["secretRef", "name"]);
                if !name.is_empty() {
                    let words =
                        format!("{kind} {called} with envFrom referencing secret.secretName={name:?}");
                    found.push((words, name));
                }
            }
        }
    }
    found
}

/// Refuses secrets that the account does not name, where the account asks for that.
fn limit_secrets(attributes: &Attributes<'_>, pod: &Value, account: &Value) -> Result<(), Status> {
    let names = |field: &str, name: &str| items(account, &[field]).iter().any(|s| s["name"] == name);
    let who = object::name(account);
    for (words, name) in secrets_of(pod) {
        if !names("secrets", name) {
            let why = format!(
                "{words} is not allowed because service account {who} does not reference that secret"
            );
            return Err(attributes.forbidden(pod, why));
        }
    }
    for (index, secret) in items(pod, &["spec", "imagePullSecrets"]).iter().enumerate() {
        let name = secret["name"].as_str().unwrap_or("");
        if !names("imagePullSecrets", name) {
            let why = format!(
                "imagePullSecrets[{index}].Name={name:?} is not allowed because service account {who} does not reference that imagePullSecret"
            );
            return Err(attributes.forbidden(pod, why));
        }
    }
    Ok(())
}
