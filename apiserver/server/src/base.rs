//! What every control plane starts with: one layer, made of the bootstrap objects as the server itself would have
//! written them.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use kplane_auth::bootstrap::{self, BootstrapObject};
use kplane_registry::{ContentHash, Layer, ObjectKey, Parameters, Registry, ResourceKey, VcpId};
use serde_json::Value;

use crate::app::Kinds;
use crate::endpoints::objects::SCHEMA_EPOCH;
use crate::options::Options;

/// The range of service addresses.
pub const SERVICE_CIDR: &str = "10.96.0.0/12";

/// The parameters that the objects of a layer may name, beside `name`, `uid` and `created`.
pub const PARAMETERS: [&str; 3] = ["ca", "host-ip", "port"];

/// The layers and parameters of a new control plane.
#[derive(Clone, Debug)]
pub struct Base {
    /// The layers, the lowest first.
    pub layers: Vec<ContentHash>,
    /// What differs between servers: their CA and addresses.
    pub parameters: Option<ContentHash>,
}

/// Stores the layer and parameters unless they are there, and gives them to root.
pub async fn ensure(
    registry: &Registry,
    kinds: &Kinds,
    options: &Options,
    ca: &str,
    front_proxy_ca: &str,
    address: SocketAddr,
) -> anyhow::Result<Base> {
    let mut objects = Vec::new();
    for bootstrap in bootstrap::objects() {
        objects.push(complete(kinds, options, bootstrap)?);
    }
    let layer = registry.ensure_layer(&Layer::build(SCHEMA_EPOCH, objects)?).await?;
    let host = match address.ip() {
        ip if ip.is_unspecified() => IpAddr::from([127, 0, 0, 1]),
        ip => ip,
    };
    let parameters = Parameters::new([
        ("ca", ca.to_owned()),
        ("front-proxy-ca", front_proxy_ca.to_owned()),
        ("host-ip", host.to_string()),
        ("port", address.port().to_string()),
    ])?;
    let parameters = registry.ensure_parameters(&parameters).await?;
    let base = Base { layers: vec![layer], parameters: Some(parameters) };
    registry.set_layers(VcpId::ROOT, &base.layers, base.parameters).await?;
    Ok(base)
}

/// An object as the server would have stored it: defaulted, and its fields owned.
fn complete(
    kinds: &Kinds,
    options: &Options,
    bootstrap: BootstrapObject,
) -> anyhow::Result<(ObjectKey, Value)> {
    let BootstrapObject { group, version, resource, namespace, name, mut value, .. } = bootstrap;
    let def = kinds
        .get(group, resource)
        .ok_or_else(|| anyhow::anyhow!("the bootstrap object {resource}/{name} is of no known kind"))?;
    let version_def =
        def.version(version).ok_or_else(|| anyhow::anyhow!("{resource} has no version {version}"))?;
    kplane_schema::default(&version_def.schema, &mut value);
    def.strategy.default(version, &mut value);
    kplane_schema::normalise(&version_def.schema, &mut value);
    placeholders(&mut value, options);
    let key = ObjectKey {
        resource: ResourceKey::new(group, resource),
        namespace: namespace.map(Arc::from),
        name: placeholders_of(&name, options).into(),
    };
    Ok((key, value))
}

/// From the placeholders of the bootstrap objects, `${name}`, to those of layers. What no two control planes of a server
/// differ in is filled in.
fn placeholders(value: &mut Value, options: &Options) {
    match value {
        Value::String(text) if text == "${port}" => *text = "{{kplane.port:bare}}".into(),
        Value::String(text) if text.contains("${") => *text = placeholders_of(text, options),
        Value::Array(items) => items.iter_mut().for_each(|item| placeholders(item, options)),
        Value::Object(fields) => fields.values_mut().for_each(|field| placeholders(field, options)),
        _ => {}
    }
}

fn placeholders_of(text: &str, options: &Options) -> String {
    text.replace("${service-ip}", &options.kubernetes_service_address.to_string())
        .replace("${service-cidr}", SERVICE_CIDR)
        .replace("${ca}", "{{kplane.ca}}")
        .replace("${host-ip}", "{{kplane.host-ip}}")
        .replace("${front-proxy-ca}", "{{kplane.front-proxy-ca}}")
        .replace("${uid}", "{{kplane.uid}}")
        .replace("${created}", "{{kplane.created}}")
}
