//! Replacing the pods of a DaemonSet that are of an earlier template.

use serde_json::Value;

use super::{Look, eligible, part};
use crate::Error;
use crate::tenant::value::{is_deleting, name, text};
use crate::tenant::workloads::pods;

/// How many nodes may have a second pod while it takes over.
pub fn max_surge(set: &Value, nodes: usize) -> i64 {
    part(set, "maxSurge", nodes)
}

impl Look<'_> {
    /// One step of a rolling update.
    pub(super) async fn roll(&mut self) -> Result<(), Error> {
        if text(self.set, "/spec/updateStrategy/type") == "OnDelete" {
            return Ok(());
        }
        let nodes: Vec<String> = self
            .nodes
            .iter()
            .filter(|node| eligible::fit(self.set, node).runs)
            .map(|node| name(node).to_owned())
            .collect();
        let surge = max_surge(self.set, nodes.len());
        let mut unavailable = part(self.set, "maxUnavailable", nodes.len());
        if surge == 0 {
            unavailable = unavailable.max(1);
        }
        let is_available =
            |pod: &Value| !is_deleting(pod) && pods::availability(pod, self.min_ready(), self.now).0;
        let (mut going, mut coming) = (Vec::new(), Vec::new());
        let (mut away, mut surging) = (0, 0);
        let mut candidates = Vec::new();
        for node in &nodes {
            let live: Vec<&Value> = self.on(node).iter().filter(|pod| !is_deleting(pod)).collect();
            let (new, old): (Vec<&Value>, Vec<&Value>) =
                live.into_iter().partition(|pod| self.is_present(pod));
            match (new.first(), old.first()) {
                (None, None) => away += 1,
                (Some(new), None) => away += i64::from(!is_available(new)),
                (None, Some(old)) if !is_available(old) => {
                    // It serves nobody: it makes room at once.
                    if surge == 0 {
                        away += 1;
                        going.push((*old).clone());
                    } else {
                        surging += 1;
                        coming.push(self.pod_for(node));
                    }
                }
                (None, Some(old)) => candidates.push((node, (*old).clone())),
                (Some(new), Some(old)) => {
                    surging += 1;
                    if is_available(new) || !is_available(old) {
                        going.push((*old).clone());
                    }
                }
            }
        }
        for (node, old) in candidates {
            if surge > 0 {
                if surging < surge {
                    surging += 1;
                    coming.push(self.pod_for(node));
                }
            } else if away < unavailable {
                away += 1;
                going.push(old);
            }
        }
        let parent = self.parent();
        let (_, failure) = pods::create_many(&self.cx.api, &parent, coming).await;
        let (_, other) = pods::delete_many(&self.cx.api, &parent, going.iter().collect()).await;
        pods::first(failure.or(other))
    }
}
