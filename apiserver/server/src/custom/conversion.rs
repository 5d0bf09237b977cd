//! From one version of a custom kind to another, by a webhook of the control plane (`conversion.strategy: Webhook`).
//!
//! The webhook is asked where objects come out of the store and go into it: all objects of a list at once. What comes
//! back is shown as if it had been stored so; kinds without such a webhook pass through untouched.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kplane_admission::webhook::ClientConfig;
use kplane_kinds::ResourceDef;
use kplane_kinds::def::Conversion;
use kplane_machinery::{Status, object};
use kplane_registry::{Encoded, Stored, Vcp};
use serde_json::{Value, json};

use crate::app::App;
use crate::endpoints::cx::{Cx, Resource};
use crate::endpoints::objects;

/// How long a webhook may take.
const PATIENCE: Duration = Duration::from_secs(30);
const GROUP: &str = "apiextensions.k8s.io";

/// Stored objects in the version of the request.
pub async fn show(cx: &Cx, resource: &Resource, mut stored: Vec<Stored>) -> Result<Vec<Stored>, Status> {
    let Some(conversion) = &resource.def.conversion else { return Ok(stored) };
    let api_version = resource.api_version();
    let others: Vec<usize> =
        (0..stored.len()).filter(|at| stored[*at].api_version() != api_version).collect();
    if others.is_empty() {
        return Ok(stored);
    }
    let mut asked = Vec::with_capacity(others.len());
    for at in &others {
        asked.push(objects::decode_stored(resource, &stored[*at])?);
    }
    let converted = ask(&cx.app, &cx.vcp, &resource.def, conversion, asked, &resource.version).await?;
    for (at, object) in others.into_iter().zip(converted) {
        let encoded = Encoded::new(&object, resource.def.schema_epoch)
            .map_err(|e| Status::internal(format!("a converted object cannot be shown: {e}")))?;
        stored[at] = stored[at].with_content(encoded).map_err(Status::internal)?;
    }
    Ok(stored)
}

/// A stored object in the version of the request.
pub async fn decode(cx: &Cx, resource: &Resource, stored: &Stored) -> Result<Value, Status> {
    if resource.def.conversion.is_none() {
        return objects::decode(resource, stored);
    }
    let shown = show(cx, resource, vec![stored.clone()]).await?;
    objects::decode(resource, &shown[0])
}

/// The bytes to store of an object in the version of the request.
pub async fn encode(cx: &Cx, resource: &Resource, object: &Value) -> Result<Encoded, Status> {
    let (Some(_), false) = (&resource.def.conversion, resource.version == resource.def.storage_version)
    else {
        return objects::encode(resource, object);
    };
    let (from, to) = (&resource.version, &resource.def.storage_version);
    let stored = convert(&cx.app, &cx.vcp, &resource.def, object.clone(), from, to).await?;
    Encoded::new(&stored, resource.def.schema_epoch)
        .map_err(|e| Status::internal(format!("an object cannot be stored: {e}")))
}

/// An object in another version of its kind.
pub async fn convert(
    app: &App,
    vcp: &Vcp,
    def: &ResourceDef,
    mut object: Value,
    from: &str,
    to: &str,
) -> Result<Value, Status> {
    match &def.conversion {
        Some(conversion) if from != to => {
            let converted = ask(app, vcp, def, conversion, vec![object], to).await?;
            converted.into_iter().next().ok_or_else(|| Status::internal("a converted object is missing"))
        }
        _ => {
            objects::convert_as(def, &mut object, from, to)?;
            Ok(object)
        }
    }
}

/// The most conversions that the managed fields of one request may need.
const MOST: usize = 64;

/// What managed fields need of a webhook, for one request. They are worked out without waiting: what is not known yet is
/// noted, asked for, and found the next time.
#[derive(Debug, Default)]
pub struct Conversions(Mutex<Converted>);

#[derive(Debug, Default)]
struct Converted {
    /// An object, a version, and the object in it.
    known: Vec<(Value, String, Value)>,
    wanted: Option<(Value, String)>,
}

