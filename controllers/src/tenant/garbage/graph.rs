//! Who owns whom, of those that matter (no client required).

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::tenant::object::{Identity, Owner, Place, Seen};

/// An object that has owners, or that waits for its dependents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Where it is.
    pub place: Place,
    /// Its owners.
    pub owners: Vec<Owner>,
    /// Whether its deletion has begun.
    pub deleting: bool,
    /// Whether its dependents go first.
    pub foreground: bool,
    /// Whether its dependents are let go first.
    pub orphan: bool,
}

impl Node {
    fn of(seen: &Seen) -> Option<Self> {
        let waits = seen.deleting && (seen.foreground || seen.orphan);
        (waits || !seen.owners.is_empty()).then(|| Self {
            place: seen.place.clone(),
            owners: seen.owners.clone(),
            deleting: seen.deleting,
            foreground: seen.foreground,
            orphan: seen.orphan,
        })
    }

    /// Whether it waits for its dependents to be dealt with.
    pub fn waits(&self) -> bool {
        self.deleting && (self.foreground || self.orphan)
    }
}

/// A dependent of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dependent {
    /// Which.
    pub identity: Identity,
    /// Where it is.
    pub place: Place,
    /// Whether the owner's foreground deletion waits for it.
    pub blocks: bool,
    /// Whether its deletion has begun.
    pub deleting: bool,
}

/// The graph.
#[derive(Default)]
pub struct Graph {
    nodes: HashMap<Identity, Node>,
    /// By owner, whether the owner is in the graph or not.
    dependents: HashMap<Identity, HashSet<Identity>>,
    /// During a list: what it has shown.
    listing: Option<HashSet<Identity>>,
}

impl Graph {
    /// The node of an object.
    pub fn node(&self, identity: &Identity) -> Option<Node> {
        self.nodes.get(identity).cloned()
    }

    /// The dependents of an object.
    pub fn dependents(&self, owner: &Identity) -> Vec<Dependent> {
        let of = |identity: &Identity| {
            let node = self.nodes.get(identity)?;
            Some(Dependent {
                identity: identity.clone(),
                place: node.place.clone(),
                blocks: node.owners.iter().any(|o| o.uid == owner.uid && o.blocks),
                deleting: node.deleting,
            })
        };
        self.dependents.get(owner).into_iter().flatten().filter_map(of).collect()
    }

    /// A list begins.
    pub fn begin(&mut self) {
        self.listing = Some(HashSet::new());
    }

    /// An object of the list. What is to be done is known when the list is whole.
    pub fn listed(&mut self, seen: &Seen) {
        let identity = seen.identity();
        if let Some(node) = Node::of(seen) {
            if let Some(listing) = &mut self.listing {
                listing.insert(identity.clone());
            }
            self.insert(identity, node);
        } else {
            self.remove(&identity);
        }
    }

    /// The list is whole: what it did not show is gone. Answers what is to be looked at: what waits for its
    /// dependents, and what has an owner that was not in the list.
    pub fn end(&mut self, exists: impl Fn(&str, &str) -> bool) -> Vec<Identity> {
        let listed = self.listing.take().unwrap_or_default();
        let gone: Vec<Identity> = self.nodes.keys().filter(|i| !listed.contains(i)).cloned().collect();
        for identity in &gone {
            self.remove(identity);
        }
        let is_work = |(identity, node): (&Identity, &Node)| {
            let missing = |owner: &Owner| !exists(&identity.cluster, &owner.uid);
            (node.waits() || node.owners.iter().any(missing)).then(|| identity.clone())
        };
        self.nodes.iter().filter_map(is_work).collect()
    }

    /// An object was made or changed. Answers what is to be looked at.
    pub fn applied(&mut self, seen: &Seen) -> Vec<Identity> {
        let identity = seen.identity();
        let Some(node) = Node::of(seen) else {
            let was = self.remove(&identity);
            return self.unblocked(was.as_ref(), &identity);
        };
        let before = self.nodes.get(&identity).cloned();
        let mut work = Vec::new();
        let new_owners = before.as_ref().is_none_or(|b| b.owners != node.owners);
        // An owner that is about to go waits for this one no longer, or waits for it now.
        if new_owners {
            work.extend(self.unblocked(before.as_ref(), &identity));
        }
        let began = before.as_ref().is_none_or(|b| b.deleting != node.deleting || !b.waits()) && node.waits();
        if began && node.foreground {
            work.extend(self.dependents(&identity).into_iter().map(|d| d.identity));
        }
        if began || (new_owners && !node.owners.is_empty()) {
            work.push(identity.clone());
        }
        self.insert(identity, node);
        work
    }

    /// An object is gone. Answers what is to be looked at: its dependents, and the owners that waited for it.
    pub fn deleted(&mut self, identity: &Identity) -> Vec<Identity> {
        let mut work: Vec<Identity> = self.dependents.get(identity).into_iter().flatten().cloned().collect();
        let was = self.remove(identity);
        work.extend(self.unblocked(was.as_ref(), identity));
        work
    }

