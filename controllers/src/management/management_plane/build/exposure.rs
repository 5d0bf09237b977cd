//! How the API server is reached: its Service, and a route to it from an Ingress or a Gateway. TLS passes through both,
//! since client certificates and the names of control planes are the server's to see.

use kplane_crds::v1alpha1::{ExposureType, ManagementPlane};
use serde_json::{Value, json};

use super::{APISERVER, Object, PORT, selector};

pub(super) fn service(plane: &ManagementPlane) -> Object {
    let exposure = &plane.spec.exposure;
    let kind = match exposure.type_ {
        ExposureType::NodePort => "NodePort",
        ExposureType::LoadBalancer => "LoadBalancer",
        ExposureType::ClusterIP | ExposureType::Ingress | ExposureType::Gateway => "ClusterIP",
    };
    let mut port = json!({ "name": "https", "port": PORT, "targetPort": PORT, "protocol": "TCP" });
    if let (ExposureType::NodePort, Some(node_port)) = (exposure.type_, exposure.node_port) {
        port["nodePort"] = node_port.into();
    }
    Object::new(
        plane,
        "/api/v1",
        "services",
        APISERVER,
        json!({
            "apiVersion": "v1",
            "kind": "Service",
            "spec": { "type": kind, "selector": selector(APISERVER), "ports": [port] },
        }),
    )
}

/// The versions of TLSRoutes, the best first: Gateway API has served the first alone since it is stable, and the others before.
pub const TLS_ROUTE_VERSIONS: [&str; 3] = ["v1", "v1alpha3", "v1alpha2"];

/// The Ingress or TLSRoute, for exposures of that kind; no TLSRoute where the cluster has none.
pub(super) fn route(plane: &ManagementPlane, tls_routes: Option<&str>) -> Option<Object> {
    let exposure = &plane.spec.exposure;
    let host = exposure.host.as_deref().unwrap_or_default();
    match exposure.type_ {
        ExposureType::Ingress => Some(ingress(plane, host)),
        ExposureType::Gateway => tls_routes.map(|version| tls_route(plane, host, version)),
        ExposureType::ClusterIP | ExposureType::NodePort | ExposureType::LoadBalancer => None,
    }
}

fn ingress(plane: &ManagementPlane, host: &str) -> Object {
    let settings = plane.spec.exposure.ingress.clone().unwrap_or_default();
    // What the controllers that can pass TLS through understand by it; those of the spec go before them.
    let mut annotations = json!({
        "nginx.ingress.kubernetes.io/ssl-passthrough": "true",
        "nginx.ingress.kubernetes.io/backend-protocol": "HTTPS",
        "haproxy.org/ssl-passthrough": "true",
    });
    for (key, value) in &settings.annotations {
        annotations[key.as_str()] = value.clone().into();
    }
    let mut spec = json!({
        "rules": [{
            "host": host,
            "http": { "paths": [{
                "path": "/",
                "pathType": "Prefix",
                "backend": { "service": { "name": APISERVER, "port": { "number": PORT } } },
            }]},
        }],
    });
    if !settings.class_name.is_empty() {
        spec["ingressClassName"] = settings.class_name.into();
    }
    let value = json!({ "apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "spec": spec });
    let mut object = Object::new(plane, "/apis/networking.k8s.io/v1", "ingresses", APISERVER, value);
    object.value["metadata"]["annotations"] = annotations;
    object
}

fn tls_route(plane: &ManagementPlane, host: &str, version: &str) -> Object {
    let gateway = plane.spec.exposure.gateway.clone().unwrap_or_default();
    let mut parent = json!({ "name": gateway.name });
    let mut set = |key: &str, text: &str| {
        if !text.is_empty() {
            parent[key] = Value::from(text);
        }
    };
    set("namespace", &gateway.namespace);
    set("sectionName", &gateway.section_name);
    let value = json!({
        "apiVersion": format!("gateway.networking.k8s.io/{version}"),
        "kind": "TLSRoute",
        "spec": {
            "parentRefs": [parent],
            "hostnames": [host],
            "rules": [{ "backendRefs": [{ "name": APISERVER, "port": PORT }] }],
        },
    });
    Object::new(plane, &format!("/apis/gateway.networking.k8s.io/{version}"), "tlsroutes", APISERVER, value)
}
