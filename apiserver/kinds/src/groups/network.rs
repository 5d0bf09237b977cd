//! NetworkPolicies, IPAddresses and ServiceCIDRs.

use kplane_machinery::field::{ErrorList, FieldError};
use kplane_machinery::object::at;
use serde_json::{Value, json};

use crate::check::{self, NameRule};
use crate::common::{clear_status, first_generation, spec_changed};
use crate::print;
use crate::rules::label_selector;
use crate::strategy::{Context, Strategy};
use crate::val::{At, Obj, dflt_str, each, ensure, items, same, text};

/// `NetworkPolicy`.
pub(crate) struct NetworkPolicies;

fn peer(peer: &At<'_>, errors: &mut ErrorList) {
    let (pods, namespaces, block) = (peer.f("podSelector"), peer.f("namespaceSelector"), peer.f("ipBlock"));
    label_selector(&pods, errors);
    label_selector(&namespaces, errors);
    if !pods.there() && !namespaces.there() && !block.there() {
        peer.required(errors, "must specify a peer");
    } else if block.there() && (pods.there() || namespaces.there()) {
        peer.forbidden(errors, "may not specify both ipBlock and another peer");
    }
    if block.there() {
        let cidr = block.f("cidr");
        if cidr.str().is_empty() {
            cidr.required(errors, "");
        } else if check::parse_cidr(cidr.str()).is_none() {
            cidr.invalid(errors, "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)");
        }
        for except in block.f("except").items() {
            if check::parse_cidr(except.str()).is_none() {
                except.invalid(errors, "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)");
            }
        }
    }
}

fn port(port: &At<'_>, errors: &mut ErrorList) {
    let (number, end, protocol) = (port.f("port"), port.f("endPort"), port.f("protocol"));
    if protocol.there() {
        protocol.one_of(errors, &["SCTP", "TCP", "UDP"]);
    }
    if number.there() {
        crate::podspec::containers::port_number_or_name(&number, errors);
        if end.there() {
            match number.int() {
                None => end.forbidden(errors, "may not be specified when `port` is non-numeric"),
                Some(n) if end.num() < n => {
                    end.invalid(errors, "must be greater than or equal to `port`");
                }
                Some(_) => {}
            }
        }
    } else if end.there() {
        end.forbidden(errors, "may not be specified when `port` is not specified");
    }
}

impl Strategy for NetworkPolicies {
    fn default(&self, _version: &str, object: &mut Value) {
        let Some(spec) = crate::common::ensure_spec(object) else { return };
        ensure(spec, "podSelector");
        for direction in ["ingress", "egress"] {
            each(spec, direction, |rule| each(rule, "ports", |port| dflt_str(port, "protocol", "TCP")));
        }
        if spec.get("policyTypes").is_none_or(crate::val::is_empty) {
            let egress = spec.get("egress").is_some_and(|e| !crate::val::is_empty(e));
            spec.insert(
                "policyTypes".into(),
                if egress { json!(["Ingress", "Egress"]) } else { json!(["Ingress"]) },
            );
        }
    }

    fn prepare_create(&self, _cx: &Context<'_>, object: &mut Value) {
        first_generation(object);
    }

    fn validate_create(&self, _cx: &Context<'_>, object: &Value) -> ErrorList {
        let mut errors = Vec::new();
        let spec = At::root(object).f("spec");
        label_selector(&spec.f("podSelector"), &mut errors);
        for (direction, peers) in [("ingress", "from"), ("egress", "to")] {
            for rule in spec.f(direction).items() {
                rule.f("ports").items().for_each(|p| port(&p, &mut errors));
                rule.f(peers).items().for_each(|p| peer(&p, &mut errors));
            }
        }
        let kinds = spec.f("policyTypes");
        if kinds.len() > 2 {
            kinds.invalid(&mut errors, "may not specify more than two policyTypes");
            return errors;
        }
        for kind in kinds.items() {
            kind.one_of(&mut errors, &["Egress", "Ingress"]);
        }
        errors
    }

    fn validate_update(&self, cx: &Context<'_>, object: &Value, _old: &Value) -> ErrorList {
        self.validate_create(cx, object)
    }

    fn generation(&self, cx: &Context<'_>, object: &Value, old: &Value) -> Option<bool> {
        spec_changed(cx, object, old)
    }

