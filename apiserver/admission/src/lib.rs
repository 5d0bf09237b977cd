//! Admission: what is decided of a write beyond its own content, after authorization and before it is stored.
//!
//! A [`Plugin`] may change an object (`mutate`), and then refuse it (`validate`); the [`Chain`] asks all of them, in
//! upstream's order, for built-in kinds and custom resources alike. Plugins read other objects of the same control
//! plane through a [`Reader`], so that none can reach into another.

mod access;
mod apart;
mod certificates;
mod chain;
mod configuration;
mod devices;
mod limits;
mod memory;
mod namespace_lifecycle;
mod node_restriction;
mod pods;
pub mod policy;
mod priority;
mod quota;
pub mod recount;
mod security;
mod service_account;
mod storage;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
pub mod topology;
mod usage;
pub mod webhook;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use kplane_kinds::ResourceDef;
use kplane_machinery::schema::Schema;
use kplane_machinery::{GroupResource, GroupVersionKind, Status};
use serde_json::Value;

pub use access::AccessCheck;
pub use apart::apart;
pub use certificates::{
    CertificateApproval, CertificateSigning, CertificateSubjectRestriction, ClusterTrustBundleAttest,
};
pub use chain::Chain;
pub use configuration::Configuration;
pub use devices::DeviceAdminAccess;
pub use kplane_rules::admission::Decision;
pub use limits::LimitRanger;
pub use memory::Memory;
pub use namespace_lifecycle::NamespaceLifecycle;
pub use node_restriction::NodeRestriction;
pub use pods::{DefaultTolerationSeconds, RuntimeClass, TaintNodesByCondition};
pub use priority::Priority;
pub use quota::ResourceQuota;
pub use security::PodSecurity;
pub use service_account::ServiceAccount;
pub use storage::{
    DefaultIngressClass, DefaultStorageClass, PersistentVolumeClaimResize, StorageObjectInUseProtection,
};
pub use topology::PodTopologyLabels;

/// What is being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "upstream's names")]
pub enum Operation {
    Create,
    Update,
    Delete,
    Connect,
}

impl Operation {
    /// As webhooks and policies spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "CREATE",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
            Self::Connect => "CONNECT",
        }
    }
}

/// A built-in kind by its name.
pub fn built_in(kind: &GroupVersionKind) -> Option<Arc<ResourceDef>> {
    let is = |def: &&Arc<ResourceDef>| {
        def.group == kind.group && def.kind == kind.kind && def.version(&kind.version).is_some()
    };
    kplane_kinds::table::builtin().iter().find(is).cloned()
}

/// Reads the objects of the control plane that the request is for, as fresh as a client's own reads.
#[async_trait]
pub trait Reader: Send + Sync {
    /// One object in its storage version; `None` when there is none.
    async fn get(
        &self,
        resource: &GroupResource,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Value>, Status>;

    /// All objects of a resource, in one namespace or (empty) in all.
    async fn list(&self, resource: &GroupResource, namespace: &str) -> Result<Vec<Value>, Status>;

    /// Whether somebody may do something. Without an authorizer behind it, administrators alone may.
    async fn authorize(&self, check: &AccessCheck<'_>) -> Result<Decision, Status> {
        let allowed = check.groups.iter().any(|group| group == "system:masters");
        Ok(Decision { allowed, ..Decision::default() })
    }

    /// What the control plane's own objects say of admission, as new as the request.
    async fn configuration(&self) -> Result<Arc<Configuration>, Status> {
        let mut objects: [Vec<Value>; Configuration::RESOURCES.len()] = Default::default();
        for (listed, name) in objects.iter_mut().zip(Configuration::RESOURCES) {
            *listed = self.list(&Configuration::resource(name), "").await?;
        }
        Ok(Arc::new(Configuration::read(objects)))
    }

    /// A kind of the control plane by its name, if there is one. Without definitions behind it the built-in ones are known.
    async fn find_kind(&self, kind: &GroupVersionKind) -> Result<Option<Arc<ResourceDef>>, Status> {
        Ok(built_in(kind))
    }

    /// An object of a kind in another of its versions.
    async fn convert(
        &self,
        def: &ResourceDef,
        mut object: Value,
        from: &str,
        to: &str,
    ) -> Result<Value, Status> {
        def.strategy.convert(&mut object, from, to).map_err(Status::internal)?;
        if let Some(fields) = object.as_object_mut() {
            fields.insert("apiVersion".into(), def.gvk(to).group_version().to_string().into());
        }
        Ok(object)
    }

    /// Posts a body to a webhook and returns what it answers. The error is in the words of Go's HTTP client. Without a
    /// network behind it nobody answers.
    async fn post(
        &self,
        client: &webhook::ClientConfig,
        _body: Vec<u8>,
        _timeout: Duration,
    ) -> Result<Bytes, String> {
        Err(format!("Post {:?}: there is no network", client.url()))
    }

    /// A place among the evaluations that may take long, kept until it is dropped. Without others there is always one.
    async fn place(&self) -> Box<dyn Send> {
        Box::new(())
    }

    /// Counts a call of a webhook.
    fn observe(&self, _call: webhook::Observation) {}
}

/// Of what kind the objects of a write are.
#[derive(Clone, Copy)]
pub enum Shape<'a> {
    /// Of the resource's own.
    Whole,
    /// Of that of the subresource: an `Eviction`.
    Own,
    /// Of the resource's own, of which webhooks and policies see and change a part, an object of the subresource's kind: a
    /// `Scale`.
    Part(&'a dyn Part),
}

/// A part of objects, as an object of its own.
pub trait Part: Sync {
    /// The part of an object.
    fn of(&self, object: &Value) -> Value;

