//! The registry: the objects of any number of virtual control planes (VCPs) in one store.
//!
//! ```text
//! create, update, delete ──▶ store transaction, fenced by the VCP's pin
//! get, list, watch       ──▶ hot sets (memory)  ◀── feed ◀── the one watch on the prefix
//!                        └─▶ store (cold resources, past revisions)
//! ```
//!
//! - [`Vcp`] is a tenant, carried from the route to the key: whatever is read or written is reached through one, and
//!   every key begins with its immutable [`VcpId`].
//! - A VCP's *pin* is one key that names its [`Layer`]s: immutable objects shared by all the VCPs that name
//!   them, which reads fall through to. Every write compares the pin, so that nobody writes into a VCP that is
//!   gone or closed.
//! - A write that the store leaves without an answer is looked for by its *mark*, after a new *ticket* has made sure that
//!   it is not done later, and made again if it was not done.
//! - A resource of a VCP is *cold* until it is first listed or watched as a whole. Then it is a *hot set* in memory,
//!   kept current by the feed and dropped when nobody uses it.

mod across;
mod compaction;
mod doubt;
mod encoded;
mod error;
mod feed;
mod fresh;
mod hot;
mod keys;
mod layer;
mod layer_set;
mod layer_sweep;
mod life;
mod often;
mod page;
mod read;
mod registry;
mod sets;
mod stored;
mod ticket;
mod track;
mod usage;
mod vcp;
mod watch;
mod watchers;
mod write;

pub use across::{AcrossEvent, AcrossItem, AcrossPage, AcrossPosition, AcrossRequest};
pub use encoded::Encoded;
pub use error::{Error, WriteError};
pub use hot::EventKind;
pub use keys::{ObjectKey, ResourceKey, VcpId};
pub use layer::{ContentHash, Layer, Parameters};
pub use layer_set::LayerSet;
pub use layer_sweep::Unnamed;
pub use life::NewVcp;
pub use read::{ListPage, ListRequest, ResourceVersion};
pub use registry::{Registry, RegistryOptions, Stats};
pub use stored::Stored;
pub use track::{Changes, Tracker};
pub use usage::Usage;
pub use vcp::{CredentialPolicy, Vcp, VcpState};
pub use watch::{WatchFrom, WatchItem, WatchRequest};
pub use write::Effects;
