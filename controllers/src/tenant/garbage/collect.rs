//! What becomes of one object (client required, but for the decision).

use std::collections::HashSet;
use std::sync::Arc;

use serde_json::{Value, json};

use super::Garbage;
use super::graph::{Dependent, Node, owner_identity};
use crate::Error;
use crate::runtime::raw::{self, Raw};
use crate::tenant::object::{
    FOREGROUND, Identity, ORPHAN, Owner, Place, has_finalizer, object_path, owners, uid,
};
use crate::tenant::queue::Next;

/// How an owner is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OwnerState {
    /// It is there and stays.
    Solid,
    /// It is not there.
    Absent,
    /// It is there and waits for its dependents to go.
    Waiting,
}

/// What becomes of an object with owners.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// It stays as it is.
    Keep,
    /// It stays, without these owners.
    Drop(Vec<Arc<str>>),
    /// It goes, its dependents first.
    DeleteForeground,
    /// It goes, in the way its own finalizers ask for.
    Delete,
}

/// Decides, as upstream does: one owner that stays keeps an object.
fn verdict(owners: &[(Owner, OwnerState)], has_dependents: bool) -> Verdict {
    if owners.is_empty() {
        return Verdict::Keep;
    }
    if owners.iter().any(|(_, state)| *state == OwnerState::Solid) {
        let others: Vec<Arc<str>> = owners
            .iter()
            .filter(|(_, state)| *state != OwnerState::Solid)
            .map(|(owner, _)| owner.uid.clone())
            .collect();
        return if others.is_empty() { Verdict::Keep } else { Verdict::Drop(others) };
    }
    if has_dependents && owners.iter().any(|(_, state)| *state == OwnerState::Waiting) {
        return Verdict::DeleteForeground;
    }
    Verdict::Delete
}

impl Garbage {
    /// Deals with one object.
    pub(super) async fn collect(&self, key: &Identity) -> Result<Next, Error> {
        let (node, dependents) = {
            let graph = self.graph();
            (graph.node(key), graph.dependents(key))
        };
        let Some(node) = node else { return Ok(Next::Done) };
        let raw = self.raw.cluster(&key.cluster);
        let path = node.place.path();
        let live = raw::optional(raw.get(&path).await)?.filter(|live| uid(live) == &*key.uid);
        let Some(live) = live else {
            // It is gone, and so may be the event that says so.
            let work = self.graph().forget(key);
            self.add_all(work);
            return Ok(Next::Done);
        };
        if live.pointer("/metadata/deletionTimestamp").is_some_and(|t| !t.is_null()) {
            if has_finalizer(&live, ORPHAN) {
                return orphan(&raw, &path, live, &key.uid, &dependents).await;
            }
            if has_finalizer(&live, FOREGROUND) {
                return self.foreground(&raw, &path, live, &dependents).await;
            }
            return Ok(Next::Done);
        }
        self.judge(&raw, key, &node, &live, &dependents).await
    }

    /// An object whose dependents go first: it is let go when none is left that blocks it.
    async fn foreground(
        &self,
        raw: &Raw,
        path: &str,
        live: Value,
        dependents: &[Dependent],
    ) -> Result<Next, Error> {
        if !dependents.iter().any(|dependent| dependent.blocks) {
            remove_finalizer(raw, path, live, FOREGROUND).await?;
            return Ok(Next::Done);
        }
        // The end of each brings this one back.
        for dependent in dependents.iter().filter(|dependent| !dependent.deleting) {
            self.queue.add(dependent.identity.clone());
        }
        Ok(Next::Done)
    }

    /// An object that stays or goes with its owners.
    async fn judge(
        &self,
        raw: &Raw,
        key: &Identity,
        node: &Node,
        live: &Value,
        dependents: &[Dependent],
    ) -> Result<Next, Error> {
        let mut states = Vec::new();
        for owner in owners(live) {
            let state = self.owner_state(raw, &node.place, &owner).await?;
            states.push((owner, state));
        }
        let path = node.place.path();
        match verdict(&states, !dependents.is_empty()) {
            Verdict::Keep => {}
            Verdict::Drop(gone) => drop_owners(raw, &path, live, &gone).await?,
            Verdict::DeleteForeground => {
                // In a circle each would wait for the other: those that are going already do not block.
                if dependents.iter().any(|dependent| dependent.deleting) {
                    self.unblock(raw, &node.place, live).await?;
                }
                delete(raw, &path, &key.uid, live, "Foreground").await?;
            }
            Verdict::Delete => {
                let policy = if has_finalizer(live, ORPHAN) {
                    "Orphan"
                } else if has_finalizer(live, FOREGROUND) {
                    "Foreground"
                } else {
                    "Background"
                };
                delete(raw, &path, &key.uid, live, policy).await?;
            }
        }
        Ok(Next::Done)
    }

