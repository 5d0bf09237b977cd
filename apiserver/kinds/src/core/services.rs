//! Services.

use std::collections::HashSet;

use kplane_machinery::field::{ErrorList, FieldError};
use serde_json::{Value, json};

use super::services_update as change;
use crate::check::{self, NameRule};
use crate::podspec::containers::port_number_or_name;
use crate::rules::labels;
use crate::strategy::{Context, Strategy, keep_other_part};
use crate::val::{At, dflt, dflt_str, each, ensure, items, list, text};

const TYPES: [&str; 4] = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
const POLICIES: [&str; 2] = ["Cluster", "Local"];
const ONLY_LOAD_BALANCERS: &str = "may only be used when `type` is 'LoadBalancer'";

/// `Service`.
pub(crate) struct Services;

/// Whether traffic from outside the cluster reaches it.
fn external(spec: &Value) -> bool {
    matches!(text(spec, "type"), "LoadBalancer" | "NodePort")
        || (text(spec, "type") == "ClusterIP" && !items(spec, "externalIPs").is_empty())
}

impl Strategy for Services {
    fn name_rule(&self) -> NameRule {
        NameRule::Label
    }

    fn default(&self, _version: &str, object: &mut Value) {
        let Some(fields) = object.as_object_mut() else { return };
        if let Some(status) = ensure(fields, "status")
            && let Some(balancer) = ensure(status, "loadBalancer")
        {
            each(balancer, "ingress", |ingress| {
                if !crate::val::is_empty(ingress.get("ip").unwrap_or(&Value::Null)) {
                    dflt(ingress, "ipMode", "VIP");
                }
            });
        }
        let Some(spec) = ensure(fields, "spec") else { return };
        dflt_str(spec, "sessionAffinity", "None");
        match spec.get("sessionAffinity").and_then(Value::as_str) {
            Some("None") => {
                spec.remove("sessionAffinityConfig");
            }
            Some("ClientIP") => {
                if let Some(config) =
                    ensure(spec, "sessionAffinityConfig").and_then(|config| ensure(config, "clientIP"))
                {
                    dflt(config, "timeoutSeconds", 10_800);
                }
            }
            _ => {}
        }
        dflt_str(spec, "type", "ClusterIP");
        each(spec, "ports", |port| {
            dflt_str(port, "protocol", "TCP");
            let target = port.get("targetPort");
            if target.is_none_or(|t| crate::val::is_empty(t) || t.as_i64() == Some(0))
                && let Some(number) = port.get("port").cloned()
            {
                port.insert("targetPort".into(), number);
            }
        });
        let kind = spec.get("type").and_then(Value::as_str).unwrap_or("").to_owned();
        let copy = Value::Object(std::mem::take(spec));
        let reached = external(&copy);
        if let Value::Object(kept) = copy {
            *spec = kept;
        }
        if reached {
            dflt_str(spec, "externalTrafficPolicy", "Cluster");
        }
        if kind != "ExternalName" && TYPES.contains(&kind.as_str()) {
            dflt_str(spec, "internalTrafficPolicy", "Cluster");
        }
        if kind == "LoadBalancer" {
            dflt(spec, "allocateLoadBalancerNodePorts", true);
        }
    }

    fn prepare_create(&self, _cx: &Context<'_>, object: &mut Value) {
        crate::val::set_status(object, json!({"loadBalancer": {}}));
        change::normalize_cluster_ips(object, None);
    }

    fn prepare_update(&self, cx: &Context<'_>, object: &mut Value, old: &Value) {
        keep_other_part(cx, object, old);
        if cx.subresource.is_none() {
            change::normalize_cluster_ips(object, Some(old));
            change::drop_type_dependent(object, old);
            change::keep_allocated(object, old);
        }
    }

    fn validate_create(&self, _cx: &Context<'_>, object: &Value) -> ErrorList {
        validate(object)
    }

    fn validate_update(&self, cx: &Context<'_>, object: &Value, old: &Value) -> ErrorList {
        let mut errors = Vec::new();
        if cx.subresource == Some("status") {
            load_balancer(&At::root(object).at(&["status", "loadBalancer"]), &mut errors);
            return errors;
        }
        change::validate(&At::root(object), &At::root(old), &mut errors);
        errors.extend(validate(object));
        errors
    }

