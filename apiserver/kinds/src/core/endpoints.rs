//! Endpoints.

use kplane_machinery::field::ErrorList;
use serde_json::Value;

use crate::check;
use crate::print::{self, NONE};
use crate::strategy::{Context, Strategy};
use crate::val::{At, dflt_str, each, int, items, text};

/// How many addresses a row shows.
const SHOWN: usize = 3;

/// `Endpoints`.
pub(crate) struct EndpointsKind;

fn validate(object: &Value) -> ErrorList {
    let mut errors = Vec::new();
    for subset in At::root(object).f("subsets").items() {
        let (ready, not_ready) = (subset.f("addresses"), subset.f("notReadyAddresses"));
        if ready.len() == 0 && not_ready.len() == 0 {
            subset.required(&mut errors, "must specify `addresses` or `notReadyAddresses`");
        }
        for address in ready.items().chain(not_ready.items()) {
            let ip = address.f("ip");
            ip.invalid_all(&mut errors, check::ip(ip.str()));
            let host = address.f("hostname");
            if !host.str().is_empty() {
                host.invalid_all(&mut errors, check::label(host.str()));
            }
        }
        let named = subset.f("ports").len() > 1;
        for port in subset.f("ports").items() {
            let (name, number) = (port.f("name"), port.f("port"));
            if name.str().is_empty() {
                if named {
                    name.required(&mut errors, "");
                }
            } else {
                name.invalid_all(&mut errors, check::label(name.str()));
            }
            if let Some(message) = check::port(number.num()) {
                number.invalid(&mut errors, message);
            }
            port.f("protocol").required_one_of(&mut errors, &["SCTP", "TCP", "UDP"]);
        }
    }
    errors
}

fn shown(endpoints: &Value) -> String {
    let mut all = Vec::new();
    for subset in items(endpoints, "subsets") {
        let addresses = items(subset, "addresses");
        let ports = items(subset, "ports");
        if ports.is_empty() {
            all.extend(addresses.iter().map(|a| text(a, "ip").to_owned()));
        }
        for port in ports {
            for address in addresses {
                let (ip, number) = (text(address, "ip"), int(port, "port").unwrap_or(0));
                all.push(if ip.contains(':') {
                    format!("[{ip}]:{number}")
                } else {
                    format!("{ip}:{number}")
                });
            }
        }
    }
    match all.len() {
        0 => NONE.to_owned(),
        n if n > SHOWN => format!("{} + {} more...", all[..SHOWN].join(","), n - SHOWN),
        _ => all.join(","),
    }
}

impl Strategy for EndpointsKind {
    fn default(&self, _version: &str, object: &mut Value) {
        if let Some(fields) = object.as_object_mut() {
            each(fields, "subsets", |subset| {
                each(subset, "ports", |port| dflt_str(port, "protocol", "TCP"));
            });
        }
    }

    fn validate_create(&self, _cx: &Context<'_>, object: &Value) -> ErrorList {
        validate(object)
    }

    fn validate_update(&self, _cx: &Context<'_>, object: &Value, _old: &Value) -> ErrorList {
        validate(object)
    }

    fn allow_create_on_update(&self) -> bool {
        true
    }

    fn row(&self, _version: &str, object: &Value, now: i64) -> Option<Vec<Value>> {
        Some(vec![print::name(object), shown(object).into(), print::age(object, now)])
    }
}
