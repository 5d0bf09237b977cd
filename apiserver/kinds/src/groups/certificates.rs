//! CertificateSigningRequests.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kplane_machinery::field::{ErrorList, FieldError};
use kplane_machinery::object::{at, str_at};
use serde_json::{Value, json};

use crate::check::NameRule;
use crate::common::clear_status;
use crate::print::{self, NONE};
use crate::strategy::{Context, Strategy};
use crate::val::{At, dflt, ensure, int, items, map_mut, sub, text};

const USAGES: [&str; 23] = [
    "any",
    "cert sign",
    "client auth",
    "code signing",
    "content commitment",
    "crl sign",
    "data encipherment",
    "decipher only",
    "digital signature",
    "email protection",
    "encipher only",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "key agreement",
    "key encipherment",
    "microsoft sgc",
    "netscape sgc",
    "ocsp signing",
    "s/mime",
    "server auth",
    "signing",
    "timestamping",
];
/// Who asked: set by the server, never by the client.
const REQUESTOR: [&str; 4] = ["username", "uid", "groups", "extra"];

/// `CertificateSigningRequest`.
pub(crate) struct SigningRequests;

fn conditions(object: &Value) -> &[Value] {
    object.get("status").map(|s| items(s, "conditions")).unwrap_or(&[])
}

fn validate(object: &Value) -> ErrorList {
    let mut errors = Vec::new();
    let spec = At::root(object).f("spec");
    let request = spec.f("request");
    let decoded = STANDARD.decode(request.str()).unwrap_or_default();
    let pem = String::from_utf8_lossy(&decoded);
    let pem = pem.trim();
    if !pem.starts_with("-----BEGIN CERTIFICATE REQUEST-----")
        || !pem.ends_with("-----END CERTIFICATE REQUEST-----")
    {
        errors.push(FieldError::invalid(
            &request.path,
            request.value(),
            "PEM block type must be CERTIFICATE REQUEST",
        ));
    }
    let usages = spec.f("usages");
    if usages.len() == 0 {
        usages.required(&mut errors, "");
    }
    let mut seen = std::collections::HashSet::new();
    for usage in usages.items() {
        usage.one_of(&mut errors, &USAGES);
        if !seen.insert(usage.str()) {
            usage.duplicate(&mut errors);
        }
    }
    let signer = spec.f("signerName");
    if signer.str().is_empty() {
        signer.required(&mut errors, "");
    } else if signer.str().split('/').count() != 2 {
        signer.invalid(
            &mut errors,
            "must be a fully qualified domain and path of the form 'example.com/signer-name'",
        );
    }
    let seconds = spec.f("expirationSeconds");
    if seconds.there() && seconds.num() < 600 {
        seconds.invalid(&mut errors, "may not specify a duration less than 600 seconds (10 minutes)");
    }
    errors
}

impl Strategy for SigningRequests {
    fn name_rule(&self) -> NameRule {
        NameRule::PathSegment
    }

    fn default(&self, _version: &str, object: &mut Value) {
        let Some(fields) = object.as_object_mut() else { return };
        ensure(fields, "status");
        if let Some(spec) = ensure(fields, "spec") {
            dflt(spec, "request", Value::Null);
            dflt(spec, "signerName", "");
        }
    }

    fn prepare_create(&self, cx: &Context<'_>, object: &mut Value) {
        if let Some(spec) = map_mut(object, "spec") {
            for field in REQUESTOR {
                spec.remove(field);
            }
            if !cx.user.is_empty() {
                spec.insert("username".into(), cx.user.into());
            }
            if !cx.groups.is_empty() {
                spec.insert("groups".into(), json!(cx.groups));
            }
            if !cx.uid.is_empty() {
                spec.insert("uid".into(), cx.uid.into());
            }
            if let Some(extra) = cx.extra.filter(|extra| !extra.is_empty()) {
                spec.insert("extra".into(), json!(extra));
            }
        }
        clear_status(object);
    }

    fn prepare_update(&self, cx: &Context<'_>, object: &mut Value, old: &Value) {
        if let Some(spec) = sub(old, "spec")
            && let Some(fields) = object.as_object_mut()
        {
            fields.insert("spec".into(), spec.clone());
        }
        let decided = |c: &Value| matches!(text(c, "type"), "Approved" | "Denied");
        match cx.subresource {
            Some("approval") => {
                // Every condition, and nothing else of what the signer says.
                let list: Vec<Value> = conditions(object).to_vec();
                set_conditions(object, old, list, cx.now);
            }
            Some("status") => {
                let mut list: Vec<Value> =
                    conditions(object).iter().filter(|c| !decided(c)).cloned().collect();
                list.extend(conditions(old).iter().filter(|c| decided(c)).cloned());
                let certificate = at(object, &["status", "certificate"]).cloned();
                set_conditions(object, old, list, cx.now);
                if let (Some(certificate), Some(status)) = (certificate, map_mut(object, "status")) {
                    status.insert("certificate".into(), certificate);
                }
            }
            _ => {
                if let Some(fields) = object.as_object_mut() {
                    fields.insert("status".into(), old.get("status").cloned().unwrap_or_else(|| json!({})));
                }
            }
        }
    }