    fn row(&self, _version: &str, object: &Value, now: i64) -> Option<Vec<Value>> {
        let selector = print::selector(at(object, &["spec", "podSelector"]));
        Some(vec![print::name(object), selector.into(), print::age(object, now)])
    }
}

/// `IPAddress`.
pub(crate) struct IpAddresses;

impl Strategy for IpAddresses {
    fn name_rule(&self) -> NameRule {
        NameRule::Ip
    }

    fn validate_create(&self, _cx: &Context<'_>, object: &Value) -> ErrorList {
        let mut errors = Vec::new();
        let parent = At::root(object).at(&["spec", "parentRef"]);
        if !parent.there() {
            parent.required(&mut errors, "");
            return errors;
        }
        for field in ["resource", "name"] {
            if parent.f(field).str().is_empty() {
                parent.f(field).required(&mut errors, "");
            } else {
                parent.f(field).invalid_all(&mut errors, check::path_segment(parent.f(field).str()));
            }
        }
        let group = parent.f("group");
        if !group.str().is_empty() {
            group.invalid_all(&mut errors, check::subdomain(group.str()));
        }
        errors
    }

    fn validate_update(&self, cx: &Context<'_>, object: &Value, old: &Value) -> ErrorList {
        let mut errors = self.validate_create(cx, object);
        let path = &["spec", "parentRef"];
        At::root(object).at(path).immutable(&mut errors, &At::root(old).at(path));
        errors
    }

    fn row(&self, _version: &str, object: &Value, now: i64) -> Option<Vec<Value>> {
        let parent = at(object, &["spec", "parentRef"]).unwrap_or(&Value::Null);
        let parts: Vec<&str> = ["group", "resource", "namespace", "name"]
            .iter()
            .map(|f| text(parent, f))
            .filter(|part| !part.is_empty())
            .collect();
        let shown = if parts.is_empty() { print::NONE.to_owned() } else { parts.join("/") };
        Some(vec![print::name(object), shown.into(), print::age(object, now)])
    }
}

/// `ServiceCIDR`.
pub(crate) struct ServiceCidrs;

impl Strategy for ServiceCidrs {
    fn default(&self, _version: &str, object: &mut Value) {
        let Some(fields) = object.as_object_mut() else { return };
        ensure(fields, "spec");
        ensure(fields, "status");
    }

    fn prepare_create(&self, _cx: &Context<'_>, object: &mut Value) {
        clear_status(object);
    }

    fn validate_create(&self, _cx: &Context<'_>, object: &Value) -> ErrorList {
        let mut errors = Vec::new();
        let cidrs = At::root(object).at(&["spec", "cidrs"]);
        if cidrs.len() == 0 {
            cidrs.required(&mut errors, "at least one CIDR required");
        }
        if cidrs.len() > 2 {
            errors.push(FieldError::too_many(&cidrs.path, cidrs.len(), 2));
        }
        let mut families = Vec::new();
        for cidr in cidrs.items() {
            match check::parse_cidr(cidr.str()) {
                None => {
                    cidr.invalid(
                        &mut errors,
                        "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)",
                    );
                }
                Some((address, _)) => families.push(address.is_ipv4()),
            }
        }
        if families.len() == 2 && families[0] == families[1] {
            cidrs.invalid(
                &mut errors,
                "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64",
            );
        }
        errors
    }

    fn validate_update(&self, cx: &Context<'_>, object: &Value, old: &Value) -> ErrorList {
        let mut errors = Vec::new();
        if cx.subresource.is_none() {
            let path = &["spec", "cidrs"];
            let (new, old) = (At::root(object).at(path), At::root(old).at(path));
            let grown = old.len() == 1 && new.len() == 2 && same(&items_at(&new)[0], &items_at(&old)[0]);
            if !grown {
                new.immutable(&mut errors, &old);
            }
        }
        errors
    }

    fn row(&self, _version: &str, object: &Value, now: i64) -> Option<Vec<Value>> {
        let empty = Value::Object(Obj::new());
        let spec = object.get("spec").unwrap_or(&empty);
        let cidrs: Vec<&str> = items(spec, "cidrs").iter().filter_map(Value::as_str).collect();
        Some(vec![print::name(object), cidrs.join(",").into(), print::age(object, now)])
    }
}

fn items_at<'a>(at: &At<'a>) -> &'a [Value] {
    crate::val::list(at.value())
}
