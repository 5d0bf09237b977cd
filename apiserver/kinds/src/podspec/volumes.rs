//! Validation of volumes.

use kplane_machinery::field::{ErrorList, FieldError};

use super::containers::{file_field_ref, resource_field_ref};
use crate::amount;
use crate::check;
use crate::rules::{local_non_reserved_path, no_backsteps};
use crate::val::{At, Obj};

const MODE: &str = "must be a number between 0 and 0777 (octal), both inclusive";
const HOST_PATH_TYPES: [&str; 8] =
    ["", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"];

/// The volumes of a pod, and those with a good name by it.
pub(super) fn validate(volumes: &At<'_>, errors: &mut ErrorList) -> Obj {
    let mut known = Obj::new();
    for volume in volumes.items() {
        let before = errors.len();
        source(&volume, errors);
        let name = volume.f("name");
        if name.str().is_empty() {
            name.required(errors, "");
        } else {
            name.invalid_all(errors, check::label(name.str()));
            if known.contains_key(name.str()) {
                name.duplicate(errors);
            }
        }
        if errors.len() == before {
            known.insert(name.str().to_owned(), volume.value().clone());
        }
    }
    known
}

fn source(volume: &At<'_>, errors: &mut ErrorList) {
    let mut count = 0;
    for kind in volume.names().filter(|n| *n != "name") {
        let source = volume.f(kind);
        count += 1;
        if count > 1 {
            source.forbidden(errors, "may not specify more than 1 volume type");
        } else {
            one(kind, &source, errors);
        }
    }
    if count == 0 {
        volume.required(errors, "must specify a volume type");
    }
}

fn need(source: &At<'_>, fields: &[&str], errors: &mut ErrorList) {
    for name in fields {
        let field = source.f(name);
        if field.str().is_empty() {
            field.required(errors, "");
        }
    }
}

fn mode(at: &At<'_>, errors: &mut ErrorList) {
    if at.int().is_some_and(|m| !(0..=0o777).contains(&m)) {
        at.invalid(errors, MODE);
    }
}

fn key_to_path(items: &At<'_>, errors: &mut ErrorList) {
    for item in items.items() {
        if item.f("key").str().is_empty() {
            item.f("key").required(errors, "");
        }
        file_path(&item.f("path"), errors);
        mode(&item.f("mode"), errors);
    }
}

fn file_path(path: &At<'_>, errors: &mut ErrorList) {
    if path.str().is_empty() {
        path.required(errors, "");
    } else {
        local_non_reserved_path(path, errors);
    }
}

/// One source of a volume, in a pod or in a PersistentVolume.
pub(crate) fn one(kind: &str, source: &At<'_>, errors: &mut ErrorList) {
    match kind {
        "emptyDir" => {
            let limit = source.f("sizeLimit");
            if amount::negative(limit.value()) {
                limit.forbidden(errors, "SizeLimit field must be a valid resource quantity");
            }
        }
        "hostPath" => {
            let path = source.f("path");
            if path.str().is_empty() {
                path.required(errors, "");
                return;
            }
            no_backsteps(&path, errors);
            let host_type = source.f("type");
            if !HOST_PATH_TYPES.contains(&host_type.str()) {
                host_type.unsupported(errors, &HOST_PATH_TYPES);
            }
        }
        "gitRepo" => need(source, &["repository"], errors),
        "nfs" => {
            need(source, &["server", "path"], errors);
            let path = source.f("path");
            if !path.str().is_empty() && !path.str().starts_with('/') {
                path.invalid(errors, "must be an absolute path");
            }
        }
        "secret" => {
            need(source, &["secretName"], errors);
            mode(&source.f("defaultMode"), errors);
            key_to_path(&source.f("items"), errors);
        }
        "configMap" => {
            need(source, &["name"], errors);
            mode(&source.f("defaultMode"), errors);
            key_to_path(&source.f("items"), errors);
        }
        "downwardAPI" => {
            mode(&source.f("defaultMode"), errors);
            downward(&source.f("items"), errors);
        }
        "projected" => projected(source, errors),
        "persistentVolumeClaim" => need(source, &["claimName"], errors),
        "csi" => need(source, &["driver"], errors),
        "iscsi" => {
            need(source, &["targetPortal", "iqn"], errors);
            let lun = source.f("lun");
            if !(0..=255).contains(&lun.num()) {
                lun.invalid(errors, "must be between 0 and 255, inclusive");
            }
        }
        "glusterfs" => need(source, &["endpoints", "path"], errors),
        "rbd" => {
            if source.f("monitors").len() == 0 {
                source.f("monitors").required(errors, "");
            }
            need(source, &["image"], errors);
        }
        "cephfs" if source.f("monitors").len() == 0 => source.f("monitors").required(errors, ""),
        "awsElasticBlockStore" => need(source, &["volumeID"], errors),
        "gcePersistentDisk" => need(source, &["pdName"], errors),
        "azureFile" => need(source, &["secretName", "shareName"], errors),
        "azureDisk" => need(source, &["diskName", "diskURI"], errors),
        "vsphereVolume" => need(source, &["volumePath"], errors),
        "portworxVolume" | "cinder" => need(source, &["volumeID"], errors),
        "flexVolume" => need(source, &["driver"], errors),
        "image" => {
            need(source, &["reference"], errors);
            source.f("pullPolicy").one_of(errors, &["Always", "IfNotPresent", "Never"]);
        }
        "ephemeral" => {
            let template = source.f("volumeClaimTemplate");
            if !template.there() {
                template.required(errors, "");
            } else {
                crate::core::claims::spec(&template.f("spec"), errors);
            }
        }
        "local" => {
            let path = source.f("path");
            if path.str().is_empty() {
                path.required(errors, "");
            } else {
                no_backsteps(&path, errors);
            }
        }
        _ => {}
    }
}

fn downward(items: &At<'_>, errors: &mut ErrorList) {
    for item in items.items() {
        file_path(&item.f("path"), errors);
        let (field, resource) = (item.f("fieldRef"), item.f("resourceFieldRef"));
        if field.there() {
            file_field_ref(&field, errors);
            if resource.there() {
                item.invalid(errors, "fieldRef and resourceFieldRef can not be specified simultaneously");
            }
        } else if resource.there() {
            resource_field_ref(&resource, true, errors);
        } else {
            item.required(errors, "one of fieldRef and resourceFieldRef is required");
        }
        mode(&item.f("mode"), errors);
    }
}

fn projected(source: &At<'_>, errors: &mut ErrorList) {
    mode(&source.f("defaultMode"), errors);
    let mut paths = std::collections::HashSet::new();
    for projection in source.f("sources").items() {
        let mut count = 0;
        for kind in projection.names() {
            let one = projection.f(kind);
            count += 1;
            if count > 1 {
                one.forbidden(errors, "may not specify more than 1 volume type");
                continue;
            }
            match kind {
                "secret" | "configMap" => {
                    need(&one, &["name"], errors);
                    key_to_path(&one.f("items"), errors);
                }
                "downwardAPI" => downward(&one.f("items"), errors),
                "serviceAccountToken" => {
                    let seconds = one.f("expirationSeconds");
                    if seconds.num() < 600 {
                        seconds.invalid(errors, "may not specify a duration less than 10 minutes");
                    } else if seconds.num() > 1 << 32 {
                        seconds.invalid(errors, "may not specify a duration larger than 2^32 seconds");
                    }
                    file_path(&one.f("path"), errors);
                }
                "clusterTrustBundle" => file_path(&one.f("path"), errors),
                _ => {}
            }
            let single = one.f("path");
            let all: Vec<At<'_>> = one.f("items").items().map(|i| i.f("path")).chain([single]).collect();
            for path in all.into_iter().filter(|p| !p.str().is_empty()) {
                if !paths.insert(path.str()) {
                    errors.push(FieldError::invalid_str(
                        &one.path,
                        path.str(),
                        "conflicting duplicate paths",
                    ));
                }
            }
        }
        if count == 0 {
            projection.required(errors, "must specify a volume type");
        }
    }
}
