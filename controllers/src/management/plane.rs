//! The shared API server as the controllers know it.

use std::fmt::Debug;
use std::sync::Mutex;

use futures::stream::{self, Stream, StreamExt};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::Secret;
use kplane_crds::v1alpha1::{MANAGEMENT_PLANE_NAME, ManagementPlane, Topology};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Config, Resource};
use serde::de::DeserializeOwned;
use tokio::sync::watch;

use crate::Error;

/// The Secret, in the namespace of a deployed management plane, with the kubeconfig of root's administrator.
pub const ADMIN_SECRET: &str = "kplane-apiserver-admin";

/// How one part of the process that serves is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Whether it works.
    pub ok: bool,
    /// Why, for programs: in CamelCase.
    pub reason: String,
    /// Why, for people.
    pub message: String,
}

impl Health {
    /// It works.
    pub fn ok() -> Self {
        Self { ok: true, reason: "Serving".into(), message: String::new() }
    }

    /// It does not.
    pub fn failed(reason: &str, message: impl Into<String>) -> Self {
        Self { ok: false, reason: reason.into(), message: message.into() }
    }
}

/// How the process that serves is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PlaneHealth {
    /// The store.
    pub store: Health,
    /// The API server.
    pub apiserver: Health,
    /// The certificates.
    pub certificates: Health,
}

impl PlaneHealth {
    /// All works.
    pub fn ok() -> Self {
        Self { store: Health::ok(), apiserver: Health::ok(), certificates: Health::ok() }
    }
}

/// What the process that serves the API tells the controllers that run in it.
#[derive(Clone)]
pub struct EmbeddedPlane {
    /// Root's administrator at the shared API server.
    pub client: Client,
    /// The address for clients, without a path: `https://127.0.0.1:8443`.
    pub endpoint: String,
    /// The certificates, in PEM, by which clients verify the server.
    pub ca: String,
    /// The version of the server.
    pub version: String,
    /// How it is doing, as it changes.
    pub health: watch::Receiver<PlaneHealth>,
}

impl EmbeddedPlane {
    /// A plane that is always well.
    pub fn new(
        client: Client,
        endpoint: impl Into<String>,
        ca: impl Into<String>,
        version: impl Into<String>,
    ) -> Self {
        let (_, health) = watch::channel(PlaneHealth::ok());
        Self { client, endpoint: endpoint.into(), ca: ca.into(), version: version.into(), health }
    }
}

/// The way to the shared API server.
#[derive(Clone)]
pub struct Access {
    /// Root's administrator.
    pub client: Client,
    /// The address inside the management cluster, without a path.
    pub internal: String,
    /// The address from outside, without a path.
    pub external: String,
    /// The certificates, in PEM, by which clients verify the server.
    pub ca: String,
    /// Which of the administrator's kubeconfigs the client was made from.
    pub revision: String,
    /// The namespace of the management plane, where its Secrets and the ConfigMaps of add-ons are.
    pub namespace: String,
}

/// Finds the way to the shared API server of the management plane, and keeps the client while its kubeconfig stays.
pub struct Planes {
    management: Client,
    embedded: Option<EmbeddedPlane>,
    address: Option<String>,
    deployed: Mutex<Option<(String, Client)>>,
    /// The namespace of the management plane, once it is known.
    namespace: watch::Sender<Option<String>>,
}

impl Planes {
    /// Looks in this management cluster, and in this process.
    pub fn new(management: Client, embedded: Option<EmbeddedPlane>) -> Self {
        let (namespace, _) = watch::channel(None);
        Self { management, embedded, address: None, deployed: Mutex::new(None), namespace }
    }

    /// Reaches the server of a deployed plane here, and not at its Service.
    #[must_use]
    pub fn at(mut self, address: Option<String>) -> Self {
        self.address = address;
        self
    }

    /// The process that serves, if it is this one.
    pub fn embedded(&self) -> Option<&EmbeddedPlane> {
        self.embedded.as_ref()
    }

    /// The management plane is in this namespace.
    pub fn is_in(&self, namespace: &str) {
        self.namespace.send_if_modified(|known| {
            let moved = known.as_deref() != Some(namespace);
            if moved {
                *known = Some(namespace.to_owned());
            }
            moved
        });
    }

