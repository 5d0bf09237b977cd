//! One request on its way through the endpoints: [`Cx`].

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use http::{HeaderMap, Method};
use hyper::upgrade::OnUpgrade;
use kplane_auth::UserInfo;
use kplane_kinds::{ResourceDef, VersionDef};
use kplane_machinery::{GroupResource, GroupVersionKind, Status};
use kplane_registry::{ObjectKey, ResourceKey, Vcp};

use crate::app::App;
use crate::custom::conversion::Conversions;
use crate::filters::RequestInfo;
use crate::filters::audit::Sink;
use crate::filters::fairness::OpenWatch;
use crate::query::Query;

/// The resource a request is for.
#[derive(Clone)]
pub struct Resource {
    /// The kind.
    pub def: Arc<ResourceDef>,
    /// The version of the request.
    pub version: Arc<str>,
}

impl Resource {
    /// The version of the request, as the kind describes it.
    pub fn version_def(&self) -> Result<&VersionDef, Status> {
        self.def.version(&self.version).ok_or_else(Status::no_such_path)
    }

    /// Its group and plural, as errors name it.
    pub fn group_resource(&self) -> GroupResource {
        self.def.group_resource()
    }

    /// Its kind in the version of the request.
    pub fn gvk(&self) -> GroupVersionKind {
        self.def.gvk(&self.version)
    }

    /// `v1` or `apps/v1`.
    pub fn api_version(&self) -> String {
        self.gvk().group_version().to_string()
    }

    /// Where its objects are stored.
    pub fn key(&self) -> ResourceKey {
        let stored = self.def.storage_resource();
        ResourceKey::new(stored.group, stored.resource)
    }

    /// Where one of its objects would be stored by upstream, as its errors show it.
    pub fn storage_path(&self, namespace: &str, name: &str) -> String {
        let group = if self.def.group.is_empty() { String::new() } else { format!("/{}", self.def.group) };
        let namespace = if self.def.namespaced() { format!("/{namespace}") } else { String::new() };
        format!("/registry{group}/{}{namespace}/{name}", self.def.plural)
    }

    /// Where one of its objects is stored.
    pub fn object_key(&self, namespace: &str, name: &str) -> ObjectKey {
        let namespace = self.def.namespaced().then(|| Arc::from(namespace));
        ObjectKey { resource: self.key(), namespace, name: name.into() }
    }
}

/// A request that has passed the filters.
pub struct Cx {
    /// The server.
    pub app: Arc<App>,
    /// The control plane it is for. Whatever the request reads or writes is reached through this.
    pub vcp: Arc<Vcp>,
    /// What stands before its path: `/clusters/<name>/control-plane`, or nothing.
    pub prefix: String,
    /// Its method.
    pub method: Method,
    /// What it asks for.
    pub info: RequestInfo,
    /// Its query.
    pub query: Query,
    /// Its headers.
    pub headers: HeaderMap,
    /// Who asks.
    pub user: UserInfo,
    /// What will be said in `Warning` headers.
    pub warnings: Mutex<Vec<String>>,
    /// What is kept while the request is answered.
    pub kept: Kept,
    /// The connection itself, for an answer that takes it over.
    pub upgrade: Mutex<Option<Upgrade>>,
    /// What will be said in the audit log.
    pub audit: Arc<Sink>,
}

/// A connection that may become another protocol's.
pub struct Upgrade {
    /// The connection, when it is.
    pub upgrade: OnUpgrade,
    /// What counts it among those that are open, to be kept as long as it is.
    pub counted: Option<Arc<OpenWatch>>,
}

/// What is found or said while a request is answered.
#[derive(Default)]
pub struct Kept {
    /// What the control plane's own objects say of admission, read once a request.
    pub admission: tokio::sync::OnceCell<Arc<kplane_admission::Configuration>>,
    /// What a webhook converted for the managed fields.
    pub conversions: Conversions,
    /// What admission says for the audit log, by key.
    pub annotations: Mutex<BTreeMap<String, String>>,
}

impl Cx {
    /// Adds a warning, once.
    pub fn warn(&self, text: impl Into<String>) {
        let text = text.into();
        // A poisoned lock still holds the warnings said so far.
        let mut warnings = self.warnings.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if !warnings.contains(&text) {
            warnings.push(text);
        }
    }

    /// Adds an annotation to the request's audit event. The first word on a key holds, as upstream.
    pub fn annotate(&self, key: String, value: String) {
        let mut annotations = self.kept.annotations.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        annotations.entry(key).or_insert(value);
    }

    /// The manager that managed fields name: `fieldManager`, or the first part of the user agent.
    pub fn field_manager(&self) -> String {
        if let Some(manager) = self.query.get("fieldManager").filter(|m| !m.is_empty()) {
            return manager.to_owned();
        }
        let agent = self.headers.get(http::header::USER_AGENT).and_then(|v| v.to_str().ok()).unwrap_or("");
        let first = agent.split('/').next().unwrap_or("");
        // As upstream: at most 128 bytes, and nothing that cannot be printed.
        first.chars().filter(|c| !c.is_control()).take(128).collect()
    }

    /// The connection itself, once: `None` when the protocol has no such thing.
    pub fn take_upgrade(&self) -> Option<Upgrade> {
        self.upgrade.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take()
    }

    /// Whether nothing is to be stored.
    pub fn dry_run(&self) -> bool {
        self.query.all("dryRun").any(|v| v == "All")
    }
}

impl Cx {
    /// A request of the server's own, by `system:apiserver`, for one object. The webhooks and policies of the control plane
    /// are not asked: the server's loops serve all control planes, and must not wait for the servers of one, or stop at what
    /// those say.
    pub fn system(app: &Arc<App>, vcp: &Arc<Vcp>, namespace: &str, name: &str) -> Self {
        Self {
            app: app.clone(),
            vcp: vcp.clone(),
            prefix: String::new(),
            method: Method::GET,
            info: RequestInfo {
                namespace: namespace.to_owned(),
                name: name.to_owned(),
                ..RequestInfo::default()
            },
            query: Query::default(),
            headers: HeaderMap::new(),
            user: UserInfo {
                username: "system:apiserver".into(),
                groups: vec!["system:masters".into(), "system:authenticated".into()],
                ..UserInfo::default()
            },
            warnings: Mutex::default(),
            kept: Kept {
                admission: tokio::sync::OnceCell::new_with(Some(Arc::default())),
                ..Kept::default()
            },
            upgrade: Mutex::default(),
            audit: Arc::default(),
        }
    }
}
