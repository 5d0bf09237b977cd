//! The endpoints: one file a verb, generic over the kinds.

pub mod admitting;
pub mod body;
pub mod charges;
pub mod create;
pub mod cx;
pub mod decode;
pub mod delete;
pub mod failures;
pub mod get;
pub mod limits;
pub mod list;
pub mod list_options;
pub mod managed;
pub mod negotiate;
pub mod objects;
pub mod output;
pub mod patch;
pub mod reader;
pub mod selectors;
pub mod subresources;
pub mod system;
pub mod table;
pub mod update;
pub mod watch;
pub mod websocket;
pub mod write;

use std::sync::Arc;

use hyper::body::Incoming;
use kplane_machinery::Status;
use serde_json::Value;

use self::cx::{Cx, Resource};
use crate::body::Answer;

/// Answers a request for a resource.
pub async fn resource(cx: Arc<Cx>, resource: Resource, incoming: Incoming) -> Result<Answer, Status> {
    if let Some(text) = resource.version_def()?.deprecation.as_deref() {
        cx.warn(text);
    }
    if !cx.info.subresource.is_empty() && cx.info.verb != "watch" && cx.info.verb != "list" {
        return subresources::answer(&cx, &resource, incoming).await;
    }
    match cx.info.verb.as_str() {
        "get" => get::get(&cx, &resource).await,
        "list" => list::list(&cx, &resource).await,
        "watch" => watch::watch(cx, resource).await,
        "create" if cx.info.name.is_empty() => {
            create::create(&cx, &resource, body::read(incoming).await?).await
        }
        "update" if !cx.info.name.is_empty() => {
            update::update(&cx, &resource, body::read(incoming).await?).await
        }
        "patch" if !cx.info.name.is_empty() => {
            patch::patch(&cx, &resource, body::read(incoming).await?).await
        }
        "delete" => delete::delete(&cx, &resource, delete_options(&cx, incoming).await?).await,
        "deletecollection" => {
            delete::delete_collection(&cx, &resource, delete_options(&cx, incoming).await?).await
        }
        _ => Err(crate::body::method_not_allowed()),
    }
}

/// The `DeleteOptions` in the body of a deletion, if it has one. Typed clients name them in the group and version of the resource, others in
/// that of the meta kinds: all are accepted.
pub async fn delete_options(cx: &Cx, incoming: Incoming) -> Result<Option<Value>, Status> {
    const KIND: &str = "DeleteOptions";
    let bytes = body::read(incoming).await?;
    if bytes.is_empty() {
        return Ok(None);
    }
    let media = if bytes.starts_with(kplane_schema::proto::MAGIC) {
        negotiate::Media::Protobuf
    } else {
        body::media_type(&cx.headers, cx.app.protobuf)?
    };
    let mut value = match media {
        negotiate::Media::Protobuf => {
            let expected = kplane_machinery::GroupVersionKind::new("", "v1", KIND);
            kplane_schema::proto::decode(&bytes, Some(&expected)).map_err(undecodable)?
        }
        negotiate::Media::Yaml => {
            kplane_schema::parse(&bytes, kplane_schema::Format::Yaml).map_err(undecodable)?.value
        }
        negotiate::Media::Json => {
            kplane_schema::parse(&bytes, kplane_schema::Format::Json).map_err(undecodable)?.value
        }
    };
    let Some(fields) = value.as_object_mut() else {
        return Err(undecodable("the body of a deletion must be an object"));
    };
    let text = |name: &str| fields.get(name).and_then(Value::as_str).unwrap_or_default();
    let (version, kind) = (text("apiVersion"), text("kind"));
    if !kind.is_empty() && kind != KIND {
        return Err(undecodable(format!("no kind {kind:?} is registered for version {version:?}")));
    }
    fields.insert("apiVersion".into(), "v1".into());
    fields.insert("kind".into(), KIND.into());
    kplane_schema::check(&cx.app.delete_options, &mut value, false).map_err(undecodable)?;
    Ok(Some(value))
}

/// Options that cannot be decoded are an error that upstream gives no reason.
fn undecodable(error: impl std::fmt::Display) -> Status {
    Status::new(500, kplane_machinery::Reason::Unknown, error.to_string())
}
