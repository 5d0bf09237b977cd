//! The custom resources of kplane: types and their schemas, without any I/O.
//!
//! * [`v1alpha1`] is the group `controlplane.kplane.dev/v1alpha1`: what a user declares in the management cluster.
//!   All kinds are cluster-scoped. Validation lives in the schema (enums, patterns, CEL rules), so that it holds
//!   whoever writes the object.
//! * [`tenancy`] is the group `tenancy.kplane.dev/v1alpha1`: the record a shared API server keeps of a virtual
//!   control plane. It is built into the server and no CustomResourceDefinition.
//!
//! [`definitions`] gives the CustomResourceDefinitions, of which `config/crd` holds the YAML.

// Several printer columns of one type are no duplicates, though they look so to the lint.
#![allow(clippy::duplicated_attributes)]

pub mod conditions;
mod definitions;
pub mod names;
pub mod reference;
pub mod tenancy;
pub mod v1alpha1;

pub use definitions::definitions;

/// The names no virtual control plane can take: they mean something else in a path.
pub const RESERVED_NAMES: [&str; 3] = ["root", "management", "*"];

/// Whether a name can be the path of a virtual control plane: a DNS label that is not reserved.
pub fn is_cluster_path(name: &str) -> bool {
    let edge = |byte: Option<&u8>| byte.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let bytes = name.as_bytes();
    name.len() <= 63
        && edge(bytes.first())
        && edge(bytes.last())
        && bytes.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-')
        && !RESERVED_NAMES.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::is_cluster_path;

    #[test]
    fn cluster_paths_are_labels_that_are_not_reserved() {
        for good in ["a", "demo", "a-1", &"x".repeat(63)] {
            assert!(is_cluster_path(good), "{good}");
        }
        for bad in ["", "-a", "a-", "A", "a.b", "root", "management", "*", "a/b", &"x".repeat(64)] {
            assert!(!is_cluster_path(bad), "{bad}");
        }
    }
}