impl Conversions {
    fn lock(&self) -> MutexGuard<'_, Converted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An object in another version, if it is known.
    pub fn find(&self, object: &Value, version: &str) -> Result<Value, String> {
        let mut converted = self.lock();
        let found = converted.known.iter().find(|(from, to, _)| to == version && from == object);
        if let Some((_, _, new)) = found {
            return Ok(new.clone());
        }
        converted.wanted.get_or_insert_with(|| (object.clone(), version.to_owned()));
        Err(format!("it is not converted to {version} yet"))
    }

    /// Asks for what was wanted and not known; whether there was something.
    pub async fn settle(&self, cx: &Cx, resource: &Resource) -> Result<bool, Status> {
        let Some((object, to)) = self.lock().wanted.take() else { return Ok(false) };
        let from = objects::version_of(object::str_at(&object, &["apiVersion"])).to_owned();
        let new = convert(&cx.app, &cx.vcp, &resource.def, object.clone(), &from, &to).await?;
        let mut converted = self.lock();
        if converted.known.len() >= MOST {
            return Err(Status::internal("the managed fields need too many conversions"));
        }
        converted.known.push((object, to, new));
        Ok(true)
    }
}

/// Asks the webhook. What it may not change is as it was.
async fn ask(
    app: &App,
    vcp: &Vcp,
    def: &ResourceDef,
    conversion: &Conversion,
    objects: Vec<Value>,
    to: &str,
) -> Result<Vec<Value>, Status> {
    let wanted = def.gvk(to).group_version().to_string();
    let first = objects.first().map_or("", |object| object::str_at(object, &["apiVersion"]));
    let named = format!("{first}, Kind={}", def.kind);
    let failed = |why: String| Status::plain(format!("conversion webhook for {named} failed: {why}"));
    let review = conversion.review_versions.iter().find(|v| matches!(&***v, "v1" | "v1beta1"));
    let review = review.ok_or_else(|| failed("no supported conversion review versions".into()))?;
    let client = ClientConfig::read(&conversion.client).map_err(&failed)?;
    let uid = uuid::Uuid::new_v4().to_string();
    let body = json!({
        "kind": "ConversionReview",
        "apiVersion": format!("{GROUP}/{review}"),
        "request": {"uid": uid, "desiredAPIVersion": wanted, "objects": objects},
    });
    let answered = app.post(vcp, &client, body.to_string().into_bytes(), PATIENCE).await.map_err(&failed)?;
    let converted = read(&answered, review, &uid).map_err(&failed)?;
    if converted.len() != objects.len() {
        return Err(Status::plain(format!(
            "conversion webhook for {named} returned {} objects, expected {}",
            converted.len(),
            objects.len()
        )));
    }
    let described =
        def.version(to).ok_or_else(|| Status::internal(format!("{} has no version {to}", def.kind)))?;
    let mut settled = Vec::with_capacity(converted.len());
    for (at, (original, mut new)) in objects.iter().zip(converted).enumerate() {
        check(original, &new, &wanted).map_err(|why| {
            Status::plain(format!(
                "conversion webhook for {named} returned invalid converted object at index {at}: {why}"
            ))
        })?;
        keep_metadata(original, &mut new).map_err(|why| {
            Status::plain(format!(
                "conversion webhook for {named} returned invalid metadata in object at index {at}: {why}"
            ))
        })?;
        kplane_schema::prune(&described.schema, &mut new);
        kplane_schema::default(&described.schema, &mut new);
        settled.push(new);
    }
    Ok(settled)
}

/// The objects of an answer (`getConvertedObjectsFromResponse`).
fn read(body: &[u8], review: &str, uid: &str) -> Result<Vec<Value>, String> {
    let mut body: Value = serde_json::from_slice(body)
        .map_err(|e| format!("couldn't get version/kind; json parse error: {e}"))?;
    let kind = object::str_at(&body, &["kind"]).to_owned();
    let api_version = object::str_at(&body, &["apiVersion"]).to_owned();
    let response = body.get_mut("response").filter(|response| response.is_object());
    let response = response.ok_or("no response provided")?;
    if review == "v1" {
        let answered = object::str_at(response, &["uid"]);
        if answered != uid {
            return Err(format!("expected response.uid={uid:?}, got {answered:?}"));
        }
        if api_version != "apiextensions.k8s.io/v1" || kind != "ConversionReview" {
            return Err(format!(
                "expected webhook response of {GROUP}/v1, Kind=ConversionReview, got {api_version}, Kind={kind}"
            ));
        }
    }
    let status = object::str_at(response, &["result", "status"]);
    if status != "Success" {
        let message = object::str_at(response, &["result", "message"]);
        return Err(match message {
            "" => format!("response.result.status was '{status}', not 'Success'"),
            message => message.to_owned(),
        });
    }
    match response["convertedObjects"].take() {
        Value::Array(objects) => Ok(objects),
        _ => Ok(Vec::new()),
    }
}

