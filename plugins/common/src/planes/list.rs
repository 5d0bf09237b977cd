//! `list` and `get`: control planes as a table or as objects.

use kplane_crds::conditions::READY;
use kplane_crds::tenancy::VirtualCluster;
use kplane_crds::v1alpha1::ControlPlane;
use kube::ResourceExt;
use kube::api::{Api, ListParams};

use super::{age_of, api, class, endpoint, is_detached, read, to_value};
use crate::app::App;
use crate::error::{Result, is_unknown_kind, not_installed};
use crate::kubeconfig::{MANAGEMENT_CONTEXT, Merged, Section, context_name};
use crate::output::{self, Output};
use crate::table::Table;

/// Which control planes, and how they are shown.
#[derive(Clone, Debug, Default)]
pub struct ListOptions {
    /// Those that were deleted and whose data remains.
    pub retained: bool,
    /// Those whose labels match.
    pub selector: Option<String>,
    /// Leave out the heads of the table.
    pub no_headers: bool,
}

/// Lists control planes.
pub async fn list(app: &App, options: &ListOptions) -> Result<()> {
    let management = app.management().await?;
    let parameters = ListParams { label_selector: options.selector.clone(), ..ListParams::default() };
    if options.retained {
        let records: Api<VirtualCluster> = Api::all(management.client.clone());
        let mut found = records.list(&parameters).await?.items;
        found.retain(is_detached);
        let values = found.iter().map(to_value).collect::<Result<Vec<_>>>()?;
        if let Some(text) = output::list(app.output, &values)? {
            app.printer.data(&text);
            return Ok(());
        }
        let mut table = Table::new(["name", "uid", "class", "age"]);
        for record in &found {
            let class = record.spec.class_name.clone().unwrap_or_default();
            table.row([record.name_any(), record.uid().unwrap_or_default(), class, age_of(record)]);
        }
        print(app, &table, options, "No retained control planes found.");
        return Ok(());
    }
    let planes = match api(&management).list(&parameters).await {
        Ok(list) => list.items,
        Err(error) if is_unknown_kind(&error) => return Err(not_installed(&error)),
        Err(error) => return Err(error.into()),
    };
    let values = planes.iter().map(to_value).collect::<Result<Vec<_>>>()?;
    match output::list(app.output, &values)? {
        Some(text) => app.printer.data(&text),
        None => print(app, &table(app, &planes)?, options, "No control planes found."),
    }
    Ok(())
}

/// Shows one control plane.
pub async fn get(app: &App, name: &str, options: &ListOptions) -> Result<()> {
    let management = app.management().await?;
    let plane = read(&management, name).await?;
    match output::object(app.output, &to_value(&plane)?)? {
        Some(text) => app.printer.data(&text),
        None => print(app, &table(app, &[plane])?, options, ""),
    }
    Ok(())
}

/// Lists the contexts of the management cluster and of its control planes, the current one marked.
pub async fn list_contexts(app: &App) -> Result<()> {
    let management = app.management().await?;
    let planes = match api(&management).list(&ListParams::default()).await {
        Ok(list) => list.items,
        Err(error) if is_unknown_kind(&error) => return Err(not_installed(&error)),
        Err(error) => return Err(error.into()),
    };
    let mut values = planes.iter().map(to_value).collect::<Result<Vec<_>>>()?;
    values.sort_by_key(output::name);
    if let Some(text) = output::list(app.output, &values)? {
        app.printer.data(&text);
        return Ok(());
    }
    let merged = Merged::load(&app.settings.kubeconfig)?;
    let known = merged.names(Section::Contexts);
    let mut table = Table::new(["current", "name", "kind", "status", "context"]);
    let mut row = |name: String, kind: &str, status: String, context: String| {
        let current = if merged.current_context() == Some(&context) { "*" } else { " " };
        let context = if known.contains(&context) { context } else { String::new() };
        table.row([current.to_owned(), name, kind.to_owned(), status, context]);
    };
    let name = management.context.strip_prefix("kplane-").unwrap_or(&management.context).to_owned();
    let context = if known.contains(&management.context) { &management.context } else { MANAGEMENT_CONTEXT };
    row(name, "management", "Ready".into(), context.to_owned());
    for plane in &planes {
        let name = plane.name_any();
        row(name.clone(), "virtual", status(plane), context_name(&name));
    }
    app.printer.data(&table.render(true));
    Ok(())
}

fn table(app: &App, planes: &[ControlPlane]) -> Result<Table> {
    let wide = app.output == Some(Output::Wide);
    let mut heads = vec!["name", "status", "age", "endpoint"];
    if wide {
        heads.extend(["class", "uid"]);
    }
    let mut table = Table::new(heads);
    for plane in planes {
        let mut cells = vec![plane.name_any(), status(plane), age_of(plane), endpoint(plane)];
        if wide {
            let uid = plane.status.as_ref().and_then(|status| status.virtual_cluster_uid.clone());
            cells.extend([class(plane), uid.unwrap_or_default()]);
        }
        table.row(cells);
    }
    Ok(table)
}

/// In one word: Ready, or what keeps it from being so.
fn status(plane: &ControlPlane) -> String {
    if plane.metadata.deletion_timestamp.is_some() {
        return "Terminating".into();
    }
    let conditions = plane.status.iter().flat_map(|status| &status.conditions);
    match conditions.into_iter().find(|condition| condition.type_ == READY) {
        Some(ready) if ready.status == "True" => "Ready".into(),
        Some(ready) => ready.reason.clone(),
        None => "Pending".into(),
    }
}

fn print(app: &App, table: &Table, options: &ListOptions, nothing: &str) {
    if table.is_empty() {
        app.printer.error_lines(&format!("{nothing}\n"));
    } else {
        app.printer.data(&table.render(!options.no_headers));
    }
}
