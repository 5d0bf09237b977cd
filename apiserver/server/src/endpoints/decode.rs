//! From the bytes of a request to an object that is complete: decoded, checked for fields it should not have, defaulted.

use kplane_machinery::field::{FieldError, Path};
use kplane_machinery::schema::SchemaLink;
use kplane_machinery::{GroupKind, GroupVersionKind, Status, meta};
use kplane_schema::Format;
use serde_json::Value;

use super::admitting::without_repeated_owners;
use super::body;
use super::cx::{Cx, Resource};
use super::negotiate::Media;

/// `fieldValidation`: what becomes of fields that are unknown or given twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "upstream's names")]
pub enum FieldValidation {
    Ignore,
    Warn,
    Strict,
}

/// The values of `dryRun`.
pub fn dry_run(cx: &Cx) -> Vec<String> {
    cx.query.all("dryRun").map(str::to_owned).collect()
}

/// Reads and checks the options of a creation (`CreateOptions`) or update (`UpdateOptions`).
pub fn write_options(cx: &Cx, kind: &str) -> Result<FieldValidation, Status> {
    let given = cx.query.get("fieldValidation").unwrap_or("");
    let manager = cx.query.get("fieldManager").unwrap_or("");
    meta::invalid_options(kind, &meta::validate_create_options(manager, &dry_run(cx), given))?;
    Ok(FieldValidation::of(given))
}

/// Reads and checks the options of a patch; `force` belongs to an apply, which needs a manager.
pub fn patch_options(cx: &Cx, apply: bool) -> Result<FieldValidation, Status> {
    let given = cx.query.get("fieldValidation").unwrap_or("");
    let manager = cx.query.get("fieldManager").unwrap_or("");
    let force = cx.query.get("force").map(|_| cx.query.flag("force"));
    let errors = meta::validate_patch_options(apply, force, manager, &dry_run(cx), given);
    meta::invalid_options("PatchOptions", &errors)?;
    Ok(FieldValidation::of(given))
}

impl FieldValidation {
    fn of(text: &str) -> Self {
        match text {
            "Ignore" => Self::Ignore,
            "Strict" => Self::Strict,
            _ => Self::Warn,
        }
    }
}

/// What a body is expected to hold.
pub struct Expected<'a> {
    /// The kind that a body without one is taken for.
    pub gvk: GroupVersionKind,
    /// Its shape.
    pub schema: &'a SchemaLink,
    /// Custom resources keep what their schema does not prune; built-in kinds are normalised as Go's types do.
    pub custom: bool,
}

impl<'a> Expected<'a> {
    /// The kind of a resource in the version of the request.
    pub fn of(resource: &'a Resource) -> Result<Self, Status> {
        Ok(Self { gvk: resource.gvk(), schema: &resource.version_def()?.schema, custom: resource.def.custom })
    }
}

/// Decodes the body of a request.
pub fn object(
    cx: &Cx,
    bytes: &[u8],
    expected: &Expected<'_>,
    validation: FieldValidation,
) -> Result<Value, Status> {
    let media = body::media_type(&cx.headers, !expected.custom && cx.app.protobuf)?;
    let mut object = object_as(cx, bytes, media, expected, validation)?;
    without_repeated_owners(cx, &mut object, "");
    Ok(object)
}

/// Decodes bytes of a known media type.
pub fn object_as(
    cx: &Cx,
    bytes: &[u8],
    media: Media,
    expected: &Expected<'_>,
    validation: FieldValidation,
) -> Result<Value, Status> {
    let kind = &expected.gvk.kind;
    if media == Media::Protobuf {
        let mut value = crate::protobuf::decode(bytes, expected)?;
        check_kind(&mut value, expected)?;
        cx.audit.request(&value);
        return Ok(value);
    }
    let format = if media == Media::Yaml { Format::Yaml } else { Format::Json };
    let parsed = kplane_schema::parse(bytes, format).map_err(|e| {
        Status::bad_request(format!(
            "the object provided is unrecognized (must be of type {kind}): couldn't get version/kind; json parse error: {e} ({})",
            shown(bytes)
        ))
    })?;
    let mut value = parsed.value;
    check_kind(&mut value, expected)?;
    cx.audit.request(&value);
    let mut strict: Vec<String> = parsed.duplicates;
    let found = kplane_schema::check(expected.schema, &mut value, expected.custom).map_err(|e| {
        Status::bad_request(format!(
            "{kind} in version {:?} cannot be handled as a {kind}: {e}",
            &*expected.gvk.version
        ))
    })?;
    strict.extend(found);
    report(cx, strict, validation, &expected.gvk)?;
    Ok(value)
}

