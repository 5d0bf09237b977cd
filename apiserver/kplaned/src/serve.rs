//! What `kplaned` serves: the shared API server on the embedded store, and the controllers.

use std::net::IpAddr;
use std::path::PathBuf;

use tokio_util::sync::CancellationToken;

/// Where to serve, and from what.
#[derive(Clone, Debug)]
pub struct ServeOptions {
    /// Where the store and the keys are, and where `admin.kubeconfig` is left.
    pub data_dir: PathBuf,
    /// The port to serve.
    pub port: u16,
    /// The address to serve.
    pub bind: IpAddr,
}

/// Serves until `shutdown`; calls `ready` once the port is open and `admin.kubeconfig` is written.
pub async fn serve(
    options: ServeOptions,
    ready: impl FnOnce(),
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let _ = (options, ready, shutdown);
    anyhow::bail!("this build of kplaned holds no server")
}