    fn warnings(&self, _cx: &Context<'_>, object: &Value, _old: Option<&Value>) -> Vec<String> {
        let mut out = Vec::new();
        let root = At::root(object);
        let old = root.at(&["metadata", "annotations"]).key("service.kubernetes.io/topology-aware-hints");
        if old.there() {
            out.push(format!(
                "{}: deprecated in v1.27+; use service.kubernetes.io/topology-mode instead",
                old.path
            ));
        }
        let spec = root.f("spec");
        if spec.f("clusterIP").str() == "None" {
            let balancer = spec.f("loadBalancerIP");
            if !balancer.str().is_empty() {
                out.push("spec.loadBalancerIP: ignored when `clusterIP` is \"None\"".into());
            }
            if spec.f("externalIPs").len() > 0 {
                out.push("spec.externalIPs: ignored when `clusterIP` is \"None\"".into());
            }
            if spec.f("sessionAffinity").str() != "None" {
                out.push("spec.SessionAffinity is ignored for headless services".into());
            }
        }
        let distribution = spec.f("trafficDistribution");
        if distribution.str() == "PreferClose" {
            out.push(
                "spec.trafficDistribution: the value \"PreferClose\" is deprecated; use \"PreferSameZone\""
                    .into(),
            );
        }
        out
    }

    fn selectable_value(&self, object: &Value, path: &str) -> String {
        let path: Vec<&str> = path.split('.').collect();
        kplane_machinery::object::str_at(object, &path).to_owned()
    }

    fn allow_create_on_update(&self) -> bool {
        true
    }

    fn returns_deleted_object(&self) -> bool {
        true
    }

    fn row(&self, _version: &str, object: &Value, now: i64) -> Option<Vec<Value>> {
        Some(super::services_print::row(object, now))
    }
}

fn load_balancer(balancer: &At<'_>, errors: &mut ErrorList) {
    for ingress in balancer.f("ingress").items() {
        let (address, host) = (ingress.f("ip"), ingress.f("hostname"));
        if !address.str().is_empty() {
            address.invalid_all(errors, check::ip(address.str()));
        }
        if !host.str().is_empty() {
            host.invalid_all(errors, check::subdomain(host.str()));
            if host.str().parse::<std::net::IpAddr>().is_ok() {
                host.invalid(errors, "must be a DNS name, not an IP address");
            }
        }
    }
}

fn validate(object: &Value) -> ErrorList {
    let mut errors = Vec::new();
    let spec = At::root(object).f("spec");
    let kind = spec.f("type");
    let headless = spec.f("clusterIP").str() == "None"
        || spec.f("clusterIPs").items().next().is_some_and(|ip| ip.str() == "None");
    if spec.f("ports").len() == 0 && !headless && kind.str() != "ExternalName" {
        spec.f("ports").required(&mut errors, "");
    }
    match kind.str() {
        "LoadBalancer" | "NodePort" if headless => {
            let first = At::new(Some(spec.f("clusterIP").value()), spec.f("clusterIPs").path.index(0));
            first.invalid_text(&mut errors, format!("may not be set to 'None' for {} services", kind.str()));
        }
        "ExternalName" => external_name(&spec, &mut errors),
        _ => {}
    }
    ports(&spec, headless, &mut errors);
    labels(&spec.f("selector"), &mut errors);
    affinity(&spec, &mut errors);
    cluster_ips(&spec, &mut errors);
    for address in spec.f("externalIPs").items() {
        match address.str().parse::<std::net::IpAddr>() {
            Err(_) => address.invalid_text(&mut errors, check::NO_IP),
            Ok(ip) if ip.is_unspecified() => {
                address.invalid_text(&mut errors, format!("may not be unspecified ({:?})", ip.to_string()));
            }
            Ok(ip) if ip.is_loopback() => {
                address.invalid_text(&mut errors, "may not be in the loopback range (127.0.0.0/8, ::1/128)");
            }
            Ok(_) => {}
        }
    }
    kind.required_one_of(&mut errors, &TYPES);
    node_ports(&spec, kind.str(), &mut errors);
    traffic(&spec, &mut errors);
    load_balancer_fields(&spec, kind.str() == "LoadBalancer", &mut errors);
    errors
}

fn external_name(spec: &At<'_>, errors: &mut ErrorList) {
    for field in ["clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
        if !spec.f(field).empty() {
            spec.f(field).forbidden(errors, "may not be set for ExternalName services");
        }
    }
    let name = spec.f("externalName");
    if name.str().is_empty() {
        name.required(errors, "");
    } else {
        let bare = name.str().strip_suffix('.').unwrap_or(name.str());
        name.invalid_all(errors, check::subdomain(bare));
    }
}

