//! Leader election on a Lease.
//!
//! [`decide`] is pure: it looks at the Lease as it was read, at who asks and at when somebody else's renewal was
//! first *seen*, by the local clock, so that clocks that differ between machines do no harm. [`hold`] is the thin
//! loop around it, and it stops for good when the Lease is lost: a process that led before cannot know what it
//! still has in flight.

use std::future::Future;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::Client;
use kube::api::{Api, PostParams};
use tokio_util::sync::CancellationToken;

use super::raw;

/// How the Lease is held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseOptions {
    /// The namespace of the Lease.
    pub namespace: String,
    /// The name of the Lease.
    pub name: String,
    /// Who asks: unique among the replicas.
    pub identity: String,
    /// How long a Lease is good without renewal.
    pub duration: Duration,
    /// How often it is renewed, or tried for.
    pub retry: Duration,
}

impl LeaseOptions {
    /// A Lease of 15 s, tried for every 2 s.
    pub fn new(namespace: &str, name: &str, identity: &str) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
            identity: identity.into(),
            duration: Duration::from_secs(15),
            retry: Duration::from_secs(2),
        }
    }
}

/// What to do about the Lease.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// There is none: create this one.
    Create(Box<LeaseSpec>),
    /// It is ours, free or over: write this.
    Take(Box<LeaseSpec>),
    /// Somebody else holds it.
    Wait,
}

/// Decides, upon the Lease as it is now. `unchanged_for` is how long this process has seen the same renewal of
/// another holder.
pub fn decide(
    lease: Option<&LeaseSpec>,
    options: &LeaseOptions,
    now: jiff::Timestamp,
    unchanged_for: Duration,
) -> Decision {
    let seconds = i32::try_from(options.duration.as_secs()).unwrap_or(i32::MAX);
    let ours = |acquired: Option<MicroTime>, transitions: i32| {
        Box::new(LeaseSpec {
            holder_identity: Some(options.identity.clone()),
            lease_duration_seconds: Some(seconds),
            acquire_time: acquired,
            renew_time: Some(MicroTime(now)),
            lease_transitions: Some(transitions),
            ..LeaseSpec::default()
        })
    };
    let Some(lease) = lease else { return Decision::Create(ours(Some(MicroTime(now)), 0)) };
    let transitions = lease.lease_transitions.unwrap_or(0);
    match lease.holder_identity.as_deref() {
        Some(holder) if holder == options.identity => {
            Decision::Take(ours(lease.acquire_time.clone(), transitions))
        }
        None | Some("") => Decision::Take(ours(Some(MicroTime(now)), transitions.saturating_add(1))),
        Some(_) => {
            let length = Duration::from_secs(u64::from(
                u32::try_from(lease.lease_duration_seconds.unwrap_or(seconds)).unwrap_or(0),
            ));
            if unchanged_for > length {
                Decision::Take(ours(Some(MicroTime(now)), transitions.saturating_add(1)))
            } else {
                Decision::Wait
            }
        }
    }
}

/// What another holder last wrote, and when this process saw it first.
#[derive(Default)]
struct Observed {
    renewal: Option<(Option<String>, Option<MicroTime>)>,
    since: Option<tokio::time::Instant>,
}

impl Observed {
    fn unchanged_for(&mut self, spec: Option<&LeaseSpec>) -> Duration {
        let renewal = spec.map(|s| (s.holder_identity.clone(), s.renew_time.clone()));
        if renewal != self.renewal {
            self.renewal = renewal;
            self.since = None;
        }
        self.since.get_or_insert_with(tokio::time::Instant::now).elapsed()
    }
}

/// Waits for the Lease, runs `lead` while it is held, and gives it back at the end.
///
/// `lead` gets a token that is cancelled when the Lease is lost or `shutdown` is. Answers whether the Lease was
/// lost, upon which the process should end.
pub async fn hold<F, T>(
    client: Client,
    options: LeaseOptions,
    shutdown: CancellationToken,
    lead: F,
) -> Result<bool, crate::Error>
where
    F: FnOnce(CancellationToken) -> T,
    T: Future<Output = Result<(), crate::Error>>,
{
    let leases: Api<Lease> = Api::namespaced(client, &options.namespace);
    let mut observed = Observed::default();
    loop {
        match attempt(&leases, &options, &mut observed).await {
            Ok(true) => break,
            Ok(false) => {}
            Err(error) => tracing::warn!(%error, lease = options.name, "could not try for the lease"),
        }
        tokio::select! {
            () = shutdown.cancelled() => return Ok(false),
            () = tokio::time::sleep(options.retry) => {}
        }
    }
    tracing::info!(lease = options.name, identity = options.identity, "leading");
    let token = shutdown.child_token();
    let lost = {
        let leading = lead(token.clone());
        tokio::pin!(leading);
        let keep = keep(&leases, &options, &mut observed, &shutdown);
        tokio::pin!(keep);
        tokio::select! {
            result = &mut leading => {
                result?;
                false
            }
            lost = &mut keep => {
                token.cancel();
                leading.await?;
                lost
            }
        }
    };
    if !lost {
        release(&leases, &options).await;
    }
    Ok(lost)
}

