//! `status` and `version`: what runs, and how it is.

use std::collections::BTreeMap;

use kplane_crds::v1alpha1::{ControlPlane, MANAGEMENT_PLANE_NAME, ManagementPlane};
use kplane_plugin_common::providers::{ProviderName, local};
use kplane_plugin_common::table::Table;
use kplane_plugin_common::wait::{Progress, readiness};
use kplane_plugin_common::{App, Error, Management, Result};
use kube::api::{Api, ListParams};
use serde_json::{Value, json};

use crate::args::{StatusArgs, VersionArgs};
use crate::commands::print;

/// Shows what runs. A management plane that does not is an error, so that scripts can ask.
pub async fn status(app: &App, args: &StatusArgs) -> Result<()> {
    let mut shown = json!({ "provider": app.settings.provider.as_str() });
    if app.settings.provider == ProviderName::Local {
        let process = local::status()?;
        shown["kplaned"] = json!({
            "running": process.pid.is_some(),
            "pid": process.pid,
            "version": process.info.as_ref().map(|info| info.version.clone()),
            "port": process.info.as_ref().map(|info| info.port),
            "dataDir": process.info.as_ref().map(|info| info.data_dir.clone()),
            "log": process.state.log_file(),
        });
        if process.pid.is_none() && app.settings.context.is_none() {
            let error = Error::new("the management plane is not running")
                .hint("start it with `kubectl kplane up`; all data is kept");
            show(app, args, &shown)?;
            return Err(error);
        }
    }
    let management = app.management().await?;
    let plane = Api::<ManagementPlane>::all(management.client.clone()).get_opt(MANAGEMENT_PLANE_NAME).await?;
    let planes = Api::<ControlPlane>::all(management.client.clone()).list(&ListParams::default()).await?;
    let is_ready = |plane: &&ControlPlane| {
        let conditions = plane.status.as_ref().map_or(&[][..], |status| &status.conditions);
        matches!(readiness("", conditions, plane.metadata.generation), Progress::Done(()))
    };
    shown["context"] = json!(management.context);
    shown["controlPlanes"] = json!({
        "total": planes.items.len(),
        "ready": planes.items.iter().filter(is_ready).count(),
    });
    let failed = match &plane {
        None => Some(Error::new("there is no ManagementPlane").hint("make it with `kubectl kplane up`")),
        Some(plane) => {
            let status = plane.status.clone().unwrap_or_default();
            let progress = readiness("the management plane", &status.conditions, plane.metadata.generation);
            let why = match &progress {
                Progress::Done(()) => None,
                Progress::Waiting(why) => Some(why.clone()),
                Progress::Failed(error) => Some(error.to_string()),
            };
            shown["managementPlane"] = json!({
                "ready": why.is_none(),
                "reason": why,
                "endpoint": status.endpoint,
                "version": status.version,
                "topology": status.topology,
            });
            why.map(|why| {
                Error::new("the management plane is not ready").caused_by(&std::io::Error::other(why))
            })
        }
    };
    if args.storage {
        shown["storage"] = storage(&management).await?;
    }
    show(app, args, &shown)?;
    failed.map_or(Ok(()), Err)
}

fn show(app: &App, args: &StatusArgs, value: &Value) -> Result<()> {
    if let Some(format) = args.output {
        return print(app, format, value);
    }
    let mut lines = Vec::new();
    flatten(String::new(), value, &mut lines);
    let width = lines.iter().map(|(name, _)| name.len()).max().unwrap_or(0) + 1;
    let text: String =
        lines.into_iter().map(|(name, value)| format!("{:<width$} {value}\n", format!("{name}:"))).collect();
    app.printer.data(&text);
    Ok(())
}

/// One line for each value that is known.
fn flatten(name: String, value: &Value, lines: &mut Vec<(String, String)>) {
    match value {
        Value::Null => {}
        Value::Object(map) => {
            for (key, value) in map {
                let name = if name.is_empty() { key.clone() } else { format!("{name}.{key}") };
                flatten(name, value, lines);
            }
        }
        Value::String(text) => lines.push((name, text.clone())),
        other => lines.push((name, other.to_string())),
    }
}

/// What the server measures of its store and its cache.
async fn storage(management: &Management) -> Result<Value> {
    let request = http::Request::get("/metrics?keys=true")
        .body(Vec::new())
        .map_err(|error| Error::new("cannot ask the server").caused_by(&error))?;
    let text = management
        .client
        .request_text(request)
        .await
        .map_err(|error| Error::from(error).context("the server does not tell its metrics"))?;
    Ok(json!(metrics(&text)))
}

/// Sums of the metrics about the store and the cache, over all labels.
fn metrics(text: &str) -> BTreeMap<String, f64> {
    const PREFIXES: [&str; 2] = ["kplane_store_", "kplane_registry_"];
    let mut sums = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let Some((name, value)) = line.rsplit_once(' ') else { continue };
        let name = name.split('{').next().unwrap_or(name);
        let is_part = ["_bucket", "_sum", "_count"].iter().any(|end| name.ends_with(end));
        let Ok(value) = value.parse::<f64>() else { continue };
        if PREFIXES.iter().any(|prefix| name.starts_with(prefix)) && !is_part {
            *sums.entry(name.to_owned()).or_default() += value;
        }
    }
    sums
}

/// Shows the versions of all parts that can be asked.
pub async fn version(app: &App, args: &VersionArgs) -> Result<()> {
    let mut shown = json!({ "client": env!("CARGO_PKG_VERSION") });
    if !args.client {
        if let Ok(version) = local::find_binary().and_then(|binary| local::binary_version(&binary)) {
            shown["kplaned"] = json!(version.version);
        }
        match server_version(app).await {
            Ok(version) => shown["server"] = json!(version),
            // As kubectl does: the client's version is shown, the rest is a warning.
            Err(error) => app.printer.warning(&format!("the server's version is not known: {error}")),
        }
    }
    if let Some(format) = args.output {
        return print(app, format, &shown);
    }
    let mut table = Table::new(["part", "version"]);
    for (part, version) in shown.as_object().into_iter().flatten() {
        table.row([part.clone(), version.as_str().unwrap_or_default().to_owned()]);
    }
    app.printer.data(&table.render(true));
    Ok(())
}

async fn server_version(app: &App) -> Result<String> {
    Ok(app.management().await?.client.apiserver_version().await?.git_version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_summed_over_labels() {
        let text = "# HELP x\nkplane_store_keys{a=\"1\"} 2\nkplane_store_keys{a=\"2\"} 3\nother 1\n\
                    kplane_cache_load_seconds_bucket{le=\"1\"} 9\n";
        assert_eq!(metrics(text), BTreeMap::from([("kplane_store_keys".to_owned(), 5.0)]));
    }
}
