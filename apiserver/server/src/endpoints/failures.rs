//! Failures of the layers below, as the client reads them.

use kplane_machinery::{GroupResource, Reason, Status, StatusCause, StatusDetails};
use kplane_registry::{Error, WriteError};

use super::cx::Resource;

/// A read that failed.
pub fn store(error: Error) -> Status {
    match error {
        Error::Expired { .. } => Status::expired("The resourceVersion for the provided list is too old."),
        Error::TooLarge { requested, current } => too_large_version(requested, current),
        Error::VcpGone => Status::new(
            404,
            Reason::NotFound,
            "there is no such virtual control plane any more; `kubectl vcp list` shows those that are there",
        ),
        Error::Unavailable(why) => {
            tracing::warn!(%why, "the store is unavailable");
            Status::unavailable("the store of the control plane cannot be reached; try again")
        }
        other => {
            tracing::error!(error = %other, "a read failed");
            Status::internal(other)
        }
    }
}

/// 504: a revision that is yet to come.
pub fn too_large_version(requested: u64, current: u64) -> Status {
    let mut status =
        Status::timeout(format!("Too large resource version: {requested}, current: {current}"), 1);
    if let Some(details) = &mut status.details {
        details.causes.push(StatusCause {
            reason: "ResourceVersionTooLarge".into(),
            message: "Too large resource version".into(),
            field: String::new(),
        });
    }
    status
}

/// A write that failed.
pub fn write(resource: &Resource, name: &str, error: WriteError) -> Status {
    let gr = resource.group_resource();
    match error {
        WriteError::AlreadyExists => Status::already_exists(&gr, name),
        WriteError::Conflict(_) => Status::modified(&gr, name),
        WriteError::VcpGone => Status::not_found(&gr, name),
        WriteError::Unknown(why) => {
            tracing::warn!(%why, resource = %gr, "the fate of a write is unknown");
            Status::timeout(
                "request did not complete within the allotted time; whether it was carried out is not known",
                0,
            )
        }
        WriteError::Store(error) => store(error),
        other => Status::internal(other),
    }
}

/// A generated name that was taken every time.
pub fn name_not_found(gr: &GroupResource, name: &str) -> Status {
    let mut status = Status::new(
        409,
        Reason::AlreadyExists,
        format!(
            "{gr} {name:?} already exists, the server was not able to generate a unique name for the object"
        ),
    );
    status.details = Some(Box::new(StatusDetails {
        name: name.to_owned(),
        group: gr.group.to_string(),
        kind: gr.resource.to_string(),
        retry_after_seconds: 1,
        ..StatusDetails::default()
    }));
    status
}
