//! What etcd's errors mean.

use crate::{Error, MAX_REQUEST_BYTES};

/// Whether a request that got no clear answer may have changed something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Read,
    Write,
}

impl Kind {
    /// The error of a request that was sent and not answered.
    pub(super) fn unanswered(self, why: String) -> Error {
        match self {
            Kind::Read => Error::Unavailable(why),
            Kind::Write => Error::UnknownOutcome(why),
        }
    }
}

// The numbers of gRPC's status codes.
const INVALID_ARGUMENT: i32 = 3;
const PERMISSION_DENIED: i32 = 7;
const RESOURCE_EXHAUSTED: i32 = 8;
const FAILED_PRECONDITION: i32 = 9;
const OUT_OF_RANGE: i32 = 11;
const UNAUTHENTICATED: i32 = 16;

const LOST_LEASE: &str = "requested lease not found";

/// Answers of etcd that say that it did nothing, whatever was asked.
const REFUSALS: [&str; 4] = [
    "etcdserver: no leader",
    "etcdserver: too many requests",
    "etcdserver: not capable",
    "etcdserver: rpc not supported for learner",
];

/// Translates an error of the client. [`Error::Compacted`] and [`Error::FutureRevision`] come
/// without their numbers, which etcd does not tell.
pub(super) fn map(error: etcd_client::Error, kind: Kind) -> Error {
    use etcd_client::Error as E;
    match error {
        E::GRpcStatus(status) => {
            let message = status.message();
            let refused = source_is_refusal(&status);
            by_message(status.code() as i32, message, kind, refused)
        }
        E::InvalidArgs(what) | E::EndpointError(what) => Error::Invalid(what),
        E::InvalidUri(error) => Error::Invalid(error.to_string()),
        E::TransportError(error) => {
            if source_is_refusal(&error) {
                Error::Unavailable(chain(&error))
            } else {
                kind.unanswered(chain(&error))
            }
        }
        error => kind.unanswered(error.to_string()),
    }
}

fn by_message(code: i32, message: &str, kind: Kind, refused: bool) -> Error {
    let said = |what: &str| message.contains(what);
    if said("required revision has been compacted") {
        return Error::Compacted { compact_revision: 0 };
    }
    if said("required revision is a future revision") {
        return Error::FutureRevision { requested: 0, current: 0 };
    }
    if said("request is too large") || said("message length too large") {
        return Error::TooLarge { size: 0, limit: MAX_REQUEST_BYTES };
    }
    if said("database space exceeded") {
        return Error::NoSpace(message.to_owned());
    }
    if said(LOST_LEASE) || refused || REFUSALS.iter().any(|refusal| said(refusal)) {
        return Error::Unavailable(message.to_owned());
    }
    match code {
        INVALID_ARGUMENT => Error::Invalid(message.to_owned()),
        PERMISSION_DENIED | UNAUTHENTICATED => Error::Denied(message.to_owned()),
        // The rest of these codes are answers, too, but not ones that we know.
        RESOURCE_EXHAUSTED | FAILED_PRECONDITION | OUT_OF_RANGE => Error::Unavailable(message.to_owned()),
        _ => kind.unanswered(message.to_owned()),
    }
}

/// Whether a write failed because its lease was gone, which means that it was not done.
pub(super) fn is_lost_lease(error: &Error) -> bool {
    matches!(error, Error::Unavailable(message) if message.contains(LOST_LEASE))
}

/// Whether the connection was refused, so that nothing was sent.
fn source_is_refusal(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(io) = error.downcast_ref::<std::io::Error>()
            && io.kind() == std::io::ErrorKind::ConnectionRefused
        {
            return true;
        }
        next = error.source();
    }
    false
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        text.push_str(": ");
        text.push_str(&error.to_string());
        next = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_unanswered_writes_are_of_unknown_outcome() {
        let unavailable = 14;
        let lost = |kind, message| by_message(unavailable, message, kind, false);
        assert!(lost(Kind::Write, "etcdserver: request timed out").is_unknown_outcome());
        assert!(lost(Kind::Write, "transport error").is_unknown_outcome());
        assert!(lost(Kind::Read, "etcdserver: request timed out").is_retriable());
        assert!(lost(Kind::Write, "etcdserver: no leader").is_retriable());
        assert!(by_message(unavailable, "tcp connect error", Kind::Write, true).is_retriable());
        assert!(matches!(
            by_message(8, "etcdserver: mvcc: database space exceeded", Kind::Write, false),
            Error::NoSpace(_)
        ));
    }
}
