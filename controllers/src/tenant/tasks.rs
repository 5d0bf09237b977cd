//! The work of the controller manager: one queue of tasks for all controllers and all control planes.
//!
//! What is seen of an object becomes the tasks that may have something to do about it. A task says which part of a control
//! plane to look at; all else is read when its turn comes.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;

use super::api::{self, Api, Kind};
use super::discovery::Discovery;
use super::events::Recorder;
use super::garbage::Garbage;
use super::object::{Identity, Owner, Place, Seen};
use super::queue::{self, Next, Queue, Worker};
use super::value::{has_finalizer, label};
use super::{certificates, nodes, policies, roles, services, storage, workloads};
use crate::Error;
use crate::runtime::raw::{self, Raw};

/// How long changes are gathered into one look.
const BURST: Duration = Duration::from_millis(100);

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Task {
    /// One Deployment.
    Deployment,
    /// One ReplicaSet.
    ReplicaSet,
    /// One ReplicationController.
    ReplicationController,
    /// One StatefulSet.
    StatefulSet,
    /// One DaemonSet.
    DaemonSet,
    /// One Job; or, without a name, the pods of a namespace whose Job is gone.
    Job,
    /// One CronJob.
    CronJob,
    /// Those of a namespace that may adopt what nobody manages.
    Adopt,
    /// All DaemonSets of a control plane: its nodes changed.
    DaemonSets,
    /// The PodDisruptionBudgets of a namespace.
    Budgets,
    /// One HorizontalPodAutoscaler.
    Autoscaler,
    /// The Services of a namespace: their Endpoints and EndpointSlices; or, with a name, one that is gone.
    Services,
    /// The ranges of service addresses of a control plane.
    ServiceCidrs,
    /// The volumes and claims of a control plane.
    Volumes,
    /// One request for a certificate.
    SigningRequest,
    /// The bootstrap tokens of a control plane.
    BootstrapTokens,
    /// One node.
    Node,
    /// The pods of nodes that are gone.
    LostPods,
    /// One ValidatingAdmissionPolicy.
    Policy,
    /// The cluster roles of a control plane that gather the rules of others.
    ClusterRoles,
}

/// One piece of work.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// The control plane.
    pub cluster: Arc<str>,
    /// What is to be done.
    pub task: Task,
    /// The namespace; empty if it is about the whole control plane.
    pub namespace: Arc<str>,
    /// The name; empty if it is about all there are.
    pub name: Arc<str>,
}

impl queue::Key for Key {
    fn cluster(&self) -> &Arc<str> {
        &self.cluster
    }
}

/// What happened to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is in a list.
    Listed,
    /// It was made or changed.
    Applied,
    /// It is gone.
    Deleted,
}

/// What a namespace or a control plane is known to have. Where there is nothing of a sort, what changes is nobody's work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Holds {
    /// Objects that select pods to manage.
    Workloads,
    /// Deployments.
    Deployments,
    /// Services.
    Services,
    /// PodDisruptionBudgets.
    Budgets,
    /// DaemonSets.
    DaemonSets,
    /// Claims that are to go when no pod uses them any more.
    HeldClaims,
    /// Ranges of service addresses of its own.
    ServiceCidrs,
}

/// One queue of tasks, and what works on them.
pub struct Tasks {
    raw: Raw,
    garbage: Arc<Garbage>,
    discovery: Arc<Discovery>,
    queue: Queue<Key>,
    recorder: Recorder,
    /// Hashes of what holds what.
    holds: Mutex<HashSet<u64>>,
}

impl Tasks {
    /// Works through this client; `garbage` knows who owns what.
    pub fn new(raw: Raw, garbage: Arc<Garbage>, discovery: Arc<Discovery>) -> Self {
        Self {
            raw,
            garbage,
            discovery,
            queue: Queue::default(),
            recorder: Recorder::default(),
            holds: Mutex::default(),
        }
    }

    fn hash(cluster: &str, namespace: &str, what: Holds) -> u64 {
        let mut hasher = DefaultHasher::new();
        (cluster, namespace, what).hash(&mut hasher);
        hasher.finish()
    }

    /// Notes that a place has something.
    pub fn note(&self, cluster: &str, namespace: &str, what: Holds) {
        let hash = Self::hash(cluster, namespace, what);
        self.holds.lock().unwrap_or_else(PoisonError::into_inner).insert(hash);
    }

