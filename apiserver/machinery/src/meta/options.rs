//! Validation of the options that come with a request.

use serde_json::Value;

use crate::field::{ErrorList, FieldError, Path};
use crate::gvk::GroupKind;
use crate::status::Status;

/// 422 for options of a kind such as `CreateOptions`; nothing when there are no errors.
pub fn invalid_options(kind: &str, errors: &ErrorList) -> Result<(), Status> {
    if errors.is_empty() {
        return Ok(());
    }
    Err(Status::invalid(&GroupKind::new("meta.k8s.io", kind), "", errors))
}

pub(super) fn validate_field_manager(path: &Path, manager: &str) -> ErrorList {
    let mut errors = ErrorList::new();
    if manager.len() > 128 {
        errors.push(FieldError::too_long(path, 128));
    }
    for (i, c) in manager.char_indices() {
        // Go's unicode.IsPrint: no controls, and of the spaces only the plain one.
        if c.is_control() || (c.is_whitespace() && c != ' ') {
            errors.push(FieldError::invalid_str(
                path,
                manager,
                format!("invalid character U+{:04X} (at position {i})", c as u32),
            ));
        }
    }
    errors
}

fn validate_dry_run(dry_run: &[String]) -> ErrorList {
    if dry_run.iter().all(|d| d == "All") {
        return ErrorList::new();
    }
    vec![FieldError::not_supported(&Path::new("dryRun"), &Value::from(dry_run.to_vec()), &["All"])]
}

fn validate_field_validation(field_validation: &str) -> ErrorList {
    if matches!(field_validation, "" | "Ignore" | "Warn" | "Strict") {
        return ErrorList::new();
    }
    vec![FieldError::not_supported(
        &Path::new("fieldValidation"),
        &field_validation.into(),
        &["", "Ignore", "Strict", "Warn"],
    )]
}

/// `CreateOptions` and `UpdateOptions`.
pub fn validate_create_options(manager: &str, dry_run: &[String], field_validation: &str) -> ErrorList {
    let mut errors = validate_field_manager(&Path::new("fieldManager"), manager);
    errors.extend(validate_dry_run(dry_run));
    errors.extend(validate_field_validation(field_validation));
    errors
}

/// `PatchOptions`, of an apply patch or another.
pub fn validate_patch_options(
    apply: bool,
    force: Option<bool>,
    manager: &str,
    dry_run: &[String],
    field_validation: &str,
) -> ErrorList {
    let mut errors = ErrorList::new();
    if !apply && force.is_some() {
        errors.push(FieldError::forbidden(&Path::new("force"), "may not be specified for non-apply patch"));
    } else if apply && manager.is_empty() {
        errors.push(FieldError::required(&Path::new("fieldManager"), "is required for apply patch"));
    }
    errors.extend(validate_create_options(manager, dry_run, field_validation));
    errors
}

/// `DeleteOptions`.
pub fn validate_delete_options(
    orphan_dependents: Option<bool>,
    propagation_policy: Option<&str>,
    dry_run: &[String],
) -> ErrorList {
    let mut errors = ErrorList::new();
    let path = Path::new("propagationPolicy");
    if let Some(policy) = propagation_policy {
        if orphan_dependents.is_some() {
            errors.push(FieldError::invalid_str(
                &path,
                policy,
                "orphanDependents and deletionPropagation cannot be both set",
            ));
        }
        if !matches!(policy, "Foreground" | "Background" | "Orphan") {
            errors.push(FieldError::not_supported_in_order(
                &path,
                &policy.into(),
                &["Foreground", "Background", "Orphan", "nil"],
            ));
        }
    }
    errors.extend(validate_dry_run(dry_run));
    errors
}

/// What of `ListOptions` is checked.
#[derive(Clone, Debug, Default)]
#[expect(missing_docs, reason = "the fields are those of metav1.ListOptions")]
pub struct ListOptions<'a> {
    pub watch: bool,
    pub resource_version: &'a str,
    pub resource_version_match: &'a str,
    pub continue_token: &'a str,
    pub send_initial_events: Option<bool>,
}

/// `ListOptions`, of a list or a watch.
pub fn validate_list_options(options: &ListOptions<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    let path = Path::new("resourceVersionMatch");
    let matching = options.resource_version_match;
    let mut forbid = |path: &Path, detail: &str| errors.push(FieldError::forbidden(path, detail));
    if options.watch {
        if options.send_initial_events.is_some() && matching != "NotOlderThan" {
            forbid(&path, "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan");
        }
        if !matching.is_empty() {
            if options.send_initial_events.is_none() {
                forbid(
                    &path,
                    "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
                );
            }
            if !options.continue_token.is_empty() {
                forbid(&path, "resourceVersionMatch is forbidden when continue is provided");
            }
            if matching != "NotOlderThan" {
                let at = errors.len() - usize::from(!options.continue_token.is_empty());
                errors.insert(at, FieldError::not_supported(&path, &matching.into(), &["NotOlderThan"]));
            }
        }
        return errors;
    }
    if !matching.is_empty() {
        if options.resource_version.is_empty() {
            forbid(&path, "resourceVersionMatch is forbidden unless resourceVersion is provided");
        }
        if !options.continue_token.is_empty() {
            forbid(&path, "resourceVersionMatch is forbidden when continue is provided");
        }
        if !matches!(matching, "Exact" | "NotOlderThan") {
            errors.push(FieldError::not_supported_in_order(
                &path,
                &matching.into(),
                &["Exact", "NotOlderThan", ""],
            ));
        }
        if matching == "Exact" && options.resource_version == "0" {
            errors.push(FieldError::forbidden(
                &path,
                "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"",
            ));
        }
    }
    if options.send_initial_events.is_some() {
        errors.push(FieldError::forbidden(
            &Path::new("sendInitialEvents"),
            "sendInitialEvents is forbidden for list",
        ));
    }
    errors
}

/// `TableOptions`: `includeObject`.
pub fn validate_table_options(include_object: &str) -> ErrorList {
    if matches!(include_object, "" | "Metadata" | "None" | "Object") {
        return ErrorList::new();
    }
    vec![FieldError::invalid_str(
        &Path::new("includeObject"),
        include_object,
        "must be 'Metadata', 'Object', 'None', or empty",
    )]
}
