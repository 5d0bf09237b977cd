//! Waiting for an object to be as wanted, by watching it.

use std::fmt::Debug;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kplane_crds::conditions;
use kube::api::{Api, ListParams, WatchEvent, WatchParams};
use kube::{Resource, ResourceExt};
use serde::de::DeserializeOwned;

use crate::error::{Error, Result};

/// How far an object is.
#[derive(Debug)]
pub enum Progress<T> {
    /// As wanted.
    Done(T),
    /// Not yet, and why.
    Waiting(String),
    /// It will not be.
    Failed(Error),
}

/// Watches one object until `check` is content with it. `check` is given `None` when there is no such object. The
/// watch begins at `start`, an object just read or written, so that nothing is asked twice.
pub async fn wait_until<K, T>(
    api: &Api<K>,
    name: &str,
    start: Option<K>,
    timeout: Duration,
    what: &str,
    mut check: impl FnMut(Option<&K>) -> Progress<T>,
) -> Result<T>
where
    K: Resource + Clone + Debug + DeserializeOwned,
{
    let mut reason = String::from("nothing is known of it yet");
    let watching = watch(api, name, start, |object| match check(object) {
        Progress::Done(value) => Some(Ok(value)),
        Progress::Failed(error) => Some(Err(error)),
        Progress::Waiting(why) => {
            reason = why;
            None
        }
    });
    // kubectl's zero waits without end; a week comes near enough.
    let limit = if timeout.is_zero() { Duration::from_secs(7 * 24 * 3600) } else { timeout };
    match tokio::time::timeout(limit, watching).await {
        Ok(result) => result,
        Err(_) => Err(Error::new(format!("timed out waiting for {what}"))
            .caused_by(&std::io::Error::other(reason))
            .hint("it goes on in the background; --timeout waits longer")),
    }
}

async fn watch<K, T>(
    api: &Api<K>,
    name: &str,
    mut start: Option<K>,
    mut check: impl FnMut(Option<&K>) -> Option<Result<T>>,
) -> Result<T>
where
    K: Resource + Clone + Debug + DeserializeOwned,
{
    let selector = format!("metadata.name={name}");
    let mut failures = 0u32;
    loop {
        let version = match start.take() {
            Some(object) => {
                if let Some(result) = check(Some(&object)) {
                    return result;
                }
                object.resource_version().unwrap_or_default()
            }
            None => match api.list(&ListParams::default().fields(&selector)).await {
                Ok(list) => {
                    if let Some(result) = check(list.items.first()) {
                        return result;
                    }
                    list.metadata.resource_version.unwrap_or_default()
                }
                Err(error) => {
                    retry(error, &mut failures).await?;
                    continue;
                }
            },
        };
        let events = match api.watch(&WatchParams::default().fields(&selector), &version).await {
            Ok(events) => events,
            Err(error) => {
                retry(error, &mut failures).await?;
                continue;
            }
        };
        let mut events = events.boxed();
        loop {
            match events.try_next().await {
                Ok(Some(WatchEvent::Added(object) | WatchEvent::Modified(object))) => {
                    failures = 0;
                    if let Some(result) = check(Some(&object)) {
                        return result;
                    }
                }
                Ok(Some(WatchEvent::Deleted(_))) => {
                    if let Some(result) = check(None) {
                        return result;
                    }
                }
                Ok(Some(WatchEvent::Bookmark(_))) => {}
                // The history before the version is gone, or the server ends the watch: look anew.
                Ok(Some(WatchEvent::Error(_)) | None) => break,
                Err(error) => {
                    retry(error, &mut failures).await?;
                    break;
                }
            }
        }
    }
}

/// Gives up on what will not get better, and waits a little for what may: a server that restarts.
async fn retry(error: kube::Error, failures: &mut u32) -> Result<()> {
    let temporary = match &error {
        kube::Error::Api(status) => matches!(status.code, 410 | 429 | 500..),
        _ => true,
    };
    *failures += 1;
    if !temporary || *failures > 20 {
        return Err(error.into());
    }
    tokio::time::sleep(Duration::from_millis(50 * u64::from(*failures))).await;
    Ok(())
}

/// How far an object is by its conditions: `Ready` for this generation, or `Stalled`.
pub fn readiness(what: &str, list: &[Condition], generation: Option<i64>) -> Progress<()> {
    let find = |type_: &str| list.iter().find(|condition| condition.type_ == type_);
    let current = |condition: &Condition| {
        condition.observed_generation.zip(generation).is_none_or(|(seen, wanted)| seen >= wanted)
    };
    let ready = find(conditions::READY);
    if ready.is_some_and(|ready| ready.status == "True" && current(ready)) {
        return Progress::Done(());
    }
    if let Some(stalled) = find(conditions::STALLED).filter(|c| c.status == "True" && current(c)) {
        let why = ready.filter(|ready| current(ready)).unwrap_or(stalled);
        return Progress::Failed(
            Error::new(format!("{what} cannot become ready"))
                .caused_by(&std::io::Error::other(sentence(why))),
        );
    }
    Progress::Waiting(match ready {
        Some(ready) => sentence(ready),
        None => "no controller has looked at it yet".into(),
    })
}

/// A condition's reason and message.
pub fn sentence(condition: &Condition) -> String {
    match (condition.reason.as_str(), condition.message.as_str()) {
        (reason, "") => reason.to_owned(),
        (reason, message) => format!("{reason}: {message}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn condition(type_: &str, status: &str, generation: i64) -> Condition {
        serde_json::from_value(serde_json::json!({
            "type": type_, "status": status, "reason": "Because", "message": "so",
            "observedGeneration": generation, "lastTransitionTime": "2024-01-01T00:00:00Z",
        }))
        .unwrap()
    }

    #[test]
    fn ready_counts_for_the_generation_it_saw() {
        let ready = |generation| [condition("Ready", "True", generation)];
        assert!(matches!(readiness("x", &ready(2), Some(2)), Progress::Done(())));
        assert!(matches!(readiness("x", &ready(1), Some(2)), Progress::Waiting(_)));
        assert!(matches!(readiness("x", &[], Some(1)), Progress::Waiting(_)));
    }

    #[test]
    fn what_is_stalled_is_not_waited_for() {
        let list = [condition("Ready", "False", 1), condition("Stalled", "True", 1)];
        let Progress::Failed(error) = readiness("x", &list, Some(1)) else { panic!("it should fail") };
        assert!(format!("{error:?}").contains("Because: so"));
        assert!(matches!(readiness("x", &list, Some(2)), Progress::Waiting(_)));
    }
}
