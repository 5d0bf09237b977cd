//! The groups and versions that are registered in upstream's schemes, served or not. `DeleteOptions` and `WatchEvent`
//! are kinds of each of them, and a document tells of all.

use std::collections::BTreeSet;

use kplane_machinery::GroupVersion;

/// Those of client-go's scheme, which the documents of custom resources are made with.
const CLIENT: [(&str, &[&str]); 22] = [
    ("", &["v1"]),
    ("admissionregistration.k8s.io", &["v1", "v1alpha1", "v1beta1"]),
    ("apps", &["v1", "v1beta1", "v1beta2"]),
    ("authentication.k8s.io", &["v1", "v1alpha1", "v1beta1"]),
    ("authorization.k8s.io", &["v1", "v1beta1"]),
    ("autoscaling", &["v1", "v2"]),
    ("batch", &["v1", "v1beta1"]),
    ("certificates.k8s.io", &["v1", "v1alpha1", "v1beta1"]),
    ("coordination.k8s.io", &["v1", "v1alpha2", "v1beta1"]),
    ("discovery.k8s.io", &["v1", "v1beta1"]),
    ("events.k8s.io", &["v1", "v1beta1"]),
    ("extensions", &["v1beta1"]),
    ("flowcontrol.apiserver.k8s.io", &["v1", "v1beta1", "v1beta2", "v1beta3"]),
    ("internal.apiserver.k8s.io", &["v1alpha1"]),
    ("networking.k8s.io", &["v1", "v1beta1"]),
    ("node.k8s.io", &["v1", "v1alpha1", "v1beta1"]),
    ("policy", &["v1", "v1beta1"]),
    ("rbac.authorization.k8s.io", &["v1", "v1alpha1", "v1beta1"]),
    ("resource.k8s.io", &["v1", "v1alpha3", "v1beta1", "v1beta2"]),
    ("scheduling.k8s.io", &["v1", "v1alpha2", "v1beta1"]),
    ("storage.k8s.io", &["v1", "v1alpha1", "v1beta1"]),
    ("storagemigration.k8s.io", &["v1beta1"]),
];

/// Those that the server's own scheme has besides.
const SERVER: [(&str, &[&str]); 4] = [
    ("admission.k8s.io", &["v1", "v1beta1"]),
    ("apiextensions.k8s.io", &["v1", "v1beta1"]),
    ("apiregistration.k8s.io", &["v1", "v1beta1"]),
    ("imagepolicy.k8s.io", &["v1alpha1"]),
];

fn of(table: &[(&str, &[&str])]) -> BTreeSet<GroupVersion> {
    table
        .iter()
        .flat_map(|(group, versions)| versions.iter().map(|version| GroupVersion::new(*group, *version)))
        .collect()
}

/// The groups and versions of client-go's scheme.
pub(super) fn client() -> BTreeSet<GroupVersion> {
    of(&CLIENT)
}

/// The groups and versions of the server's scheme.
pub(super) fn server() -> BTreeSet<GroupVersion> {
    let mut all = of(&CLIENT);
    all.extend(of(&SERVER));
    all
}
