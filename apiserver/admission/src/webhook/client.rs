//! Where a webhook is: [`ClientConfig`].

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kplane_machinery::object;
use serde_json::Value;

/// Where the server of a webhook is, and how it is verified (`WebhookClientConfig`).
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// The server.
    pub destination: Destination,
    /// The certificates by which it is verified, in PEM; empty: those that the machine trusts.
    pub ca_bundle: Arc<[u8]>,
}

/// A server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// At a URL.
    Url(String),
    /// Behind a Service of the control plane.
    #[expect(missing_docs, reason = "the fields of a ServiceReference")]
    Service { namespace: String, name: String, port: u16, path: String },
}

impl ClientConfig {
    /// Reads it from a `clientConfig`.
    pub fn read(config: &Value) -> Result<Self, String> {
        let destination = match config.get("url").and_then(Value::as_str) {
            Some(url) => Destination::Url(url.to_owned()),
            None => {
                let service = config.get("service").ok_or("neither a url nor a service is given")?;
                let port = service.get("port").and_then(Value::as_u64).unwrap_or(443);
                Destination::Service {
                    namespace: object::str_at(service, &["namespace"]).to_owned(),
                    name: object::str_at(service, &["name"]).to_owned(),
                    port: u16::try_from(port).map_err(|_| format!("{port} is no port"))?,
                    path: object::str_at(service, &["path"]).to_owned(),
                }
            }
        };
        let bundle = object::str_at(config, &["caBundle"]);
        let ca_bundle = STANDARD.decode(bundle).map_err(|e| format!("the caBundle is no base64: {e}"))?;
        Ok(Self { destination, ca_bundle: ca_bundle.into() })
    }

    /// The URL that is called, without a query: what errors show.
    pub fn url(&self) -> String {
        match &self.destination {
            Destination::Url(url) => {
                // A URL without a path is one with the root's.
                let bare = url.strip_prefix("https://").is_some_and(|rest| !rest.contains('/'));
                if bare { format!("{url}/") } else { url.clone() }
            }
            Destination::Service { namespace, name, port, path } => {
                format!("https://{name}.{namespace}.svc:{port}/{}", path.trim_start_matches('/'))
            }
        }
    }
}
