//! The pod spec, wherever it occurs: in Pods and in the templates of every workload.

pub(crate) mod affinity;
pub(crate) mod containers;
pub(crate) mod defaults;
pub(crate) mod print;
pub(crate) mod security;
pub(crate) mod update;
pub(crate) mod validate;
pub(crate) mod volumes;
pub(crate) mod warnings;

use crate::val::At;

/// The three lists of containers.
pub(crate) const CONTAINER_LISTS: [&str; 3] = ["initContainers", "containers", "ephemeralContainers"];

/// All containers of a pod spec, with their paths.
pub(crate) fn all_containers<'a>(spec: &At<'a>) -> Vec<At<'a>> {
    CONTAINER_LISTS.iter().flat_map(|list| spec.f(list).items().collect::<Vec<_>>()).collect()
}
