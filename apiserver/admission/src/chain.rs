//! All plugins, one after the other.

use kplane_machinery::Status;
use serde_json::Value;

use crate::{Attributes, NamespaceLifecycle, Plugin};

/// The plugins, in the order they are asked.
pub struct Chain(Vec<Box<dyn Plugin>>);

impl Default for Chain {
    fn default() -> Self {
        Self(vec![Box::new(NamespaceLifecycle)])
    }
}

impl Chain {
    /// A chain of these.
    pub fn new(plugins: Vec<Box<dyn Plugin>>) -> Self {
        Self(plugins)
    }

    /// Lets each plugin change the object; the first refusal ends it.
    pub async fn mutate(&self, attributes: &Attributes<'_>, object: &mut Value) -> Result<(), Status> {
        for plugin in self.0.iter().filter(|p| p.handles(attributes)) {
            plugin.mutate(attributes, object).await?;
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
}