    /// Forgets it. To be called before a look: what comes meanwhile is noted anew.
    pub fn forget(&self, cluster: &str, namespace: &str, what: Holds) {
        let hash = Self::hash(cluster, namespace, what);
        self.holds.lock().unwrap_or_else(PoisonError::into_inner).remove(&hash);
    }

    fn has(&self, cluster: &str, namespace: &str, what: Holds) -> bool {
        let hash = Self::hash(cluster, namespace, what);
        self.holds.lock().unwrap_or_else(PoisonError::into_inner).contains(&hash)
    }

    /// Adds a task.
    pub fn add(&self, cluster: &Arc<str>, task: Task, namespace: &str, name: &str) {
        let cluster = cluster.clone();
        self.queue.add(Key { cluster, task, namespace: namespace.into(), name: name.into() });
    }

    /// Where the objects are that an object may own.
    pub fn dependents(&self, cluster: &Arc<str>, uid: &str) -> Vec<Place> {
        self.garbage.dependents(&Identity { cluster: cluster.clone(), uid: uid.into() })
    }

    /// What kinds control planes have.
    pub fn discovery(&self) -> &Discovery {
        &self.discovery
    }

    /// Something is seen of an object.
    pub fn see(&self, seen: &Seen, object: &Value, change: Change) {
        let place = &seen.place;
        match place.api_version.split_once('/').map_or("", |(group, _)| group) {
            "" => self.see_core(seen, object, change),
            "apps" | "batch" => self.see_workload(seen),
            "policy" if api::BUDGETS.holds(place) && change != Change::Deleted => {
                self.note(&place.cluster, &place.namespace, Holds::Budgets);
                self.add(&place.cluster, Task::Budgets, &place.namespace, "");
            }
            "autoscaling" if api::AUTOSCALERS.holds(place) && change != Change::Deleted => {
                let key = Key {
                    cluster: place.cluster.clone(),
                    task: Task::Autoscaler,
                    namespace: (&*place.namespace).into(),
                    name: (&*place.name).into(),
                };
                self.queue.add_after(key, workloads::autoscaler::DELAY);
            }
            "discovery.k8s.io" if api::SLICES.holds(place) => {
                // Those of others, with no Service behind them, are nobody's work here.
                let ours = label(object, "endpointslice.kubernetes.io/managed-by")
                    .is_some_and(|by| by.ends_with(".k8s.io"));
                if ours && change != Change::Listed {
                    self.add(&place.cluster, Task::Services, &place.namespace, "");
                }
            }
            "networking.k8s.io" if api::SERVICE_CIDRS.holds(place) && change != Change::Deleted => {
                self.note(&place.cluster, "", Holds::ServiceCidrs);
                self.add(&place.cluster, Task::ServiceCidrs, "", "");
            }
            "networking.k8s.io" if api::ADDRESSES.holds(place) && change == Change::Deleted => {
                self.if_held(place, "", Holds::ServiceCidrs, Task::ServiceCidrs);
            }
            "admissionregistration.k8s.io"
                if api::VALIDATING_POLICIES.holds(place) && change != Change::Deleted =>
            {
                self.add(&place.cluster, Task::Policy, "", &place.name);
            }
            "rbac.authorization.k8s.io" if api::CLUSTER_ROLES.holds(place) => {
                self.add(&place.cluster, Task::ClusterRoles, "", "");
            }
            "storage.k8s.io" if api::ATTRIBUTES_CLASSES.holds(place) && change != Change::Deleted => {
                self.add(&place.cluster, Task::Volumes, "", "");
            }
            "certificates.k8s.io" if api::SIGNING_REQUESTS.holds(place) && change != Change::Deleted => {
                self.add(&place.cluster, Task::SigningRequest, "", &place.name);
            }
            _ => {}
        }
    }

    fn if_held(&self, place: &Place, namespace: &str, what: Holds, task: Task) {
        if self.has(&place.cluster, namespace, what) {
            self.add(&place.cluster, task, namespace, "");
        }
    }

