//! All plugins, one after the other.

use kplane_machinery::Status;
use serde_json::Value;

use crate::*;

/// The plugins, in the order they are asked.
pub struct Chain(Vec<Box<dyn Plugin>>);

impl Default for Chain {
    fn default() -> Self {
        Self(vec![
            Box::new(NamespaceLifecycle),
            Box::new(LimitRanger),
            Box::new(ServiceAccount),
            Box::new(NodeRestriction),
            Box::new(TaintNodesByCondition),
            Box::new(PodTopologyLabels),
            Box::new(PodSecurity),
            Box::new(Priority),
            Box::new(DefaultTolerationSeconds),
            Box::new(DefaultStorageClass),
            Box::new(StorageObjectInUseProtection),
            Box::new(PersistentVolumeClaimResize),
            Box::new(RuntimeClass),
            Box::new(CertificateApproval),
            Box::new(CertificateSigning),
            Box::new(ClusterTrustBundleAttest),
            Box::new(CertificateSubjectRestriction),
            Box::new(DefaultIngressClass),
            Box::new(policy::ReadableParameters),
            Box::new(DeviceAdminAccess),
            Box::new(policy::MutatingAdmissionPolicy),
            Box::new(webhook::MutatingAdmissionWebhook),
            Box::new(policy::ValidatingAdmissionPolicy),
            Box::new(webhook::ValidatingAdmissionWebhook),
            // Webhooks and policies stand before this: quotas count what is left of the object when all have changed it.
            Box::new(ResourceQuota),
        ])
    }
}

impl Chain {
    /// A chain of these.
    pub fn new(plugins: Vec<Box<dyn Plugin>>) -> Self {
        Self(plugins)
    }

    /// The names of the plugins, in their order.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.0.iter().map(|plugin| plugin.name())
    }

    /// Puts a plugin right before another, or at the end if that is not there.
    pub fn insert_before(&mut self, name: &str, plugin: Box<dyn Plugin>) {
        let at = self.names().position(|n| n == name).unwrap_or(self.0.len());
        self.0.insert(at, plugin);
    }

    /// Lets each plugin change the object; the first refusal ends it. When one that asks others has changed it, all
    /// are asked once more, so that none overlooks what came after it.
    pub async fn mutate(&self, attributes: &Attributes<'_>, object: &mut Value) -> Result<(), Status> {
        let mut again = false;
        for plugin in self.0.iter().filter(|p| p.handles(attributes)) {
            if plugin.asks_others() {
                let before = object.clone();
                plugin.mutate(attributes, object).await?;
                again |= *object != before;
            } else {
                plugin.mutate(attributes, object).await?;
            }
        }
        if again {
            for plugin in self.0.iter().filter(|p| p.handles(attributes)) {
                plugin.reinvoke(attributes, object).await?;
            }
        }
        Ok(())
    }

    /// Lets each plugin refuse the object; the first refusal ends it.
    pub async fn validate(&self, attributes: &Attributes<'_>, object: &Value) -> Result<(), Status> {
        for plugin in self.0.iter().filter(|p| p.handles(attributes)) {
            plugin.validate(attributes, object).await?;
        }
        Ok(())
    }

    /// What the write adds to the usage of quotas; the first refusal ends it.
    pub async fn charge(&self, attributes: &Attributes<'_>, object: &Value) -> Result<Vec<Value>, Status> {
        let mut charged = Vec::new();
        for plugin in self.0.iter().filter(|p| p.handles(attributes)) {
            charged.extend(plugin.charge(attributes, object).await?);
        }
        Ok(charged)
    }
}