/// Refuses or warns of what a strict decoder found.
pub fn report(
    cx: &Cx,
    found: Vec<String>,
    validation: FieldValidation,
    gvk: &GroupVersionKind,
) -> Result<(), Status> {
    match validation {
        FieldValidation::Strict if !found.is_empty() => Err(Status::bad_request(format!(
            "{} in version {:?} cannot be handled as a {}: strict decoding error: {}",
            gvk.kind,
            &*gvk.version,
            gvk.kind,
            found.join(", ")
        ))),
        FieldValidation::Warn => {
            found.into_iter().for_each(|text| cx.warn(text));
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Sets the defaults that the schema states, then those that depend on other fields.
pub fn default(resource: &Resource, value: &mut Value) -> Result<(), Status> {
    kplane_schema::default(&resource.version_def()?.schema, value);
    resource.def.strategy.default(&resource.version, value);
    Ok(())
}

/// A body without a kind is of the one that is expected; one of another kind is refused.
fn check_kind(value: &mut Value, expected: &Expected<'_>) -> Result<(), Status> {
    let api_version = expected.gvk.group_version().to_string();
    let kind = &*expected.gvk.kind;
    let Some(fields) = value.as_object_mut() else {
        return Err(Status::bad_request(format!(
            "the object provided is unrecognized (must be of type {kind}): couldn't get version/kind; json parse error: json: cannot unmarshal {} into Go value of type struct {{ APIVersion string \"json:\\\"apiVersion,omitempty\\\"\"; Kind string \"json:\\\"kind,omitempty\\\"\" }}",
            json_type(value)
        )));
    };
    let text = |fields: &serde_json::Map<String, Value>, name: &str| {
        fields.get(name).and_then(Value::as_str).unwrap_or("").to_owned()
    };
    let (given_version, given_kind) = (text(fields, "apiVersion"), text(fields, "kind"));
    if given_version.is_empty() || given_kind.is_empty() {
        if expected.custom {
            let missing = if given_kind.is_empty() { "kind" } else { "apiVersion" };
            return Err(Status::bad_request(format!(
                "the object provided is unrecognized (must be of type {kind}): Object '{}' is missing",
                if missing == "kind" { "Kind" } else { "apiVersion" }
            )));
        }
        if given_version.is_empty() {
            fields.insert("apiVersion".into(), api_version.clone().into());
        }
        if given_kind.is_empty() {
            fields.insert("kind".into(), kind.into());
        }
    }
    let (given_version, given_kind) = (text(fields, "apiVersion"), text(fields, "kind"));
    if given_version != api_version {
        return Err(Status::bad_request(format!(
            "the API version in the data ({given_version}) does not match the expected API version ({api_version})"
        )));
    }
    if given_kind != kind && expected.custom {
        // A custom resource of another kind can be read; it is found out where it is validated.
        let name = value.pointer("/metadata/name").and_then(Value::as_str).unwrap_or("");
        let error = FieldError::invalid_str(&Path::new("kind"), &given_kind, format!("must be {kind}"));
        let given = GroupKind::new(expected.gvk.group.clone(), given_kind);
        return Err(Status::invalid(&given, name, &vec![error]));
    }
    if given_kind != kind {
        let version = &expected.gvk.version;
        return Err(Status::bad_request(format!(
            "{given_kind} in version {:?} cannot be handled as a {kind}: converting ({version}.{given_kind}) to ({version}.{kind}): unknown conversion",
            &**version
        )));
    }
    Ok(())
}

fn json_type(value: &Value) -> &'static str {
    match value {
        Value::Array(_) => "array",
        Value::String(_) => "string",
        Value::Number(_) => "number",
        Value::Bool(_) => "bool",
        _ => "null",
    }
}

/// The beginning of a body, for an error.
fn shown(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let text = text.trim_end();
    if text.chars().count() > 200 {
        format!("{}...", text.chars().take(200).collect::<String>())
    } else {
        text.to_owned()
    }
}

/// The namespace and name of a body must be those of the path; missing ones are filled in.
pub fn match_path(cx: &Cx, resource: &Resource, value: &mut Value, named: bool) -> Result<(), Status> {
    let namespace = if resource.def.namespaced() { cx.info.namespace.as_str() } else { "" };
    meta::ensure_namespace(value, namespace)?;
    if named { meta::ensure_name_matches(value, &cx.info.name) } else { Ok(()) }
}
