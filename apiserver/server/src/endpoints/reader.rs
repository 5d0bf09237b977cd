//! Reads of other objects of the same control plane, for admission.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use kplane_admission::webhook::{ClientConfig, Observation};
use kplane_admission::{AccessCheck, Configuration, Decision, Reader};
use kplane_auth::UserInfo;
use kplane_auth::authz::Attributes;
use kplane_kinds::ResourceDef;
use kplane_machinery::{GroupResource, GroupVersionKind, Status};
use kplane_registry::{ListRequest, ObjectKey, ResourceKey, Vcp};
use serde_json::Value;

use super::cx::{Cx, Kept};
use super::failures;
use crate::app::App;
use crate::custom::conversion;
use crate::review_selectors;

/// Reads within one control plane.
pub struct VcpReader<'a> {
    app: &'a App,
    vcp: &'a Vcp,
    kept: Option<&'a Kept>,
}

impl Cx {
    /// A reader of this request's control plane.
    pub fn reader(&self) -> VcpReader<'_> {
        VcpReader { app: &self.app, vcp: &self.vcp, kept: Some(&self.kept) }
    }
}

impl<'a> VcpReader<'a> {
    /// A reader of a control plane.
    pub fn new(app: &'a App, vcp: &'a Vcp) -> Self {
        Self { app, vcp, kept: None }
    }

    /// The server.
    pub fn app(&self) -> &'a App {
        self.app
    }

    /// The control plane.
    pub fn vcp(&self) -> &'a Vcp {
        self.vcp
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

    async fn authorize(&self, check: &AccessCheck<'_>) -> Result<Decision, Status> {
        let user = UserInfo {
            username: check.user.to_owned(),
            groups: check.groups.to_vec(),
            uid: check.uid.to_owned(),
            extra: check.extra.cloned().unwrap_or_default(),
        };
        let selectors = review_selectors::parse(check.field_selector, check.label_selector);
        let attributes = match check.path {
            Some(path) => Attributes::of_path(&user, check.verb, path),
            None => Attributes {
                subresource: check.subresource,
                namespace: check.namespace,
                name: check.name,
                selectors: Some(&selectors),
                ..Attributes::of_resource(&user, check.verb, check.group, check.resource)
            },
        };
        let verdict = self.app.identities.decide(self.app, Some(self.vcp), &attributes).await?;
        Ok(Decision { allowed: verdict.allowed(), reason: verdict.reason, error: None })
    }

    async fn configuration(&self) -> Result<Arc<Configuration>, Status> {
        let find = || self.app.admission_configurations.get(&self.app.registry, self.vcp);
        match self.kept {
            Some(kept) => kept.admission.get_or_try_init(find).await.cloned(),
            None => find().await,
        }
    }

    async fn find_kind(&self, kind: &GroupVersionKind) -> Result<Option<Arc<ResourceDef>>, Status> {
        if let Some(def) = kplane_admission::built_in(kind) {
            return Ok(Some(def));
        }
        let custom = self.app.definitions.all(&self.app.registry, self.vcp).await?;
        let is = |def: &Arc<ResourceDef>| {
            def.group == kind.group && def.kind == kind.kind && def.version(&kind.version).is_some()
        };
        Ok(custom.into_iter().find(is))
    }

    async fn convert(&self, def: &ResourceDef, object: Value, from: &str, to: &str) -> Result<Value, Status> {
        conversion::convert(self.app, self.vcp, def, object, from, to).await
    }

    async fn post(&self, client: &ClientConfig, body: Vec<u8>, timeout: Duration) -> Result<Bytes, String> {
        self.app.post(self.vcp, client, body, timeout).await
    }

    async fn place(&self) -> Box<dyn Send> {
        Box::new(crate::heavy::place(self.vcp.id).await)
    }

    fn observe(&self, call: Observation) {
        self.app.metrics.webhook(&call);
    }
}
