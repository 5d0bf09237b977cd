//! `/clusters/*/control-plane/…`: root's reads over all control planes.
//!
//! A list or watch of one resource shows what is written in all of them, not what they inherit, and heats none.
//! `/clusters/*/control-plane/objects` shows every object, as metadata. Each object carries the
//! annotation `kplane.dev/cluster` with the name of its control plane, whatever a tenant put there.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use futures::StreamExt;
use http::{HeaderValue, Response, StatusCode, header};
use kplane_machinery::{GroupResource, Status, object};
use kplane_registry::{
    AcrossEvent, AcrossItem, AcrossPosition, AcrossRequest, Error, EventKind, ObjectKey, ResourceKey, Stored,
    Vcp, VcpId,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::body::{self, Answer};
use crate::endpoints::cx::Cx;
use crate::endpoints::failures;
use crate::endpoints::list_options::ListOptions;

/// The name of the control plane.
const CLUSTER: &str = "kplane.dev/cluster";
/// The path of all objects.
const OBJECTS: &str = "/objects";
/// How long a watch lasts when the client does not say.
const TIMEOUT: Duration = Duration::from_secs(3600);

/// What is read.
struct Scope {
    /// One resource, or all of them.
    resource: Option<ResourceKey>,
    api_version: String,
    list_kind: String,
}

/// Answers a read over all control planes. That the caller is root's own has been seen to.
pub async fn answer(cx: Arc<Cx>) -> Result<Answer, Status> {
    let scope = if cx.info.is_resource {
        let info = &cx.info;
        let gr = GroupResource::new(info.group.as_str(), info.resource.as_str());
        if !matches!(info.verb.as_str(), "list" | "watch")
            || !info.name.is_empty()
            || !info.namespace.is_empty()
        {
            return Err(Status::bad_request(
                "over all control planes whole resources are listed and watched, and nothing else is done",
            ));
        }
        match cx.app.kinds.get(&info.group, &info.resource) {
            Some(def) if def.stored() => {
                let stored = def.storage_resource();
                Scope {
                    resource: Some(ResourceKey::new(stored.group, stored.resource)),
                    api_version: def.gvk(&info.version).group_version().to_string(),
                    list_kind: def.list_kind.to_string(),
                }
            }
            Some(_) => return Err(Status::no_such_path()),
            // A custom kind may be here and not there: there is nothing to look its names up in.
            None => Scope {
                resource: Some(ResourceKey::new(gr.group, gr.resource)),
                api_version: format!("{}/{}", info.group, info.version),
                list_kind: "List".into(),
            },
        }
    } else if cx.info.path.trim_end_matches('/') == OBJECTS && cx.info.verb == "get" {
        Scope {
            resource: None,
            api_version: "meta.k8s.io/v1".into(),
            list_kind: "PartialObjectMetadataList".into(),
        }
    } else {
        return Ok(body::page_not_found());
    };
    if cx.query.flag("watch") { watch(cx, scope).await } else { list(&cx, scope).await }
}

#[derive(Serialize, Deserialize)]
struct Position {
    rv: u64,
    id: String,
    group: String,
    resource: String,
    namespace: Option<String>,
    name: String,
}

async fn list(cx: &Cx, scope: Scope) -> Result<Answer, Status> {
    let options = ListOptions::parse(&cx.query, false)?;
    let mut request = AcrossRequest {
        limit: (options.limit > 0).then_some(options.limit as usize),
        ..AcrossRequest::default()
    };
    if let Some(token) = &options.continue_token {
        let bad = || Status::bad_request("invalid continue token");
        let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| bad())?;
        let position: Position = serde_json::from_slice(&bytes).map_err(|_| bad())?;
        let resource = ResourceKey::new(position.group, position.resource);
        request.revision = Some(position.rv);
        request.after = Some(AcrossPosition {
            id: VcpId::parse(&position.id).ok_or_else(bad)?,
            key: ObjectKey::new(resource, position.namespace.as_deref(), &position.name),
        });
    }
    let mut items: Vec<Value> = Vec::new();
    let (revision, next) = loop {
        let page = cx
            .app
            .registry
            .list_all(scope.resource.as_ref(), request.clone())
            .await
            .map_err(failures::store)?;
        for item in &page.items {
            items.push(shown(&scope, item)?);
        }
        // Without a limit the list is whole.
        match page.next {
            Some(next) if request.limit.is_none() => {
                request.after = Some(next);
                request.revision = Some(page.revision);
            }
            next => break (page.revision, next),
        }
    };
    let mut metadata = json!({"resourceVersion": revision.to_string()});
    if let Some(next) = next {
        let position = Position {
            rv: revision,
            id: next.id.to_string(),
            group: next.key.resource.group.to_string(),
            resource: next.key.resource.resource.to_string(),
            namespace: next.key.namespace.as_deref().map(str::to_owned),
            name: next.key.name.to_string(),
        };
        let bytes = serde_json::to_vec(&position).map_err(Status::internal)?;
        metadata["continue"] = URL_SAFE_NO_PAD.encode(bytes).into();
    }
    Ok(body::json(
        StatusCode::OK,
        &json!({"kind": scope.list_kind, "apiVersion": scope.api_version, "metadata": metadata, "items": items}),
    ))
}

