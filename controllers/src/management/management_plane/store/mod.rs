//! The life of the store: what becomes of etcd's members, data, files and snapshots (client required).
//!
//! `found` reads, `scale`, `restore`, `upkeep` and `backup` decide, and this file does what they decided, one step a
//! pass. What StatefulSet and ConfigMap are to be comes out as [`Terms`], for the build.

mod addresses;
mod backup;
mod found;
mod restore;
mod scale;
mod upkeep;

use kplane_crds::conditions::reason;
use kplane_crds::v1alpha1::{ManagedEtcd, ManagementPlane};
use serde_json::{Value, json};

use super::build::{self, Change, Given, ServiceAddresses, Start, Terms, claim, member};
use super::certificates;
use super::validate::{self, Deployed, Store};
use crate::Error;
use crate::etcd::{Access, Cluster, Member, cluster, s3};
use crate::management::run::ManagementOptions;
use crate::runtime::raw::{self, Raw};
use addresses::Addresses;
pub use backup::Backups;
use found::Found;
use restore::{Aim, Mark};
use scale::{Plan, Step};
use upkeep::Care;

/// How the store does, beyond what the pods say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// How many members vote.
    pub members: Option<i32>,
    /// The bytes of the largest file.
    pub size: Option<i64>,
    /// The snapshot that the data was last replaced by.
    pub restored_from: Option<String>,
    /// What is to be said of it.
    pub note: Option<Note>,
    /// Whether a step was made or is waited for, and a look soon is worth it.
    pub busy: bool,
    /// How the regular snapshots do; `None` when there are to be none.
    pub backups: Option<Backups>,
}

/// Something to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// For programs.
    pub reason: &'static str,
    /// For people.
    pub message: String,
}

impl Note {
    /// Whether the store serves nobody, or takes no writes, as long as this holds.
    pub fn stops(&self) -> bool {
        [
            reason::QUORUM_LOST,
            reason::NO_SPACE,
            reason::CORRUPT,
            reason::RESTORING,
            reason::ETCD_UNREACHABLE,
            reason::CERTIFICATE_EXPIRED,
        ]
        .contains(&self.reason)
    }
}

/// Looks after the store, and completes the terms of what is built.
pub async fn tend(
    plane: &ManagementPlane,
    deployed: &mut Deployed,
    services: &ServiceAddresses,
    raw: &Raw,
    options: &ManagementOptions,
    now: jiff::Timestamp,
) -> Result<Report, Error> {
    let mut report = match deployed.store.clone() {
        Store::Managed(managed) => managed_etcd(plane, &managed, deployed, services, raw, options).await?,
        Store::External(external) => {
            let secret = external.tls_secret_ref.map(|reference| reference.name);
            let endpoints = external.endpoints;
            external_etcd(plane, &endpoints, secret.as_deref(), raw, now).await?
        }
        Store::File => return Ok(Report::default()),
    };
    report.backups = backups(plane, deployed, raw, now).await?;
    Ok(report)
}

/// How the regular snapshots do. Without a schedule what took them is removed.
async fn backups(
    plane: &ManagementPlane,
    deployed: &Deployed,
    raw: &Raw,
    now: jiff::Timestamp,
) -> Result<Option<Backups>, Error> {
    let job = build::cron_job(plane, deployed, &Given::default());
    let there = raw::optional(raw.get(&job.path()).await)?;
    let Ok(Some(schedule)) = validate::schedule(&plane.spec) else {
        if there.is_some() {
            let options = json!({ "propagationPolicy": "Background" });
            raw::optional(raw.delete(&job.path(), Some(&options)).await)?;
        }
        return Ok(None);
    };
    // Since the schedule is what it is; the moment its CronJob last changed is not told, so the first is asked.
    let made = there.as_ref().and_then(|job| job["metadata"]["creationTimestamp"].as_str()?.parse().ok());
    let pods = found::pods(raw, &plane.spec.namespace, build::ETCD_BACKUP).await?;
    let known = plane.status.as_ref().and_then(|status| status.store.as_ref()?.last_backup.clone());
    let mut backups = backup::judge(&pods, known.as_ref(), &schedule, made.or(Some(now)), now);
    if let Some(missing) = keys_missing(plane, raw).await? {
        // Its pods wait for them, and say nothing.
        backups.succeeded = Some(false);
        backups.reason = reason::DESTINATION_CREDENTIALS_MISSING;
        backups.message = missing;
    }
    Ok(Some(backups))
}

