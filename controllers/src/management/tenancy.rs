//! The tenant controllers for the management plane that is deployed: they run wherever the management controllers do,
//! against the shared API server that the `ManagementPlane` leads to.

use std::time::Duration;

use kube::Client;
use tokio_util::sync::CancellationToken;

use super::context::POLL;
use super::plane::{Access, Planes};
use crate::Error;
use crate::tenant::{TenantOptions, run_tenant};

/// How often the way to the shared API server is looked at again.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

/// Runs the tenant controllers against the shared API server, whenever and wherever there is one, until `shutdown`.
///
/// `address` is where the server is reached, when its Service cannot be. The certificates for `kube-root-ca.crt` are those of the management plane, unless the options name others.
pub async fn run_tenant_of_plane(
    management: Client,
    address: Option<String>,
    options: TenantOptions,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    let planes = Planes::new(management, None).at(address);
    while !shutdown.is_cancelled() {
        let access = match planes.access().await {
            Ok(access) => access,
            Err(error) => {
                tracing::debug!(%error, "no shared API server for the tenant controllers yet");
                tokio::select! {
                    () = shutdown.cancelled() => return Ok(()),
                    () = tokio::time::sleep(POLL) => continue,
                }
            }
        };
        let mut options = options.clone();
        options.root_ca = options.root_ca.or_else(|| (!access.ca.is_empty()).then(|| access.ca.clone()));
        let token = shutdown.child_token();
        let running = run_tenant(access.client.clone(), options, token.clone());
        tokio::pin!(running);
        tokio::select! {
            result = &mut running => if let Err(error) = result {
                // All that it led has ended. A server that is away for a while must not end those who look after it, in the
                // same process.
                tracing::warn!(%error, "the tenant controllers begin anew");
                tokio::select! {
                    () = shutdown.cancelled() => return Ok(()),
                    () = tokio::time::sleep(POLL) => {}
                }
            },
            () = moved(&planes, &access) => {
                tracing::info!("the way to the shared API server changed");
                token.cancel();
                if let Err(error) = running.await {
                    tracing::warn!(%error, "the tenant controllers begin anew");
                }
            }
        }
    }
    Ok(())
}

/// Waits until the shared API server is reached in another way. That it is not reached for a while is none.
async fn moved(planes: &Planes, access: &Access) {
    loop {
        tokio::time::sleep(LOOK_AGAIN).await;
        if let Ok(now) = planes.access().await
            && (now.revision != access.revision || now.ca != access.ca || now.internal != access.internal)
        {
            return;
        }
    }
}
