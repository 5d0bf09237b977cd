//! What a webhook is asked and what it answers: `AdmissionReview`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kplane_machinery::{Reason, Status, StatusDetails, object};
use serde_json::{Map, Value, json};

use super::matching::name_of;
use crate::{Attributes, Operation};

const GROUP: &str = "admission.k8s.io";

/// An `AdmissionRequest` without its objects, of a write as it is seen in a version.
pub(crate) fn request(attributes: &Attributes<'_>, uid: &str, version: &str) -> Value {
    let def = attributes.def;
    let kind = |version: &str| match attributes.own_kind() {
        Some(kind) => json!({"group": &*kind.group, "version": &*kind.version, "kind": &*kind.kind}),
        None => json!({"group": &*def.group, "version": version, "kind": &*def.kind}),
    };
    let resource =
        |version: &str| json!({"group": &*def.group, "version": version, "resource": &*def.plural});
    let mut user = Map::new();
    user.insert("username".into(), attributes.user.into());
    if !attributes.user_uid.is_empty() {
        user.insert("uid".into(), attributes.user_uid.into());
    }
    if !attributes.groups.is_empty() {
        user.insert("groups".into(), attributes.groups.into());
    }
    if !attributes.extra.is_empty() {
        user.insert("extra".into(), json!(attributes.extra));
    }
    let mut request = json!({
        "uid": uid,
        "kind": kind(version),
        "resource": resource(version),
        "requestKind": kind(attributes.version),
        "requestResource": resource(attributes.version),
        "operation": attributes.operation.as_str(),
        "userInfo": user,
        "dryRun": attributes.dry_run,
        "options": attributes.options,
    });
    let name = name_of(attributes, attributes.old);
    let of_itself = def.group.is_empty() && &*def.plural == "namespaces";
    let namespace = if of_itself { name } else { attributes.namespace };
    for (field, text) in [
        ("subResource", attributes.subresource),
        ("requestSubResource", attributes.subresource),
        ("name", name),
        ("namespace", namespace),
    ] {
        if !text.is_empty() {
            request[field] = text.into();
        }
    }
    request
}

/// The whole question.
pub(super) fn review(review: &str, mut request: Value, object: Option<Value>, old: Option<Value>) -> Value {
    request["object"] = object.unwrap_or(Value::Null);
    request["oldObject"] = old.unwrap_or(Value::Null);
    json!({"kind": "AdmissionReview", "apiVersion": format!("{GROUP}/{review}"), "request": request})
}

/// Whether the request has an object; of a deletion there is only the old one.
pub(super) fn has_object(attributes: &Attributes<'_>) -> bool {
    attributes.operation != Operation::Delete
}

/// What a webhook answered.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Answer {
    pub allowed: bool,
    pub status: Option<Value>,
    /// A JSON patch.
    pub patch: Option<Vec<u8>>,
    pub patch_type: Option<String>,
    pub annotations: Vec<(String, String)>,
    pub warnings: Vec<String>,
}

/// Why an answer is of no use, in upstream's words.
#[derive(Debug, PartialEq)]
pub(super) enum Unusable {
    /// It could not be decoded.
    Undecoded(String),
    /// It breaks the rules of answers.
    Invalid(String),
}

/// Reads an answer (`VerifyAdmissionResponse`).
pub(super) fn read(body: &[u8], review: &str, uid: &str, mutating: bool) -> Result<Answer, Unusable> {
    let undecoded = |why: String| Unusable::Undecoded(why);
    let body: Value = serde_json::from_slice(body)
        .map_err(|e| undecoded(format!("couldn't get version/kind; json parse error: {e}")))?;
    let kind = object::str_at(&body, &["kind"]);
    let api_version = object::str_at(&body, &["apiVersion"]);
    let invalid = |why: String| Unusable::Invalid(why);
    let Some(response) = body.get("response").filter(|response| response.is_object()) else {
        return Err(invalid("webhook response was absent".into()));
    };
    let text = |field: &str| response.get(field).and_then(Value::as_str).filter(|text| !text.is_empty());
    let patch = match text("patch") {
        None => None,
        Some(encoded) => Some(
            STANDARD
                .decode(encoded)
                .map_err(|e| undecoded(format!("json: response.patch is no base64: {e}")))?,
        ),
    };
    let mut patch_type = text("patchType").map(str::to_owned);
    if review == "v1" {
        let answered = text("uid").unwrap_or("");
        if answered != uid {
            return Err(invalid(format!("expected response.uid={uid:?}, got {answered:?}")));
        }
        if api_version != "admission.k8s.io/v1" || kind != "AdmissionReview" {
            return Err(invalid(format!(
                "expected webhook response of {GROUP}/v1, Kind=AdmissionReview, got {api_version}, Kind={kind}"
            )));
        }
        if mutating {
            match (&patch, &patch_type) {
                (Some(_), None) => {
                    let why = "webhook returned response.patch but not response.patchType";
                    return Err(invalid(why.into()));
                }
                (None, Some(_)) => {
                    let why = "webhook returned response.patchType but not response.patch";
                    return Err(invalid(why.into()));
                }
                (Some(_), Some(given)) if given != "JSONPatch" => {
                    return Err(invalid(format!("invalid value of response.patchType of {given:?}")));
                }
                _ => {}
            }
        } else if patch.is_some() || patch_type.is_some() {
            let which = if patch.is_some() { "patch" } else { "patchType" };
            return Err(invalid(format!("validating webhook may not return response.{which}")));
        }
    } else if patch.is_some() && patch_type.is_none() {
        patch_type = Some("JSONPatch".into());
    }
    let annotations = response.get("auditAnnotations").and_then(Value::as_object);
    let warnings = response.get("warnings").and_then(Value::as_array);
    Ok(Answer {
        allowed: response.get("allowed").and_then(Value::as_bool).unwrap_or(false),
        status: response.get("status").filter(|status| status.is_object()).cloned(),
        patch,
        patch_type,
        annotations: annotations
            .into_iter()
            .flatten()
            .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
            .collect(),
        warnings: warnings.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect(),
    })
}

/// A refusal, as the client reads it (`webhookerrors.ToStatusErr`).
pub(super) fn refusal(hook: &str, status: Option<&Value>) -> Status {
    let denied = format!("admission webhook {hook:?} denied the request");
    let given = |field: &str| {
        status.and_then(|status| status.get(field)).and_then(Value::as_str).filter(|text| !text.is_empty())
    };
    let message = match (given("message"), given("reason")) {
        (Some(why), _) | (None, Some(why)) => format!("{denied}: {why}"),
        (None, None) => format!("{denied} without explanation"),
    };
    let code = status.and_then(|status| status.get("code")).and_then(Value::as_u64).unwrap_or(0);
    let code = u16::try_from(code).ok().filter(|code| (400..600).contains(code)).unwrap_or(400);
    let mut refusal = Status::new(code, Reason::Unknown, message);
    if let Some(reason) = given("reason") {
        refusal.reason = Reason::parse(reason);
        refusal.own_reason = (refusal.reason == Reason::Unknown).then(|| reason.into());
    }
    refusal.details = status
        .and_then(|status| status.get("details"))
        .and_then(|details| serde_json::from_value::<StatusDetails>(details.clone()).ok())
        .map(Box::new);
    refusal
}
