//! `PodTopologyLabels`: a pod shows the zone and region of the node it is assigned to.

use async_trait::async_trait;
use kplane_machinery::{GroupResource, Status, object};
use serde_json::{Map, Value};

use crate::access::map_mut;
use crate::{Attributes, Operation, Plugin, Reader};

/// The labels of a node that are copied.
const COPIED: [&str; 2] = ["topology.kubernetes.io/region", "topology.kubernetes.io/zone"];

/// `PodTopologyLabels`.
pub struct PodTopologyLabels;

/// The labels that a pod takes from its node. A node that is not there gives none, as upstream.
pub async fn labels_of_node(reader: &dyn Reader, node: &str) -> Result<Map<String, Value>, Status> {
    let Some(node) = reader.get(&GroupResource::new("", "nodes"), "", node).await? else {
        return Ok(Map::new());
    };
    Ok(object::meta_map(&node, "labels")
        .filter(|(name, _)| COPIED.contains(name))
        .map(|(name, value)| (name.to_owned(), value.into()))
        .collect())
}

#[async_trait]
impl Plugin for PodTopologyLabels {
    fn name(&self) -> &'static str {
        "PodTopologyLabels"
    }

    fn handles(&self, attributes: &Attributes<'_>) -> bool {
        attributes.operation == Operation::Create && attributes.is("", "pods", "")
    }

    async fn mutate(&self, attributes: &Attributes<'_>, pod: &mut Value) -> Result<(), Status> {
        let node = object::str_at(pod, &["spec", "nodeName"]).to_owned();
        if node.is_empty() {
            return Ok(());
        }
        let labels = labels_of_node(attributes.reader, &node).await?;
        if labels.is_empty() {
            return Ok(());
        }
        if let Some(own) = pod.get_mut("metadata").and_then(|metadata| map_mut(metadata, "labels")) {
            own.extend(labels);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::Objects;

    #[tokio::test]
    async fn zone_and_region_alone_are_copied() {
        let labels = json!({"topology.kubernetes.io/zone": "z", "kubernetes.io/hostname": "n", "a": "b"});
        let objects = Objects::default().with("nodes", json!({"metadata": {"name": "n", "labels": labels}}));
        let copied = labels_of_node(&objects, "n").await.expect("a node");
        assert_eq!(Value::Object(copied), json!({"topology.kubernetes.io/zone": "z"}));
        assert!(labels_of_node(&objects, "gone").await.expect("no node").is_empty());
    }
}