/// What is missing of the Secrets that lead to the bucket with the snapshots, if anything is.
async fn keys_missing(plane: &ManagementPlane, raw: &Raw) -> Result<Option<String>, Error> {
    let Some(s3) = build::bucket(plane) else { return Ok(None) };
    let mut wanted =
        vec![("credentialsSecretRef", s3.credentials_secret_ref.name, &[s3::KEY_ID, s3::SECRET][..])];
    wanted.extend(s3.ca_secret_ref.map(|reference| ("caSecretRef", reference.name, &["ca.crt"][..])));
    for (field, name, keys) in wanted {
        let namespace = &plane.spec.namespace;
        let path = format!("/api/v1/namespaces/{namespace}/secrets/{name}");
        let secret = raw::optional(raw.get(&path).await)?;
        let has = |key: &&str| secret.as_ref().is_some_and(|secret| secret["data"][*key].is_string());
        let what = match &secret {
            None => "is not there".to_owned(),
            Some(_) => match keys.iter().find(|key| !has(key)) {
                Some(key) => format!("has no {key}"),
                None => continue,
            },
        };
        return Ok(Some(format!(
            "the Secret {name:?} of namespace {namespace:?}, which spec.store.backup.destination.s3.{field} names, {what}; \
             make it with {}",
            keys.join(" and ")
        )));
    }
    Ok(None)
}

/// By what etcd is reached: a Secret in the namespace of the plane.
async fn access(raw: &Raw, namespace: &str, secret: Option<&str>) -> Result<Option<Access>, Error> {
    let Some(secret) = secret else { return Ok(Some(Access::default())) };
    let path = format!("/api/v1/namespaces/{namespace}/secrets/{secret}");
    let Some(secret) = raw::optional(raw.get(&path).await)? else { return Ok(None) };
    let bytes = |key: &str| found::decoded(&secret, key);
    let identity = bytes("tls.crt").zip(bytes("tls.key"));
    Ok(Some(Access { ca: bytes("ca.crt"), identity, name: None }))
}

/// Whether an etcd of somebody else answers. The API server tells too, but not why.
async fn external_etcd(
    plane: &ManagementPlane,
    endpoints: &[String],
    secret: Option<&str>,
    raw: &Raw,
    now: jiff::Timestamp,
) -> Result<Report, Error> {
    let unreachable = |message: String| Report {
        note: Some(Note { reason: reason::ETCD_UNREACHABLE, message }),
        ..Report::default()
    };
    let Some(access) = access(raw, &plane.spec.namespace, secret).await? else {
        let name = secret.unwrap_or_default();
        return Ok(unreachable(format!(
            "the Secret {name:?} that spec.store.etcd.external.tlsSecretRef names is not in namespace {:?}",
            plane.spec.namespace
        )));
    };
    let ended =
        access.identity.as_ref().and_then(|(pem, _)| certificates::end(pem)).filter(|end| *end <= now);
    if let Some(end) = ended {
        let message = format!(
            "the certificate in the Secret {:?}, by which etcd knows who asks, ended at {end:.0}; put a new one there, and \
             the API servers start anew with it",
            secret.unwrap_or_default()
        );
        return Ok(Report {
            note: Some(Note { reason: reason::CERTIFICATE_EXPIRED, message }),
            ..Report::default()
        });
    }
    Ok(match cluster::look(&access, endpoints).await {
        Ok(found) => {
            let note = upkeep::of_others(&found).map(|(reason, message)| Note { reason, message });
            Report { note, ..measured(&found) }
        }
        Err(error) => unreachable(format!(
            "{error}; see that spec.store.etcd.external names the members, and that these let the Secret's certificate in"
        )),
    })
}

fn measured(cluster: &Cluster) -> Report {
    let voters = cluster.members.iter().filter(|each| !each.learner).count();
    let sizes = cluster.members.iter().filter_map(|each| each.state.as_ref().map(|state| state.size));
    Report { members: i32::try_from(voters).ok(), size: sizes.max(), ..Report::default() }
}

