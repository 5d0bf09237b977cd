//! The vocabulary of the Kubernetes API, without any I/O: names of kinds and resources, errors as
//! `Status`, field paths, selectors, quantities, schemas and patches.
//!
//! Everything here is pure: a function of its arguments. The crates above put it to work:
//!
//! ```text
//! machinery ── schema ── kinds ──┐
//!     └────── registry ── auth ──┴── admission ── server
//!                └── storage
//! ```

pub mod field;
pub mod fields;
pub mod gvk;
pub mod jsonpath;
pub mod labels;
pub mod managed;
pub mod meta;
pub mod names;
pub mod object;
pub mod patch;
pub mod quantity;
pub mod schema;
pub mod status;
pub mod table;
pub mod time;

pub use gvk::{GroupKind, GroupResource, GroupVersion, GroupVersionKind, GroupVersionResource};
pub use status::{Reason, Status, StatusCause, StatusDetails};