    fn see_core(&self, seen: &Seen, object: &Value, change: Change) {
        let place = &seen.place;
        let namespace = &*place.namespace;
        match &*place.resource {
            "pods" => {
                self.see_owned(seen, change);
                if change != Change::Listed {
                    self.if_held(place, namespace, Holds::Services, Task::Services);
                    self.if_held(place, namespace, Holds::Budgets, Task::Budgets);
                    self.if_held(place, "", Holds::HeldClaims, Task::Volumes);
                }
                let managed = seen.owners.iter().any(|owner| owner.controller);
                if (seen.deleting || !managed) && has_finalizer(object, workloads::job::TRACKING) {
                    // If its Job is gone, nobody else lets it go.
                    self.add(&place.cluster, Task::Job, namespace, "");
                }
            }
            "services" => {
                self.note(&place.cluster, namespace, Holds::Services);
                self.add(&place.cluster, Task::Services, namespace, "");
                if change == Change::Deleted {
                    self.add(&place.cluster, Task::Services, namespace, &place.name);
                }
            }
            "endpoints" => {
                self.note(&place.cluster, namespace, Holds::Services);
                if change != Change::Listed {
                    self.add(&place.cluster, Task::Services, namespace, "");
                }
            }
            "replicationcontrollers" => self.see_workload(seen),
            "persistentvolumes" | "persistentvolumeclaims" => {
                self.add(&place.cluster, Task::Volumes, "", "");
                self.see_owned(seen, change);
            }
            "nodes" => {
                self.if_held(place, "", Holds::DaemonSets, Task::DaemonSets);
                if change == Change::Deleted {
                    let cluster = place.cluster.clone();
                    let key = Key { cluster, task: Task::LostPods, namespace: "".into(), name: "".into() };
                    self.queue.add_after(key, nodes::QUARANTINE);
                } else {
                    self.add(&place.cluster, Task::Node, "", &place.name);
                }
            }
            "secrets" if namespace == "kube-system" && place.name.starts_with("bootstrap-token-") => {
                self.add(&place.cluster, Task::BootstrapTokens, "", "");
            }
            "configmaps" if namespace == "kube-public" && &*place.name == "cluster-info" => {
                self.add(&place.cluster, Task::BootstrapTokens, "", "");
            }
            _ => {}
        }
    }

    fn see_workload(&self, seen: &Seen) {
        let place = &seen.place;
        let Some(task) = task_of(place) else {
            // Revisions tell of those that own them.
            return self.see_owned(seen, Change::Applied);
        };
        match task {
            Task::Deployment => self.note(&place.cluster, &place.namespace, Holds::Deployments),
            Task::CronJob => {}
            _ => self.note(&place.cluster, &place.namespace, Holds::Workloads),
        }
        if task == Task::DaemonSet {
            self.note(&place.cluster, "", Holds::DaemonSets);
        }
        self.add(&place.cluster, task, &place.namespace, &place.name);
        self.see_owned(seen, Change::Applied);
    }

    /// Tells the one that manages an object, or those that may want to.
    fn see_owned(&self, seen: &Seen, change: Change) {
        let place = &seen.place;
        match seen.owners.iter().find(|owner| owner.controller) {
            Some(owner) => {
                if let Some(task) = task_of_owner(owner) {
                    self.add(&place.cluster, task, &place.namespace, &owner.name);
                }
            }
            None if seen.deleting || change == Change::Deleted => {}
            None if &*place.resource == "pods" => {
                self.if_held(place, &place.namespace, Holds::Workloads, Task::Adopt);
            }
            None if &*place.resource == "replicasets" => {
                self.if_held(place, &place.namespace, Holds::Deployments, Task::Adopt);
            }
            None => {}
        }
    }

