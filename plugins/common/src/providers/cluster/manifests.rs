//! What is installed into the cluster: the very manifests of `config/`, applied server-side.

use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, GroupVersionKind, Patch, PatchParams};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};

use super::MANAGER;
use crate::error::{Error, Result, is_not_found, is_unknown_kind};

/// `kubectl kustomize config/default`.
const INSTALL: &str = include_str!("../../../../../config/install.yaml");
/// The namespace that the manifests are written for.
const NAMESPACE: &str = "kplane-system";
/// What the names of service accounts as users begin with.
const SERVICE_ACCOUNT: &str = "system:serviceaccount:";

/// The objects in the order they are to be made, in this namespace.
pub(super) fn objects(namespace: &str) -> Result<Vec<DynamicObject>> {
    let broken = |why: String| {
        Error::new("the manifests of this program are broken").caused_by(&std::io::Error::other(why))
    };
    let values: Vec<Value> =
        serde_saphyr::from_multiple(INSTALL).map_err(|error| broken(error.to_string()))?;
    let mut objects = Vec::new();
    for mut value in values {
        place(&mut value, namespace);
        objects.push(serde_json::from_value(value).map_err(|error| broken(error.to_string()))?);
    }
    Ok(objects)
}

/// Puts an object, and the subjects it names, into another namespace than the manifests' own.
fn place(value: &mut Value, namespace: &str) {
    if value["metadata"]["namespace"] == NAMESPACE {
        value["metadata"]["namespace"] = namespace.into();
    }
    if value["kind"] == "Namespace" && value["metadata"]["name"] == NAMESPACE {
        value["metadata"]["name"] = namespace.into();
    }
    for subject in value["subjects"].as_array_mut().into_iter().flatten() {
        if subject["namespace"] == NAMESPACE {
            subject["namespace"] = namespace.into();
        }
    }
    // A policy names the service account as the user that it is.
    for condition in value["spec"]["matchConditions"].as_array_mut().into_iter().flatten() {
        if let Some(expression) = condition["expression"].as_str() {
            let user = format!("{SERVICE_ACCOUNT}{NAMESPACE}:");
            condition["expression"] =
                expression.replace(&user, &format!("{SERVICE_ACCOUNT}{namespace}:")).into();
        }
    }
}

/// Applies the objects. Fields that others own are taken over: they are what this version installs.
pub(super) async fn apply(client: &Client, objects: &[DynamicObject]) -> Result<()> {
    for object in objects {
        let parameters = PatchParams::apply(MANAGER).force();
        let applied =
            api(client, object)?.patch(&object.name_any(), &parameters, &Patch::Apply(object)).await;
        applied.map_err(|error| Error::from(error).context(format!("cannot install {}", named(object))))?;
    }
    Ok(())
}

/// Deletes the objects, the last first. What is gone already is fine.
pub(super) async fn delete(client: &Client, objects: &[DynamicObject]) -> Result<()> {
    for object in objects.iter().rev() {
        match api(client, object)?.delete(&object.name_any(), &DeleteParams::background()).await {
            Ok(_) => {}
            Err(error) if is_not_found(&error) || is_unknown_kind(&error) => {}
            Err(error) => return Err(Error::from(error).context(format!("cannot remove {}", named(object)))),
        }
    }
    Ok(())
}

/// Marks the namespace.
pub(super) async fn annotate_namespace(client: &Client, namespace: &str, key: &str) -> Result<()> {
    let api: Api<k8s_openapi::api::core::v1::Namespace> = Api::all(client.clone());
    let patch = json!({ "metadata": { "annotations": { key: "true" } } });
    api.patch(namespace, &PatchParams::default(), &Patch::Merge(patch)).await?;
    Ok(())
}

/// The way to the kind of an object.
fn api(client: &Client, object: &DynamicObject) -> Result<Api<DynamicObject>> {
    let types =
        object.types.as_ref().ok_or_else(|| Error::new("a manifest of this program names no kind"))?;
    let gvk = GroupVersionKind::try_from(types)
        .map_err(|error| Error::new("a manifest of this program names no version").caused_by(&error))?;
    let resource = ApiResource::from_gvk(&gvk);
    Ok(match &object.metadata.namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    })
}

fn named(object: &DynamicObject) -> String {
    let kind = object.types.as_ref().map_or("object", |types| types.kind.as_str());
    format!("the {kind} {:?}", object.name_any())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_moves_to_the_namespace_that_is_asked_for() {
        let objects = objects("elsewhere").unwrap();
        assert!(objects.len() > 8, "{}", objects.len());
        let text = serde_json::to_string(&objects).unwrap();
        assert!(text.contains(r#""namespace":"elsewhere""#));
        assert!(text.contains("system:serviceaccount:elsewhere:kplane-controllers"), "{text}");
        assert!(!text.contains("system:serviceaccount:kplane-system:"), "{text}");
        assert!(!text.contains(r#""namespace":"kplane-system""#), "{text}");
    }

    #[test]
    fn the_namespace_comes_before_what_is_in_it() {
        let objects = objects(NAMESPACE).unwrap();
        let kind = |object: &DynamicObject| object.types.as_ref().map(|types| types.kind.clone());
        let namespace = objects.iter().position(|o| kind(o).as_deref() == Some("Namespace"));
        let inside = objects.iter().position(|o| o.metadata.namespace.is_some());
        assert!(namespace < inside, "{namespace:?} {inside:?}");
    }
}