    fn validate_create(&self, _cx: &Context<'_>, object: &Value) -> ErrorList {
        validate(object)
    }

    fn validate_update(&self, cx: &Context<'_>, object: &Value, old: &Value) -> ErrorList {
        let mut errors = Vec::new();
        let status = At::root(object).f("status");
        let list = status.f("conditions");
        let has = |o: &Value, kind: &str| conditions(o).iter().any(|c| text(c, "type") == kind);
        for kind in ["Approved", "Denied", "Failed"] {
            if has(old, kind) && !has(object, kind) {
                list.forbidden(&mut errors, format!("updates may not remove a condition of type {kind:?}"));
            }
        }
        if has(object, "Approved") && has(object, "Denied") {
            list.invalid(&mut errors, "Approved and Denied conditions are mutually exclusive");
        }
        for condition in list.items() {
            condition.f("status").required_one_of(&mut errors, &["False", "True", "Unknown"]);
            if matches!(condition.f("type").str(), "Approved" | "Denied" | "Failed")
                && !matches!(condition.f("status").str(), "" | "True")
            {
                condition.f("status").unsupported(&mut errors, &["True"]);
            }
        }
        if cx.subresource == Some("status") {
            let (new, was) = (status.f("certificate"), At::root(old).at(&["status", "certificate"]));
            if was.len() > 0 && new.value() != was.value() {
                new.forbidden(&mut errors, "updates may not set certificate content to a different value");
            }
            if !new.str().is_empty()
                && new.value() != was.value()
                && let Err(why) = check_certificates(new.str())
            {
                errors.push(FieldError::invalid_str(&new.path, "<certificate data>", why));
            }
        }
        errors
    }

    fn row(&self, _version: &str, object: &Value, now: i64) -> Option<Vec<Value>> {
        let spec = object.get("spec").unwrap_or(&Value::Null);
        let has = |kind: &str| conditions(object).iter().any(|c| text(c, "type") == kind);
        let mut state = if has("Denied") {
            "Denied"
        } else if has("Approved") {
            "Approved"
        } else {
            "Pending"
        }
        .to_owned();
        if has("Failed") {
            state.push_str(",Failed");
        }
        if !str_at(object, &["status", "certificate"]).is_empty() {
            state.push_str(",Issued");
        }
        let duration = int(spec, "expirationSeconds").map_or_else(|| NONE.to_owned(), print::duration);
        Some(vec![
            print::name(object),
            print::age(object, now),
            print::text_or(spec, &["signerName"], NONE),
            text(spec, "username").into(),
            duration.into(),
            state.into(),
        ])
    }
}

/// What a signer hands out: one PEM block of type CERTIFICATE or several, and no other.
fn check_certificates(encoded: &str) -> Result<(), String> {
    let decoded = STANDARD.decode(encoded).map_err(|e| e.to_string())?;
    let pem = String::from_utf8_lossy(&decoded);
    let types: Vec<&str> = pem
        .lines()
        .filter_map(|line| line.trim().strip_prefix("-----BEGIN ")?.strip_suffix("-----"))
        .filter(|kind| pem.contains(&format!("-----END {kind}-----")))
        .collect();
    match types.iter().find(|kind| **kind != "CERTIFICATE") {
        Some(other) => Err(format!("only CERTIFICATE PEM blocks are allowed, found {other:?}")),
        None if types.is_empty() => Err("must contain at least one CERTIFICATE PEM block".to_owned()),
        None => Ok(()),
    }
}

/// The old status with other conditions, each of which has its times.
fn set_conditions(object: &mut Value, old: &Value, mut list: Vec<Value>, now: &str) {
    for condition in list.iter_mut().filter_map(Value::as_object_mut) {
        for field in ["lastUpdateTime", "lastTransitionTime"] {
            dflt(condition, field, now);
        }
    }
    let mut status = sub(old, "status").cloned().unwrap_or_else(|| json!({}));
    if let Some(status) = status.as_object_mut() {
        if list.is_empty() {
            status.remove("conditions");
        } else {
            status.insert("conditions".into(), list.into());
        }
    }
    crate::val::set_status(object, status);
}
