//! Plugins about storage and classes: `DefaultStorageClass`, `StorageObjectInUseProtection`, `PersistentVolumeClaimResize`
//! and `DefaultIngressClass`.

use async_trait::async_trait;
use kplane_machinery::quantity::Quantity;
use kplane_machinery::{GroupResource, Status, object};
use serde_json::Value;

use crate::access::{annotation, default_of, list_mut, map_mut, set};
use crate::{Attributes, Operation, Plugin};

const STORAGE: &str = "storage.k8s.io";
const BETA_CLASS: &str = "volume.beta.kubernetes.io/storage-class";

/// `DefaultStorageClass`: a claim that names no class gets the default one.
pub struct DefaultStorageClass;

#[async_trait]
impl Plugin for DefaultStorageClass {
    fn name(&self) -> &'static str {
        "DefaultStorageClass"
    }

    fn handles(&self, attributes: &Attributes<'_>) -> bool {
        attributes.operation == Operation::Create && attributes.is("", "persistentvolumeclaims", "")
    }

    async fn mutate(&self, attributes: &Attributes<'_>, claim: &mut Value) -> Result<(), Status> {
        // An empty name is one too: it asks for no class.
        if annotation(claim, BETA_CLASS).is_some() || set(claim, &["spec", "storageClassName"]).is_some() {
            return Ok(());
        }
        let classes = attributes.reader.list(&GroupResource::new(STORAGE, "storageclasses"), "").await?;
        let marks = [
            "storageclass.kubernetes.io/is-default-class",
            "storageclass.beta.kubernetes.io/is-default-class",
        ];
        if let Some(class) = default_of(classes, &marks)
            && let Some(spec) = map_mut(claim, "spec")
        {
            spec.insert("storageClassName".into(), object::name(&class).into());
        }
        Ok(())
    }
}

/// `StorageObjectInUseProtection`: volumes, claims and attribute classes stay while they are in use.
pub struct StorageObjectInUseProtection;

#[async_trait]
impl Plugin for StorageObjectInUseProtection {
    fn name(&self) -> &'static str {
        "StorageObjectInUseProtection"
    }

    fn handles(&self, attributes: &Attributes<'_>) -> bool {
        attributes.operation == Operation::Create && finalizer(attributes).is_some()
    }

    async fn mutate(&self, attributes: &Attributes<'_>, object: &mut Value) -> Result<(), Status> {
        let Some(finalizer) = finalizer(attributes) else { return Ok(()) };
        map_mut(object, "metadata");
        if let Some(finalizers) = object.get_mut("metadata").and_then(|meta| list_mut(meta, "finalizers"))
            && !finalizers.iter().any(|f| f == finalizer)
        {
            finalizers.push(finalizer.into());
        }
        Ok(())
    }
}

fn finalizer(attributes: &Attributes<'_>) -> Option<&'static str> {
    [
        ("", "persistentvolumes", "kubernetes.io/pv-protection"),
        ("", "persistentvolumeclaims", "kubernetes.io/pvc-protection"),
        (STORAGE, "volumeattributesclasses", "kubernetes.io/vac-protection"),
    ]
    .into_iter()
    .find(|(group, resource, _)| attributes.is(group, resource, ""))
    .map(|(_, _, finalizer)| finalizer)
}

/// `PersistentVolumeClaimResize`: a claim grows only if its class allows it.
pub struct PersistentVolumeClaimResize;

#[async_trait]
impl Plugin for PersistentVolumeClaimResize {
    fn name(&self) -> &'static str {
        "PersistentVolumeClaimResize"
    }

    fn handles(&self, attributes: &Attributes<'_>) -> bool {
        attributes.operation == Operation::Update && attributes.is("", "persistentvolumeclaims", "")
    }

    async fn validate(&self, attributes: &Attributes<'_>, claim: &Value) -> Result<(), Status> {
        let Some(old) = attributes.old else { return Ok(()) };
        if size(claim) <= size(old) {
            return Ok(());
        }
        if object::str_at(old, &["status", "phase"]) != "Bound" {
            return Err(attributes.forbidden(claim, "Only bound persistent volume claims can be expanded"));
        }
        let class = class_of(claim);
        let mut allowed = false;
        if !class.is_empty() && class == class_of(old) {
            let classes = GroupResource::new(STORAGE, "storageclasses");
            let class = attributes.reader.get(&classes, "", class).await?;
            allowed = class.is_some_and(|class| class["allowVolumeExpansion"] == true);
        }
        if allowed {
            return Ok(());
        }
        Err(attributes.forbidden(
            claim,
            "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize",
        ))
    }
}

fn size(claim: &Value) -> Quantity {
    object::at(claim, &["spec", "resources", "requests", "storage"])
        .and_then(|size| Quantity::from_value(size).ok())
        .unwrap_or(Quantity::ZERO)
}

fn class_of(claim: &Value) -> &str {
    annotation(claim, BETA_CLASS).unwrap_or_else(|| object::str_at(claim, &["spec", "storageClassName"]))
}

/// `DefaultIngressClass`: an ingress that names no class gets the default one.
pub struct DefaultIngressClass;

#[async_trait]
impl Plugin for DefaultIngressClass {
    fn name(&self) -> &'static str {
        "DefaultIngressClass"
    }

    fn handles(&self, attributes: &Attributes<'_>) -> bool {
        attributes.operation == Operation::Create && attributes.is("networking.k8s.io", "ingresses", "")
    }

    async fn mutate(&self, attributes: &Attributes<'_>, ingress: &mut Value) -> Result<(), Status> {
        if set(ingress, &["spec", "ingressClassName"]).is_some()
            || annotation(ingress, "kubernetes.io/ingress.class").is_some()
        {
            return Ok(());
        }
        let classes = GroupResource::new("networking.k8s.io", "ingressclasses");
        let classes = attributes.reader.list(&classes, "").await?;
        if let Some(class) = default_of(classes, &["ingressclass.kubernetes.io/is-default-class"])
            && let Some(spec) = map_mut(ingress, "spec")
        {
            spec.insert("ingressClassName".into(), object::name(&class).into());
        }
        Ok(())
    }
}
