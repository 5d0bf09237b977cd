//! Work that keeps a processor busy: [`apart`].

use tokio::runtime::{Handle, RuntimeFlavor};

/// Runs what may take long, such as expressions that a tenant wrote, where it holds up no other request.
pub fn apart<T>(run: impl FnOnce() -> T) -> T {
    match Handle::try_current().map(|handle| handle.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(run),
        _ => run(),
    }
}
