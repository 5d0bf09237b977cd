//! Work that keeps a processor busy for longer than others should wait: it is done beside the threads that answer requests,
//! by one thread at a time, so that whoever asks for much of it slows nobody but those who ask for the like.

use std::sync::LazyLock;

use kplane_machinery::Status;
use tokio::sync::Semaphore;

/// Half of the processors, so that the others are free for requests.
static PLACES: LazyLock<Semaphore> = LazyLock::new(|| {
    let processors = std::thread::available_parallelism().map_or(2, usize::from);
    Semaphore::new((processors / 2).max(1))
});

/// Does it, when it is its turn.
pub async fn run<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Status> {
    let _place = PLACES.acquire().await.map_err(Status::internal)?;
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
