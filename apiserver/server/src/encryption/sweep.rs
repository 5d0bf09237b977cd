//! Writes anew what is sealed with another key than it would be now. Once for a configuration, and for each key that a key
//! management service takes: a mark in the store says which one all values have.
//!
//! Bounded: one page at a time, with a pause behind each. Every value is written only if it is unchanged, so that several
//! replicas may do it at once. A value that is written anew has a new resourceVersion.

use std::sync::Arc;
use std::time::Duration;

use kplane_registry::Registry;
use kplane_storage::{Bytes, Compare, Op, RangeRequest, Result, Sealer, SharedStore, Txn, successor};
use tokio_util::sync::CancellationToken;

use super::Encryption;

/// As many keys are looked at, at once.
const PAGE: usize = 100;
/// How long is waited behind a page of which something was written.
const PAUSE: Duration = Duration::from_millis(50);
/// How long is waited before it is tried again.
const BACKOFF: Duration = Duration::from_secs(30);
/// Events go by themselves, and would stay for ever if they were written anew.
const EVENTS: [&str; 2] = ["//events/", "/events.k8s.io/events/"];

/// The key of the mark: by what configuration all values are sealed.
pub fn mark(prefix: &str) -> Bytes {
    Bytes::from(format!("{prefix}.meta/encryption"))
}

/// Runs until all is as it should be.
pub async fn run(
    registry: Registry,
    inner: SharedStore,
    encryption: Arc<Encryption>,
    shutdown: CancellationToken,
) {
    let mark = mark(registry.prefix());
    loop {
        let wanted = encryption.fingerprint();
        let work = async {
            let found = inner.get(&mark, None).await?.kv;
            if found.as_ref().is_some_and(|kv| kv.value == wanted.as_bytes()) {
                return Ok(0);
            }
            let written = sweep(&registry, &inner, &encryption).await?;
            inner.put(mark.clone(), wanted.clone().into()).await?;
            Ok::<_, kplane_storage::Error>(written)
        };
        let result = tokio::select! {
            () = shutdown.cancelled() => return,
            result = work => result,
        };
        match result {
            Ok(0) => {}
            Ok(written) => tracing::info!(written, "values were encrypted anew"),
            Err(error) => {
                tracing::warn!(%error, "values could not be encrypted anew; trying again");
                tokio::select! {
                    () = shutdown.cancelled() => return,
                    () = tokio::time::sleep(BACKOFF) => continue,
                }
            }
        }
        // Keys in the configuration stay as they are until the server ends.
        while encryption.fingerprint() == wanted {
            if !encryption.has_services() {
                return;
            }
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(BACKOFF) => {}
            }
        }
    }
}

/// Looks at every value of every control plane.
async fn sweep(registry: &Registry, inner: &SharedStore, encryption: &Encryption) -> Result<usize> {
    let mut written = 0;
    let mut request = RangeRequest::prefix(registry.prefix().to_owned()).limit(PAGE);
    request.skip_count = true;
    loop {
        let page = inner.range(request.clone()).await?;
        let mut changed = 0;
        for kv in &page.kvs {
            if !encryption.is_stale(&kv.key, &kv.value) || is_event(&kv.key) {
                continue;
            }
            let plain = if encryption.is_plain(&kv.key, &kv.value) {
                kv.value.clone()
            } else {
                encryption.open(&kv.key, &kv.value).await?
            };
            let sealed = encryption.seal(&kv.key, &plain).await?;
            let unchanged = Compare::unchanged(kv.key.clone(), kv.mod_revision);
            let txn = Txn::new().when([unchanged]).and_then([Op::put(kv.key.clone(), sealed)]);
            // One that was changed meanwhile was sealed as it should be by whoever changed it.
            changed += usize::from(inner.txn(txn).await?.succeeded);
        }
        written += changed;
        match page.kvs.last() {
            Some(last) if page.more => request.start = successor(&last.key),
            _ => return Ok(written),
        }
        if changed > 0 {
            tokio::time::sleep(PAUSE).await;
        }
    }
}

fn is_event(key: &[u8]) -> bool {
    let key = String::from_utf8_lossy(key);
    EVENTS.iter().any(|part| key.contains(part))
}
