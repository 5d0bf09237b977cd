//! Starting the management plane on this machine.

use std::time::{Duration, Instant};

use kplane_crds::v1alpha1::{ManagementPlaneSpec, StoreType, Topology};
use kplaned_state::Info;
use kube::Client;

use super::port::{self, Choice};
use super::{Status, absolute, contexts, process, read_administrator, status};
use crate::app::{App, Management, entry_client};
use crate::error::{Error, Result};
use crate::kubeconfig::{self, MANAGEMENT_CONTEXT, Section};
use crate::providers::{UpRequest, plane};

pub(super) async fn up(app: &App, request: &UpRequest) -> Result<()> {
    // What is broken on the user's side is told before anything is started.
    let merged = kubeconfig::Merged::load(&app.settings.kubeconfig)?;
    let is_new = merged.body(Section::Contexts, MANAGEMENT_CONTEXT).is_none();

    let first = status()?;
    let _serial = first.state.serialise()?;
    let before = status()?;
    let end = Instant::now() + request.timeout;
    let left = || end.saturating_duration_since(Instant::now());
    let info = process_up(app, &before, left()).await?;

    let entry = read_administrator(&info.data_dir)?;
    let client = entry_client(&entry).await?;
    let step = app.printer.step("waiting for the API server");
    answers(&client, &before, left()).await?;
    step.done();

    let has_current = merged.current_context().is_some();
    kubeconfig::edit(&app.settings.kubeconfig, |edit| {
        edit.set_entry(MANAGEMENT_CONTEXT, &entry);
        if request.set_current.unwrap_or(is_new && !has_current) {
            edit.set_current_context(MANAGEMENT_CONTEXT);
        }
        Ok(())
    })?;
    let management = Management { client, context: MANAGEMENT_CONTEXT.into() };

    let step = app.printer.step("waiting for the management plane");
    plane::ready(&management, wanted(info.port), left()).await?;
    step.done();
    contexts::restore(app, &before.state, &management).await?;
    plane::remember(app, None)?;

    app.printer.result(&format!("management plane is ready at https://127.0.0.1:{}", info.port));
    app.printer.next("next, create a control plane:", "kubectl vcp create demo");
    Ok(())
}

/// Starts the process, unless one runs that will do.
async fn process_up(app: &App, before: &Status, timeout: Duration) -> Result<Info> {
    let binary = process::find_binary()?;
    let version = process::binary_version(&binary)?;
    let state = &before.state;
    let recorded = before.info.as_ref();
    let data_dir = match (&app.settings.data_dir, recorded) {
        (Some(asked), _) => absolute(asked)?,
        (None, Some(info)) => info.data_dir.clone(),
        (None, None) => state.default_data_dir(),
    };
    kplaned_state::check_data_format(&data_dir, version.data_format)?;

    if let (Some(pid), Some(info)) = (before.pid, recorded) {
        let change = |what: &str| {
            Err(Error::new(format!("kplaned is running already, with {what}"))
                .hint("stop it first, with `kubectl kplane down`; its data is kept"))
        };
        if data_dir != info.data_dir {
            return change(&format!("the data in {}", info.data_dir.display()));
        }
        if app.settings.port.is_some_and(|asked| asked != info.port) {
            return change(&format!("port {}", info.port));
        }
        if !process::is_older(&info.version, &version.version) {
            return Ok(info.clone());
        }
        let step = app.printer.step(format!("stopping kplaned {} for {}", info.version, version.version));
        process::stop(app, state, pid, Duration::from_secs(30)).await?;
        step.done();
    } else if let Some(pid) = before.pid {
        // It has never listened: a start that hangs, or one by hand that is not done yet.
        let step = app.printer.step(format!("stopping a kplaned (pid {pid}) that does not listen"));
        process::stop(app, state, pid, Duration::from_secs(10)).await?;
        step.done();
    }

    let same_data = recorded.filter(|info| info.data_dir == data_dir);
    let port = match port::choose(app.settings.port, same_data.map(|info| info.port), port::is_free)? {
        Choice::As(port) => port,
        Choice::Moved { from, to } => {
            app.printer.warning(&format!(
                "port {from} of the last time is taken, so {to} is used; kubeconfigs elsewhere still name {from}"
            ));
            to
        }
    };
    let step = app.printer.step(format!("starting kplaned on port {port}"));
    let mut child = process::start(&binary, state, &data_dir, port)?;
    let info = process::listening(state, &mut child, timeout).await?;
    step.done();
    Ok(info)
}

/// Waits until the server says that it is ready.
async fn answers(client: &Client, status: &Status, timeout: Duration) -> Result<()> {
    let end = Instant::now() + timeout;
    loop {
        let request = http::Request::get("/readyz")
            .body(Vec::new())
            .map_err(|error| Error::new("cannot ask the server").caused_by(&error))?;
        let error = match client.request_text(request).await {
            Ok(_) => return Ok(()),
            Err(error) => error,
        };
        if Instant::now() >= end || status.state.running()?.is_none() {
            let error = Error::new("the API server does not become ready").caused_by(&error);
            return Err(process::with_log(error, &status.state));
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The ManagementPlane of this machine.
fn wanted(port: u16) -> ManagementPlaneSpec {
    let mut spec =
        ManagementPlaneSpec { namespace: "kplane-system".into(), ..ManagementPlaneSpec::default() };
    spec.topology = Some(Topology::Embedded);
    spec.apiserver.replicas = 1;
    spec.store.type_ = StoreType::Embedded;
    spec.exposure.host = Some("127.0.0.1".into());
    spec.exposure.port = Some(port.into());
    spec
}
