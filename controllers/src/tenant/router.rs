//! Hands what is seen over all control planes to the loops.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use serde_json::Value;

use super::follow::Sink;
use super::garbage::Garbage;
use super::namespaces::Namespaces;
use super::object::Seen;
use super::queue;
use super::service_accounts::{CONFIG_MAP, SERVICE_ACCOUNT, ServiceAccounts};
use super::tasks::{Change, Tasks};

/// One namespace of one control plane.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NamespaceKey {
    /// The control plane.
    pub cluster: Arc<str>,
    /// The namespace.
    pub name: Arc<str>,
}

impl queue::Key for NamespaceKey {
    fn cluster(&self) -> &Arc<str> {
        &self.cluster
    }
}

/// What a list has shown so far. It lives as long as the list, and keeps hashes only.
#[derive(Default)]
struct Census {
    uids: HashSet<u64>,
    service_accounts: HashSet<u64>,
    config_maps: HashSet<u64>,
    namespaces: Vec<NamespaceKey>,
}

/// Hands on.
pub struct Router {
    namespaces: Arc<Namespaces>,
    service_accounts: Arc<ServiceAccounts>,
    garbage: Arc<Garbage>,
    tasks: Arc<Tasks>,
    census: Census,
}

impl Router {
    /// Hands on to these loops.
    pub fn new(
        namespaces: Arc<Namespaces>,
        service_accounts: Arc<ServiceAccounts>,
        garbage: Arc<Garbage>,
        tasks: Arc<Tasks>,
    ) -> Self {
        Self { namespaces, service_accounts, garbage, tasks, census: Census::default() }
    }
}

fn hash(cluster: &str, text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    (cluster, text).hash(&mut hasher);
    hasher.finish()
}

fn own_namespace(seen: &Seen) -> NamespaceKey {
    NamespaceKey { cluster: seen.place.cluster.clone(), name: seen.place.name.as_ref().into() }
}

fn in_namespace(seen: &Seen) -> NamespaceKey {
    NamespaceKey { cluster: seen.place.cluster.clone(), name: seen.place.namespace.as_ref().into() }
}

fn is_default_account(seen: &Seen) -> bool {
    seen.is_core("serviceaccounts") && &*seen.place.name == SERVICE_ACCOUNT
}

fn is_root_ca(seen: &Seen) -> bool {
    seen.is_core("configmaps") && &*seen.place.name == CONFIG_MAP
}

impl Sink for Router {
    fn begin(&mut self) {
        self.census = Census::default();
        self.garbage.begin();
    }

    fn listed(&mut self, object: &Value) {
        let Some(seen) = Seen::read(object) else { return };
        let cluster = &seen.place.cluster;
        self.census.uids.insert(hash(cluster, &seen.uid));
        if is_default_account(&seen) {
            self.census.service_accounts.insert(hash(cluster, &seen.place.namespace));
        } else if is_root_ca(&seen) {
            self.census.config_maps.insert(hash(cluster, &seen.place.namespace));
        } else if seen.is_core("namespaces") {
            if seen.deleting {
                self.namespaces.add(own_namespace(&seen));
            } else {
                self.census.namespaces.push(own_namespace(&seen));
            }
        }
        self.garbage.listed(&seen);
        self.tasks.see(&seen, object, Change::Listed);
    }

    fn end(&mut self) {
        let census = std::mem::take(&mut self.census);
        for namespace in census.namespaces {
            let key = hash(&namespace.cluster, &namespace.name);
            if !census.service_accounts.contains(&key) || !census.config_maps.contains(&key) {
                self.service_accounts.add(namespace);
            }
        }
        self.garbage.end(|cluster, uid| census.uids.contains(&hash(cluster, uid)));
    }

    fn applied(&mut self, object: &Value) {
        let Some(seen) = Seen::read(object) else { return };
        if seen.is_core("namespaces") {
            if seen.deleting {
                self.namespaces.add(own_namespace(&seen));
            } else {
                self.service_accounts.add(own_namespace(&seen));
            }
        } else if is_root_ca(&seen) {
            self.service_accounts.add(in_namespace(&seen));
        }
        self.garbage.applied(&seen);
        self.tasks.see(&seen, object, Change::Applied);
    }

    fn deleted(&mut self, object: &Value) {
        let Some(seen) = Seen::read(object) else { return };
        if is_default_account(&seen) || is_root_ca(&seen) {
            self.service_accounts.add(in_namespace(&seen));
        }
        self.garbage.deleted(&seen);
        self.tasks.see(&seen, object, Change::Deleted);
    }
}
