//! Who may connect to whom.

use kplane_crds::v1alpha1::ManagementPlane;
use serde_json::{Value, json};

use super::{APISERVER, CONTROLLERS, ETCD, ETCD_BACKUP, Object, PORT, selector};

fn policy(plane: &ManagementPlane, name: &str, ingress: Value) -> Object {
    Object::new(
        plane,
        "/apis/networking.k8s.io/v1",
        "networkpolicies",
        name,
        json!({
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "spec": {
                "podSelector": { "matchLabels": selector(name) },
                "policyTypes": ["Ingress"],
                "ingress": ingress,
            },
        }),
    )
}

/// etcd serves its members, the API server, what takes snapshots, and the controllers, which look after the members from
/// whatever namespace they are in; its health is asked for by the node.
pub(super) fn of_etcd(plane: &ManagementPlane) -> Object {
    let port = |number: u16| json!({ "port": number, "protocol": "TCP" });
    let from = |name: &str| json!({ "podSelector": { "matchLabels": selector(name) } });
    let mut controllers = from(CONTROLLERS);
    controllers["namespaceSelector"] = json!({});
    policy(
        plane,
        ETCD,
        json!([
            { "from": [from(APISERVER), from(ETCD), from(ETCD_BACKUP), controllers], "ports": [port(2379)] },
            { "from": [from(ETCD)], "ports": [port(2380)] },
            { "ports": [port(2381)] },
        ]),
    )
}

/// What takes snapshots serves nobody.
pub(super) fn of_backup(plane: &ManagementPlane) -> Object {
    policy(plane, ETCD_BACKUP, json!([]))
}

/// The API server serves everyone, at its one port.
pub(super) fn of_apiserver(plane: &ManagementPlane) -> Object {
    policy(plane, APISERVER, json!([{ "ports": [{ "port": PORT, "protocol": "TCP" }] }]))
}