    /// The owners of a former node that wait for their dependents.
    fn unblocked(&self, was: Option<&Node>, identity: &Identity) -> Vec<Identity> {
        let owners = was.into_iter().flat_map(|node| &node.owners);
        owners
            .map(|owner| owner_identity(&identity.cluster, owner))
            .filter(|owner| self.nodes.get(owner).is_some_and(Node::waits))
            .collect()
    }

    fn insert(&mut self, identity: Identity, node: Node) {
        if let Some(before) = self.nodes.get(&identity) {
            if before.owners != node.owners {
                let owners = before.owners.clone();
                self.unlink(&identity, &owners);
            } else {
                self.nodes.insert(identity, node);
                return;
            }
        }
        for owner in &node.owners {
            let owner = owner_identity(&identity.cluster, owner);
            self.dependents.entry(owner).or_default().insert(identity.clone());
        }
        self.nodes.insert(identity, node);
    }

    fn remove(&mut self, identity: &Identity) -> Option<Node> {
        let node = self.nodes.remove(identity)?;
        self.unlink(identity, &node.owners);
        if self.nodes.is_empty() {
            self.nodes.shrink_to_fit();
            self.dependents.shrink_to_fit();
        }
        Some(node)
    }

    fn unlink(&mut self, identity: &Identity, owners: &[Owner]) {
        for owner in owners {
            let owner = owner_identity(&identity.cluster, owner);
            if let Some(dependents) = self.dependents.get_mut(&owner) {
                dependents.remove(identity);
                if dependents.is_empty() {
                    self.dependents.remove(&owner);
                }
            }
        }
    }

    /// Forgets an object that turned out not to be there.
    pub fn forget(&mut self, identity: &Identity) -> Vec<Identity> {
        self.deleted(identity)
    }
}

/// The identity of an owner. Owners are in the control plane of what they own.
pub fn owner_identity(cluster: &Arc<str>, owner: &Owner) -> Identity {
    Identity { cluster: cluster.clone(), uid: owner.uid.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(uid: &str, owners: &[(&str, bool)]) -> Seen {
        Seen {
            place: Place {
                cluster: "demo".into(),
                api_version: "v1".into(),
                resource: "pods".into(),
                namespace: "farm".into(),
                name: uid.into(),
            },
            kind: "Pod".into(),
            uid: uid.into(),
            owners: owners
                .iter()
                .map(|(uid, blocks)| Owner {
                    uid: (*uid).into(),
                    api_version: "apps/v1".into(),
                    kind: "ReplicaSet".into(),
                    name: (*uid).into(),
                    blocks: *blocks,
                    controller: false,
                })
                .collect(),
            deleting: false,
            foreground: false,
            orphan: false,
        }
    }

    fn uids(work: Vec<Identity>) -> Vec<String> {
        let mut uids: Vec<_> = work.into_iter().map(|i| i.uid.to_string()).collect();
        uids.sort();
        uids
    }

    #[test]
    fn objects_without_owners_are_not_kept() {
        let mut graph = Graph::default();
        assert!(graph.applied(&seen("a", &[])).is_empty());
        assert!(graph.nodes.is_empty());
        assert_eq!(uids(graph.applied(&seen("b", &[("a", false)]))), ["b"]);
        assert!(graph.applied(&seen("b", &[("a", false)])).is_empty(), "nothing changed");
        graph.applied(&seen("b", &[]));
        assert!(graph.nodes.is_empty() && graph.dependents.is_empty());
    }

    #[test]
    fn the_end_of_an_owner_is_the_turn_of_its_dependents() {
        let mut graph = Graph::default();
        graph.applied(&seen("b", &[("a", false)]));
        graph.applied(&seen("c", &[("a", false), ("x", false)]));
        assert_eq!(uids(graph.deleted(&seen("a", &[]).identity())), ["b", "c"]);
    }

    #[test]
    fn a_foreground_deletion_waits_for_those_that_block_it() {
        let mut graph = Graph::default();
        graph.applied(&seen("b", &[("a", true)]));
        let mut owner = seen("a", &[]);
        owner.deleting = true;
        owner.foreground = true;
        assert_eq!(uids(graph.applied(&owner)), ["a", "b"]);
        assert!(graph.dependents(&owner.identity())[0].blocks);
        assert_eq!(uids(graph.deleted(&seen("b", &[]).identity())), ["a"]);
    }

    #[test]
    fn a_list_finds_what_went_unseen() {
        let mut graph = Graph::default();
        graph.applied(&seen("b", &[("a", false)]));
        graph.applied(&seen("gone", &[("a", false)]));
        graph.begin();
        graph.listed(&seen("b", &[("a", false)]));
        graph.listed(&seen("c", &[("here", false)]));
        let work = graph.end(|_, uid| uid == "here");
        assert_eq!(uids(work), ["b"]);
        assert_eq!(graph.nodes.len(), 2);
    }
}