fn check(original: &Value, new: &Value, wanted: &str) -> Result<(), String> {
    let text = |object: &Value, path: &[&str]| object::str_at(object, path).to_owned();
    let version = text(new, &["apiVersion"]);
    if version != wanted {
        return Err(format!("invalid groupVersion (expected {wanted}, received {version})"));
    }
    let (kind, received) = (text(original, &["kind"]), text(new, &["kind"]));
    if kind != received {
        return Err(format!("invalid kind (expected {kind}, received {received})"));
    }
    for (field, what) in [("name", "name"), ("namespace", "namespace"), ("uid", "UID")] {
        let (before, after) = (text(original, &["metadata", field]), text(new, &["metadata", field]));
        if before != after {
            return Err(format!("must have the same {what}: {after} != {before}"));
        }
    }
    Ok(())
}

/// Labels and annotations are all of the metadata that a webhook may change (`restoreObjectMeta`).
fn keep_metadata(original: &Value, new: &mut Value) -> Result<(), String> {
    let mut metadata = original["metadata"].clone();
    for field in ["labels", "annotations"] {
        let given = new["metadata"].get(field).cloned().unwrap_or(Value::Null);
        let texts = given.as_object().is_none_or(|all| all.values().all(Value::is_string));
        if !texts || !matches!(given, Value::Null | Value::Object(_)) {
            return Err(format!("metadata.{field}: must be a map of texts"));
        }
        match (given, metadata.as_object_mut()) {
            (Value::Null, Some(kept)) => drop(kept.remove(field)),
            (given, Some(kept)) => drop(kept.insert(field.into(), given)),
            (_, None) => return Err("metadata: must be a map".into()),
        }
    }
    new["metadata"] = metadata;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(version: &str, labels: Value) -> Value {
        json!({
            "apiVersion": format!("birds.test/{version}"), "kind": "Owl",
            "metadata": {"name": "o", "uid": "u", "resourceVersion": "7", "labels": labels},
        })
    }

    #[test]
    fn answers_are_held_to_the_rules() {
        let answer = |uid: &str, result: Value| {
            json!({
                "kind": "ConversionReview", "apiVersion": "apiextensions.k8s.io/v1",
                "response": {"uid": uid, "result": result, "convertedObjects": [{}]},
            })
            .to_string()
        };
        let read = |body: &str| read(body.as_bytes(), "v1", "u");
        assert_eq!(read(&answer("u", json!({"status": "Success"}))).unwrap().len(), 1);
        assert_eq!(
            read(&answer("x", json!({"status": "Success"}))).unwrap_err(),
            r#"expected response.uid="u", got "x""#
        );
        assert_eq!(
            read(&answer("u", json!({"status": "Failed", "message": "no owls"}))).unwrap_err(),
            "no owls"
        );
        assert_eq!(
            read(&answer("u", json!({}))).unwrap_err(),
            "response.result.status was '', not 'Success'"
        );
        assert_eq!(read("{}").unwrap_err(), "no response provided");
    }

    #[test]
    fn only_labels_and_annotations_may_change() {
        let original = object("v1", json!({"a": "b"}));
        let mut new = object("v2", json!({"c": "d"}));
        new["metadata"]["resourceVersion"] = "8".into();
        check(&original, &new, "birds.test/v2").unwrap();
        keep_metadata(&original, &mut new).unwrap();
        assert_eq!(new, object("v2", json!({"c": "d"})));
        let mut other = object("v2", Value::Null);
        other["metadata"]["name"] = "p".into();
        assert_eq!(check(&original, &other, "birds.test/v2").unwrap_err(), "must have the same name: p != o");
        assert!(check(&original, &original, "birds.test/v2").unwrap_err().contains("invalid groupVersion"));
    }
}
