//! Validation of security contexts.

use kplane_machinery::field::{ErrorList, FieldError};

use crate::rules::local_descending_path;
use crate::val::At;

const ID_RANGE: &str = "must be between 0 and 2147483647, inclusive";

fn id(at: &At<'_>, errors: &mut ErrorList) {
    if at.int().is_some_and(|n| !(0..=i64::from(i32::MAX)).contains(&n)) {
        at.invalid(errors, ID_RANGE);
    }
}

/// The security context of a container.
pub(super) fn container(context: &At<'_>, errors: &mut ErrorList) {
    if !context.there() {
        return;
    }
    id(&context.f("runAsUser"), errors);
    id(&context.f("runAsGroup"), errors);
    seccomp(&context.f("seccompProfile"), errors);
    app_armor(&context.f("appArmorProfile"), errors);
    let escalation = context.f("allowPrivilegeEscalation");
    if escalation.value() == &serde_json::Value::Bool(false) {
        if context.f("privileged").is_true() {
            context
                .invalid(errors, "cannot set `allowPrivilegeEscalation` to false and `privileged` to true");
        }
        if context.at(&["capabilities", "add"]).items().any(|c| c.str() == "CAP_SYS_ADMIN") {
            context.invalid(
                errors,
                "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN",
            );
        }
    }
    let mount = context.f("procMount");
    if mount.there() {
        mount.one_of(errors, &["Default", "Unmasked"]);
    }
}

/// The security context of a pod, which some fields of its spec bear on.
pub(super) fn pod(context: &At<'_>, errors: &mut ErrorList) {
    if !context.there() {
        return;
    }
    id(&context.f("fsGroup"), errors);
    id(&context.f("runAsUser"), errors);
    id(&context.f("runAsGroup"), errors);
    for group in context.f("supplementalGroups").items() {
        id(&group, errors);
    }
    let mut names = std::collections::HashSet::new();
    for (i, sysctl) in context.f("sysctls").items().enumerate() {
        let name = sysctl.f("name");
        let valid = |n: &str| {
            n.len() <= 253
                && !n.is_empty()
                && n.split(['.', '/']).all(|part| {
                    let ends = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
                    part.starts_with(ends)
                        && part.ends_with(ends)
                        && part
                            .bytes()
                            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_')
                })
        };
        if name.str().is_empty() {
            name.required(errors, "");
        } else if !valid(name.str()) {
            name.invalid(
                errors,
                "must have at most 253 characters and match regex ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$",
            );
        } else if !names.insert(name.str()) {
            let path = context.f("sysctls").path.index(i).child("name");
            errors.push(FieldError::duplicate(&path, name.value()));
        }
    }
    let policy = context.f("fsGroupChangePolicy");
    if policy.there() {
        policy.one_of(errors, &["Always", "OnRootMismatch"]);
    }
    let policy = context.f("supplementalGroupsPolicy");
    if policy.there() {
        policy.one_of(errors, &["Merge", "Strict"]);
    }
    seccomp(&context.f("seccompProfile"), errors);
    app_armor(&context.f("appArmorProfile"), errors);
}

fn seccomp(profile: &At<'_>, errors: &mut ErrorList) {
    if !profile.there() {
        return;
    }
    let (kind, local) = (profile.f("type"), profile.f("localhostProfile"));
    match kind.str() {
        "" => kind.required(errors, "type is required when seccompProfile is set"),
        "Localhost" => {
            if !local.there() {
                local.required(errors, "must be set when seccomp type is Localhost");
            } else {
                local_descending_path(&local, errors);
            }
        }
        "RuntimeDefault" | "Unconfined" => {
            if local.there() {
                local.invalid(errors, "can only be set when seccomp type is Localhost");
            }
        }
        _ => kind.unsupported(errors, &["Localhost", "RuntimeDefault", "Unconfined"]),
    }
}

fn app_armor(profile: &At<'_>, errors: &mut ErrorList) {
    if !profile.there() {
        return;
    }
    let (kind, local) = (profile.f("type"), profile.f("localhostProfile"));
    match kind.str() {
        "" => kind.required(errors, "type is required when appArmorProfile is set"),
        "Localhost" => {
            if !local.there() {
                local.required(errors, "must be set when AppArmor type is Localhost");
            } else if local.str().trim() != local.str() {
                local.invalid(errors, "must not be padded with whitespace");
            } else if local.str().is_empty() {
                local.required(errors, "must be set when AppArmor type is Localhost");
            }
        }
        "RuntimeDefault" | "Unconfined" => {
            if local.there() {
                local.invalid(errors, "can only be set when AppArmor type is Localhost");
            }
        }
        _ => kind.unsupported(errors, &["Localhost", "RuntimeDefault", "Unconfined"]),
    }
}
