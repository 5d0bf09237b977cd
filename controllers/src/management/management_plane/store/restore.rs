//! How far the replacement of the data by a snapshot is, and what comes next (no client required).
//!
//! What was done is written on the claims of the members' volumes: they are there as long as the data is, whatever
//! becomes of the ManagementPlane. A value that was restored is not restored again.

use serde_json::{Value, json};

use crate::management::management_plane::build::Change;

/// The snapshot that the data is of, if it is of one.
pub const RESTORED_ANNOTATION: &str = "controlplane.kplane.dev/restored-from";
/// The snapshots that were begun with and did not come to an end.
pub const ATTEMPTS_ANNOTATION: &str = "controlplane.kplane.dev/restore-attempts";
/// The snapshot whose restore has left nothing behind: what it had replaced is removed everywhere.
pub const TIDIED_ANNOTATION: &str = "controlplane.kplane.dev/restore-tidied";
/// How many members there were before the first of these attempts.
pub const MEMBERS_ANNOTATION: &str = "controlplane.kplane.dev/members-before-restore";

/// What stands on the claims of the members' volumes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// The snapshot that the data is of.
    pub restored: Option<String>,
    /// The snapshot whose restore has left nothing behind.
    pub tidied: Option<String>,
    /// The attempts that did not come to an end.
    pub attempts: Vec<String>,
    /// How many members there were before.
    pub members: Option<i32>,
}

impl Mark {
    /// Reads it from a claim.
    pub fn read(claim: &Value) -> Self {
        let text = |key: &str| {
            let found = claim.get("metadata")?.get("annotations")?.get(key)?.as_str()?;
            (!found.is_empty()).then(|| found.to_owned())
        };
        let attempts = text(ATTEMPTS_ANNOTATION).unwrap_or_default();
        Self {
            restored: text(RESTORED_ANNOTATION),
            tidied: text(TIDIED_ANNOTATION),
            attempts: attempts.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect(),
            members: text(MEMBERS_ANNOTATION).and_then(|text| text.parse().ok()),
        }
    }

    /// The change of a claim that writes it.
    pub fn patch(&self) -> Value {
        let attempts = (!self.attempts.is_empty()).then(|| self.attempts.join(","));
        json!({ "metadata": { "annotations": {
            RESTORED_ANNOTATION: self.restored,
            TIDIED_ANNOTATION: self.tidied,
            ATTEMPTS_ANNOTATION: attempts,
            MEMBERS_ANNOTATION: self.members.map(|members| members.to_string()),
        }}})
    }
}

/// What is to become of the data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Aim {
    /// It stays as it is, and what a restore has replaced is removed if `tidy`.
    Stay {
        /// Whether a restore has come to its end and has left something behind.
        tidy: bool,
    },
    /// This happens to it.
    Change(Change),
}

/// What the spec and the mark make of the data; and the mark as it should be from now on.
pub fn aim(wanted: Option<&str>, mark: &Mark, members: i32, running: i32) -> (Aim, Mark) {
    let mut next = mark.clone();
    match wanted.filter(|from| mark.restored.as_deref() != Some(*from)) {
        None if mark.attempts.is_empty() => (Aim::Stay { tidy: mark.restored != mark.tidied }, next),
        // What was begun is not wanted any more.
        None => (Aim::Change(Change::Undo { attempts: mark.attempts.clone() }), next),
        Some(from) => {
            if mark.attempts.is_empty() {
                next.members = Some(running).filter(|members| *members > 0);
            }
            let is_last =
                mark.attempts.last().and_then(|last| last.rsplit_once('_')).is_some_and(|l| l.0 == from);
            if !is_last {
                next.attempts.push(format!("{from}_{}", mark.attempts.len() + 1));
            }
            let attempts = next.attempts.clone();
            (Aim::Change(Change::Restore { from: from.to_owned(), attempts, members }), next)
        }
    }
}

/// The mark once the aim is reached.
pub fn reached(change: &Change, mark: &Mark) -> Mark {
    let restored = match change {
        Change::Restore { from, .. } => Some(from.clone()),
        Change::Undo { .. } | Change::Tidy => mark.restored.clone(),
    };
    Mark { restored, tidied: mark.tidied.clone(), attempts: Vec::new(), members: None }
}

