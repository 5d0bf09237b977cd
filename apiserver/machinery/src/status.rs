//! `metav1.Status` as the error of the API: what went wrong, worded and coded as kube-apiserver does
//! (`k8s.io/apimachinery/pkg/api/errors`).

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::field::{ErrorList, FieldError};
use crate::gvk::{GroupKind, GroupResource};

/// `metav1.StatusReason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the documentation: they are upstream's")]
pub enum Reason {
    Unknown,
    Unauthorized,
    Forbidden,
    NotFound,
    AlreadyExists,
    Conflict,
    Gone,
    Invalid,
    ServerTimeout,
    StoreReadError,
    Timeout,
    TooManyRequests,
    BadRequest,
    MethodNotAllowed,
    NotAcceptable,
    RequestEntityTooLarge,
    UnsupportedMediaType,
    InternalError,
    Expired,
    ServiceUnavailable,
}

impl Reason {
    /// The reason of a body; `Unknown` for words that are none of upstream's.
    pub fn parse(text: &str) -> Self {
        const KNOWN: [Reason; 19] = [
            Reason::Unauthorized,
            Reason::Forbidden,
            Reason::NotFound,
            Reason::AlreadyExists,
            Reason::Conflict,
            Reason::Gone,
            Reason::Invalid,
            Reason::ServerTimeout,
            Reason::StoreReadError,
            Reason::Timeout,
            Reason::TooManyRequests,
            Reason::BadRequest,
            Reason::MethodNotAllowed,
            Reason::NotAcceptable,
            Reason::RequestEntityTooLarge,
            Reason::UnsupportedMediaType,
            Reason::InternalError,
            Reason::Expired,
            Reason::ServiceUnavailable,
        ];
        KNOWN.into_iter().find(|reason| reason.as_str() == text).unwrap_or(Self::Unknown)
    }

    /// The reason as it stands in the body; `Unknown` is the empty text.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "",
            Self::Unauthorized => "Unauthorized",
            Self::Forbidden => "Forbidden",
            Self::NotFound => "NotFound",
            Self::AlreadyExists => "AlreadyExists",
            Self::Conflict => "Conflict",
            Self::Gone => "Gone",
            Self::Invalid => "Invalid",
            Self::ServerTimeout => "ServerTimeout",
            Self::StoreReadError => "StorageReadError",
            Self::Timeout => "Timeout",
            Self::TooManyRequests => "TooManyRequests",
            Self::BadRequest => "BadRequest",
            Self::MethodNotAllowed => "MethodNotAllowed",
            Self::NotAcceptable => "NotAcceptable",
            Self::RequestEntityTooLarge => "RequestEntityTooLarge",
            Self::UnsupportedMediaType => "UnsupportedMediaType",
            Self::InternalError => "InternalError",
            Self::Expired => "Expired",
            Self::ServiceUnavailable => "ServiceUnavailable",
        }
    }
}

/// `metav1.StatusCause`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct StatusCause {
    /// A machine-readable reason.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// For a person.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// The field, if one is to blame.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub field: String,
}

/// `metav1.StatusDetails`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct StatusDetails {
    /// The name of the object.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The group of the resource or kind.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub group: String,
    /// The resource or kind.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// The uid of the object.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub uid: String,
    /// What led to it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<StatusCause>,
    /// When to try again; also the `Retry-After` header.
    #[serde(skip_serializing_if = "is_zero")]
    pub retry_after_seconds: u32,
}

fn is_zero(n: &u32) -> bool {
    *n == 0
}

/// A request that failed, as the client will read it.
#[derive(Clone, Debug, PartialEq)]
pub struct Status {
    /// The HTTP status.
    pub code: u16,
    /// Why, for machines.
    pub reason: Reason,
    /// Why, for machines, in a word that is none of Kubernetes': a webhook's own.
    pub own_reason: Option<Box<str>>,
    /// Why, for people.
    pub message: String,
    /// About what.
    pub details: Option<Box<StatusDetails>>,
}

impl std::error::Error for Status {}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Status {
    /// A failure without details.
    pub fn new(code: u16, reason: Reason, message: impl Into<String>) -> Self {
        Self { code, reason, own_reason: None, message: message.into(), details: None }
    }

    fn about(mut self, gr: &GroupResource, name: &str) -> Self {
        self.details = Some(Box::new(StatusDetails {
            name: name.to_owned(),
            group: gr.group.to_string(),
            kind: gr.resource.to_string(),
            ..Default::default()
        }));
        self
    }

    /// 404: `pods "x" not found`.
    pub fn not_found(gr: &GroupResource, name: &str) -> Self {
        Self::new(404, Reason::NotFound, format!("{gr} {name:?} not found")).about(gr, name)
    }

    /// 404 for a path that is no resource.
    pub fn no_such_path() -> Self {
        let mut s = Self::new(404, Reason::NotFound, "the server could not find the requested resource");
        s.details = Some(Box::default());
        s
    }

    /// 409: `pods "x" already exists`.
    pub fn already_exists(gr: &GroupResource, name: &str) -> Self {
        Self::new(409, Reason::AlreadyExists, format!("{gr} {name:?} already exists")).about(gr, name)
    }

    /// 409: `Operation cannot be fulfilled on pods "x": why`.
    pub fn conflict(gr: &GroupResource, name: &str, why: impl fmt::Display) -> Self {
        Self::new(409, Reason::Conflict, format!("Operation cannot be fulfilled on {gr} {name:?}: {why}"))
            .about(gr, name)
    }

    /// 409 with the words for a resourceVersion that is not the newest.
    pub fn modified(gr: &GroupResource, name: &str) -> Self {
        Self::conflict(
            gr,
            name,
            "the object has been modified; please apply your changes to the latest version and try again",
        )
    }

