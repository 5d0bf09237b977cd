//! When a connection that another server answers has to end.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use kplane_registry::{Vcp, WatchFrom, WatchRequest};

use super::resource_key;
use crate::app::App;

/// How soon it is tried again to be told of a change.
const AGAIN: Duration = Duration::from_secs(1);

/// Waits until other credentials of a control plane are good than now, or none: what was let in before must not go on. Its
/// watches end by themselves then, and so does this one, of an object that cannot be.
pub async fn revoked(app: Arc<App>, vcp: Arc<Vcp>) {
    let mut known = vcp.clone();
    loop {
        let request = WatchRequest {
            namespace: None,
            name: Some(Arc::from("")),
            from: WatchFrom::Now,
            bookmarks: false,
        };
        let watch = app.registry.watch(&known, &resource_key(), request).await;
        // What was changed before the watch began is known by now.
        if !matches!(app.identities.newer(&app, &vcp, watch.is_err()).await, Ok(None)) {
            return;
        }
        match watch {
            Ok(watch) => {
                let mut watch = pin!(watch);
                while let Some(Ok(_)) = watch.next().await {}
            }
            Err(error) => {
                tracing::debug!(vcp = %vcp.name, %error, "not told yet whether credentials are revoked");
                tokio::time::sleep(AGAIN).await;
            }
        }
        if let Some(now) = app.registry.known(vcp.id) {
            known = now;
        }
    }
}
