//! What the objects of a namespace use of a quota: counted anew, for the controller that keeps its status.

use async_trait::async_trait;
use kplane_kinds::ResourceDef;
use kplane_machinery::{GroupResource, Status, object};
use serde_json::{Map, Value, json};

use crate::quota::in_scope;
use crate::usage::{self, Amounts};
use crate::{Attributes, Operation, Reader};

/// Reads nothing: counting looks at the objects alone.
struct Nothing;

#[async_trait]
impl Reader for Nothing {
    async fn get(&self, _: &GroupResource, _: &str, _: &str) -> Result<Option<Value>, Status> {
        Ok(None)
    }

    async fn list(&self, _: &GroupResource, _: &str) -> Result<Vec<Value>, Status> {
        Ok(Vec::new())
    }
}

/// Whether a quota may limit a kind: only those need to be counted.
pub fn counts(quota: &Value, def: &ResourceDef) -> bool {
    let resource = def.group_resource();
    let plural = &*def.plural;
    let hard = quota["spec"]["hard"].as_object();
    hard.into_iter().flat_map(Map::keys).any(|name| {
        let name = name.as_str();
        if name == format!("count/{resource}") || (def.group.is_empty() && name == plural) {
            return true;
        }
        match (&*def.group, plural) {
            ("", "services") => name.starts_with("services."),
            ("", "persistentvolumeclaims") => {
                name.contains("storage") || name.contains("persistentvolumeclaims")
            }
            ("", "pods") => {
                !name.starts_with("count/") && !name.starts_with("services") && !name.contains("storage")
            }
            _ => false,
        }
    })
}

/// The status of a quota over these objects: its limits, and how much of each is used.
pub fn recount<'a>(quota: &Value, objects: impl Iterator<Item = (&'a ResourceDef, &'a Value)>) -> Value {
    let mut used = Amounts::new();
    let warn = |_: String| {};
    let (extra, memory) = Default::default();
    for (def, value) in objects {
        let attributes = Attributes {
            operation: Operation::Create,
            def,
            version: &def.storage_version,
            namespace: object::namespace(value),
            name: object::name(value),
            subresource: "",
            old: None,
            dry_run: true,
            user: "",
            groups: &[],
            user_uid: "",
            extra: &extra,
            options: &Value::Null,
            shape: crate::Shape::Whole,
            reader: &Nothing,
            warn: &warn,
            annotate: &|_, _| {},
            shows_content: false,
            memory: &memory,
        };
        if in_scope(&attributes, value, quota) {
            usage::add(&mut used, &usage::of_object(&attributes, value));
        }
    }
    let hard = quota["spec"]["hard"].as_object().cloned().unwrap_or_default();
    let counted: Map<String, Value> = hard
        .keys()
        .map(|name| {
            let amount = used.get(name).map_or_else(|| "0".to_owned(), ToString::to_string);
            (name.clone(), amount.into())
        })
        .collect();
    json!({"hard": hard, "used": counted})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_counted_by_what_the_quota_names() {
        let kind = |plural: &str| {
            kplane_kinds::table::builtin()
                .iter()
                .find(|d| d.group.is_empty() && &*d.plural == plural)
                .expect("a kind")
        };
        let quota = json!({"spec": {"hard": {"pods": "3", "requests.cpu": "2", "configmaps": "5"}}});
        assert!(counts(&quota, kind("pods")) && counts(&quota, kind("configmaps")));
        assert!(!counts(&quota, kind("secrets")) && !counts(&quota, kind("services")));
        let pod =
            json!({"spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "500m"}}}]}});
        let config = json!({"data": {}});
        let objects = [(&**kind("pods"), &pod), (&**kind("pods"), &pod), (&**kind("configmaps"), &config)];
        assert_eq!(
            recount(&quota, objects.into_iter())["used"],
            json!({"pods": "2", "requests.cpu": "1", "configmaps": "1"})
        );
    }
}
