//! Answers with objects in them: single ones, lists, and the events of a watch, in the form the client asked for.

use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use kplane_machinery::table::object_list_meta;
use kplane_machinery::{GroupVersionKind, Status};
use kplane_registry::Stored;
use serde_json::{Value, json};

use super::cx::{Cx, Resource};
use super::negotiate::{self, Form, Media, Offer, Shape};
use super::objects::{self, Current};
use super::table::{self, Printer};
use crate::body::{self, Answer};
use crate::heavy::Pace;

/// The form a request's answer takes.
pub fn negotiate(cx: &Cx, resource: &Resource) -> Result<Form, Status> {
    negotiate::accept(&cx.headers, offer(cx, resource))
}

/// What a resource can be written as.
pub fn offer(cx: &Cx, resource: &Resource) -> Offer {
    let custom = resource.def.custom;
    Offer { protobuf: !custom && cx.app.protobuf, shapes: resource.def.stored(), custom }
}

/// Any value that is not an object of the resource, such as a `Status`.
pub fn value(cx: &Cx, code: StatusCode, value: &Value) -> Result<Answer, Status> {
    let form =
        negotiate::accept(&cx.headers, Offer { protobuf: cx.app.protobuf, shapes: true, custom: false })?;
    write(form.media, code, value)
}

/// Writes a value as a media type.
pub fn write(media: Media, code: StatusCode, value: &Value) -> Result<Answer, Status> {
    let bytes = match media {
        Media::Json => body::to_json(value),
        Media::Yaml => kplane_schema::yaml::to_yaml(value)
            .map_err(|e| Status::internal(format!("the answer cannot be written as YAML: {e}")))?
            .into_bytes(),
        Media::Protobuf => crate::protobuf::encode(value)?,
    };
    Ok(bytes_of(media, code, bytes))
}

fn bytes_of(media: Media, code: StatusCode, bytes: impl Into<Bytes>) -> Answer {
    let mut answer = body::answer(code, media.content_type(), bytes);
    answer.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    answer
}

/// A stored object, sent as it is where its form allows.
pub fn stored(cx: &Cx, resource: &Resource, code: StatusCode, stored: &Stored) -> Result<Answer, Status> {
    let form = negotiate(cx, resource)?;
    if form.shape == Shape::Object && Current::of(resource).is(stored) {
        let mut bytes = Vec::with_capacity(stored.len() + 1);
        stored.write_json(&mut bytes);
        match form.media {
            Media::Json => {
                bytes.push(b'\n');
                return Ok(bytes_of(Media::Json, code, bytes));
            }
            Media::Protobuf => {
                let bytes = crate::protobuf::encode_json(&resource.gvk(), &bytes)?;
                return Ok(bytes_of(Media::Protobuf, code, bytes));
            }
            Media::Yaml => {}
        }
    }
    shaped(cx, resource, form, code, &objects::decode(resource, stored)?)
}

/// An object in the version of the request.
pub fn object_value(
    cx: &Cx,
    resource: &Resource,
    code: StatusCode,
    object: &Value,
) -> Result<Answer, Status> {
    let form = negotiate(cx, resource)?;
    shaped(cx, resource, form, code, object)
}

fn shaped(
    cx: &Cx,
    resource: &Resource,
    form: Form,
    code: StatusCode,
    object: &Value,
) -> Result<Answer, Status> {
    match form.shape {
        Shape::Object => write(form.media, code, object),
        Shape::Metadata => write(form.media, code, &metadata_of(resource, object, form)),
        Shape::Table => {
            let include = table::Include::parse(&cx.query)?;
            let printer = Printer::new(resource)?;
            let meta = object_list_meta(object);
            let rows = vec![printer.row(object, include, form)];
            write(form.media, code, &table_of(form, meta, Some(&printer), rows))
        }
    }
}

fn meta_version(form: Form) -> &'static str {
    if form.v1beta1 { "meta.k8s.io/v1beta1" } else { "meta.k8s.io/v1" }
}

fn table_of(form: Form, meta: Value, columns: Option<&Printer>, rows: Vec<Value>) -> Value {
    let mut table = kplane_machinery::table::table(meta, columns.map(Printer::definitions), rows);
    table["apiVersion"] = meta_version(form).into();
    table
}

/// `PartialObjectMetadata` of an object.
pub fn metadata_of(resource: &Resource, object: &Value, form: Form) -> Value {
    let mut metadata = object.get("metadata").cloned().unwrap_or_default();
    for annotation in resource.def.strategy.versioned_annotations() {
        if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
            annotations.remove(*annotation);
            if annotations.is_empty() {
                metadata.as_object_mut().and_then(|metadata| metadata.remove("annotations"));
            }
        }
    }
    json!({ "kind": "PartialObjectMetadata", "apiVersion": meta_version(form), "metadata": metadata })
}

