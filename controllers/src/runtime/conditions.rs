//! Writing conditions.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kplane_crds::conditions::{READY, RECONCILING, STALLED, reason};

/// The conditions of one object while a controller decides on them.
///
/// Conditions that are not set again keep what was last known. A condition keeps its `lastTransitionTime` while its
/// status stays.
#[derive(Clone, Debug)]
pub struct Conditions {
    all: Vec<Condition>,
    generation: Option<i64>,
    now: Time,
}

impl Conditions {
    /// Starts from the conditions the object has, for this generation of its spec.
    pub fn new(previous: &[Condition], generation: Option<i64>, now: jiff::Timestamp) -> Self {
        Self { all: previous.to_vec(), generation, now: Time(now) }
    }

    /// Sets a condition.
    pub fn set(&mut self, type_: &str, status: bool, reason: &str, message: impl Into<String>) -> &mut Self {
        self.set_status(type_, if status { "True" } else { "False" }, reason, message.into())
    }

    /// Sets a condition to `Unknown`.
    pub fn unknown(&mut self, type_: &str, reason: &str, message: impl Into<String>) -> &mut Self {
        self.set_status(type_, "Unknown", reason, message.into())
    }

    fn set_status(&mut self, type_: &str, status: &str, reason: &str, message: String) -> &mut Self {
        let new = Condition {
            type_: type_.to_owned(),
            status: status.to_owned(),
            reason: reason.to_owned(),
            message,
            observed_generation: self.generation,
            last_transition_time: self.now.clone(),
        };
        match self.all.iter_mut().find(|c| c.type_ == type_) {
            Some(old) if old.status == new.status => {
                *old = Condition { last_transition_time: old.last_transition_time.clone(), ..new };
            }
            Some(old) => *old = new,
            None => self.all.push(new),
        }
        self
    }

    /// Removes a condition.
    pub fn remove(&mut self, type_: &str) -> &mut Self {
        self.all.retain(|c| c.type_ != type_);
        self
    }

    /// All is as the spec asks. kstatus has `Reconciling` and `Stalled` only while they hold.
    pub fn ready(&mut self, reason: &str, message: impl Into<String>) -> &mut Self {
        self.set(READY, true, reason, message).remove(RECONCILING).remove(STALLED)
    }

    /// Work goes on: something is waited for, or a step is tried again.
    pub fn reconciling(&mut self, reason: &str, message: impl Into<String>) -> &mut Self {
        let message = message.into();
        self.set(READY, false, reason, message.clone());
        let why = if reason == reason::RETRYING { reason::RETRYING } else { reason::PROGRESSING };
        self.set(RECONCILING, true, why, message).remove(STALLED)
    }

    /// Nothing more happens until somebody changes something.
    pub fn stalled(&mut self, reason: &str, message: impl Into<String>) -> &mut Self {
        let message = message.into();
        self.set(READY, false, reason, message.clone());
        self.set(STALLED, true, reason, message).remove(RECONCILING)
    }

    /// The conditions, by type, so that equal states are equal lists.
    pub fn finish(mut self) -> Vec<Condition> {
        self.all.sort_by(|a, b| a.type_.cmp(&b.type_));
        self.all
    }
}

/// The condition of a type.
pub fn find<'a>(conditions: &'a [Condition], type_: &str) -> Option<&'a Condition> {
    conditions.iter().find(|c| c.type_ == type_)
}

/// Whether the condition of a type is true.
pub fn is_true(conditions: &[Condition], type_: &str) -> bool {
    find(conditions, type_).is_some_and(|c| c.status == "True")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> jiff::Timestamp {
        jiff::Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_transition_is_timed_and_a_repetition_is_not() {
        let mut first = Conditions::new(&[], Some(1), at(10));
        first.reconciling("EndpointPending", "waiting");
        let first = first.finish();
        let mut second = Conditions::new(&first, Some(2), at(20));
        second.reconciling("CredentialsPending", "waiting more");
        let second = second.finish();
        let ready = find(&second, READY).unwrap();
        assert_eq!(ready.last_transition_time.0, at(10));
        assert_eq!((ready.reason.as_str(), ready.observed_generation), ("CredentialsPending", Some(2)));
        let mut third = Conditions::new(&second, Some(2), at(30));
        third.ready("Reconciled", "");
        let third = third.finish();
        assert_eq!(find(&third, READY).unwrap().last_transition_time.0, at(30));
        assert!(find(&third, RECONCILING).is_none());
    }

    #[test]
    fn stalled_and_reconciling_exclude_each_other() {
        let mut conditions = Conditions::new(&[], Some(1), at(1));
        conditions.reconciling("Retrying", "x").stalled("InvalidSpec", "y");
        let conditions = conditions.finish();
        assert!(is_true(&conditions, STALLED) && find(&conditions, RECONCILING).is_none());
    }
}
