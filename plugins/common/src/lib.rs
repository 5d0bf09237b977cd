//! What the kubectl plugins share.
//!
//! ```text
//!  args ─▶ config::Settings ─▶ app::App ─▶ app::Management (a client of the management cluster)
//!              ▲                  │
//!   flag > KPLANE_* > file        ├─▶ planes       control planes: create, list, use, delete, credentials
//!                                 ├─▶ providers    what makes the management plane: local
//!                                 ├─▶ kubeconfig   entries `kplane-<name>`, edited under a lock
//!                                 └─▶ printer, table, output, error   all that is written
//! ```
//!
//! The plugins create, read, patch and delete custom resources and read Secrets; all else is the controllers' work,
//! so that a GitOps tool gets the same result.

pub mod app;
pub mod args;
pub mod completion;
pub mod config;
pub mod error;
pub mod kubeconfig;
pub mod names;
pub mod output;
pub mod planes;
pub mod printer;
pub mod program;
pub mod providers;
pub mod table;
pub mod wait;

pub use app::{App, Management};
pub use error::{Error, Result};