/// The metadata of a list.
#[derive(Clone, Debug, Default)]
pub struct ListMeta {
    /// The revision the list was read at.
    pub revision: u64,
    /// Where the next page begins.
    pub token: Option<String>,
    /// How many more there are.
    pub remaining: Option<u64>,
}

impl ListMeta {
    fn to_value(&self) -> Value {
        let mut meta = json!({"resourceVersion": self.revision.to_string()});
        if let Some(token) = &self.token {
            meta["continue"] = token.as_str().into();
        }
        if let Some(remaining) = self.remaining {
            meta["remainingItemCount"] = remaining.into();
        }
        meta
    }
}

/// A list of stored objects.
pub async fn list(
    cx: &Cx,
    resource: &Resource,
    form: Form,
    items: Vec<Stored>,
    meta: ListMeta,
) -> Result<Answer, Status> {
    if form == Form::default() {
        return list_json(resource, &items, &meta).await;
    }
    if form.shape == Shape::Object && form.media == Media::Protobuf {
        return list_protobuf(resource, &items, &meta).await;
    }
    let mut pace = Pace::default();
    let mut values = Vec::with_capacity(items.len());
    for stored in &items {
        values.push(objects::decode(resource, stored)?);
        pace.step().await;
    }
    list_shaped(cx, resource, form, values, &meta)
}

/// A list of objects in the version of the request.
pub fn list_of_values(
    cx: &Cx,
    resource: &Resource,
    items: Vec<Value>,
    revision: u64,
) -> Result<Answer, Status> {
    let form = negotiate(cx, resource)?;
    list_shaped(cx, resource, form, items, &ListMeta { revision, ..ListMeta::default() })
}

/// The kind and version of the items of a built-in kind's list are told by the list alone.
async fn list_json(resource: &Resource, items: &[Stored], meta: &ListMeta) -> Result<Answer, Status> {
    let size: usize = items.iter().map(|stored| stored.len() + 1).sum();
    let mut out = Vec::with_capacity(size + 256);
    let head = json!({
        "apiVersion": resource.api_version(), "kind": &*resource.def.list_kind, "metadata": meta.to_value(),
    });
    let head = body::to_json(&head);
    // `{…}\n` without its end, and the items behind it.
    out.extend_from_slice(&head[..head.len() - 2]);
    out.extend_from_slice(b",\"items\":[");
    let current = Current::of(resource);
    let mut pace = Pace::default();
    for (i, stored) in items.iter().enumerate() {
        pace.step().await;
        if i > 0 {
            out.push(b',');
        }
        if current.is(stored) {
            if resource.def.custom {
                stored.write_json(&mut out)
            } else {
                stored.write_json_untyped(&mut out)
            }
        } else {
            let mut value = objects::decode(resource, stored)?;
            if !resource.def.custom {
                untyped(&mut value);
            }
            let bytes = body::to_json(&value);
            out.extend_from_slice(&bytes[..bytes.len() - 1]);
        }
    }
    out.extend_from_slice(b"]}\n");
    Ok(bytes_of(Media::Json, StatusCode::OK, out))
}

/// From text to text: no item is made a value of.
async fn list_protobuf(resource: &Resource, items: &[Stored], meta: &ListMeta) -> Result<Answer, Status> {
    let size: usize = items.iter().map(Stored::len).sum();
    let kind = GroupVersionKind { kind: resource.def.list_kind.clone(), ..resource.gvk() };
    let mut list = crate::protobuf::list(kind, &meta.to_value(), size)?;
    let current = Current::of(resource);
    let mut text = Vec::new();
    let mut pace = Pace::default();
    for stored in items {
        pace.step().await;
        if current.is(stored) {
            text.clear();
            stored.write_json_untyped(&mut text);
        } else {
            text = body::to_json(&objects::decode(resource, stored)?);
        }
        list.push(&text).map_err(crate::protobuf::no_form)?;
    }
    let bytes = list.finish().map_err(crate::protobuf::no_form)?;
    Ok(bytes_of(Media::Protobuf, StatusCode::OK, bytes))
}

fn untyped(object: &mut Value) {
    if let Some(fields) = object.as_object_mut() {
        fields.remove("apiVersion");
        fields.remove("kind");
    }
}

fn list_shaped(
    cx: &Cx,
    resource: &Resource,
    form: Form,
    mut items: Vec<Value>,
    meta: &ListMeta,
) -> Result<Answer, Status> {
    let list = match form.shape {
        Shape::Object => {
            if !resource.def.custom {
                items.iter_mut().for_each(untyped);
            }
            json!({
                "kind": &*resource.def.list_kind, "apiVersion": resource.api_version(),
                "metadata": meta.to_value(), "items": items,
            })
        }
        Shape::Metadata => {
            let items: Vec<Value> = items.iter().map(|object| metadata_of(resource, object, form)).collect();
            json!({
                "kind": "PartialObjectMetadataList", "apiVersion": meta_version(form),
                "metadata": meta.to_value(), "items": items,
            })
        }
        Shape::Table => {
            let include = table::Include::parse(&cx.query)?;
            let printer = Printer::new(resource)?;
            let rows = items.iter().map(|object| printer.row(object, include, form)).collect();
            table_of(form, meta.to_value(), Some(&printer), rows)
        }
    };
    write(form.media, StatusCode::OK, &list)
}

