//! What can go wrong in a controller.

/// An error of a controller. Each is tried again with a growing wait; what cannot be mended by trying is a
/// condition, not an error.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A request to an API server failed.
    #[error("{}", describe(.0))]
    Kube(#[from] kube::Error),

    /// Something could not be written as JSON or YAML, or read.
    #[error("could not convert {what}: {message}")]
    Convert {
        /// What was converted.
        what: &'static str,
        /// Why it failed.
        message: String,
    },

    /// The shared API server cannot be reached yet.
    #[error("the shared API server is not known yet: {0}")]
    PlaneUnknown(String),

    /// A certificate could not be made.
    #[error("could not make a certificate: {0}")]
    Certificate(#[from] rcgen::Error),

    /// etcd refused a request, or did not answer it.
    #[error("etcd: {0}")]
    Etcd(String),

    /// A snapshot is not there, or not whole.
    #[error("{0}")]
    Snapshot(String),

    /// An object store refused a request, or did not answer it.
    #[error("{message}")]
    ObjectStore {
        /// For programs.
        reason: &'static str,
        /// For people, with the next step.
        message: String,
    },

    /// A file could not be read or written.
    #[error("{path}: {error}")]
    File {
        /// Which one.
        path: String,
        /// Why.
        #[source]
        error: std::io::Error,
    },

    /// The cluster does not know the kind by which the API server is attached to a Gateway.
    #[error(
        "this cluster serves no TLSRoutes of gateway.networking.k8s.io: install Gateway API 1.5 or later, or the experimental \
         channel of an earlier one; or choose another spec.exposure.type"
    )]
    GatewayApiMissing,

    /// Something did not happen in time.
    #[error("{0}")]
    Wait(String),
}

impl From<serde_json::Error> for Error {
    fn from(error: serde_json::Error) -> Self {
        Self::Convert { what: "JSON", message: error.to_string() }
    }
}

/// The API's own words where there are some: kube repeats the whole status object otherwise.
fn describe(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if !status.message.is_empty() => status.message.clone(),
        other => other.to_string(),
    }
}
