//! Writing the status of an object.

use kube::api::{Patch, PatchParams};
use kube::{Api, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The name under which our controllers own fields.
pub const FIELD_MANAGER: &str = "kplane-controllers";

/// Writes a status, unless it is the one the object has. Fields that are not set any more are removed.
///
/// The uid guards against writing to another object that took the name meanwhile.
pub async fn write<K, S>(api: &Api<K>, object: &K, old: Option<&S>, new: &S) -> Result<bool, kube::Error>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug,
    S: Serialize + PartialEq,
{
    if old == Some(new) {
        return Ok(false);
    }
    let mut status = serde_json::to_value(new).map_err(kube::Error::SerdeError)?;
    let before = old.map(serde_json::to_value).transpose().map_err(kube::Error::SerdeError)?;
    if let (Some(status), Some(before)) =
        (status.as_object_mut(), before.as_ref().and_then(|b| b.as_object()))
    {
        for key in before.keys() {
            if !status.contains_key(key) {
                status.insert(key.clone(), serde_json::Value::Null);
            }
        }
    }
    let name = object.meta().name.clone().unwrap_or_default();
    let patch = serde_json::json!({ "metadata": { "uid": object.meta().uid }, "status": status });
    let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    match api.patch_status(&name, &params, &Patch::Merge(&patch)).await {
        Ok(_) => Ok(true),
        // The object is gone, or another took its name: its status is nobody's business any more.
        Err(kube::Error::Api(status)) if status.code == 404 || status.code == 409 => Ok(false),
        Err(error) => Err(error),
    }
}
