//! Reads of other objects of the same control plane, for admission.

use std::sync::Arc;

use async_trait::async_trait;
use kplane_admission::Reader;
use kplane_machinery::{GroupResource, Status};
use kplane_registry::{ListRequest, ObjectKey, ResourceKey, Vcp};
use serde_json::Value;

use super::cx::Cx;
use super::failures;
use crate::app::App;

/// Reads within one control plane.
pub struct VcpReader<'a> {
    app: &'a App,
    vcp: &'a Vcp,
}

impl Cx {
    /// A reader of this request's control plane.
    pub fn reader(&self) -> VcpReader<'_> {
        VcpReader { app: &self.app, vcp: &self.vcp }
    }
}

impl<'a> VcpReader<'a> {
    /// A reader of a control plane.
    pub fn new(app: &'a App, vcp: &'a Vcp) -> Self {
        Self { app, vcp }
    }
}

#[async_trait]
impl Reader for VcpReader<'_> {
    async fn get(
        &self,
        resource: &GroupResource,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Value>, Status> {
        let key = ObjectKey {
            resource: ResourceKey::new(resource.group.clone(), resource.resource.clone()),
            namespace: (!namespace.is_empty()).then(|| Arc::from(namespace)),
            name: name.into(),
        };
        match self.app.registry.get(self.vcp, &key).await.map_err(failures::store)? {
            None => Ok(None),
            Some(stored) => stored.to_value().map(Some).map_err(Status::internal),
        }
    }

    async fn list(&self, resource: &GroupResource, namespace: &str) -> Result<Vec<Value>, Status> {
        let key = ResourceKey::new(resource.group.clone(), resource.resource.clone());
        let request = ListRequest {
            namespace: (!namespace.is_empty()).then(|| Arc::from(namespace)),
            ..ListRequest::default()
        };
        let page = self.app.registry.list(self.vcp, &key, request).await.map_err(failures::store)?;
        page.items.iter().map(|stored| stored.to_value().map_err(Status::internal)).collect()
    }
}