    /// 403: `pods "x" is forbidden: why`.
    pub fn forbidden(gr: &GroupResource, name: &str, why: impl fmt::Display) -> Self {
        let message = if gr.resource.is_empty() {
            format!("forbidden: {why}")
        } else if name.is_empty() {
            format!("{gr} is forbidden: {why}")
        } else {
            format!("{gr} {name:?} is forbidden: {why}")
        };
        Self::new(403, Reason::Forbidden, message).about(gr, name)
    }

    /// 401.
    pub fn unauthorized() -> Self {
        Self::new(401, Reason::Unauthorized, "Unauthorized")
    }

    /// 400.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, Reason::BadRequest, message)
    }

    /// 410: a resourceVersion or continue token that is too old.
    pub fn expired(message: impl Into<String>) -> Self {
        Self::new(410, Reason::Expired, message)
    }

    /// 405: `the server does not allow this method on the requested resource`.
    pub fn method_not_allowed(gr: &GroupResource, verb: &str) -> Self {
        Self::new(
            405,
            Reason::MethodNotAllowed,
            format!("{verb} is not supported on resources of kind {:?}", gr.to_string()),
        )
        .about(gr, "")
    }

    /// 405 as the router answers it, before any kind is looked at.
    pub fn no_such_method() -> Self {
        let mut s = Self::new(
            405,
            Reason::MethodNotAllowed,
            "the server does not allow this method on the requested resource",
        );
        s.details = Some(Box::default());
        s
    }

    /// 422 in the words that hide the cause: what upstream answers to a JSON patch that does not apply.
    pub fn unprocessable() -> Self {
        let mut s =
            Self::new(422, Reason::Invalid, "the server rejected our request due to an error in our request");
        s.details = Some(Box::default());
        s
    }

    /// 500 with the bare words of an error that has no reason.
    pub fn plain(message: impl Into<String>) -> Self {
        Self::new(500, Reason::Unknown, message)
    }

    /// 413.
    pub fn request_too_large(message: impl fmt::Display) -> Self {
        Self::new(413, Reason::RequestEntityTooLarge, format!("Request entity too large: {message}"))
    }

    /// 500: `Internal error occurred: why`.
    pub fn internal(why: impl fmt::Display) -> Self {
        let mut s = Self::new(500, Reason::InternalError, format!("Internal error occurred: {why}"));
        s.details = Some(Box::new(StatusDetails {
            causes: vec![StatusCause { message: why.to_string(), ..Default::default() }],
            ..Default::default()
        }));
        s
    }

    /// 503, to be tried again.
    pub fn unavailable(message: impl Into<String>) -> Self {
        let mut s = Self::new(503, Reason::ServiceUnavailable, message);
        s.details = Some(Box::new(StatusDetails { retry_after_seconds: 1, ..Default::default() }));
        s
    }

    /// 504: a write whose fate is unknown, or a read that took too long.
    pub fn timeout(message: impl fmt::Display, retry_after_seconds: u32) -> Self {
        let mut s = Self::new(504, Reason::Timeout, format!("Timeout: {message}"));
        s.details = Some(Box::new(StatusDetails { retry_after_seconds, ..Default::default() }));
        s
    }

    /// 429, to be tried again.
    pub fn too_many_requests(message: impl Into<String>, retry_after_seconds: u32) -> Self {
        let mut s = Self::new(429, Reason::TooManyRequests, message);
        s.details = Some(Box::new(StatusDetails { retry_after_seconds, ..Default::default() }));
        s
    }

    /// 422: `Pod "x" is invalid: a; or [a, b]`, one cause an error.
    pub fn invalid(gk: &GroupKind, name: &str, errors: &ErrorList) -> Self {
        let mut said: Vec<String> = Vec::new();
        for error in errors {
            let text = error.to_string();
            if !said.contains(&text) {
                said.push(text);
            }
        }
        let list = match said.as_slice() {
            [] => "<nil>".to_owned(),
            [one] => one.clone(),
            many => format!("[{}]", many.join(", ")),
        };
        let mut s = Self::new(422, Reason::Invalid, format!("{gk} {name:?} is invalid: {list}"));
        s.details = Some(Box::new(StatusDetails {
            name: name.to_owned(),
            group: gk.group.to_string(),
            kind: gk.kind.to_string(),
            causes: errors.iter().map(FieldError::cause).collect(),
            ..Default::default()
        }));
        s
    }

    /// The body: a `v1` `Status` object.
    pub fn to_value(&self) -> Value {
        let mut body = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {},
            "status": "Failure", "message": self.message, "code": self.code,
        });
        if self.reason != Reason::Unknown {
            body["reason"] = self.reason.as_str().into();
        } else if let Some(own) = &self.own_reason {
            body["reason"] = (**own).into();
        }
        if let Some(details) = &self.details {
            // A struct of texts and numbers always serialises.
            body["details"] = serde_json::to_value(details).unwrap_or_default();
        }
        body
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::Path;

    #[test]
    fn bodies_read_as_upstream() {
        let gr = GroupResource::new("apps", "deployments");
        assert_eq!(Status::not_found(&gr, "x").message, "deployments.apps \"x\" not found");
        let errors =
            vec![FieldError::required(&Path::new("a"), ""), FieldError::required(&Path::new("b"), "")];
        let status = Status::invalid(&GroupKind::new("", "Pod"), "p", &errors);
        assert_eq!(status.message, "Pod \"p\" is invalid: [a: Required value, b: Required value]");
        assert_eq!(status.to_value()["details"]["causes"][1]["field"], "b");
    }
}