async fn managed_etcd(
    plane: &ManagementPlane,
    managed: &ManagedEtcd,
    deployed: &mut Deployed,
    services: &ServiceAddresses,
    raw: &Raw,
    options: &ManagementOptions,
) -> Result<Report, Error> {
    let found = found::look(plane, raw).await?;
    let mark = found.mark.clone();
    let wanted = managed.restore.as_ref().map(|restore| restore.from.as_str());
    let (aim, mut next) = restore::aim(wanted, &mark, managed.replicas, found.set.replicas);
    if aim == (Aim::Stay { tidy: true }) && found.set.tidied {
        // From the next pass on the pods have nothing to remove.
        next.tidied.clone_from(&mark.restored);
    }
    if next != mark {
        write_mark(plane, raw, &next, &found).await?;
    }
    let addresses = Addresses::read(options.etcd_addresses.as_deref())?.with_services(plane, services);
    // Every member shows it, whatever it is reached at.
    let name = build::etcd_domain(plane);
    let etcd = Etcd {
        plane,
        raw,
        addresses,
        access: access(raw, &plane.spec.namespace, Some(build::ETCD_CLIENT_SECRET))
            .await?
            .map(|access| Access { name: Some(name), ..access }),
    };
    let (terms, mut report) = match aim {
        Aim::Change(change) => {
            // Nobody is served until it is done: what clients have seen must not come and go.
            deployed.replicas = 0;
            etcd.change(managed, change, &next, &found).await?
        }
        Aim::Stay { tidy } => {
            let (mut terms, mut report) = etcd.stay(managed, &found, options.defragment_above).await?;
            terms.change = tidy.then_some(Change::Tidy);
            report.busy |= tidy;
            (terms, report)
        }
    };
    report.restored_from = report.restored_from.or(mark.restored);
    let settled = managed.replicas.min(terms.replicas);
    let servers = [5, 3, 1].into_iter().find(|count| *count <= settled).unwrap_or(managed.replicas);
    deployed.store = Store::Managed(ManagedEtcd { replicas: servers, ..managed.clone() });
    deployed.terms = Some(terms);
    Ok(report)
}

/// Writes a mark on the claims of all members, that of the first last: it is the one that is read.
async fn write_mark(plane: &ManagementPlane, raw: &Raw, mark: &Mark, found: &Found) -> Result<(), Error> {
    let mut claims = found.pods.claims.clone();
    claims.sort_unstable();
    for index in claims.into_iter().rev() {
        let path =
            format!("/api/v1/namespaces/{}/persistentvolumeclaims/{}", plane.spec.namespace, claim(index));
        raw.merge(&path, &mark.patch()).await?;
    }
    Ok(())
}

/// A managed etcd, and the ways to it.
struct Etcd<'a> {
    plane: &'a ManagementPlane,
    raw: &'a Raw,
    addresses: Addresses,
    access: Option<Access>,
}