fn shown(scope: &Scope, item: &AcrossItem) -> Result<Value, Status> {
    show(scope, &item.vcp, &item.resource, &item.object)
}

/// An object, or its metadata, with the name of its control plane.
fn show(scope: &Scope, vcp: &Vcp, resource: &ResourceKey, stored: &Stored) -> Result<Value, Status> {
    let mut value = stored.to_value().map_err(Status::internal)?;
    let api_version = value["apiVersion"].as_str().unwrap_or("").to_owned();
    let kind = value["kind"].as_str().unwrap_or("").to_owned();
    let mut marks = vec![(CLUSTER, vcp.name.to_string())];
    if scope.resource.is_none() {
        marks.push(("kplane.dev/api-version", api_version));
        marks.push(("kplane.dev/kind", kind));
        marks.push(("kplane.dev/resource", resource.resource.to_string()));
        value = kplane_machinery::table::partial_object_metadata(&value);
        object::set_meta(&mut value, "managedFields", None);
    }
    if let Some(meta) = object::meta_mut(&mut value) {
        let annotations = meta.entry("annotations").or_insert_with(|| json!({}));
        if !annotations.is_object() {
            *annotations = json!({});
        }
        for (name, text) in marks {
            annotations[name] = text.into();
        }
    }
    Ok(value)
}

async fn watch(cx: Arc<Cx>, scope: Scope) -> Result<Answer, Status> {
    let options = ListOptions::parse(&cx.query, true)?;
    let from = options.resource_version.filter(|v| *v != 0);
    let events = match cx.app.registry.watch_all(scope.resource.as_ref(), from).await {
        Ok(events) => events,
        Err(error) => {
            let chunk = failed(error);
            return Ok(streamed(futures::stream::iter([chunk])));
        }
    };
    let end = tokio::time::Instant::now() + options.timeout.unwrap_or(TIMEOUT);
    let shutdown = cx.app.shutdown.clone();
    let state = (Box::pin(events), scope, false);
    let chunks = futures::stream::unfold(state, move |(mut events, scope, ended)| {
        let shutdown = shutdown.clone();
        async move {
            if ended {
                return None;
            }
            let item = tokio::select! {
                () = shutdown.cancelled() => return None,
                () = tokio::time::sleep_until(end) => return None,
                item = events.next() => item?,
            };
            let (chunk, ended) = match item {
                Ok(event) => match line(&scope, event) {
                    Ok(chunk) => (chunk, false),
                    Err(status) => (framed("ERROR", &status.to_value()), true),
                },
                Err(error) => (failed(error), true),
            };
            Some((chunk, (events, scope, ended)))
        }
    });
    Ok(streamed(chunks))
}

fn line(scope: &Scope, event: AcrossEvent) -> Result<Bytes, Status> {
    match event {
        AcrossEvent::Event { kind, vcp, resource, object, .. } => {
            let name = match kind {
                EventKind::Added => "ADDED",
                EventKind::Modified => "MODIFIED",
                EventKind::Deleted => "DELETED",
            };
            Ok(framed(name, &show(scope, &vcp, &resource, &object)?))
        }
        AcrossEvent::Bookmark { revision } => Ok(framed(
            "BOOKMARK",
            &json!({
                "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1",
                "metadata": {"resourceVersion": revision.to_string()},
            }),
        )),
    }
}

fn framed(event: &str, object: &Value) -> Bytes {
    body::to_json(&json!({"type": event, "object": object})).into()
}

fn failed(error: Error) -> Bytes {
    let status = match error {
        Error::Expired { requested, oldest } => {
            Status::expired(format!("too old resource version: {requested} ({oldest})"))
        }
        error => failures::store(error),
    };
    framed("ERROR", &status.to_value())
}

fn streamed(chunks: impl futures::Stream<Item = Bytes> + Send + 'static) -> Answer {
    let mut response = Response::new(body::stream(chunks));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