fn ports(spec: &At<'_>, _headless: bool, errors: &mut ErrorList) {
    let ports = spec.f("ports");
    let need_name = ports.len() > 1;
    let mut names = HashSet::new();
    for port in ports.items() {
        let name = port.f("name");
        if name.str().is_empty() {
            if need_name {
                name.required(errors, "");
            }
        } else {
            name.invalid_all(errors, check::label(name.str()));
            if !names.insert(name.str()) {
                name.duplicate(errors);
            }
        }
        let number = port.f("port");
        if let Some(message) = check::port(number.num()) {
            let shown = Value::from(number.num());
            errors.push(FieldError::invalid(&number.path, &shown, message));
        }
        port.f("protocol").required_one_of(errors, &["SCTP", "TCP", "UDP"]);
        port_number_or_name(&port.f("targetPort"), errors);
        let app = port.f("appProtocol");
        if app.there() {
            app.invalid_all(errors, check::qualified(app.str()));
        }
    }
}

fn affinity(spec: &At<'_>, errors: &mut ErrorList) {
    let affinity = spec.f("sessionAffinity");
    affinity.required_one_of(errors, &["ClientIP", "None"]);
    let config = spec.f("sessionAffinityConfig");
    match affinity.str() {
        "ClientIP" => {
            let seconds = config.at(&["clientIP", "timeoutSeconds"]);
            if seconds.there() && !(1..=86_400).contains(&seconds.num()) {
                seconds.invalid(errors, "must be greater than 0 and less than 86400");
            }
        }
        "None" if config.there() => {
            config.forbidden(errors, "must not be set when session affinity is None");
        }
        _ => {}
    }
}

fn cluster_ips(spec: &At<'_>, errors: &mut ErrorList) {
    if spec.f("type").str() == "ExternalName" {
        return;
    }
    let policy = spec.f("ipFamilyPolicy");
    if policy.there() {
        policy.one_of(errors, &["PreferDualStack", "RequireDualStack", "SingleStack"]);
    }
    let mut seen = HashSet::new();
    for family in spec.f("ipFamilies").items() {
        family.one_of(errors, &["IPv4", "IPv6"]);
        if !seen.insert(family.str()) {
            family.duplicate(errors);
        }
    }
    let (one, all) = (spec.f("clusterIP"), spec.f("clusterIPs"));
    if one.str().is_empty() {
        if all.len() > 0 {
            all.invalid(errors, "must be empty when `clusterIP` is not specified");
        }
        return;
    }
    if all.len() == 0 {
        all.required(errors, "");
    } else if all.items().next().is_some_and(|ip| ip.str() != one.str()) {
        all.invalid(errors, "first value must match `clusterIP`");
    }
    let none = all.items().any(|ip| ip.str() == "None");
    if none && all.len() > 1 {
        all.invalid(errors, "'None' must be the first and only value");
    }
    if all.len() > 2 {
        all.invalid(errors, "may only hold up to 2 values");
    }
    for address in all.items().filter(|ip| ip.str() != "None") {
        address.invalid_all(errors, check::ip(address.str()));
    }
}

fn node_ports(spec: &At<'_>, kind: &str, errors: &mut ErrorList) {
    let mut nodes = HashSet::new();
    let mut pairs = HashSet::new();
    for port in spec.f("ports").items() {
        let node = port.f("nodePort");
        let protocol = port.f("protocol").str();
        if node.num() != 0 {
            if kind == "ClusterIP" {
                node.forbidden(errors, "may not be used when `type` is 'ClusterIP'");
            }
            if !nodes.insert((protocol, node.num())) {
                node.duplicate(errors);
            }
        }
        let number = port.f("port").num();
        if !pairs.insert((protocol, number)) {
            let shown = json!({"protocol": protocol, "port": number, "targetPort": 0});
            errors.push(FieldError::duplicate(&port.path, &shown));
        }
    }
}

fn traffic(spec: &At<'_>, errors: &mut ErrorList) {
    let (outer, inner) = (spec.f("externalTrafficPolicy"), spec.f("internalTrafficPolicy"));
    if external(spec.value()) {
        outer.required_one_of(errors, &POLICIES);
    } else if !outer.str().is_empty() {
        outer.invalid(errors, "may only be set for externally-accessible services");
    }
    let check_port = spec.f("healthCheckNodePort");
    if check_port.num() < 0 {
        check_port.invalid(errors, "must be greater than or equal to 0");
    }
    let needed = spec.f("type").str() == "LoadBalancer" && outer.str() == "Local";
    if check_port.num() > 0 && !needed {
        check_port.invalid(
            errors,
            "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'",
        );
    }
    if spec.f("type").str() != "ExternalName" {
        if !inner.there() {
            inner.required(errors, "");
        } else {
            inner.one_of(errors, &POLICIES);
        }
    }
    let distribution = spec.f("trafficDistribution");
    if distribution.there() {
        distribution.one_of(errors, &["PreferClose", "PreferSameNode", "PreferSameZone"]);
    }
}

