//! Reading and editing kubeconfigs so that nothing unknown in them is lost.
//!
//! Files are kept as values, not as types: what kubectl, a cloud's plugin or a user put there stays. An edit takes
//! kubectl's own lock (`<file>.lock`), reads, changes, and replaces the file in one step. Which file is written
//! follows kubectl: the one that has the entry, or for a new one the first of `$KUBECONFIG` that exists.

mod document;
mod edit;
mod entry;
mod files;

use std::path::PathBuf;

use kube::config::Kubeconfig;
use serde_json::Value;

pub use document::{Document, Section};
pub use edit::{Edit, Removed, edit};
pub use entry::{Entry, context_name, control_plane_of, is_control_plane_server, role_context_name};
pub use files::{Paths, replace};

use crate::error::{Error, Result};

/// The context of the management cluster that the `local` provider makes.
pub const MANAGEMENT_CONTEXT: &str = "kplane-management";

/// What all files say together, the first to say it winning.
#[derive(Clone, Debug)]
pub struct Merged {
    documents: Vec<Document>,
}

impl Merged {
    /// Reads the files. Those that do not exist say nothing; a broken one is an error.
    pub fn load(paths: &Paths) -> Result<Self> {
        let documents = paths.precedence().into_iter().map(Document::load).collect::<Result<_>>()?;
        Ok(Self { documents })
    }

    /// The current context, if one is set.
    pub fn current_context(&self) -> Option<&str> {
        self.documents.iter().find_map(Document::current_context)
    }

    /// The names of a section's entries, sorted.
    pub fn names(&self, section: Section) -> Vec<String> {
        let mut names: Vec<String> =
            self.documents.iter().flat_map(|d| d.names(section)).map(str::to_owned).collect();
        names.sort();
        names.dedup();
        names
    }

    /// The body of an entry, with paths in it made absolute.
    pub fn body(&self, section: Section, name: &str) -> Option<Value> {
        self.documents.iter().find_map(|document| document.absolute_body(section, name))
    }

    /// The address of the server of a context.
    pub fn server(&self, context: &str) -> Option<String> {
        let cluster = self.body(Section::Contexts, context)?["cluster"].as_str()?.to_owned();
        Some(self.body(Section::Clusters, &cluster)?["server"].as_str()?.to_owned())
    }

    /// What a client needs to use a context.
    pub fn for_client(&self, context: &str) -> Result<Kubeconfig> {
        let missing = |what: &str, name: &str| Error::new(format!("the kubeconfig has no {what} {name:?}"));
        let body = self.body(Section::Contexts, context).ok_or_else(|| missing("context", context))?;
        let cluster_name = body["cluster"].as_str().unwrap_or_default();
        let cluster =
            self.body(Section::Clusters, cluster_name).ok_or_else(|| missing("cluster", cluster_name))?;
        let user_name = body["user"].as_str().unwrap_or_default();
        let user = match self.body(Section::Users, user_name) {
            Some(user) => user,
            None if user_name.is_empty() => Value::Object(Default::default()),
            None => return Err(missing("user", user_name)),
        };
        let value = serde_json::json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": cluster_name, "cluster": cluster}],
            "users": [{"name": user_name, "user": user}],
            "contexts": [{"name": context, "context": body}],
            "current-context": context,
        });
        serde_json::from_value(value).map_err(|error| {
            Error::new(format!("the kubeconfig's context {context:?} is not valid")).caused_by(&error)
        })
    }

    /// The files that were read and exist.
    pub fn files(&self) -> Vec<PathBuf> {
        self.documents.iter().filter(|d| d.existed()).map(|d| d.path().to_owned()).collect()
    }
}
