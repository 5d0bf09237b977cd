//! Finalizers that cannot hang: what the end of an object waits for is told, and can be given up.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kplane_crds::conditions::reason;
use kplane_crds::v1alpha1::FORCE_DELETE_ANNOTATION;

use crate::Error;

/// How far the work before an object's end came.
#[derive(Debug, PartialEq, Eq)]
pub enum Settled {
    /// It is done.
    Done,
    /// It goes on by itself.
    Waiting {
        /// For programs.
        reason: &'static str,
        /// For people.
        message: String,
        /// When to look again.
        again: Duration,
    },
}

/// What to do next with an object that is to go.
#[derive(Debug)]
pub enum Verdict {
    /// Let it go.
    Release,
    /// Let it go although this was left undone.
    Force(String),
    /// Say so, and look again; or try again, if it was an error.
    Hold {
        /// For programs.
        reason: &'static str,
        /// For people: what is waited for, and how not to.
        message: String,
        /// When to look again.
        again: Result<Duration, Error>,
    },
}

/// Decides. Whoever annotates the object need not wait.
pub fn verdict(metadata: &ObjectMeta, settled: Result<Settled, Error>) -> Verdict {
    let forced = metadata.annotations.as_ref().and_then(|all| all.get(FORCE_DELETE_ANNOTATION));
    let forced = forced.is_some_and(|value| value == "true");
    match settled {
        Ok(Settled::Done) => Verdict::Release,
        Ok(Settled::Waiting { message, .. }) if forced => Verdict::Force(message),
        Err(error) if forced => Verdict::Force(error.to_string()),
        Ok(Settled::Waiting { reason, message, again }) => {
            Verdict::Hold { reason, message: with_way_out(&message), again: Ok(again) }
        }
        Err(error) => {
            let message = with_way_out(&error.to_string());
            Verdict::Hold { reason: reason::RETRYING, message, again: Err(error) }
        }
    }
}

fn with_way_out(message: &str) -> String {
    format!("{message}; to let this object go without, annotate it with {FORCE_DELETE_ANNOTATION}=true")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn object(annotation: &str) -> ObjectMeta {
        let annotations = BTreeMap::from([(FORCE_DELETE_ANNOTATION.to_owned(), annotation.to_owned())]);
        ObjectMeta { annotations: Some(annotations), ..ObjectMeta::default() }
    }

    #[test]
    fn what_is_waited_for_is_told_and_can_be_given_up() {
        let lost = || Err(Error::Wait("the server is gone".into()));
        let held = verdict(&object("false"), lost());
        let Verdict::Hold { reason, message, again: Err(_) } = held else { panic!("{held:?}") };
        assert_eq!(reason, "Retrying");
        assert!(
            message.contains("the server is gone") && message.contains(FORCE_DELETE_ANNOTATION),
            "{message}"
        );
        assert!(
            matches!(verdict(&object("true"), lost()), Verdict::Force(why) if why == "the server is gone")
        );
        assert!(matches!(verdict(&ObjectMeta::default(), Ok(Settled::Done)), Verdict::Release));
    }
}
