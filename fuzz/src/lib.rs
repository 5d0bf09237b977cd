//! What the targets do with bytes: all that a client may send, put through the code that reads it first. Nothing may panic, and what is
//! printed is read back as the same.

use http::{HeaderMap, HeaderValue, Method, header};
use kplane_apiserver::endpoints::list_options::{ContinueToken, ListOptions};
use kplane_apiserver::endpoints::negotiate::{self, Offer};
use kplane_apiserver::filters::request_info::{self, Target};
use kplane_apiserver::query::Query;
use kplane_kinds::{ResourceDef, table};
use kplane_machinery::field::Path;
use kplane_machinery::managed::{self, OneVersion, Request, Set};
use kplane_machinery::patch::{json, merge, strategic};
use kplane_machinery::quantity::Quantity;
use kplane_machinery::schema::Schema;
use kplane_machinery::time::{Duration, Time, human_age};
use kplane_machinery::{GroupVersionKind, fields, jsonpath, labels};
use kplane_rules::RuleEngine as _;
use kplane_schema::{Format, proto};
use serde_json::{Value, json};

/// A kind in one of its versions, chosen by two bytes.
fn kind(choice: [u8; 2]) -> Option<(&'static ResourceDef, &'static str, &'static Schema)> {
    let kinds = table::builtin();
    let def = kinds.get(usize::from(choice[0]) % kinds.len().max(1))?;
    let version = def.versions.get(usize::from(choice[1]) % def.versions.len().max(1))?;
    Some((def, &version.name, &version.schema))
}

/// An object of some kind in some format: decoded, checked, defaulted, converted, and written and read back as protobuf.
pub fn decode(data: &[u8]) {
    let Some((head, body)) = data.split_first_chunk::<3>() else { return };
    let Some((def, version, schema)) = kind([head[0], head[1]]) else { return };
    let gvk = GroupVersionKind::new(&*def.group, version, &*def.kind);
    let value = match head[2] % 3 {
        0 => kplane_schema::parse(body, Format::Json).ok().map(|parsed| parsed.value),
        1 => kplane_schema::parse(body, Format::Yaml).ok().map(|parsed| parsed.value),
        _ => {
            let mut enveloped = proto::MAGIC.to_vec();
            enveloped.extend_from_slice(body);
            proto::decode(&enveloped, Some(&gvk)).ok()
        }
    };
    let Some(mut value) = value else { return };
    if kplane_schema::check(schema, &mut value, false).is_err() {
        return;
    }
    let Some(object) = value.as_object_mut() else { return };
    object.insert("apiVersion".into(), gvk.group_version().to_string().into());
    object.insert("kind".into(), (*gvk.kind).into());
    if let Ok(bytes) = proto::encode(&value) {
        let text = value.to_string();
        let of_text = proto::encode_json(&gvk, text.as_bytes()).expect("its text is written as well");
        assert_eq!(of_text, bytes, "{value}");
        let read = proto::decode(&bytes, None).expect("what was written is read");
        let again = proto::encode(&read).expect("what was read is written");
        assert_eq!(proto::decode(&again, None).expect("and read"), read, "{value}");
    }
    kplane_schema::default(schema, &mut value);
    def.strategy.default(version, &mut value);
    kplane_schema::normalise(schema, &mut value);
    for other in &def.versions {
        let _ = def.strategy.convert(&mut value.clone(), version, &other.name);
    }
    let _ = def.strategy.row(version, &value, 0);
}

/// Two values, one below the other.
fn two(data: &[u8]) -> Option<(Value, Value)> {
    let at = data.iter().position(|byte| *byte == b'\n')?;
    let read = |bytes| kplane_schema::parse(bytes, Format::Yaml).ok().map(|parsed| parsed.value);
    Some((read(&data[..at])?, read(data.get(at + 1..)?)?))
}

/// An object and a patch of each kind.
pub fn patch(data: &[u8]) {
    let Some((head, body)) = data.split_first_chunk::<2>() else { return };
    let (Some((_, _, schema)), Some((mut object, patch))) = (kind(*head), two(body)) else { return };
    let _ = json::apply(&mut object.clone(), &patch);
    if merge::apply(&mut object.clone(), patch.clone()).is_ok()
        && let Some(difference) = merge::diff(&object, &patch)
    {
        let _ = merge::apply(&mut object.clone(), difference);
    }
    if kplane_schema::check(schema, &mut object, false).is_ok() {
        let _ = strategic::apply(&mut object, patch, schema);
    }
}

/// Two appliers of one object.
pub fn apply(data: &[u8]) {
    let Some((head, body)) = data.split_first_chunk::<2>() else { return };
    let (Some((def, version, schema)), Some((one, two))) = (kind(*head), two(body)) else { return };
    let api_version =
        if def.group.is_empty() { version.to_owned() } else { format!("{}/{version}", def.group) };
    let versions = OneVersion { api_version: &api_version, schema };
    let reset = Set::new();
    let request = Request {
        api_version: &api_version,
        kind: &def.kind,
        subresource: "",
        versions: &versions,
        reset: &reset,
        now: Time::from_unix(0, 0),
    };
    let complete = |mut value: Value| {
        kplane_schema::check(schema, &mut value, false).ok()?;
        let object = value.as_object_mut()?;
        object.insert("apiVersion".into(), api_version.as_str().into());
        object.insert("kind".into(), (*def.kind).into());
        Some(value)
    };
    let (Some(one), Some(two)) = (complete(one), complete(two)) else { return };
    let Ok(made) = managed::apply(&request, None, &one, "one", false) else { return };
    // Who applies nothing is no manager: the next apply finds an object that nobody manages.
    if made["metadata"].get("managedFields").is_none() {
        return;
    }
    let again = managed::apply(&request, Some(&made), &one, "one", false).expect("an apply is repeated");
    assert_eq!(made, again, "an apply that is repeated changes nothing");
    let _ = managed::apply(&request, Some(&made), &two, "two", false);
    let Ok(forced) = managed::apply(&request, Some(&made), &two, "two", true) else { return };
    let mut updated = made.clone();
    managed::track_update(&request, Some(&forced), &mut updated, "three");
}

