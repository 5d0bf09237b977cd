//! The entries that are ours: one name for a context, its cluster and its user.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::document::{Document, Section};
use crate::error::{Error, Result};

/// The context of a control plane.
pub fn context_name(control_plane: &str) -> String {
    format!("kplane-{control_plane}")
}

/// The context of a control plane with a role. No control plane has `@` in its name, so none is taken for another.
pub fn role_context_name(control_plane: &str, role: &str) -> String {
    format!("kplane-{control_plane}@{role}")
}

/// The control plane that a context of ours is for.
pub fn control_plane_of(context: &str) -> Option<&str> {
    let name = context.strip_prefix("kplane-")?;
    let name = name.split_once('@').map_or(name, |(name, _)| name);
    kplane_crds::is_cluster_path(name).then_some(name)
}

/// Whether the server of a context is a control plane other than root.
pub fn is_control_plane_server(server: &str) -> bool {
    server
        .split_once("/clusters/")
        .and_then(|(_, path)| path.split('/').next())
        .is_some_and(|name| !name.is_empty() && name != "root")
}

/// A cluster and a user.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Where the server is.
    pub cluster: Value,
    /// Who asks.
    pub user: Value,
}

impl Entry {
    /// The current context of the text of a kubeconfig, as the server hands it out.
    pub fn parse(origin: &str, text: &str) -> Result<Self> {
        let document = Document::parse(PathBuf::from(origin), text)?;
        let incomplete = |what: &str| Error::new(format!("the kubeconfig in {origin} has no {what}"));
        let name = match document.current_context() {
            Some(name) => name,
            None => document.names(Section::Contexts).next().ok_or_else(|| incomplete("context"))?,
        };
        let context = document.body(Section::Contexts, name).ok_or_else(|| incomplete("current context"))?;
        let named = |section: Section| {
            let name = context[section.body()].as_str().unwrap_or_default();
            document.body(section, name).cloned().ok_or_else(|| incomplete(section.body()))
        };
        let entry = Self { cluster: named(Section::Clusters)?, user: named(Section::Users)? };
        if entry.cluster["server"].as_str().is_none_or(str::is_empty) {
            return Err(incomplete("server"));
        }
        Ok(entry)
    }

    /// The context of the cluster and user of one name.
    pub fn context(&self, name: &str) -> Value {
        json!({ "cluster": name, "user": name })
    }

    /// A kubeconfig with this entry alone.
    pub fn document(&self, name: &str) -> Value {
        json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": name, "cluster": self.cluster}],
            "users": [{"name": name, "user": self.user}],
            "contexts": [{"name": name, "context": self.context(name)}],
            "current-context": name,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contexts_and_control_planes_name_each_other() {
        assert_eq!(control_plane_of(&context_name("demo")), Some("demo"));
        assert_eq!(control_plane_of(&role_context_name("demo", "view")), Some("demo"));
        assert_eq!(control_plane_of("kplane-management"), None);
        assert_eq!(control_plane_of("kind-demo"), None);
    }

    #[test]
    fn control_planes_are_told_from_root() {
        assert!(is_control_plane_server("https://127.0.0.1:8443/clusters/demo/control-plane"));
        assert!(!is_control_plane_server("https://127.0.0.1:8443/clusters/root/control-plane"));
        assert!(!is_control_plane_server("https://127.0.0.1:8443"));
    }

    #[test]
    fn a_kubeconfig_gives_its_current_entry() {
        let text = "current-context: b\ncontexts: [{name: a, context: {}}, {name: b, context: {cluster: c, user: u}}]\n\
                    clusters: [{name: c, cluster: {server: https://s}}]\nusers: [{name: u, user: {token: t}}]\n";
        let entry = Entry::parse("Secret x/y", text).unwrap();
        assert_eq!(entry.cluster, json!({"server": "https://s"}));
        assert_eq!(entry.user, json!({"token": "t"}));
        for broken in ["", "contexts: [{name: a, context: {cluster: c}}]"] {
            assert!(Entry::parse("Secret x/y", broken).unwrap_err().message().contains("Secret x/y"));
        }
    }
}
