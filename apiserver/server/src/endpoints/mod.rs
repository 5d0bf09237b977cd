//! The endpoints: one file a verb, generic over the kinds.

pub mod body;
pub mod create;
pub mod cx;
pub mod decode;
pub mod delete;
pub mod failures;
pub mod get;
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

/// The `DeleteOptions` in the body of a deletion, if it has one.
pub async fn delete_options(cx: &Cx, incoming: Incoming) -> Result<Option<Value>, Status> {
    let bytes = body::read(incoming).await?;
    if bytes.is_empty() {
        return Ok(None);
    }
    let expected = decode::Expected {
        gvk: kplane_machinery::GroupVersionKind::new("", "v1", "DeleteOptions"),
        schema: &cx.app.delete_options,
        custom: false,
    };
    let mut media = body::media_type(&cx.headers, cx.app.protobuf)?;
    if bytes.starts_with(b"k8s\0") {
        media = negotiate::Media::Protobuf;
    }
    let mut value = kplane_schema::parse(&bytes, kplane_schema::Format::Json).ok().map(|p| p.value);
    if media != negotiate::Media::Protobuf
        && let Some(fields) = value.as_mut().and_then(Value::as_object_mut)
    {
        // Options are accepted in the group of the resource as well as in that of the meta kinds.
        fields.insert("apiVersion".into(), "v1".into());
        fields.insert("kind".into(), "DeleteOptions".into());
        return Ok(value);
    }
    decode::object_as(cx, &bytes, media, &expected, decode::FieldValidation::Ignore).map(Some)
}
