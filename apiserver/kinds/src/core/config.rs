//! ConfigMaps and Secrets.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kplane_machinery::field::{ErrorList, FieldError, Path};
use serde_json::Value;

use crate::check;
use crate::print;
use crate::strategy::{Context, Strategy};
use crate::val::{At, Obj, dflt_str, ensure, text, truth};

/// One mebibyte: no more data than this.
const MAX_BYTES: usize = 1024 * 1024;

fn decoded_len(text: &str) -> usize {
    text.len() / 4 * 3 - text.bytes().rev().take_while(|b| *b == b'=').count().min(2)
}

fn count(object: &Value, fields: &[&str]) -> usize {
    fields.iter().filter_map(|f| object.get(*f)?.as_object()).map(Obj::len).sum()
}

fn immutable(object: &Value, old: &Value, fields: &[&str]) -> ErrorList {
    let mut errors = Vec::new();
    if truth(old, "immutable") {
        let (new, old) = (At::root(object), At::root(old));
        let says = "field is immutable when `immutable` is set";
        if !new.f("immutable").is_true() {
            new.f("immutable").forbidden(&mut errors, says);
        }
        for field in fields {
            if !crate::val::same(new.f(field).value(), old.f(field).value()) {
                new.f(field).forbidden(&mut errors, says);
            }
        }
    }
    errors
}

/// `ConfigMap`.
pub(crate) struct ConfigMaps;

impl ConfigMaps {
    fn validate(object: &Value) -> ErrorList {
        let mut errors = Vec::new();
        let root = At::root(object);
        let (data, binary) = (root.f("data"), root.f("binaryData"));
        let mut total = 0;
        for (key, value) in data.entries() {
            for message in check::config_key(key) {
                errors.push(FieldError::invalid_str(&value.path, key, message));
            }
            if binary.key(key).there() {
                errors.push(FieldError::invalid_str(
                    &value.path,
                    key,
                    "duplicate of key present in binaryData",
                ));
            }
            total += value.str().len();
        }
        for (key, value) in binary.entries() {
            for message in check::config_key(key) {
                errors.push(FieldError::invalid_str(&value.path, key, message));
            }
            total += decoded_len(value.str());
        }
        if total > MAX_BYTES {
            errors.push(FieldError::too_long(&Path::root().key(""), MAX_BYTES));
        }
        errors
    }
}

impl Strategy for ConfigMaps {
    fn validate_create(&self, _cx: &Context<'_>, object: &Value) -> ErrorList {
        Self::validate(object)
    }

    fn validate_update(&self, _cx: &Context<'_>, object: &Value, old: &Value) -> ErrorList {
        let mut errors = immutable(object, old, &["data", "binaryData"]);
        errors.extend(Self::validate(object));
        errors
    }

    fn row(&self, _version: &str, object: &Value, now: i64) -> Option<Vec<Value>> {
        let data = count(object, &["data", "binaryData"]);
        Some(vec![print::name(object), data.into(), print::age(object, now)])
    }
}

/// `Secret`.
pub(crate) struct Secrets;

impl Secrets {
    fn validate(object: &Value) -> ErrorList {
        let mut errors = Vec::new();
        let root = At::root(object);
        let data = root.f("data");
        let mut total = 0;
        for (key, value) in data.entries() {
            for message in check::config_key(key) {
                errors.push(FieldError::invalid_str(&value.path, key, message));
            }
            total += decoded_len(value.str());
        }
        if total > MAX_BYTES {
            errors.push(FieldError::too_long(&data.path, MAX_BYTES));
        }
        let need = |key: &str, errors: &mut ErrorList| {
            if !data.key(key).there() {
                data.key(key).required(errors, "");
            }
        };
        match root.f("type").str() {
            "kubernetes.io/service-account-token" => {
                let name = root.at(&["metadata", "annotations"]).key("kubernetes.io/service-account.name");
                if name.str().is_empty() {
                    name.required(&mut errors, "");
                }
            }
            "kubernetes.io/dockercfg" => json_file(&data.key(".dockercfg"), &mut errors),
            "kubernetes.io/dockerconfigjson" => json_file(&data.key(".dockerconfigjson"), &mut errors),
            "kubernetes.io/basic-auth" if !data.key("username").there() && !data.key("password").there() => {
                need("username", &mut errors);
                need("password", &mut errors);
            }
            "kubernetes.io/ssh-auth" if data.key("ssh-privatekey").str().is_empty() => {
                data.key("ssh-privatekey").required(&mut errors, "");
            }
            "kubernetes.io/tls" => {
                need("tls.crt", &mut errors);
                need("tls.key", &mut errors);
            }
            _ => {}
        }
        errors
    }
}

/// A file that must be there and be JSON; its contents are never shown.
fn json_file(file: &At<'_>, errors: &mut ErrorList) {
    if !file.there() {
        file.required(errors, "");
        return;
    }
    let parsed = STANDARD
        .decode(file.str())
        .map_err(|e| e.to_string())
        .and_then(|b| serde_json::from_slice::<Value>(&b).map_err(|e| e.to_string()));
    if let Err(why) = parsed {
        errors.push(FieldError::invalid_str(&file.path, "<secret contents redacted>", why));
    }
}

impl Strategy for Secrets {
    fn default(&self, _version: &str, object: &mut Value) {
        let Some(fields) = object.as_object_mut() else { return };
        // What is written in clear becomes part of `data` and is never shown again.
        if let Some(Value::Object(clear)) = fields.remove("stringData")
            && !clear.is_empty()
            && let Some(data) = ensure(fields, "data")
        {
            for (key, value) in clear {
                let text = value.as_str().unwrap_or("");
                data.insert(key, STANDARD.encode(text).into());
            }
        }
        dflt_str(fields, "type", "Opaque");
    }

    fn validate_create(&self, _cx: &Context<'_>, object: &Value) -> ErrorList {
        Self::validate(object)
    }

    fn prepare_update(&self, _cx: &Context<'_>, object: &mut Value, old: &Value) {
        if let Some(fields) = object.as_object_mut() {
            dflt_str(fields, "type", text(old, "type"));
        }
    }

    fn validate_update(&self, _cx: &Context<'_>, object: &Value, old: &Value) -> ErrorList {
        let mut errors = Vec::new();
        At::root(object).f("type").immutable(&mut errors, &At::root(old).f("type"));
        errors.extend(immutable(object, old, &["data"]));
        errors.extend(Self::validate(object));
        errors
    }

    fn row(&self, _version: &str, object: &Value, now: i64) -> Option<Vec<Value>> {
        let data = count(object, &["data"]);
        Some(vec![print::name(object), text(object, "type").into(), data.into(), print::age(object, now)])
    }
}
