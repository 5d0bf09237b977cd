//! Layers by hand: a `Layer` is created with manifests in its spec, by root's administrators, and answered with a content
//! hash. A `VirtualCluster` that names the hash has the objects at once, without a copy of its own.
//!
//! What is uploaded is stored as long as a record names it, and for a while after the last upload.

mod complete;

use std::sync::Arc;
use std::time::Duration;

use kplane_kinds::tenancy::GROUP;
use kplane_machinery::{GroupKind, Status, object};
use kplane_registry::Unnamed;
use serde_json::{Value, json};

use crate::app::App;
use crate::endpoints::cx::Cx;
use crate::endpoints::failures;

/// How often unused layers are looked for, at most and at least, within the time that they stay.
const SWEEP: Duration = Duration::from_secs(600);
const SWEEP_LEAST: Duration = Duration::from_secs(1);

/// Answers the creation of a `Layer`.
pub async fn answer(cx: &Cx, review: &mut Value) -> Result<(), Status> {
    let manifests: Vec<&str> =
        review["spec"]["manifests"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let layer = complete::build(cx, &manifests)?
        .map_err(|errors| Status::invalid(&GroupKind::new(GROUP, "Layer"), object::name(review), &errors))?;
    let hash = layer.hash();
    if !cx.dry_run() {
        cx.app.registry.upload_layer(&layer).await.map_err(failures::store)?;
    }
    review["status"] = json!({"hash": hash.to_string(), "objects": layer.len()});
    Ok(())
}

/// Collects layers that nobody wants any more, until the server ends.
pub async fn collect(app: Arc<App>, grace: Duration) {
    let every = (grace / 6).clamp(SWEEP_LEAST, SWEEP);
    let mut unnamed = Unnamed::default();
    loop {
        tokio::select! {
            () = app.shutdown.cancelled() => return,
            () = tokio::time::sleep(every) => {}
        }
        match app.registry.collect_layers(&mut unnamed, grace).await {
            Ok(0) => {}
            Ok(count) => tracing::info!(count, "layers that nobody names were removed"),
            Err(error) => tracing::warn!(%error, "unused layers could not be removed; trying again"),
        }
    }
}