/// What happened to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "upstream's names")]
pub enum EventType {
    Added,
    Modified,
    Deleted,
}

impl EventType {
    fn as_str(self) -> &'static str {
        match self {
            Self::Added => "ADDED",
            Self::Modified => "MODIFIED",
            Self::Deleted => "DELETED",
        }
    }
}

/// Writes the events of one watch.
pub struct EventEncoder {
    resource: Resource,
    form: Form,
    current: Current,
    include: table::Include,
    printer: Option<Printer>,
    /// A table tells its columns with its first event only.
    definitions_sent: bool,
}

impl EventEncoder {
    /// For the form a request negotiated.
    pub fn new(cx: &Cx, resource: &Resource, form: Form) -> Result<Self, Status> {
        let (include, printer) = match form.shape {
            Shape::Table => (table::Include::parse(&cx.query)?, Some(Printer::new(resource)?)),
            _ => (table::Include::CELLS, None),
        };
        let current = Current::of(resource);
        Ok(Self { resource: resource.clone(), form, current, include, printer, definitions_sent: false })
    }

    /// An event of an object.
    pub fn event(&mut self, event: EventType, stored: &Stored, out: &mut Vec<u8>) -> Result<(), Status> {
        if self.form.shape == Shape::Object && self.current.is(stored) {
            match self.form.media {
                Media::Json => {
                    out.extend_from_slice(b"{\"type\":\"");
                    out.extend_from_slice(event.as_str().as_bytes());
                    out.extend_from_slice(b"\",\"object\":");
                    stored.write_json(out);
                    out.extend_from_slice(b"}\n");
                    return Ok(());
                }
                Media::Protobuf => {
                    let mut text = Vec::with_capacity(stored.len());
                    stored.write_json(&mut text);
                    let kind = self.resource.gvk();
                    out.extend_from_slice(&crate::protobuf::encode_event_json(event.as_str(), &kind, &text)?);
                    return Ok(());
                }
                Media::Yaml => {}
            }
        }
        let object = objects::decode(&self.resource, stored)?;
        let shown = match self.form.shape {
            Shape::Object => object,
            Shape::Metadata => metadata_of(&self.resource, &object, self.form),
            Shape::Table => {
                let rows = self.printer.as_ref().map(|p| p.row(&object, self.include, self.form));
                let told = std::mem::replace(&mut self.definitions_sent, true);
                let columns = self.printer.as_ref().filter(|_| !told);
                table_of(self.form, object_list_meta(&object), columns, rows.into_iter().collect())
            }
        };
        self.frame(event.as_str(), &shown, out)
    }

    /// A bookmark: everything up to a revision has been seen.
    pub fn bookmark(
        &mut self,
        revision: u64,
        initial_events_end: bool,
        out: &mut Vec<u8>,
    ) -> Result<(), Status> {
        let mut metadata = json!({"resourceVersion": revision.to_string()});
        if initial_events_end {
            metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        let mut object = json!({
            "kind": &*self.resource.def.kind, "apiVersion": self.resource.api_version(), "metadata": metadata,
        });
        kplane_schema::normalise(&self.resource.version_def()?.schema, &mut object);
        let shown = match self.form.shape {
            Shape::Object => object,
            Shape::Metadata => metadata_of(&self.resource, &object, self.form),
            Shape::Table => {
                let rows =
                    vec![json!({"cells": [], "object": metadata_of(&self.resource, &object, self.form)})];
                table_of(self.form, object_list_meta(&object), None, rows)
            }
        };
        self.frame("BOOKMARK", &shown, out)
    }

    /// The end of a watch that failed.
    pub fn error(&self, status: &Status) -> Bytes {
        let mut out = Vec::new();
        if let Err(error) = self.frame("ERROR", &status.to_value(), &mut out) {
            tracing::error!(%error, "the failure of a watch cannot be told");
        }
        out.into()
    }

    fn frame(&self, event: &str, object: &Value, out: &mut Vec<u8>) -> Result<(), Status> {
        match self.form.media {
            Media::Protobuf => out.extend_from_slice(&crate::protobuf::encode_event(event, object)?),
            // A stream of YAML documents is not offered.
            Media::Json | Media::Yaml => {
                out.extend_from_slice(b"{\"type\":\"");
                out.extend_from_slice(event.as_bytes());
                out.extend_from_slice(b"\",\"object\":");
                let bytes = body::to_json(object);
                out.extend_from_slice(&bytes[..bytes.len() - 1]);
                out.extend_from_slice(b"}\n");
            }
        }
        Ok(())
    }
}
