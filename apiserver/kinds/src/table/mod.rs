//! The table of built-in kinds: those of Kubernetes v1.36, and our own.

mod columns;
mod row;
mod rows;

use std::sync::{Arc, OnceLock};

use crate::def::ResourceDef;

/// Every built-in kind, by group in the order of [`group_order`] and by plural within it.
pub fn builtin() -> &'static [Arc<ResourceDef>] {
    static TABLE: OnceLock<Vec<Arc<ResourceDef>>> = OnceLock::new();
    TABLE.get_or_init(|| {
        // The texts are large and wanted here alone.
        let texts = kplane_schema::builtin().descriptions();
        rows::ROWS.iter().map(|row| Arc::new(row.build(&texts))).collect()
    })
}

/// The named groups in the order `/apis` lists them: the higher the priority of a group, the earlier. The core
/// group is not among them, and neither is our own, which stands after all of these.
pub fn group_order() -> &'static [&'static str] {
    &[
        "apiregistration.k8s.io",
        "apps",
        "events.k8s.io",
        "authentication.k8s.io",
        "authorization.k8s.io",
        "autoscaling",
        "batch",
        "certificates.k8s.io",
        "networking.k8s.io",
        "policy",
        "rbac.authorization.k8s.io",
        "storage.k8s.io",
        "admissionregistration.k8s.io",
        "apiextensions.k8s.io",
        "scheduling.k8s.io",
        "coordination.k8s.io",
        "node.k8s.io",
        "discovery.k8s.io",
        "resource.k8s.io",
        "flowcontrol.apiserver.k8s.io",
        "internal.apiserver.k8s.io",
        "storagemigration.k8s.io",
    ]
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_table_holds_together() {
        let order = group_order();
        let place = |group: &str| match group {
            "" => 0,
            "tenancy.kplane.dev" => order.len() + 1,
            named => order.iter().position(|g| *g == named).map(|i| i + 1).expect("a group without an order"),
        };
        let mut resources = HashSet::new();
        let mut last = (0, String::new());
        for def in builtin() {
            assert!(resources.insert(def.group_resource()), "{def:?} is there twice");
            assert!(def.version(&def.storage_version).is_some(), "{def:?} is stored in a version it lacks");
            let here = (place(&def.group), def.plural.to_string());
            assert!(here >= last, "{def:?} is out of order");
            last = here;
        }
        assert_eq!(resources.len(), 76 + 2);
        for def in builtin() {
            assert!(resources.contains(&def.storage_resource()));
        }
    }

    #[test]
    fn every_kind_has_a_schema_and_every_column_is_described() {
        for def in builtin() {
            for version in &def.versions {
                assert!(!version.schema.properties.is_empty(), "{def:?} {} has no schema", version.name);
                for column in &version.columns {
                    let bare = matches!(&*def.kind, "LeaseCandidate" | "RuntimeClass");
                    assert!(
                        bare || !column.description.is_empty(),
                        "{def:?} {} {}",
                        version.name,
                        column.name
                    );
                }
            }
        }
    }

    #[test]
    fn only_our_own_kinds_are_roots_alone() {
        let ours: Vec<_> = builtin().iter().filter(|d| d.root_only).map(|d| &*d.plural).collect();
        assert_eq!(ours, ["layers", "virtualclusters"]);
    }
}
