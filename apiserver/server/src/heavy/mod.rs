//! Work that keeps a processor busy for longer than others should wait: there are places for it, fewer than processors, so that
//! the others are free for requests. Control planes take turns at them: whoever asks for much of it slows nobody but
//! itself.

mod places;

use std::sync::{Arc, LazyLock};

use kplane_machinery::Status;
use kplane_registry::VcpId;
use serde_json::Value;

use crate::endpoints::cx::{Cx, Resource};
use places::{Place, Places};

/// Half of the processors.
static PLACES: LazyLock<Arc<Places>> = LazyLock::new(|| {
    let processors = std::thread::available_parallelism().map_or(2, usize::from);
    Places::new((processors / 2).max(1))
});

/// A place for something that is done for a control plane, kept until it is dropped. Nothing may be waited for meanwhile.
pub async fn place(vcp: VcpId) -> Place {
    PLACES.enter(vcp).await
}

/// A place for validating an object, where that may take long.
pub async fn place_for(cx: &Cx, resource: &Resource, object: &Value) -> Option<Place> {
    if resource.def.strategy.may_take_long(&resource.version, object) {
        Some(place(cx.vcp.id).await)
    } else {
        None
    }
}

/// Does it for a control plane beside the threads that answer requests, when it has a place.
pub async fn run<T: Send + 'static>(
    vcp: VcpId,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Status> {
    let _place = place(vcp).await;
    tokio::task::spawn_blocking(work).await.map_err(Status::internal)
}

/// Lets others go first. Not as the runtime's own yielding, which puts a task behind all that are ready: whose turn it is
/// then is decided by the turns of the control planes.
pub async fn give_way() {
    let mut gave = false;
    std::future::poll_fn(|cx| {
        if std::mem::replace(&mut gave, true) {
            return std::task::Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        std::task::Poll::Pending
    })
    .await;
}

/// How often long loops let others in.
const EVERY: usize = 64;

/// Counts the turns of a loop, and lets other requests in now and then.
#[derive(Debug, Default)]
pub struct Pace(usize);

impl Pace {
    /// One turn more.
    pub async fn step(&mut self) {
        self.0 += 1;
        if self.0.is_multiple_of(EVERY) {
            give_way().await;
        }
    }
}
