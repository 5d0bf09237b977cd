//! The server's parts, in one place: [`App`].

use std::collections::HashMap;
use std::sync::Arc;

use kplane_kinds::{ResourceDef, table};
use kplane_machinery::Status;
use kplane_machinery::schema::SchemaLink;
use kplane_registry::{Registry, Vcp};
use tokio_util::sync::CancellationToken;

use crate::base::Base;
use crate::custom::Definitions;
use crate::discovery::Groups;
use crate::filters::audit::Audit;
use crate::filters::fairness::Fairness;
use crate::identity::Identities;
use crate::metrics::Metrics;

/// The server.
pub struct App {
    /// Where objects live.
    pub registry: Registry,
    /// Who may decide of writes.
    pub admission: kplane_admission::Chain,
    /// What control planes say of admission.
    pub admission_configurations: crate::admission_configuration::Configurations,
    /// What speaks for control planes to the API servers behind theirs.
    pub aggregator: crate::aggregation::Aggregator,
    /// Calls out of the server.
    pub egress: kplane_egress::Egress,
    /// Kinds that control planes defined for themselves.
    pub definitions: Definitions,
    /// Who is who, and may do what.
    pub identities: Identities,
    /// Where requests are written down, if they are.
    pub audit: Option<Arc<Audit>>,
    /// How many requests are answered at once.
    pub fairness: Arc<Fairness>,
    /// What addresses root besides `root`.
    pub root_name: String,
    /// The domain whose subdomains are control planes at `/`, if there is one.
    pub cluster_domain: Option<String>,
    /// The host and port clients reach the server at.
    pub advertised: String,
    /// Cancelled when the server is to end soon: it serves on, and says that it is not ready.
    pub draining: CancellationToken,
    /// Cancelled when the server is to end.
    pub shutdown: CancellationToken,
    /// Writes that contend for the same quotas.
    pub quota_queues: crate::endpoints::charges::Queues,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Whether protobuf is offered.
    pub protobuf: bool,
    /// The shape of `DeleteOptions`.
    pub delete_options: SchemaLink,
    /// The content that a new control plane starts with.
    pub base: Base,
    /// The built-in kinds.
    pub kinds: Kinds,
}

/// The built-in kinds, by where requests find them.
pub struct Kinds {
    by_name: HashMap<(Arc<str>, Arc<str>), Arc<ResourceDef>>,
    of_root: Arc<Groups>,
    of_vcps: Arc<Groups>,
}

/// Whether a version of a built-in kind is served: pre-release versions are off, as upstream's default is.
fn served(def: &ResourceDef, version: &str) -> bool {
    &*def.group == "tenancy.kplane.dev" || !(version.contains("alpha") || version.contains("beta"))
}

impl Default for Kinds {
    fn default() -> Self {
        let mut kinds = Self { by_name: HashMap::new(), of_root: Arc::default(), of_vcps: Arc::default() };
        let (mut of_root, mut of_vcps) = (Groups::default(), Groups::default());
        for def in table::builtin() {
            kinds.by_name.insert((def.group.clone(), def.plural.clone()), def.clone());
            of_root.add(def, |version| served(def, version));
            if !def.root_only {
                of_vcps.add(def, |version| served(def, version));
            }
        }
        kinds.of_root = Arc::new(of_root);
        kinds.of_vcps = Arc::new(of_vcps);
        kinds
    }
}

impl Kinds {
    /// A built-in kind, whatever the control plane.
    pub fn get(&self, group: &str, plural: &str) -> Option<&Arc<ResourceDef>> {
        self.by_name.get(&(Arc::from(group), Arc::from(plural)))
    }

    /// The built-in groups of a control plane.
    pub fn groups(&self, root: bool) -> &Arc<Groups> {
        if root { &self.of_root } else { &self.of_vcps }
    }

    /// Every built-in kind.
    pub fn all(&self) -> impl Iterator<Item = &Arc<ResourceDef>> {
        self.by_name.values()
    }
}

impl App {
    /// The kind that a control plane serves under a group, version and plural.
    pub async fn resolve(
        &self,
        vcp: &Vcp,
        group: &str,
        version: &str,
        plural: &str,
    ) -> Result<Option<Arc<ResourceDef>>, Status> {
        if let Some(def) = self.kinds.get(group, plural) {
            let offered = def.version(version).is_some_and(|v| v.served)
                && served(def, version)
                && (!def.root_only || vcp.is_root());
            return Ok(offered.then(|| def.clone()));
        }
        // Custom groups have a dot; and what is no built-in group's is looked for among the definitions.
        if !group.contains('.') || self.kinds.groups(true).get(group).is_some() {
            return Ok(None);
        }
        let def = self.definitions.get(&self.registry, vcp, group, plural).await?;
        Ok(def.filter(|def| def.version(version).is_some_and(|v| v.served)))
    }

    /// Everything a control plane serves.
    pub async fn groups(&self, vcp: &Vcp) -> Result<Arc<Groups>, Status> {
        let builtin = self.kinds.groups(vcp.is_root());
        let custom = self.definitions.all(&self.registry, vcp).await?;
        if custom.is_empty() {
            return Ok(builtin.clone());
        }
        let mut groups = Groups::clone(builtin);
        for def in &custom {
            groups.add(def, |_| true);
        }
        // Custom groups follow the built-in ones, by name.
        let known = builtin.0.len();
        groups.0[known..].sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Arc::new(groups))
    }

    /// The host and port clients reach the server at.
    pub fn address(&self) -> String {
        self.advertised.clone()
    }
}
