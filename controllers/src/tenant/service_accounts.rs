//! Every namespace has the service account `default` and the ConfigMap `kube-root-ca.crt`.

use serde_json::{Value, json};

use super::queue::{Next, Queue, Worker};
use super::router::NamespaceKey;
use crate::Error;
use crate::runtime::raw::{self, Raw};

/// The name of the service account.
pub const SERVICE_ACCOUNT: &str = "default";
/// The name of the ConfigMap.
pub const CONFIG_MAP: &str = "kube-root-ca.crt";
const DESCRIPTION: &str = "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes clusters.";

/// Makes both.
pub struct ServiceAccounts {
    raw: Raw,
    root_ca: Option<String>,
    queue: Queue<NamespaceKey>,
}

impl ServiceAccounts {
    /// Works through this client, with these certificates.
    pub fn new(raw: Raw, root_ca: Option<String>) -> Self {
        Self { raw, root_ca, queue: Queue::default() }
    }

    /// A namespace is to be looked at.
    pub fn add(&self, namespace: NamespaceKey) {
        self.queue.add(namespace);
    }
}

fn config_map(namespace: &str, ca: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": CONFIG_MAP,
            "namespace": namespace,
            "annotations": { "kubernetes.io/description": DESCRIPTION },
        },
        "data": { "ca.crt": ca },
    })
}

/// Whether a ConfigMap is to be mended, as upstream sees it.
fn differs(current: &Value, ca: &str) -> bool {
    current.pointer("/data/ca.crt").and_then(Value::as_str) != Some(ca)
        || current.get("data").and_then(Value::as_object).is_none_or(|data| data.len() != 1)
}

/// Whether an answer means that the namespace, or its control plane, is gone or going: nothing is left to do.
fn is_over(error: &kube::Error) -> bool {
    match error {
        kube::Error::Api(status) if status.code == 404 => true,
        kube::Error::Api(status) if status.code == 403 => {
            status.message.contains("because it is being terminated")
        }
        _ => false,
    }
}

impl Worker for ServiceAccounts {
    type Key = NamespaceKey;
    const NAME: &'static str = "serviceaccounts";

    fn queue(&self) -> &Queue<NamespaceKey> {
        &self.queue
    }

    async fn reconcile(&self, key: NamespaceKey) -> Result<Next, Error> {
        let raw = self.raw.cluster(&key.cluster);
        let namespace = &*key.name;
        let account = json!({
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": { "name": SERVICE_ACCOUNT, "namespace": namespace },
        });
        match raw.post(&format!("/api/v1/namespaces/{namespace}/serviceaccounts"), &account).await {
            Ok(_) => {}
            Err(error) if is_over(&error) => return Ok(Next::Done),
            Err(error) if raw::is_conflict(&error) => {}
            Err(error) => return Err(error.into()),
        }
        let Some(ca) = &self.root_ca else { return Ok(Next::Done) };
        let maps = format!("/api/v1/namespaces/{namespace}/configmaps");
        match raw.post(&maps, &config_map(namespace, ca)).await {
            Ok(_) => return Ok(Next::Done),
            Err(error) if is_over(&error) => return Ok(Next::Done),
            Err(error) if raw::is_conflict(&error) => {}
            Err(error) => return Err(error.into()),
        }
        let path = format!("{maps}/{CONFIG_MAP}");
        let Some(mut current) = raw::optional(raw.get(&path).await)? else {
            return Err(Error::Wait("the ConfigMap went while it was looked at".into()));
        };
        if differs(&current, ca) {
            current["data"] = json!({ "ca.crt": ca });
            match raw.put(&path, &current).await {
                Ok(_) => {}
                Err(error) if is_over(&error) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Next::Done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_config_map_is_mended_when_it_holds_anything_else() {
        let whole = config_map("farm", "pem");
        assert!(!differs(&whole, "pem"));
        assert!(differs(&whole, "other"));
        assert!(differs(&json!({ "data": { "ca.crt": "pem", "more": "x" } }), "pem"));
        assert!(differs(&json!({}), "pem"));
    }
}
