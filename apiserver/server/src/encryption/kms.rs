//! A key management service, spoken to by Kubernetes' KMS v2 over a Unix socket.
//!
//! The service seals one seed for this process; values are sealed with keys that derive from it. So the service is asked
//! when the server starts, when its own key has changed, and for seeds that another process or another time has made.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use anyhow::Context as _;
use hyper_util::rt::TokioIo;
use kplane_storage::{Error, Result};
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;

use super::keys::MasterKey;

/// How often the service is asked for its state.
const POLL: Duration = Duration::from_secs(60);
/// How many seeds of others are remembered.
const REMEMBERED: usize = 128;

/// The messages of `v2.KeyManagementService`.
mod messages {
    use std::collections::HashMap;

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct StatusRequest {}

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct StatusResponse {
        #[prost(string, tag = "1")]
        pub version: String,
        #[prost(string, tag = "2")]
        pub healthz: String,
        #[prost(string, tag = "3")]
        pub key_id: String,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct EncryptRequest {
        #[prost(bytes = "vec", tag = "1")]
        pub plaintext: Vec<u8>,
        #[prost(string, tag = "2")]
        pub uid: String,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct EncryptResponse {
        #[prost(bytes = "vec", tag = "1")]
        pub ciphertext: Vec<u8>,
        #[prost(string, tag = "2")]
        pub key_id: String,
        #[prost(map = "string, bytes", tag = "3")]
        pub annotations: HashMap<String, Vec<u8>>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct DecryptRequest {
        #[prost(bytes = "vec", tag = "1")]
        pub ciphertext: Vec<u8>,
        #[prost(string, tag = "2")]
        pub uid: String,
        #[prost(string, tag = "3")]
        pub key_id: String,
        #[prost(map = "string, bytes", tag = "4")]
        pub annotations: HashMap<String, Vec<u8>>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct DecryptResponse {
        #[prost(bytes = "vec", tag = "1")]
        pub plaintext: Vec<u8>,
    }
}

use messages::{
    DecryptRequest, DecryptResponse, EncryptRequest, EncryptResponse, StatusRequest, StatusResponse,
};

/// A seed and how the service sealed it: what stands before every value.
#[derive(Debug)]
pub struct Seed {
    key: MasterKey,
    /// The key of the service.
    pub key_id: String,
    /// An encoded `EncryptResponse`.
    pub sealed: Vec<u8>,
}

impl Seed {
    /// The key that values derive theirs from.
    pub fn key(&self) -> &MasterKey {
        &self.key
    }
}

/// The service.
#[derive(Debug)]
pub struct Kms {
    /// The name of the provider.
    pub name: String,
    channel: Channel,
    timeout: Duration,
    current: RwLock<Option<Arc<Seed>>>,
    others: Mutex<HashMap<Vec<u8>, MasterKey>>,
}

impl Kms {
    /// Connects, and has a seed sealed. Afterwards a new one is made whenever the service has another key.
    pub async fn start(name: &str, socket: &str, timeout: Duration) -> anyhow::Result<Arc<Self>> {
        let path = socket.to_owned();
        // The address is not used: the connector knows where to go.
        let channel = Endpoint::from_static("http://kms").connect_with_connector_lazy(service_fn(
            move |_: http::Uri| {
                let path = path.clone();
                async move { UnixStream::connect(path).await.map(TokioIo::new) }
            },
        ));
        let kms = Arc::new(Self {
            name: name.to_owned(),
            channel,
            timeout,
            current: RwLock::default(),
            others: Mutex::default(),
        });
        kms.refresh().await.map_err(anyhow::Error::msg).with_context(|| {
            format!("the key management service {name:?} at unix://{socket} cannot be used; does it run?")
        })?;
        let weak = Arc::downgrade(&kms);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(POLL).await;
                let Some(kms) = weak.upgrade() else { return };
                if let Err(error) = kms.refresh().await {
                    tracing::warn!(name = kms.name, error, "the key management service is not well");
                }
            }
        });
        Ok(kms)
    }

    async fn call<Q, A>(&self, method: &'static str, request: Q) -> Result<A, String>
    where
        Q: prost::Message + Send + Sync + 'static,
        A: prost::Message + Default + Send + Sync + 'static,
    {
        let call = async {
            let mut client = tonic::client::Grpc::new(self.channel.clone());
            client.ready().await.map_err(|e| e.to_string())?;
            let path = http::uri::PathAndQuery::from_static(method);
            let codec = tonic_prost::ProstCodec::<Q, A>::default();
            let answer = client.unary(tonic::Request::new(request), path, codec).await;
            answer.map(tonic::Response::into_inner).map_err(|e| e.message().to_owned())
        };
        match tokio::time::timeout(self.timeout, call).await {
            Ok(answer) => answer,
            Err(_) => Err(format!("no answer within {:?}", self.timeout)),
        }
    }

    /// Makes a new seed, unless the service has the key that sealed the present one.
    async fn refresh(&self) -> Result<(), String> {
        let status: StatusResponse = self.call("/v2.KeyManagementService/Status", StatusRequest {}).await?;
        if status.healthz != "ok" {
            return Err(format!("it says of itself: {:?}", status.healthz));
        }
        if !matches!(status.version.as_str(), "v2" | "v2beta1") {
            return Err(format!("it speaks version {:?}, not v2", status.version));
        }
        if self.seed().is_some_and(|seed| seed.key_id == status.key_id) {
            return Ok(());
        }
        let key = MasterKey::random()?;
        let request =
            EncryptRequest { plaintext: key.bytes().to_vec(), uid: uuid::Uuid::new_v4().to_string() };
        let sealed: EncryptResponse = self.call("/v2.KeyManagementService/Encrypt", request).await?;
        let seed =
            Seed { key, key_id: sealed.key_id.clone(), sealed: prost::Message::encode_to_vec(&sealed) };
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(seed));
        Ok(())
    }

    /// The seed that seals.
    pub fn seed(&self) -> Option<Arc<Seed>> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether a seed was sealed with another key than the service has now.
    pub fn is_stale(&self, sealed: &[u8]) -> bool {
        let Ok(sealed) = <EncryptResponse as prost::Message>::decode(sealed) else { return false };
        self.seed().is_some_and(|seed| seed.key_id != sealed.key_id)
    }

    /// The key in a sealed seed.
    pub async fn open(&self, sealed: &[u8]) -> Result<MasterKey> {
        if let Some(seed) = self.seed().filter(|seed| seed.sealed == sealed) {
            return Ok(seed.key.clone());
        }
        if let Some(key) = self.others.lock().unwrap_or_else(PoisonError::into_inner).get(sealed) {
            return Ok(key.clone());
        }
        let seed = <EncryptResponse as prost::Message>::decode(sealed)
            .map_err(|e| Error::Corrupt(format!("a sealed key cannot be read: {e}")))?;
        let request = DecryptRequest {
            ciphertext: seed.ciphertext,
            uid: uuid::Uuid::new_v4().to_string(),
            key_id: seed.key_id,
            annotations: seed.annotations,
        };
        let answer: Result<DecryptResponse, String> =
            self.call("/v2.KeyManagementService/Decrypt", request).await;
        let answer = answer.map_err(|why| {
            Error::Unavailable(format!("the key management service {:?} does not decrypt: {why}", self.name))
        })?;
        let key = MasterKey::new(answer.plaintext);
        let mut others = self.others.lock().unwrap_or_else(PoisonError::into_inner);
        if others.len() >= REMEMBERED {
            others.clear();
        }
        others.insert(sealed.to_vec(), key.clone());
        Ok(key)
    }
}
