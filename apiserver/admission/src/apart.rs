//! Work that keeps a processor busy: [`apart`], and [`in_turn`], which waits for a place first.

use tokio::runtime::{Handle, RuntimeFlavor};

use crate::Reader;

/// Runs what may take long, such as expressions that a tenant wrote, where it holds up no other request.
pub fn apart<T>(run: impl FnOnce() -> T) -> T {
    match Handle::try_current().map(|handle| handle.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(run),
        _ => run(),
    }
}

/// The same, of what is done for one control plane, when that has a place: so that no tenant's expressions hold the machine.
/// What cannot take long is done at once.
pub(crate) async fn in_turn<T>(
    reader: &dyn Reader,
    may_take_long: bool,
    run: impl FnOnce() -> T + Send,
) -> T {
    if !may_take_long {
        return run();
    }
    let _place = reader.place().await;
    apart(run)
}