    /// The objects of a kind in the namespace of the management plane, as they change: in no other may the controllers of a
    /// deployed one watch them. It begins when the namespace is known.
    pub fn watch<K>(
        &self,
        config: watcher::Config,
    ) -> impl Stream<Item = Result<K, watcher::Error>> + Send + use<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + DeserializeOwned
            + Debug
            + Send
            + 'static,
    {
        let (client, known) = (self.management.clone(), self.namespace.subscribe());
        let next = move |mut known: watch::Receiver<Option<String>>| {
            let (client, config) = (client.clone(), config.clone());
            async move {
                let namespace = known.wait_for(Option::is_some).await.ok()?.clone()?;
                let mut moved = known.clone();
                let there = watcher(Api::<K>::namespaced(client, &namespace), config)
                    .default_backoff()
                    .touched_objects()
                    .take_until(async move { moved.changed().await });
                Some((there, known))
            }
        };
        stream::unfold(known, next).flatten()
    }

    /// The way to the shared API server, or why there is none yet.
    pub async fn access(&self) -> Result<Access, Error> {
        let planes: Api<ManagementPlane> = Api::all(self.management.clone());
        let Some(plane) = planes.get_opt(MANAGEMENT_PLANE_NAME).await? else {
            return Err(Error::PlaneUnknown("there is no ManagementPlane named default".into()));
        };
        let status = plane.status.unwrap_or_default();
        let Some(external) = status.endpoint else {
            return Err(Error::PlaneUnknown("the ManagementPlane has no endpoint".into()));
        };
        let (revision, client) = match (status.topology, &self.embedded) {
            (Some(Topology::Embedded), Some(embedded)) => (String::new(), embedded.client.clone()),
            (Some(Topology::Embedded), None) => {
                return Err(Error::PlaneUnknown(
                    "another process serves, and this one cannot reach it".into(),
                ));
            }
            _ => self.deployed(&plane.spec.namespace).await?,
        };
        Ok(Access {
            client,
            internal: status.internal_endpoint.unwrap_or_else(|| external.clone()),
            external,
            ca: status.ca_bundle.unwrap_or_default(),
            revision,
            namespace: plane.spec.namespace,
        })
    }

    async fn deployed(&self, namespace: &str) -> Result<(String, Client), Error> {
        let secrets: Api<Secret> = Api::namespaced(self.management.clone(), namespace);
        let Some(secret) = secrets.get_opt(ADMIN_SECRET).await? else {
            return Err(Error::PlaneUnknown(format!("there is no Secret {namespace}/{ADMIN_SECRET}")));
        };
        let version = secret.metadata.resource_version.clone().unwrap_or_default();
        {
            let known = self.deployed.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            if let Some((_, client)) = known.as_ref().filter(|(seen, _)| *seen == version) {
                return Ok((version, client.clone()));
            }
        }
        let text = secret.data.as_ref().and_then(|data| data.get("kubeconfig")).map(|bytes| &bytes.0[..]);
        let text = text.and_then(|bytes| std::str::from_utf8(bytes).ok()).unwrap_or_default();
        let convert = |error: &dyn std::fmt::Display| Error::Convert {
            what: "the administrator's kubeconfig",
            message: error.to_string(),
        };
        let kubeconfig = Kubeconfig::from_yaml(text).map_err(|e| convert(&e))?;
        let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
            .await
            .map_err(|e| convert(&e))?;
        if let Some(address) = &self.address {
            config.cluster_url = address.parse().map_err(|e| convert(&e))?;
        }
        let client = Client::try_from(config)?;
        *self.deployed.lock().unwrap_or_else(std::sync::PoisonError::into_inner) =
            Some((version.clone(), client.clone()));
        Ok((version, client))
    }
}

/// The address of one control plane at a server, unless the address is that of one already.
pub fn control_plane_url(base: &str, cluster_path: &str) -> String {
    let base = base.trim_end_matches('/');
    if base.contains("/clusters/") && base.contains("/control-plane") {
        return base.to_owned();
    }
    format!("{base}/clusters/{cluster_path}/control-plane")
}

#[cfg(test)]
mod tests {
    use super::control_plane_url;

    #[test]
    fn the_path_is_added_once() {
        let whole = "https://host:1/clusters/demo/control-plane";
        assert_eq!(control_plane_url("https://host:1/", "demo"), whole);
        assert_eq!(control_plane_url(whole, "demo"), whole);
    }
}