    /// Puts a part that was changed back into its object.
    fn put(&self, object: &mut Value, part: &Value) -> Result<(), Status>;
}

/// What a plugin may know of a write.
pub struct Attributes<'a> {
    /// What is being done.
    pub operation: Operation,
    /// The kind.
    pub def: &'a ResourceDef,
    /// The version of the objects.
    pub version: &'a str,
    /// The namespace; empty for cluster-scoped kinds.
    pub namespace: &'a str,
    /// The name; empty while it is yet to be generated.
    pub name: &'a str,
    /// The subresource; empty for the object itself.
    pub subresource: &'a str,
    /// The object before the write.
    pub old: Option<&'a Value>,
    /// Nothing will be stored.
    pub dry_run: bool,
    /// The user's name.
    pub user: &'a str,
    /// The user's groups.
    pub groups: &'a [String],
    /// The user's uid; empty when it has none.
    pub user_uid: &'a str,
    /// What else is known of the user.
    pub extra: &'a BTreeMap<String, Vec<String>>,
    /// The options of the request, such as `CreateOptions`; null when it has none.
    pub options: &'a Value,
    /// Of what kind the objects are.
    pub shape: Shape<'a>,
    /// Reads other objects.
    pub reader: &'a dyn Reader,
    /// Takes warnings for the client.
    pub warn: &'a (dyn Fn(String) + Sync),
    /// Takes annotations for the audit log: a key and a value.
    pub annotate: &'a (dyn Fn(String, String) + Sync),
    /// What is sent is in the audit log, so that patches may be there, too.
    pub shows_content: bool,
    /// What plugins remember of this write.
    pub memory: &'a Memory,
}

impl<'a> Attributes<'a> {
    /// The kind of the objects that webhooks and policies see, where it is the subresource's and not the resource's.
    pub fn own_kind(&self) -> Option<&'a GroupVersionKind> {
        match self.shape {
            Shape::Whole => None,
            Shape::Own | Shape::Part(_) => {
                self.def.subresource(self.version, self.subresource)?.kind.as_ref()
            }
        }
    }

    /// The schema of that kind.
    pub fn own_schema(&self) -> Option<&'a Schema> {
        match self.shape {
            Shape::Whole => None,
            Shape::Own | Shape::Part(_) => {
                self.def.subresource(self.version, self.subresource)?.schema.as_deref()
            }
        }
    }

    /// What webhooks and policies see of an object.
    pub fn seen(&self, object: &Value) -> Value {
        match self.shape {
            Shape::Whole | Shape::Own => object.clone(),
            Shape::Part(part) => part.of(object),
        }
    }

    /// Makes of an object what webhooks and policies made of what they saw of it.
    pub fn keep(&self, object: &mut Value, changed: Value) -> Result<(), Status> {
        match self.shape {
            Shape::Whole | Shape::Own => *object = changed,
            Shape::Part(part) => part.put(object, &changed)?,
        }
        Ok(())
    }
}

/// One decision.
#[async_trait]
pub trait Plugin: Send + Sync {
    /// Its name, as `--enable-admission-plugins` takes it.
    fn name(&self) -> &'static str;

    /// Whether it has anything to say of such a write.
    fn handles(&self, attributes: &Attributes<'_>) -> bool;

    /// Whether it asks others, so that what it changes must be shown once more to all that change objects.
    fn asks_others(&self) -> bool {
        false
    }

    /// Changes the object a second time, because another plugin's callee changed it after the first.
    async fn reinvoke(&self, attributes: &Attributes<'_>, object: &mut Value) -> Result<(), Status> {
        self.mutate(attributes, object).await
    }

    /// Changes the object, or refuses it.
    async fn mutate(&self, _attributes: &Attributes<'_>, _object: &mut Value) -> Result<(), Status> {
        Ok(())
    }

    /// Refuses the object as it would be stored; for a deletion the object that would go.
    async fn validate(&self, _attributes: &Attributes<'_>, _object: &Value) -> Result<(), Status> {
        Ok(())
    }

    /// The quotas that the write uses, each with the usage after it and with the resourceVersion that it was read at: they
    /// are stored together with the object or not at all. Asked last, and again when one of them has changed meanwhile.
    async fn charge(&self, _attributes: &Attributes<'_>, _object: &Value) -> Result<Vec<Value>, Status> {
        Ok(Vec::new())
    }
}
