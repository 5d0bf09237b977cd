//! What makes the management plane.

pub mod cluster;
mod disk;
pub mod local;
mod plane;

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use futures::future::BoxFuture;

use crate::app::App;
use crate::error::{Error, Result};

/// The port of the management plane when none is asked for.
pub const DEFAULT_PORT: u16 = 8443;

/// The name of a provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProviderName {
    /// One background process of the user, without containers.
    Local,
    /// A kind cluster.
    Kind,
    /// A k3s cluster, by k3d.
    K3s,
    /// A cluster that is there already.
    Existing,
}

impl ProviderName {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Local, Self::Kind, Self::K3s, Self::Existing];

    /// As the configuration writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Kind => "kind",
            Self::K3s => "k3s",
            Self::Existing => "existing",
        }
    }
}

impl FromStr for ProviderName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let name = if text == "k3d" { "k3s" } else { text };
        Self::ALL.into_iter().find(|provider| provider.as_str() == name).ok_or_else(|| {
            let known: Vec<_> = Self::ALL.iter().map(|provider| provider.as_str()).collect();
            Error::new(format!("unknown provider {text:?}"))
                .hint(format!("providers are {}", known.join(", ")))
        })
    }
}

/// What `up` is asked for.
#[derive(Clone, Debug)]
pub struct UpRequest {
    /// Make its context the current one; when not said, only if the context is new.
    pub set_current: Option<bool>,
    /// How long to wait for the management plane.
    pub timeout: Duration,
    /// The archive of the image to load into a cluster; when not said, the one beside the program.
    pub image_archive: Option<PathBuf>,
}

/// What `down` is asked for.
#[derive(Clone, Debug)]
pub struct DownRequest {
    /// Lose the data too.
    pub delete_data: bool,
    /// Do not ask.
    pub yes: bool,
    /// How long to wait for the end before it is forced.
    pub timeout: Duration,
}

/// What makes a management plane, and ends it.
pub trait Provider: Send + Sync {
    /// Makes the management plane, or what is missing of it, and waits until it is ready.
    fn up<'a>(&'a self, app: &'a App, request: &'a UpRequest) -> BoxFuture<'a, Result<()>>;
    /// Ends the management plane.
    fn down<'a>(&'a self, app: &'a App, request: &'a DownRequest) -> BoxFuture<'a, Result<()>>;
}

/// The provider of a name.
pub fn provider(name: ProviderName) -> Box<dyn Provider> {
    match name {
        ProviderName::Local => Box::new(local::Local),
        other => Box::new(cluster::Cluster(other)),
    }
}
