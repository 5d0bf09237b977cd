//! How the regular snapshots do, by what the pods that take them say (no client required).

use kplane_crds::conditions::reason;
use kplane_crds::v1alpha1::BackupStatus;
use serde_json::Value;

use crate::etcd::snapshot::{NotTaken, Taken};
use crate::tenant::schedule::Schedule;

/// How long after it was due a snapshot is missed.
const GRACE: jiff::SignedDuration = jiff::SignedDuration::from_mins(60);

/// How the snapshots do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backups {
    /// The last that succeeded.
    pub last: Option<BackupStatus>,
    /// Whether all is well; `None` while nothing is known.
    pub succeeded: Option<bool>,
    /// Why.
    pub reason: &'static str,
    /// Why, in words.
    pub message: String,
}

/// Judges by the pods that took snapshots, the last that is known, and the schedule in force since a time.
pub fn judge(
    pods: &[Value],
    known: Option<&BackupStatus>,
    schedule: &Schedule,
    since: Option<jiff::Timestamp>,
    now: jiff::Timestamp,
) -> Backups {
    let mut ended: Vec<(jiff::Timestamp, End)> = pods.iter().filter_map(end).collect();
    ended.sort_by_key(|(time, _)| *time);
    let taken = ended.iter().rev().find_map(|(_, end)| end.as_ref().ok()).map(|taken| BackupStatus {
        name: taken.name.clone(),
        time: format!("{:.0}", taken.time),
        size: taken.size,
        revision: taken.revision,
    });
    let time = |backup: &BackupStatus| backup.time.parse::<jiff::Timestamp>().ok();
    let last = taken.into_iter().chain(known.cloned()).max_by_key(time);
    let answer = |succeeded, reason, message| Backups { last: last.clone(), succeeded, reason, message };
    if let Some((_, Err(NotTaken { reason, message }))) = ended.last() {
        let message = format!(
            "{message}; it is tried again when the next is due, or now by `kubectl create job --from`"
        );
        let reason = REASONS.into_iter().find(|known| known == reason).unwrap_or(reason::BACKUP_FAILED);
        return answer(Some(false), reason, message);
    }
    // A new schedule is not measured by snapshots of an older one.
    let begin = last.as_ref().and_then(time).max(since);
    let due = begin.and_then(|begin| schedule.after(begin));
    let overdue = due.is_some_and(|due| due.checked_add(GRACE).is_ok_and(|end| end < now));
    match (&last, overdue) {
        (_, true) => {
            let message = "no snapshot was made when one was due; see the CronJob kplane-etcd-backup, its Jobs and their pods";
            answer(Some(false), reason::BACKUP_OVERDUE, message.to_owned())
        }
        (Some(backup), false) => {
            let left = ended.last().and_then(|(_, end)| end.as_ref().ok()?.not_removed.as_ref());
            let left =
                left.map(|why| format!("; older ones could not be removed: {why}")).unwrap_or_default();
            let message =
                format!("{} holds revision {}, in {} bytes{left}", backup.name, backup.revision, backup.size);
            answer(Some(true), reason::BACKED_UP, message)
        }
        (None, false) => {
            let message = match due {
                Some(due) => format!("the first snapshot is due at {due:.0}"),
                None => "the first snapshot is not due yet".to_owned(),
            };
            answer(None, reason::BACKUP_PENDING, message)
        }
    }
}

/// With what a pod ended.
type End = Result<Taken, NotTaken>;

/// The reasons of failures that are more than that.
const REASONS: [&str; 4] = [
    reason::DESTINATION_DENIED,
    reason::DESTINATION_UNREACHABLE,
    reason::BUCKET_NOT_FOUND,
    reason::WRONG_REGION,
];

/// When a pod ended, and with what.
fn end(pod: &Value) -> Option<(jiff::Timestamp, End)> {
    let state = pod.pointer("/status/containerStatuses/0/state/terminated")?;
    let time = state["finishedAt"].as_str()?.parse().ok()?;
    let said = state["message"].as_str().unwrap_or_default().trim();
    let name = pod["metadata"]["name"].as_str().unwrap_or_default();
    let failed = |why: &str, reason: &str| {
        let message = format!("the pod {name:?} took no snapshot: {why}");
        Err(NotTaken { reason: reason.to_owned(), message })
    };
    Some((
        time,
        match (state["exitCode"].as_i64(), serde_json::from_str::<NotTaken>(said)) {
            (Some(0), _) => {
                serde_json::from_str(said).or_else(|_| failed("what it reports cannot be read", ""))
            }
            (_, Ok(why)) => failed(&why.message, &why.reason),
            (_, Err(_)) => failed(if said.is_empty() { "it said nothing" } else { said }, ""),
        },
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(minute: u8, exit_code: i32, message: &str) -> Value {
        json!({ "metadata": { "name": "owl" }, "status": { "containerStatuses": [{ "state": { "terminated": {
            "exitCode": exit_code, "message": message, "finishedAt": format!("2026-11-25T03:{minute:02}:00Z"),
        }}}]}})
    }

    fn at(text: &str) -> jiff::Timestamp {
        text.parse().unwrap()
    }

    fn daily() -> Schedule {
        Schedule::parse("0 3 * * *", jiff::tz::TimeZone::UTC).unwrap()
    }

    #[test]
    fn the_last_end_counts_and_the_last_success_is_kept() {
        let taken = r#"{"name":"kplane-1.db","time":"2026-11-25T03:01:00Z","size":9,"revision":7}"#;
        let now = at("2026-11-25T04:00:00Z");
        let good = judge(&[pod(1, 0, taken)], None, &daily(), None, now);
        assert_eq!((good.succeeded, good.reason), (Some(true), reason::BACKED_UP));
        assert_eq!(good.last.as_ref().unwrap().revision, 7);
        let bad = judge(&[pod(2, 1, "no space left"), pod(1, 0, taken)], None, &daily(), None, now);
        assert_eq!((bad.succeeded, bad.reason), (Some(false), reason::BACKUP_FAILED));
        assert!(bad.message.contains("no space left") && bad.last == good.last, "{bad:?}");
        let denied = r#"{"reason":"DestinationDenied","message":"no"}"#;
        assert_eq!(judge(&[pod(3, 1, denied)], None, &daily(), None, now).reason, reason::DESTINATION_DENIED);
        let partly = taken.replace('}', r#","notRemoved":"locked"}"#);
        let partly = judge(&[pod(1, 0, &partly)], None, &daily(), None, now);
        assert!(partly.succeeded == Some(true) && partly.message.ends_with("removed: locked"), "{partly:?}");
        // The pods go; what they said stays.
        let later = judge(&[], good.last.as_ref(), &daily(), None, now);
        assert_eq!((later.succeeded, later.last), (Some(true), good.last));
    }

    #[test]
    fn one_that_was_not_made_is_missed() {
        let since = Some(at("2026-11-24T12:00:00Z"));
        let judged = |now| judge(&[], None, &daily(), since, at(now));
        let early = judged("2026-11-25T03:30:00Z");
        assert_eq!((early.succeeded, early.reason), (None, reason::BACKUP_PENDING));
        assert!(early.message.contains("2026-11-25T03:00:00Z"), "{}", early.message);
        assert_eq!(judged("2026-11-25T04:30:00Z").reason, reason::BACKUP_OVERDUE);
    }
}
