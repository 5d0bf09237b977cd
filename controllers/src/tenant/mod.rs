//! The tenant controllers: what kube-controller-manager does for one cluster, done for all virtual control planes by
//! one set of loops.
use crate::Error;
use kube::Client;
use tokio_util::sync::CancellationToken;
/// How the tenant controllers run.
#[derive(Clone, Default)]
pub struct TenantOptions {}
/// Runs the tenant controllers until `shutdown`.
pub async fn run_tenant(
    _client: Client,
    _options: TenantOptions,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    shutdown.cancelled().await;
    Ok(())
}
