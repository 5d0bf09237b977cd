//! Deployments: a ReplicaSet for each template, and pods moved from the old to the new as the strategy says.

mod numbers;
mod rollout;
mod scale;
mod sets;
mod status;

use std::time::Duration;

use serde_json::Value;

use super::pods::{self, Parent};
use crate::Error;
use crate::tenant::api::{DEPLOYMENTS, PODS, REPLICA_SETS};
use crate::tenant::queue::Next;
use crate::tenant::tasks::Cx;
use crate::tenant::value::{controller_of, flag, is_deleting, text, uid};

const COMPONENT: &str = "deployment-controller";
/// The number of the rollout that an object belongs to.
const REVISION: &str = "deployment.kubernetes.io/revision";
/// The label with the hash of the template.
const HASH: &str = "pod-template-hash";

/// One look at one Deployment.
struct Rollout<'a> {
    cx: &'a Cx<'a>,
    /// The Deployment as it was last read or written.
    deployment: Value,
    /// Whether something else of it is to be written with its status.
    unwritten: bool,
    /// Its ReplicaSets.
    sets: Vec<Value>,
}

/// The ReplicaSet of the present template, and all others.
struct Generations {
    new: Option<Value>,
    old: Vec<Value>,
}

impl Generations {
    fn all(&self) -> Vec<&Value> {
        self.old.iter().chain(self.new.as_ref()).collect()
    }
}

/// Looks at one.
pub async fn reconcile(cx: &Cx<'_>) -> Result<Next, Error> {
    let Some(deployment) = cx.object(&DEPLOYMENTS).await? else { return Ok(Next::Done) };
    let Some(selector) = pods::selector_of(&deployment, &DEPLOYMENTS) else { return Ok(Next::Done) };
    if selector.is_empty() {
        let message = "This deployment is selecting all pods. A non-empty selector is required.";
        cx.api.warning(COMPONENT, &deployment, "SelectingAll", message);
        return Ok(Next::Done);
    }
    let parent = Parent { object: &deployment, kind: &DEPLOYMENTS, component: COMPONENT };
    let sets = pods::claim(cx, &parent, &REPLICA_SETS, &selector, |_| true).await?;
    let mut rollout = Rollout { cx, deployment, unwritten: false, sets };
    let wait = rollout.advance(&selector).await?;
    Ok(wait.map_or(Next::Done, Next::After))
}

impl Rollout<'_> {
    async fn advance(
        &mut self,
        selector: &kplane_machinery::labels::Selector,
    ) -> Result<Option<Duration>, Error> {
        if is_deleting(&self.deployment) {
            let generations = self.generations(false).await?;
            return self.sync_status(&generations).await;
        }
        self.note_paused().await?;
        if flag(&self.deployment, "/spec/paused") {
            return self.sync_scale().await;
        }
        let generations = self.generations(false).await?;
        if self.is_scaling(&generations) {
            return self.sync_scale().await;
        }
        if text(&self.deployment, "/spec/strategy/type") == "Recreate" {
            let found = self.cx.api.select(&PODS, &self.cx.key.namespace, selector).await?;
            let pods = found.into_iter().filter(|pod| self.is_of_sets(pod)).collect();
            return self.recreate(pods).await;
        }
        self.roll().await
    }

    fn is_of_sets(&self, pod: &Value) -> bool {
        controller_of(pod).is_some_and(|owner| self.sets.iter().any(|set| uid(set) == text(owner, "/uid")))
    }

    /// Writes the status that the Deployment now has.
    async fn write_status(&mut self) -> Result<(), Error> {
        self.deployment = self.cx.api.update_status(&DEPLOYMENTS, &self.deployment).await?;
        self.unwritten = false;
        Ok(())
    }

    /// Replaces a ReplicaSet by what was written.
    fn replace(&mut self, written: &Value) {
        match self.sets.iter_mut().find(|set| uid(set) == uid(written)) {
            Some(set) => *set = written.clone(),
            None => self.sets.push(written.clone()),
        }
    }
}