/// Selectors of labels and fields.
pub fn selectors(text: &str) {
    if let Ok(selector) = labels::Selector::parse(text) {
        let printed = selector.to_string();
        let again = labels::Selector::parse(&printed).expect("a printed selector is read");
        assert_eq!(again.to_string(), printed);
        selector.matches_labels(Some(&json!({"a": "b", "": "", "c": "1"})));
    }
    if let Ok(selector) = fields::Selector::parse(text) {
        selector.matches(|_| "x");
        let _ = selector.check_metadata_only();
    }
    if let Ok(value) = serde_json::from_str::<Value>(text) {
        let _ = labels::Selector::from_label_selector(Some(&value)).map(|selector| selector.to_string());
        let _ = Set::from_fields_v1(&value).map(|set| set.to_fields_v1());
    }
}

/// Quantities, times and durations.
pub fn values(text: &str) {
    if let Ok(quantity) = Quantity::parse(text) {
        let again = Quantity::parse(&quantity.to_string()).expect("a printed quantity is read");
        // Not its text: `62.5Ki` is printed as `64000`, and that as `64k`.
        assert_eq!(again, quantity, "{text}");
        let _ = (again.value(), again.milli_value(), again.as_f64(), again.sign(), again.round_up(0));
    }
    if let Ok(time) = Time::parse(text) {
        let _ = (time.to_string(), time.micro(), time.nano(), human_age(text, Time::from_unix(0, 0)));
    }
    let _ = Time::parse_micro(text);
    let _ = Duration::parse(text).map(Duration::as_secs);
}

/// A JSONPath on an object.
pub fn json_path(text: &str) {
    let object = json!({"a": [{"b": 1, "c": "x"}, {"b": 2}], "d.e": {"f": [[1], [2]]}, "": null});
    if let Ok(path) = jsonpath::JsonPath::parse(text) {
        path.find(&object);
        if let Some(fields) = path.fields() {
            jsonpath::set(&mut object.clone(), &fields, json!(1));
        }
    }
}

/// A rule of a custom resource.
pub fn rule(text: &str) {
    let schema = json!({
        "type": "object",
        "x-kubernetes-validations": [{"rule": text, "messageExpression": text}],
        "properties": {
            "a": {"type": "string"}, "n": {"type": "integer"}, "l": {"type": "array", "items": {"type": "string"}},
            "m": {"type": "object", "additionalProperties": {"type": "integer"}},
        },
    });
    let Ok(schema) = kplane_schema::structural::from_json(&schema, &Path::root()) else { return };
    let Some(rules) = kplane_rules::CelEngine.compile(&schema) else { return };
    rules.validate(&json!({"a": "x", "n": 1, "l": ["y"], "m": {"k": 2}}), None);
}

/// The target of a request, a path and its query, and what it accepts on a line behind it.
pub fn requests(text: &str) {
    let (target, accept) = text.split_once('\n').unwrap_or((text, ""));
    let (path, raw) = target.split_once('?').unwrap_or((target, ""));
    let query = Query::parse(raw);
    assert_eq!(Query::parse(&query.to_raw()), query, "a query that is written is read as the same");
    let Some((of, path)) = request_info::split_target(path) else { return };
    if let Target::Vcp(name) = &of {
        assert!(!name.contains('/'), "a control plane has one segment");
    }
    for method in [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::HEAD] {
        if let Some(info) = request_info::parse(&method, path, &query) {
            assert_eq!(info.path, path);
            let options = ListOptions::parse(&query, info.verb == "watch");
            if let Some(token) = options.ok().and_then(|options| options.continue_token) {
                tokens(&token);
            }
        }
    }
    if let Ok(value) = HeaderValue::from_str(accept) {
        let headers = HeaderMap::from_iter([(header::ACCEPT, value)]);
        for (protobuf, custom) in [(true, false), (false, true)] {
            let _ = negotiate::accept(&headers, Offer { protobuf, shapes: true, custom });
        }
    }
}

/// A continue token, as it is sent and as what it holds. No token reaches out of its list.
pub fn tokens(text: &str) {
    let Ok(token) = ContinueToken::decode(text) else {
        // Rarely is a text base64: what such a text would hold is tried as well.
        let made = ContinueToken::after(1, Some(text), text, text.len().is_multiple_of(2));
        let read = ContinueToken::decode(&made.encode());
        assert_eq!(read.ok(), Some(made), "a token that was made is read");
        return;
    };
    for (namespace, namespaced) in [(None, false), (Some("golden"), true), (None, true)] {
        if let Ok((place, name)) = token.position(namespace, namespaced) {
            assert!(!name.contains('/') && !place.as_deref().unwrap_or_default().contains('/'));
        }
    }
}