/// How many pods there are to be while a change is made: none until all that ran before are gone.
pub fn replicas(change: &Change, set: &Found, apiservers: i64, members: i32) -> i32 {
    let begun = set.attempt == change.name();
    let all_gone = set.pods == 0 && apiservers == 0;
    match set.exists {
        true if !begun => 0,
        true if set.replicas == 0 && !all_gone => 0,
        _ => members,
    }
}

/// The StatefulSet as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Whether there is one.
    pub exists: bool,
    /// What its pods were made for.
    pub attempt: String,
    /// How many pods it is to have.
    pub replicas: i32,
    /// How many it has.
    pub pods: i64,
    /// Whether each of them has removed, before it began, what a restore had replaced.
    pub tidied: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempts(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_snapshot_is_restored_once() {
        let (aim_now, mark) = aim(Some("a"), &Mark::default(), 3, 1);
        let change = Change::Restore { from: "a".into(), attempts: attempts(&["a_1"]), members: 3 };
        assert_eq!(aim_now, Aim::Change(change.clone()));
        assert_eq!(mark.members, Some(1));
        // Until it has come to its end, it is the same attempt.
        let (again, same) = aim(Some("a"), &mark, 3, 0);
        assert_eq!((again, &same), (Aim::Change(change.clone()), &mark));
        let done = reached(&change, &mark);
        let claim = {
            let mut claim = done.patch();
            claim["metadata"]["annotations"].as_object_mut().unwrap().retain(|_, value| !value.is_null());
            claim
        };
        assert_eq!(Mark::read(&claim), done);
        // What it had replaced is removed, whatever the spec says by now, and then nothing of it is left in the pods: an
        // upgrade of the servers must not be one of etcd.
        for wanted in [Some("a"), None] {
            assert_eq!(aim(wanted, &done, 3, 3).0, Aim::Stay { tidy: true });
            let tidied = Mark { tidied: done.restored.clone(), ..done.clone() };
            assert_eq!(aim(wanted, &tidied, 3, 3).0, Aim::Stay { tidy: false });
        }
        assert!(matches!(aim(Some("b"), &done, 3, 3).0, Aim::Change(_)));
    }

    #[test]
    fn what_did_not_come_to_its_end_can_be_tried_otherwise_or_undone() {
        let (_, mark) = aim(Some("wrong"), &Mark::default(), 3, 3);
        let (_, mark) = aim(Some("a"), &mark, 3, 0);
        assert_eq!((mark.attempts.clone(), mark.members), (attempts(&["wrong_1", "a_2"]), Some(3)));
        let (undo, kept) = aim(None, &mark, 3, 0);
        assert_eq!(undo, Aim::Change(Change::Undo { attempts: mark.attempts.clone() }));
        let Aim::Change(change) = undo else { unreachable!() };
        assert_eq!(reached(&change, &kept), Mark::default());
        // A value that was tried, left and taken again is another attempt.
        assert_eq!(aim(Some("wrong"), &mark, 3, 0).1.attempts.last().unwrap(), "wrong_3");
    }

    #[test]
    fn everything_stops_before_the_data_changes() {
        let change = Change::Restore { from: "a".into(), attempts: attempts(&["a_1"]), members: 3 };
        let mut set = Found { exists: true, replicas: 3, pods: 3, ..Found::default() };
        assert_eq!(replicas(&change, &set, 2, 3), 0);
        set = Found { attempt: "a_1".into(), replicas: 0, pods: 1, ..set };
        assert_eq!(replicas(&change, &set, 0, 3), 0);
        set.pods = 0;
        assert_eq!(replicas(&change, &set, 1, 3), 0);
        assert_eq!(replicas(&change, &set, 0, 3), 3);
        set = Found { replicas: 3, pods: 3, ..set };
        assert_eq!(replicas(&change, &set, 0, 3), 3);
        assert_eq!(replicas(&change, &Found::default(), 0, 3), 3);
    }
}