impl Etcd<'_> {
    fn endpoints(&self, replicas: i32) -> Vec<String> {
        (0..replicas).map(|index| self.addresses.client(self.plane, index)).collect()
    }

    async fn look(&self, replicas: i32) -> Result<Cluster, Error> {
        let Some(access) = &self.access else {
            return Err(Error::Etcd("its certificates are not there yet".into()));
        };
        cluster::look(access, &self.endpoints(replicas)).await
    }

    fn index(&self, found: &Member) -> Option<i32> {
        self.addresses.index(self.plane, found)
    }

    /// A restore, or the undoing of one: all stops, the data changes, all begins again.
    async fn change(
        &self,
        managed: &ManagedEtcd,
        change: Change,
        mark: &Mark,
        found: &Found,
    ) -> Result<(Terms, Report), Error> {
        let members = match &change {
            Change::Restore { members, .. } => *members,
            _ => mark.members.unwrap_or(managed.replicas),
        };
        let replicas = restore::replicas(&change, &found.set, found.apiservers, members);
        let mut terms = Terms {
            replicas,
            change: Some(change.clone()),
            formed: found.formed.clone(),
            ..Terms::first(members)
        };
        if terms.formed.is_some() {
            terms.start = Start::Nobody;
        }
        let (what, from) = match &change {
            Change::Restore { from, .. } => {
                (format!("the data is replaced by the snapshot {from:?}"), Some(from.clone()))
            }
            _ => ("the data is put back as it was before the restore".to_owned(), None),
        };
        let mut report = Report { busy: true, ..Report::default() };
        let running = found.set.replicas == replicas && replicas > 0;
        if running && let Ok(cluster) = self.look(replicas).await {
            let all =
                i32::try_from(cluster.members.iter().filter(|each| each.is_well()).count()).unwrap_or(0);
            if all >= replicas && !found.pods.claims.is_empty() {
                write_mark(self.plane, self.raw, &restore::reached(&change, mark), found).await?;
                report = Report { busy: true, restored_from: from, ..measured(&cluster) };
            }
        }
        let mut message =
            if replicas == 0 { format!("{what}; all that runs is stopped first") } else { what };
        if let (Change::Restore { .. }, Some(missing)) = (&change, keys_missing(self.plane, self.raw).await?)
        {
            message = format!("{message}; {missing}");
        }
        report.note = Some(Note { reason: reason::RESTORING, message });
        Ok((terms, report))
    }

    /// The usual: members as many as wanted, files that are not much larger than what they hold.
    async fn stay(&self, managed: &ManagedEtcd, found: &Found, above: i64) -> Result<(Terms, Report), Error> {
        if !found.set.exists {
            // Volumes that outlived an earlier plane hold its members.
            let kept = found.pods.claims.iter().max().map_or(0, |last| last + 1);
            let replicas = if kept > 0 { kept } else { managed.replicas };
            return Ok((Terms::first(replicas), Report { busy: true, ..Report::default() }));
        }
        let replicas = found.set.replicas;
        let mut terms = Terms {
            replicas,
            start: found.start.clone().unwrap_or_else(|| Start::New((0..replicas).collect())),
            formed: found.formed.clone(),
            change: None,
        };
        if replicas == 0 {
            // What stopped it is over, a restore that was not to be say: begin again with what there was.
            let kept = found.pods.claims.iter().max().map_or(managed.replicas, |last| last + 1);
            return Ok((Terms { replicas: kept, ..terms }, Report { busy: true, ..Report::default() }));
        }
        let cluster = match self.look(replicas).await {
            Ok(cluster) => cluster,
            Err(error) => return Ok((terms, unreachable(found, &error))),
        };
        if terms.formed.is_none() {
            let begun = cluster.members.iter().all(|each| each.started);
            if !begun {
                return Ok((terms, Report { busy: true, ..measured(&cluster) }));
            }
        }
        terms.formed = Some(format!("{:x}", cluster.id));
        let plan = scale::plan(managed.replicas, &cluster, &found.pods, |each| self.index(each));
        let mut report = measured(&cluster);
        let (care, complaint) = upkeep::care(&cluster, above);
        let rests = matches!(plan.step, Step::Rest);
        report.note =
            complaint.or_else(|| plan.note.clone()).map(|(reason, message)| Note { reason, message });
        report.busy = !rests || care != Care::None;
        terms.replicas = plan.replicas;
        terms.start = plan.start.clone();
        let done = match rests {
            true => self.care(&cluster, &care).await,
            false => self.step(&plan, &cluster, replicas).await,
        };
        match done {
            Ok(Some(start)) => terms.start = start,
            Ok(None) => {}
            // etcd has its reasons to refuse: a member that has not caught up, or is only just connected.
            Err(Error::Etcd(why)) => {
                if let Some(note) = &mut report.note {
                    note.message = format!("{}; etcd says for now: {why}", note.message);
                }
                tracing::info!(%why, step = ?plan.step, "etcd refuses a step for now");
            }
            Err(error) => return Err(error),
        }
        Ok((terms, report))
    }

    /// Does a step towards other members; what a member without data begins with from now on, when that changes.
    async fn step(&self, plan: &Plan, cluster: &Cluster, replicas: i32) -> Result<Option<Start>, Error> {
        let Some(access) = &self.access else { return Ok(None) };
        let endpoints = self.endpoints(replicas);
        match &plan.step {
            Step::Rest | Step::Wait => {}
            Step::Add(index) => {
                cluster::add(access, &endpoints, &self.addresses.peer(self.plane, *index)).await?;
                tracing::info!(member = member(*index), "added to etcd, without a vote yet");
                let mut all: Vec<i32> = cluster.members.iter().filter_map(|each| self.index(each)).collect();
                all.push(*index);
                all.sort_unstable();
                return Ok(Some(Start::Join(all)));
            }
            Step::Promote(id) => {
                cluster::promote(access, &endpoints, *id).await?;
                tracing::info!(id, "a member of etcd has its vote");
            }
            Step::Remove { id, successor } => {
                if let Some(successor) = successor {
                    let leader = cluster.members.iter().find(|each| each.id == cluster.leader);
                    let leader = leader.and_then(|each| self.index(each)).unwrap_or(0);
                    cluster::move_leader(access, &self.addresses.client(self.plane, leader), *successor)
                        .await?;
                }
                // Who stays is asked: who goes could not answer any more.
                let staying = cluster.members.iter().filter(|each| each.id != *id && each.is_well());
                let staying: Vec<i32> = staying.filter_map(|each| self.index(each)).collect();
                let endpoints: Vec<String> =
                    staying.iter().map(|index| self.addresses.client(self.plane, *index)).collect();
                cluster::remove(access, &endpoints, *id).await?;
                tracing::info!(id, "removed from etcd");
            }
            Step::DeleteClaim(index) => self.delete("persistentvolumeclaims", &claim(*index)).await?,
            Step::DeletePod(index) => self.delete("pods", &member(*index)).await?,
            Step::Replace(index) => {
                self.delete("persistentvolumeclaims", &claim(*index)).await?;
                self.delete("pods", &member(*index)).await?;
            }
        }
        Ok(None)
    }

    async fn delete(&self, plural: &str, name: &str) -> Result<(), Error> {
        let path = format!("/api/v1/namespaces/{}/{plural}/{name}", self.plane.spec.namespace);
        raw::optional(self.raw.delete(&path, None).await)?;
        tracing::info!(plural, name, "deleted");
        Ok(())
    }

    /// Does what is to be done for the files.
    async fn care(&self, cluster: &Cluster, care: &Care) -> Result<Option<Start>, Error> {
        let Some(access) = &self.access else { return Ok(None) };
        let endpoint = |id: &u64| {
            let found = cluster.members.iter().find(|each| each.id == *id)?;
            Some(self.addresses.client(self.plane, self.index(found)?))
        };
        match care {
            Care::None => {}
            Care::Defragment(id) => {
                if let Some(endpoint) = endpoint(id) {
                    cluster::defragment(access, &endpoint).await?;
                    tracing::info!(endpoint, "a member's file was written anew");
                }
            }
            Care::Disarm(id) => {
                let all: Vec<String> = cluster.members.iter().filter_map(|each| endpoint(&each.id)).collect();
                cluster::disarm(access, &all, *id).await?;
                tracing::info!("etcd takes writes again");
            }
        }
        Ok(None)
    }
}

