//! An unmodified kubectl against a control plane: what upstream's own command tests (`test/cmd` of Kubernetes) do that needs no
//! running pod, one file an area.

mod access;
mod apply;
mod changes;
mod every_kind;
mod generators;
mod reads;
mod session;
mod without_nodes;

use session::Session;