fn load_balancer_fields(spec: &At<'_>, is_one: bool, errors: &mut ErrorList) {
    let ranges = spec.f("loadBalancerSourceRanges");
    if ranges.len() > 0 && !is_one {
        ranges.forbidden(errors, ONLY_LOAD_BALANCERS);
    }
    for range in ranges.items() {
        if check::parse_cidr(range.str().trim()).is_none() {
            range.invalid(errors, "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)");
        }
    }
    for field in ["allocateLoadBalancerNodePorts", "loadBalancerClass"] {
        if spec.f(field).there() && !is_one {
            spec.f(field).forbidden(errors, ONLY_LOAD_BALANCERS);
        }
    }
    if is_one && !spec.f("allocateLoadBalancerNodePorts").there() {
        spec.f("allocateLoadBalancerNodePorts").required(errors, "");
    }
}

/// Whether a Service wants addresses of the cluster, and no address but `None` if it is headless.
pub fn needs_cluster_ip(service: &Value) -> bool {
    change::needs_cluster_ip(service)
}

/// Whether the ports of a Service want ports of the nodes.
pub fn needs_node_ports(service: &Value) -> bool {
    let spec = service.get("spec").unwrap_or(&Value::Null);
    match text(spec, "type") {
        "NodePort" => true,
        "LoadBalancer" => spec.get("allocateLoadBalancerNodePorts") != Some(&Value::Bool(false)),
        _ => false,
    }
}

/// Fills in `ipFamilyPolicy` and `ipFamilies` of a Service that wants addresses, in a cluster with the given
/// families of addresses, the default one first. To be done before addresses are allocated, one for each family.
pub fn set_ip_families(service: &mut Value, cluster: &[&str]) {
    if !needs_cluster_ip(service) {
        return;
    }
    let Some(default) = cluster.first() else { return };
    let Some(spec) = crate::val::map_mut(service, "spec") else { return };
    let headless = spec.get("clusterIP").and_then(Value::as_str) == Some("None");
    let selects = spec.get("selector").is_some_and(|s| !crate::val::is_empty(s));
    let from_ip = |ip: &str| match ip.parse::<std::net::IpAddr>() {
        Ok(ip) if ip.is_ipv6() => Some("IPv6"),
        Ok(_) => Some("IPv4"),
        Err(_) => None,
    };
    let asked: Vec<String> = spec
        .get("clusterIPs")
        .map(list)
        .unwrap_or(&[])
        .iter()
        .filter_map(|ip| from_ip(ip.as_str()?))
        .map(str::to_owned)
        .collect();
    let mut families: Vec<String> = spec
        .get("ipFamilies")
        .map(list)
        .unwrap_or(&[])
        .iter()
        .filter_map(|f| f.as_str().map(str::to_owned))
        .collect();
    let single = families.len() < 2 && asked.len() < 2;
    if families.is_empty() {
        families = if asked.is_empty() { vec![(*default).to_owned()] } else { asked };
    }
    if headless && !selects && single && !spec.contains_key("ipFamilyPolicy") {
        spec.insert("ipFamilyPolicy".into(), "RequireDualStack".into());
    }
    dflt(spec, "ipFamilyPolicy", if single { "SingleStack" } else { "RequireDualStack" });
    let policy = spec.get("ipFamilyPolicy").and_then(Value::as_str).unwrap_or("").to_owned();
    let other = if families.first().map(String::as_str) == Some("IPv6") { "IPv4" } else { "IPv6" };
    let both = (policy == "RequireDualStack" && headless && !selects)
        || (policy != "SingleStack" && cluster.contains(&other));
    if families.len() == 1 && both {
        families.push(other.to_owned());
    }
    spec.insert("ipFamilies".into(), families.into());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_follow_the_cluster() {
        let mut service = json!({"spec": {"type": "ClusterIP", "selector": {"a": "b"}}});
        set_ip_families(&mut service, &["IPv4"]);
        assert_eq!(service["spec"]["ipFamilies"], json!(["IPv4"]));
        assert_eq!(service["spec"]["ipFamilyPolicy"], "SingleStack");
        let mut headless =
            json!({"spec": {"type": "ClusterIP", "clusterIP": "None", "clusterIPs": ["None"]}});
        set_ip_families(&mut headless, &["IPv4"]);
        assert_eq!(headless["spec"]["ipFamilies"], json!(["IPv4", "IPv6"]));
        let mut external = json!({"spec": {"type": "ExternalName"}});
        set_ip_families(&mut external, &["IPv4"]);
        assert_eq!(external["spec"].get("ipFamilies"), None);
    }
}