/// What is said of an etcd that does not answer, or has no leader.
fn unreachable(found: &Found, error: &Error) -> Report {
    let without = found.ready <= i64::from(found.set.replicas / 2);
    let lost = found.formed.is_some() && without;
    let note = lost.then(|| Note {
        reason: reason::QUORUM_LOST,
        message: format!(
            "{} of {} members of etcd are ready, which is no quorum ({error}); bring the nodes and volumes of the others \
             back, or restore a snapshot by spec.store.etcd.managed.restore",
            found.ready, found.set.replicas
        ),
    });
    Report { note, ..Report::default() }
}

/// For the notes of others: a list of values.
fn items(list: &Value) -> &[Value] {
    list["items"].as_array().map_or(&[][..], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quorum_is_lost_only_where_there_was_one() {
        let mut found = Found::default();
        found.set.replicas = 3;
        found.ready = 1;
        let error = Error::Etcd("no answer".into());
        assert_eq!(unreachable(&found, &error).note, None, "it has never begun");
        found.formed = Some("1".into());
        let note = unreachable(&found, &error).note.unwrap();
        assert_eq!((note.reason, note.stops()), (reason::QUORUM_LOST, true));
        found.ready = 2;
        assert_eq!(unreachable(&found, &error).note, None, "only these controllers cannot reach it");
    }
}
