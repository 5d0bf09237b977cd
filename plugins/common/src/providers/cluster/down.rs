//! Taking away what `up` made in a cluster, and no more.

use std::io::{BufRead, IsTerminal};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Namespace;
use kplane_crds::v1alpha1::{ControlPlane, MANAGEMENT_PLANE_NAME, ManagementPlane};
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use serde_json::json;

use super::tool::Tool;
use super::{MADE_BY_UP, manifests};
use crate::app::{App, Management};
use crate::error::{Error, Result, is_not_found, is_unknown_kind};
use crate::kubeconfig::{self, control_plane_of};
use crate::providers::{DownRequest, ProviderName};
use crate::wait::{Progress, sentence, wait_until};

pub(super) async fn down(provider: ProviderName, app: &App, request: &DownRequest) -> Result<()> {
    let name = &app.settings.cluster_name;
    let tool = Tool::of(provider, name, &app.settings.kubeconfig.default_file());
    if let Some(tool) = &tool
        && !tool.exists()?
    {
        app.printer.result(&format!("there is no {} cluster {name:?}", tool.name()));
        return Ok(());
    }
    let management = app.management().await?;
    if !request.delete_data {
        remove_contexts(app, &management).await?;
        let stopped = match &tool {
            Some(tool) => tool.stop()?,
            None => false,
        };
        let state = if stopped {
            "is stopped; all control planes and their data remain in it"
        } else {
            "goes on; all control planes and their data remain in it"
        };
        app.printer.result(&format!("the cluster of {:?} {state}", management.context));
        app.printer.next("start again with them:", "kubectl kplane up");
        app.printer.next("or remove them:", "kubectl kplane down --delete-data");
        return Ok(());
    }

    let made_by_up = tool.is_some() && is_made_by_up(&management, &app.settings.namespace).await?;
    if !request.yes {
        confirm(app, &management, made_by_up.then_some(name.as_str()))?;
    }
    remove_contexts(app, &management).await?;
    if let (Some(tool), true) = (&tool, made_by_up) {
        let step = app.printer.step(format!("deleting the {} cluster {name:?}", tool.name()));
        tool.delete()?;
        step.done();
        app.printer.result(&format!("{} cluster {name:?} deleted", tool.name()));
        return Ok(());
    }
    let end = Instant::now() + request.timeout.max(Duration::from_secs(60));
    uninstall(app, &management, end).await?;
    app.printer.result(&format!("kplane is removed from the cluster of {:?}", management.context));
    Ok(())
}

/// Whether the cluster was made by `up`, so that it goes with the data.
async fn is_made_by_up(management: &Management, namespace: &str) -> Result<bool> {
    let api: Api<Namespace> = Api::all(management.client.clone());
    let found = api.get_opt(namespace).await?;
    Ok(found.is_some_and(|namespace| namespace.annotations().contains_key(MADE_BY_UP)))
}

/// Removes everything that was installed, the control planes with their data first: it takes the controllers to end
/// them.
async fn uninstall(app: &App, management: &Management, end: Instant) -> Result<()> {
    let client = &management.client;
    let left = || end.saturating_duration_since(Instant::now()).max(Duration::from_secs(1));
    let planes: Api<ControlPlane> = Api::all(client.clone());
    let listed = match planes.list(&ListParams::default()).await {
        Ok(list) => list.items,
        Err(error) if is_unknown_kind(&error) => Vec::new(),
        Err(error) => return Err(error.into()),
    };
    let step = app.printer.step("deleting control planes");
    for plane in &listed {
        let name = plane.name_any();
        let patch = json!({ "spec": { "deletionPolicy": "Destroy" } });
        let patched = planes.patch(&name, &PatchParams::default(), &Patch::Merge(patch)).await;
        let deleted = match patched {
            Ok(_) => planes.delete(&name, &DeleteParams::default()).await.map(|_| ()),
            Err(error) => Err(error),
        };
        match deleted {
            Ok(()) => {}
            Err(error) if is_not_found(&error) => {}
            Err(error) => return Err(error.into()),
        }
    }
    for plane in &listed {
        let name = plane.name_any();
        gone(&planes, &name, left(), |plane| plane.status.as_ref().map(|status| status.conditions.clone()))
            .await?;
    }
    step.done();

    let step = app.printer.step("deleting the management plane");
    let api: Api<ManagementPlane> = Api::all(client.clone());
    match api.delete(MANAGEMENT_PLANE_NAME, &DeleteParams::background()).await {
        Ok(_) => {
            gone(&api, MANAGEMENT_PLANE_NAME, left(), |plane| {
                plane.status.as_ref().map(|status| status.conditions.clone())
            })
            .await?;
        }
        Err(error) if is_not_found(&error) || is_unknown_kind(&error) => {}
        Err(error) => return Err(error.into()),
    }
    step.done();

    let step = app.printer.step("removing the controllers");
    manifests::delete(client, &manifests::objects(&app.settings.namespace)?).await?;
    step.done();
    Ok(())
}

/// Waits until an object is gone.
async fn gone<K>(
    api: &Api<K>,
    name: &str,
    timeout: Duration,
    conditions: impl Fn(&K) -> Option<Vec<k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition>>,
) -> Result<()>
where
    K: kube::Resource + Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    wait_until(api, name, None, timeout, &format!("{name:?} to be gone"), |object| match object {
        None => Progress::Done(()),
        Some(object) => {
            let why = conditions(object).unwrap_or_default();
            let why = why.iter().find(|condition| condition.status != "True").map(sentence);
            Progress::Waiting(why.unwrap_or_else(|| "it is being deleted".into()))
        }
    })
    .await
}

/// Removes the contexts of the control planes of this management cluster.
async fn remove_contexts(app: &App, management: &Management) -> Result<()> {
    let planes = Api::<ControlPlane>::all(management.client.clone()).list(&ListParams::default()).await;
    let names: Vec<String> = match planes {
        Ok(list) => list.items.iter().map(ResourceExt::name_any).collect(),
        Err(error) if is_unknown_kind(&error) => Vec::new(),
        Err(error) => return Err(error.into()),
    };
    let removed = kubeconfig::edit(&app.settings.kubeconfig, |edit| {
        let ours: Vec<String> = edit
            .contexts()
            .into_iter()
            .map(|(context, _)| context)
            .filter(|context| control_plane_of(context).is_some_and(|name| names.iter().any(|n| n == name)))
            .collect();
        ours.iter().for_each(|context| {
            edit.remove_entry(context);
        });
        Ok(ours)
    })?;
    for context in removed {
        app.printer.result(&format!("context {context:?} removed"));
    }
    Ok(())
}

/// Asks before data is lost. Without a terminal nobody answers, so that is an error.
fn confirm(app: &App, management: &Management, cluster: Option<&str>) -> Result<()> {
    let what = match cluster {
        Some(cluster) => format!("the cluster {cluster:?}, all control planes in it and their data"),
        None => format!("all control planes in the cluster of {:?} and their data", management.context),
    };
    if !std::io::stdin().is_terminal() {
        return Err(Error::new(format!("--delete-data deletes {what}, and nobody is there to ask"))
            .hint("add --yes to go on without asking"));
    }
    app.printer.error_lines(&format!("This deletes {what}.\nType yes to go on: "));
    let mut answer = String::new();
    std::io::stdin()
        .lock()
        .read_line(&mut answer)
        .map_err(|error| Error::new("cannot read the answer").caused_by(&error))?;
    match answer.trim() {
        "yes" | "y" => Ok(()),
        _ => Err(Error::new("nothing was changed")),
    }
}