/// Renews until the Lease is lost (true) or the process stops (false).
async fn keep(
    leases: &Api<Lease>,
    options: &LeaseOptions,
    observed: &mut Observed,
    shutdown: &CancellationToken,
) -> bool {
    let mut renewed = tokio::time::Instant::now();
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return false,
            () = tokio::time::sleep(options.retry) => {}
        }
        // A holder gives up before anybody else may take over.
        let left = (options.duration * 2 / 3).saturating_sub(renewed.elapsed());
        match tokio::time::timeout(left, attempt(leases, options, observed)).await {
            Ok(Ok(true)) => renewed = tokio::time::Instant::now(),
            Ok(Ok(false)) => {
                tracing::error!(lease = options.name, "another took the lease");
                return true;
            }
            Ok(Err(error)) => tracing::warn!(%error, lease = options.name, "could not renew the lease"),
            Err(_) => {
                tracing::error!(lease = options.name, "the lease could not be renewed in time");
                return true;
            }
        }
    }
}

/// One try: whether the Lease is ours now.
async fn attempt(
    leases: &Api<Lease>,
    options: &LeaseOptions,
    observed: &mut Observed,
) -> Result<bool, kube::Error> {
    let current = leases.get_opt(&options.name).await?;
    let unchanged_for = observed.unchanged_for(current.as_ref().and_then(|l| l.spec.as_ref()));
    let empty = LeaseSpec::default();
    let spec = current.as_ref().map(|lease| lease.spec.as_ref().unwrap_or(&empty));
    let result = match decide(spec, options, jiff::Timestamp::now(), unchanged_for) {
        Decision::Wait => return Ok(false),
        Decision::Create(spec) => {
            let lease = Lease {
                metadata: ObjectMeta { name: Some(options.name.clone()), ..ObjectMeta::default() },
                spec: Some(*spec),
            };
            leases.create(&PostParams::default(), &lease).await
        }
        Decision::Take(spec) => {
            let mut lease = current.unwrap_or_default();
            lease.spec = Some(*spec);
            leases.replace(&options.name, &PostParams::default(), &lease).await
        }
    };
    match result {
        Ok(_) => Ok(true),
        // Another was faster. If that was another of us, the next look tells.
        Err(error) if raw::is_conflict(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Gives the Lease back, so that another replica need not wait for its end.
async fn release(leases: &Api<Lease>, options: &LeaseOptions) {
    let released = async {
        let Some(mut lease) = leases.get_opt(&options.name).await? else { return Ok(()) };
        let Some(spec) = lease.spec.as_mut() else { return Ok(()) };
        if spec.holder_identity.as_deref() != Some(options.identity.as_str()) {
            return Ok(());
        }
        spec.holder_identity = None;
        spec.lease_duration_seconds = Some(1);
        leases.replace(&options.name, &PostParams::default(), &lease).await.map(|_| ())
    };
    match tokio::time::timeout(options.retry, released).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "could not release the lease"),
        Err(_) => tracing::debug!("could not release the lease in time"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> LeaseOptions {
        LeaseOptions::new("ns", "name", "me")
    }

    fn held_by(holder: &str) -> LeaseSpec {
        LeaseSpec {
            holder_identity: Some(holder.into()),
            lease_duration_seconds: Some(15),
            lease_transitions: Some(3),
            ..LeaseSpec::default()
        }
    }

    fn now() -> jiff::Timestamp {
        jiff::Timestamp::from_second(100).unwrap()
    }

    fn taken(decision: Decision) -> LeaseSpec {
        match decision {
            Decision::Take(spec) | Decision::Create(spec) => *spec,
            Decision::Wait => panic!("expected to take the lease"),
        }
    }

    #[test]
    fn a_missing_lease_is_created() {
        let decision = decide(None, &options(), now(), Duration::ZERO);
        assert!(matches!(decision, Decision::Create(_)));
        assert_eq!(taken(decision).holder_identity.as_deref(), Some("me"));
    }

    #[test]
    fn our_own_is_renewed_without_a_transition() {
        let spec = taken(decide(Some(&held_by("me")), &options(), now(), Duration::ZERO));
        assert_eq!(spec.lease_transitions, Some(3));
        assert_eq!(spec.renew_time, Some(MicroTime(now())));
    }

    #[test]
    fn anothers_is_taken_only_after_its_length_without_renewal() {
        let decision =
            |seconds| decide(Some(&held_by("you")), &options(), now(), Duration::from_secs(seconds));
        assert_eq!(decision(15), Decision::Wait);
        assert_eq!(taken(decision(16)).lease_transitions, Some(4));
    }

    #[test]
    fn a_released_lease_is_free() {
        let spec = taken(decide(Some(&held_by("")), &options(), now(), Duration::ZERO));
        assert_eq!(spec.lease_transitions, Some(4));
    }
}