    async fn perform(&self, key: &Key) -> Result<Next, Error> {
        let cx = Cx { api: Api::new(&self.raw, &key.cluster, &self.recorder), tasks: self, key };
        // Boxed: a worker that waits has room for a key, not for the largest of all tasks.
        match key.task {
            Task::Deployment => Box::pin(workloads::deployment::reconcile(&cx)).await,
            Task::ReplicaSet => Box::pin(workloads::replicas::reconcile(&cx, workloads::replicas::SET)).await,
            Task::ReplicationController => {
                Box::pin(workloads::replicas::reconcile(&cx, workloads::replicas::CONTROLLER)).await
            }
            Task::StatefulSet => Box::pin(workloads::stateful::reconcile(&cx)).await,
            Task::DaemonSet => Box::pin(workloads::daemon::reconcile(&cx)).await,
            Task::Job => Box::pin(workloads::job::reconcile(&cx)).await,
            Task::CronJob => Box::pin(workloads::cron_job::reconcile(&cx)).await,
            Task::Adopt => Box::pin(workloads::adopt::reconcile(&cx)).await,
            Task::DaemonSets => Box::pin(workloads::daemon::all(&cx)).await,
            Task::Budgets => Box::pin(workloads::budgets::reconcile(&cx)).await,
            Task::Autoscaler => Box::pin(workloads::autoscaler::reconcile(&cx)).await,
            Task::Services => Box::pin(services::reconcile(&cx)).await,
            Task::ServiceCidrs => Box::pin(services::cidrs::reconcile(&cx)).await,
            Task::Volumes => Box::pin(storage::reconcile(&cx)).await,
            Task::SigningRequest => Box::pin(certificates::requests::reconcile(&cx)).await,
            Task::BootstrapTokens => Box::pin(certificates::bootstrap::reconcile(&cx)).await,
            Task::Node => Box::pin(nodes::reconcile(&cx)).await,
            Task::LostPods => Box::pin(nodes::lost_pods(&cx)).await,
            Task::Policy => Box::pin(policies::reconcile(&cx)).await,
            Task::ClusterRoles => Box::pin(roles::reconcile(&cx)).await,
        }
    }
}

/// What a task works with.
pub struct Cx<'a> {
    /// The control plane.
    pub api: Api,
    /// All tasks.
    pub tasks: &'a Tasks,
    /// This one.
    pub key: &'a Key,
}

impl Cx<'_> {
    /// The object that the task is about, if it is there.
    pub async fn object(&self, kind: &Kind) -> Result<Option<Value>, kube::Error> {
        self.api.get(kind, &self.key.namespace, &self.key.name).await
    }

    /// Adds a task about an object of the same namespace.
    pub fn add(&self, task: Task, name: &str) {
        self.tasks.add(&self.key.cluster, task, &self.key.namespace, name);
    }
}

fn task_of_owner(owner: &Owner) -> Option<Task> {
    let group = owner.api_version.split_once('/').map_or("", |(group, _)| group);
    Some(match (group, &*owner.kind) {
        ("apps", "Deployment") => Task::Deployment,
        ("apps", "ReplicaSet") => Task::ReplicaSet,
        ("apps", "StatefulSet") => Task::StatefulSet,
        ("apps", "DaemonSet") => Task::DaemonSet,
        ("batch", "Job") => Task::Job,
        ("batch", "CronJob") => Task::CronJob,
        ("", "ReplicationController") => Task::ReplicationController,
        _ => return None,
    })
}

fn task_of(place: &Place) -> Option<Task> {
    [
        (&api::DEPLOYMENTS, Task::Deployment),
        (&api::REPLICA_SETS, Task::ReplicaSet),
        (&api::STATEFUL_SETS, Task::StatefulSet),
        (&api::DAEMON_SETS, Task::DaemonSet),
        (&api::JOBS, Task::Job),
        (&api::CRON_JOBS, Task::CronJob),
        (&api::REPLICATION_CONTROLLERS, Task::ReplicationController),
    ]
    .into_iter()
    .find(|(kind, _)| kind.holds(place))
    .map(|(_, task)| task)
}

impl Worker for Tasks {
    type Key = Key;
    const NAME: &'static str = "tasks";

    fn queue(&self) -> &Queue<Key> {
        &self.queue
    }

    fn pause(&self, key: &Key) -> Option<Duration> {
        // A rollout changes its ReplicaSets and pods in bursts, each of which would have the status counted and written anew.
        matches!(key.task, Task::Deployment).then_some(BURST)
    }

    async fn reconcile(&self, key: Key) -> Result<Next, Error> {
        match self.perform(&key).await {
            // The object, its namespace or its control plane went meanwhile: there is nothing left to do.
            Err(Error::Kube(error)) if raw::is_not_found(&error) || api::is_terminating(&error) => {
                Ok(Next::Done)
            }
            other => other,
        }
    }
}
