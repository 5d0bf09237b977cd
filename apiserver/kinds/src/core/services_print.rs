//! The row of a Service.

use kplane_machinery::object::at;
use serde_json::Value;

use crate::print::{self, NONE};
use crate::val::{int, items, list, text};

fn join(values: &[Value]) -> String {
    values.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(",")
}

/// The addresses of a load balancer, as tables show them.
pub(crate) fn balancer(status: Option<&Value>) -> String {
    let ingress = status.map(|s| items(s, "ingress")).unwrap_or(&[]);
    let mut seen: Vec<&str> = Vec::new();
    for one in ingress {
        let shown = if text(one, "ip").is_empty() { text(one, "hostname") } else { text(one, "ip") };
        if !shown.is_empty() && !seen.contains(&shown) {
            seen.push(shown);
        }
    }
    seen.sort_unstable();
    let all = seen.join(",");
    if all.len() > 16 && all.is_char_boundary(13) { format!("{}...", &all[..13]) } else { all }
}

fn external(service: &Value, spec: &Value) -> String {
    let addresses = join(items(spec, "externalIPs"));
    match text(spec, "type") {
        "ExternalName" => text(spec, "externalName").to_owned(),
        "LoadBalancer" => {
            let balanced = balancer(at(service, &["status", "loadBalancer"]));
            match (balanced.is_empty(), addresses.is_empty()) {
                (true, true) => "<pending>".to_owned(),
                (true, false) => addresses,
                (false, true) => balanced,
                (false, false) => format!("{balanced},{addresses}"),
            }
        }
        "ClusterIP" | "NodePort" if addresses.is_empty() => NONE.to_owned(),
        "ClusterIP" | "NodePort" => addresses,
        _ => print::UNKNOWN.to_owned(),
    }
}

fn ports(spec: &Value) -> String {
    let shown: Vec<String> = items(spec, "ports")
        .iter()
        .map(|port| {
            let (number, protocol) = (int(port, "port").unwrap_or(0), text(port, "protocol"));
            match int(port, "nodePort").unwrap_or(0) {
                0 => format!("{number}/{protocol}"),
                node => format!("{number}:{node}/{protocol}"),
            }
        })
        .collect();
    if shown.is_empty() { NONE.to_owned() } else { shown.join(",") }
}

/// The cells.
pub(super) fn row(service: &Value, now: i64) -> Vec<Value> {
    let spec = service.get("spec").unwrap_or(&Value::Null);
    let address = spec.get("clusterIPs").map(list).and_then(|l| l.first()).and_then(Value::as_str);
    vec![
        print::name(service),
        text(spec, "type").into(),
        address.unwrap_or(NONE).into(),
        external(service, spec).into(),
        ports(spec).into(),
        print::age(service, now),
        print::labels(spec.get("selector")).into(),
    ]
}
