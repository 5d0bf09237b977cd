//! `managedFields` between an object and its `scale` subresource: the one field the two share is
//! `spec.replicas`, which lies elsewhere in some kinds.

use serde_json::Value;

use super::entries::{Manager, Managers, Owned, decode_list, encode};
use super::set::{Element, FieldPath, Set};

/// The version of `Scale`.
const SCALE: &str = "autoscaling/v1";

fn replicas_in_scale() -> Set {
    Set::of_fields(&[&["spec", "replicas"]])
}

/// Where the replicas are in a version of the kind: `.spec.replicas` as a path of fields.
pub fn replicas_path(json_path: &str) -> FieldPath {
    json_path.trim_start_matches('.').split('.').map(|f| Element::Field(f.to_owned())).collect()
}

/// The entries of the scale: those of the object that own its replicas.
pub fn to_scale(object: &Value, versions: &[(&str, FieldPath)]) -> Result<Option<Value>, String> {
    let path_in = |version: &str| versions.iter().find(|(v, _)| *v == version).map(|(_, p)| p);
    let parents = decode_list(object.pointer("/metadata/managedFields"))?;
    let scale: Managers = parents
        .into_iter()
        .filter(|(_, owned)| path_in(&owned.api_version).is_some_and(|p| owned.set.contains(p)))
        .map(|(manager, owned)| {
            let owned = Owned { set: replicas_in_scale(), api_version: SCALE.to_owned(), time: owned.time };
            (manager, owned)
        })
        .collect();
    Ok(encode(&scale))
}

/// The entries of the object after its scale was written with `scale_entries`. As upstream, an updater that
/// keeps the replicas loses its time: its two entries are told apart by the version.
pub fn to_object(
    object: &Value,
    scale_entries: Option<&Value>,
    api_version: &str,
    versions: &[(&str, FieldPath)],
) -> Result<Option<Value>, String> {
    let path_in = |version: &str| versions.iter().find(|(v, _)| *v == version).map(|(_, p)| p);
    let parents = decode_list(object.pointer("/metadata/managedFields"))?;
    let mut scale = decode_list(scale_entries)?;
    let mut out = Managers::new();
    for (manager, mut owned) in parents.clone() {
        let Some(path) = path_in(&owned.api_version) else {
            continue;
        };
        if owned.set.contains(path) && scale.remove(&manager).is_none() {
            let mut stolen = Set::new();
            stolen.insert(path);
            owned.set = owned.set.difference(&stolen);
            if owned.set.is_empty() {
                continue;
            }
        }
        out.insert(manager, owned);
    }
    let Some(path) = path_in(api_version) else {
        return Ok(encode(&out));
    };
    for (manager, owned) in scale {
        if !owned.set.contains(&replicas_path(".spec.replicas")) {
            continue;
        }
        let time = parents.get(&manager).and_then(|p| p.time);
        let mut set = Set::new();
        set.insert(path);
        // Written with the version of the object; one of the same name may be there already with others of
        // its fields, and stays another entry, as upstream.
        let key = Manager { api_version: manager.api_version.clone(), ..manager };
        out.insert(key, Owned { set, api_version: api_version.to_owned(), time });
    }
    Ok(encode(&out))
}
