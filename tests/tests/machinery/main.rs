//! What holds for every kind: lists and watches by the table of the API concepts, the edges of HTTP, and subresources.

mod edges;
mod lists;
mod subresources;
mod watches;

use std::time::Duration;

use kplane_tests::{Client, Server, Store};
use serde_json::{Value, json};

const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";
const SOON: Duration = Duration::from_secs(20);

/// A control plane of the test's own, and the server, to be kept meanwhile.
fn setup() -> (Client, Server) {
    let server = Server::start(Store::Embedded);
    server.create_vcp("a");
    (server.client().vcp("a"), server)
}

fn config_map(name: &str, label: &str) -> Value {
    json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name, "labels": { "set": label } } })
}

fn names(list: &Value) -> Vec<String> {
    let items = list["items"].as_array().unwrap_or_else(|| panic!("no list: {list}")).iter();
    items.filter_map(|item| item["metadata"]["name"].as_str().map(str::to_owned)).collect()
}