    /// Looks up an owner, live. Only a certain "not there" counts as one.
    async fn owner_state(&self, raw: &Raw, place: &Place, owner: &Owner) -> Result<OwnerState, Error> {
        let resource = self.discovery.of_kind(&place.cluster, &owner.api_version, &owner.kind).await?;
        let Some(resource) = resource else {
            // The kind may come back, with the owner.
            return Err(Error::Wait(format!("there is no kind {} {}", owner.api_version, owner.kind)));
        };
        let namespace = if resource.namespaced { &*place.namespace } else { "" };
        if resource.namespaced && namespace.is_empty() {
            // An object of the whole cluster cannot be owned by one in a namespace: nobody knows which is meant.
            tracing::debug!(?place, owner = &*owner.name, "an owner in a namespace is left alone");
            return Ok(OwnerState::Solid);
        }
        let path = object_path(&owner.api_version, &resource.plural, namespace, &owner.name);
        let Some(live) = raw::optional(raw.get(&path).await)? else { return Ok(OwnerState::Absent) };
        if uid(&live) != &*owner.uid {
            return Ok(OwnerState::Absent);
        }
        let deleting = live.pointer("/metadata/deletionTimestamp").is_some_and(|t| !t.is_null());
        let waiting = deleting && has_finalizer(&live, FOREGROUND);
        // Its deletion may not have been seen yet.
        let known = self
            .graph()
            .node(&owner_identity(&place.cluster, owner))
            .is_some_and(|n| n.waits() && n.foreground);
        Ok(if waiting || (deleting && known) { OwnerState::Waiting } else { OwnerState::Solid })
    }

    /// Takes the blocking mark from all owner references of an object.
    async fn unblock(&self, raw: &Raw, place: &Place, live: &Value) -> Result<(), Error> {
        let mut references = live.pointer("/metadata/ownerReferences").cloned().unwrap_or_default();
        for reference in references.as_array_mut().into_iter().flatten() {
            reference["blockOwnerDeletion"] = false.into();
        }
        write_owners(raw, &place.path(), live, references).await
    }
}

/// Lets the dependents of an object go on without it, and then the object itself go.
async fn orphan(
    raw: &Raw,
    path: &str,
    live: Value,
    owner: &Arc<str>,
    dependents: &[Dependent],
) -> Result<Next, Error> {
    for dependent in dependents {
        let path = dependent.place.path();
        let Some(current) = raw::optional(raw.get(&path).await)? else { continue };
        if uid(&current) == &*dependent.identity.uid {
            drop_owners(raw, &path, &current, std::slice::from_ref(owner)).await?;
        }
    }
    remove_finalizer(raw, path, live, ORPHAN).await?;
    Ok(Next::Done)
}

/// Removes owners from an object.
async fn drop_owners(raw: &Raw, path: &str, live: &Value, gone: &[Arc<str>]) -> Result<(), Error> {
    let gone: HashSet<&str> = gone.iter().map(|uid| &**uid).collect();
    let references = live.pointer("/metadata/ownerReferences").and_then(Value::as_array);
    let rest: Vec<Value> = references
        .into_iter()
        .flatten()
        .filter(|r| !r["uid"].as_str().is_some_and(|uid| gone.contains(uid)))
        .cloned()
        .collect();
    write_owners(raw, path, live, rest.into()).await
}

async fn write_owners(raw: &Raw, path: &str, live: &Value, references: Value) -> Result<(), Error> {
    let patch = json!({ "metadata": {
        "uid": live["metadata"]["uid"],
        "resourceVersion": live["metadata"]["resourceVersion"],
        "ownerReferences": references,
    }});
    raw::optional(raw.merge(path, &patch).await)?;
    Ok(())
}

/// Removes a finalizer from an object.
async fn remove_finalizer(raw: &Raw, path: &str, live: Value, finalizer: &str) -> Result<(), Error> {
    let finalizers = live.pointer("/metadata/finalizers").and_then(Value::as_array);
    let rest: Vec<&Value> =
        finalizers.into_iter().flatten().filter(|f| f.as_str() != Some(finalizer)).collect();
    let patch = json!({ "metadata": {
        "uid": live["metadata"]["uid"],
        "resourceVersion": live["metadata"]["resourceVersion"],
        "finalizers": rest,
    }});
    raw::optional(raw.merge(path, &patch).await)?;
    Ok(())
}

/// Deletes an object, if it is still the one that was looked at.
async fn delete(raw: &Raw, path: &str, uid: &str, live: &Value, policy: &str) -> Result<(), Error> {
    let options = json!({
        "apiVersion": "v1",
        "kind": "DeleteOptions",
        "propagationPolicy": policy,
        "preconditions": { "uid": uid, "resourceVersion": live["metadata"]["resourceVersion"] },
    });
    raw::optional(raw.delete(path, Some(&options)).await)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(uid: &str, state: OwnerState) -> (Owner, OwnerState) {
        let owner = Owner {
            uid: uid.into(),
            api_version: "v1".into(),
            kind: "Pod".into(),
            name: uid.into(),
            blocks: true,
            controller: false,
        };
        (owner, state)
    }

    #[test]
    fn one_owner_that_stays_keeps_an_object() {
        use OwnerState::{Absent, Solid, Waiting};
        assert_eq!(verdict(&[], true), Verdict::Keep);
        assert_eq!(verdict(&[owner("1", Solid)], true), Verdict::Keep);
        let mixed = [owner("1", Solid), owner("2", Absent), owner("3", Waiting)];
        assert_eq!(verdict(&mixed, true), Verdict::Drop(vec!["2".into(), "3".into()]));
        assert_eq!(verdict(&[owner("1", Absent)], true), Verdict::Delete);
        assert_eq!(verdict(&[owner("1", Waiting)], false), Verdict::Delete);
        assert_eq!(verdict(&[owner("1", Waiting), owner("2", Absent)], true), Verdict::DeleteForeground);
    }
}
