//! EndpointSlices.

use kplane_machinery::field::{ErrorList, FieldError};
use serde_json::Value;

use crate::check;
use crate::common::{first_generation, part_changed};
use crate::print::{self, UNSET};
use crate::strategy::{Context, Strategy};
use crate::val::{At, dflt, each, ensure, int, items, text};

/// How many endpoints a row shows.
const SHOWN: usize = 3;
const TYPES: [&str; 3] = ["FQDN", "IPv4", "IPv6"];

/// `EndpointSlice`.
pub(crate) struct EndpointSlices;

fn endpoint(endpoint: &At<'_>, kind: &str, errors: &mut ErrorList) {
    let addresses = endpoint.f("addresses");
    if addresses.len() == 0 {
        addresses.required(errors, "must contain at least 1 address");
    } else if addresses.len() > 100 {
        errors.push(FieldError::too_many(&addresses.path, addresses.len(), 100));
    }
    for address in addresses.items() {
        let parsed = address.str().parse::<std::net::IpAddr>();
        match (kind, parsed) {
            ("IPv4", Ok(ip)) if ip.is_ipv4() => {}
            ("IPv4", _) => address.invalid(errors, "must be a valid IPv4 address"),
            ("IPv6", Ok(ip)) if ip.is_ipv6() => {}
            ("IPv6", _) => address.invalid(errors, "must be a valid IPv6 address"),
            ("FQDN", _) => address.invalid_all(errors, check::subdomain(address.str())),
            _ => {}
        }
    }
    let host = endpoint.f("hostname");
    if host.there() {
        host.invalid_all(errors, check::label(host.str()));
    }
    let node = endpoint.f("nodeName");
    if node.there() {
        node.invalid_all(errors, check::subdomain(node.str()));
    }
}

fn validate(object: &Value) -> ErrorList {
    let mut errors = Vec::new();
    let root = At::root(object);
    let kind = root.f("addressType");
    kind.required_one_of(&mut errors, &TYPES);
    let endpoints = root.f("endpoints");
    if endpoints.len() > 1000 {
        errors.push(FieldError::too_many(&endpoints.path, endpoints.len(), 1000));
    }
    for one in endpoints.items() {
        endpoint(&one, kind.str(), &mut errors);
    }
    let mut names = std::collections::HashSet::new();
    for port in root.f("ports").items() {
        let (name, number) = (port.f("name"), port.f("port"));
        if !name.str().is_empty() {
            name.invalid_all(&mut errors, check::label(name.str()));
        }
        if !names.insert(name.str()) {
            name.duplicate(&mut errors);
        }
        if number.there()
            && let Some(says) = check::port(number.num())
        {
            number.invalid(&mut errors, says);
        }
        port.f("protocol").required_one_of(&mut errors, &["SCTP", "TCP", "UDP"]);
    }
    errors
}

fn some(shown: Vec<String>, total: usize) -> Value {
    match total {
        0 => UNSET.into(),
        n if n > SHOWN => format!("{} + {} more...", shown[..SHOWN].join(","), n - SHOWN).into(),
        _ => shown.join(",").into(),
    }
}

impl Strategy for EndpointSlices {
    fn default(&self, _version: &str, object: &mut Value) {
        let Some(fields) = object.as_object_mut() else { return };
        dflt(fields, "endpoints", Value::Null);
        dflt(fields, "ports", Value::Null);
        each(fields, "endpoints", |endpoint| {
            ensure(endpoint, "conditions");
        });
        each(fields, "ports", |port| {
            dflt(port, "name", "");
            dflt(port, "protocol", "TCP");
        });
    }

    fn prepare_create(&self, _cx: &Context<'_>, object: &mut Value) {
        first_generation(object);
    }

    fn validate_create(&self, _cx: &Context<'_>, object: &Value) -> ErrorList {
        validate(object)
    }

    fn validate_update(&self, _cx: &Context<'_>, object: &Value, old: &Value) -> ErrorList {
        let mut errors = validate(object);
        At::root(object).f("addressType").immutable(&mut errors, &At::root(old).f("addressType"));
        errors
    }

    fn generation(&self, cx: &Context<'_>, object: &Value, old: &Value) -> Option<bool> {
        let part = |name| part_changed(cx, object, old, name) == Some(true);
        let labels = |o| kplane_machinery::object::meta_map(o, "labels").collect::<Vec<_>>();
        Some(part("endpoints") || part("ports") || labels(object) != labels(old))
    }

    fn row(&self, _version: &str, object: &Value, now: i64) -> Option<Vec<Value>> {
        let ports: Vec<String> = items(object, "ports")
            .iter()
            .map(|p| int(p, "port").map_or_else(|| "*".to_owned(), |n| n.to_string()))
            .collect();
        let addresses: Vec<String> = items(object, "endpoints")
            .iter()
            .flat_map(|e| items(e, "addresses"))
            .filter_map(|a| a.as_str().map(str::to_owned))
            .collect();
        let (port_count, address_count) = (ports.len(), addresses.len());
        Some(vec![
            print::name(object),
            text(object, "addressType").into(),
            some(ports, port_count),
            some(addresses, address_count),
            print::age(object, now),
        ])
    }
}
