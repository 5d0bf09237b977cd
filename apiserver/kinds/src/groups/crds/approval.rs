//! Groups of the community: who approved that a definition is in one.

use kplane_machinery::field::ErrorList;

use crate::val::At;

pub(super) const APPROVED: &str = "api-approved.kubernetes.io";

/// What an approval comes to.
#[derive(PartialEq, Eq)]
pub(super) enum Approval {
    Missing,
    Bypassed,
    Approved,
    Invalid,
}

pub(super) fn approval_state(annotation: &str) -> Approval {
    let url =
        annotation.split_once("://").map(|(scheme, rest)| (scheme, rest.split('/').next().unwrap_or("")));
    if annotation.is_empty() {
        Approval::Missing
    } else if annotation.starts_with("unapproved") {
        Approval::Bypassed
    } else if url.is_some_and(|(scheme, host)| !scheme.is_empty() && !host.is_empty()) {
        Approval::Approved
    } else {
        Approval::Invalid
    }
}

/// Groups of the community need its approval.
pub(super) fn protected_group(root: &At<'_>, group: &str, errors: &mut ErrorList) {
    let protected =
        ["k8s.io", "kubernetes.io"].iter().any(|g| group == *g || group.ends_with(&format!(".{g}")));
    if !protected {
        return;
    }
    let approval = root.at(&["metadata", "annotations"]).key(APPROVED);
    let state = approval_state(approval.str());
    if state == Approval::Missing {
        approval.required(
            errors,
            "protected groups must have approval annotation \"api-approved.kubernetes.io\", see https://github.com/kubernetes/enhancements/pull/1111",
        );
    } else if state == Approval::Invalid {
        approval.invalid(
            errors,
            "protected groups must have approval annotation \"api-approved.kubernetes.io\" with either a URL or a reason starting with \"unapproved\", see https://github.com/kubernetes/enhancements/pull/1111",
        );
    }
}
