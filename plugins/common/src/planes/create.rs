//! `create`: declare a control plane, wait for it, and take its credentials.

use std::time::Duration;

use kplane_crds::conditions::reason;
use kplane_crds::reference::LocalObjectReference;
use kplane_crds::v1alpha1::{ControlPlane, ControlPlaneSpec, VirtualSpec};
use kube::ResourceExt;
use kube::api::PostParams;

use super::{api, credentials, is_detached, record, resource_name, to_value};
use crate::app::App;
use crate::args::DryRun;
use crate::error::{Error, Result, is_unknown_kind, not_installed};
use crate::kubeconfig::{self, context_name};
use crate::names::check_control_plane;
use crate::output;
use crate::wait::{Progress, readiness, wait_until};

/// What is to be created, and how.
#[derive(Clone, Debug)]
pub struct CreateOptions {
    /// The name.
    pub name: String,
    /// The class.
    pub class: Option<String>,
    /// The uid of a retained record to take up.
    pub adopt: Option<Adopt>,
    /// Make its context the current one.
    pub set_current: bool,
    /// Take its credentials into the kubeconfig.
    pub credentials: bool,
    /// Wait until it is ready.
    pub wait: bool,
    /// How long to wait.
    pub timeout: Duration,
    /// Whether it is only tried.
    pub dry_run: DryRun,
}

/// Which retained record to take up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Adopt {
    /// The one at the path, whatever its uid.
    Found,
    /// The one of this uid.
    Uid(String),
}

/// Creates a control plane.
pub async fn create(app: &App, options: &CreateOptions) -> Result<()> {
    let name = options.name.as_str();
    check_control_plane(name)?;
    let mut spec = ControlPlaneSpec {
        class_ref: options.class.clone().map(LocalObjectReference::new),
        ..ControlPlaneSpec::default()
    };
    if let Some(Adopt::Uid(uid)) = &options.adopt {
        spec.virtual_ = Some(VirtualSpec { adopt_uid: Some(uid.clone()), ..VirtualSpec::default() });
    }
    if options.dry_run == DryRun::Client {
        return show(app, &ControlPlane::new(name, spec), options.dry_run);
    }

    // A kubeconfig that cannot be written is told before anything is created.
    if options.credentials {
        kubeconfig::Merged::load(&app.settings.kubeconfig)?;
    }
    let management = app.management().await?;
    if options.adopt == Some(Adopt::Found) {
        let found = record(&management, name).await?.filter(is_detached).and_then(|record| record.uid());
        let uid = found.ok_or_else(|| {
            Error::new(format!("no retained control plane {name:?} to take up"))
                .hint("see those there are with `kubectl vcp list --retained`")
        })?;
        spec.virtual_ = Some(VirtualSpec { adopt_uid: Some(uid), ..VirtualSpec::default() });
    }
    let parameters = PostParams { dry_run: options.dry_run == DryRun::Server, ..PostParams::default() };
    let created = match api(&management).create(&parameters, &ControlPlane::new(name, spec)).await {
        Ok(created) => created,
        Err(error) if is_unknown_kind(&error) => return Err(not_installed(&error)),
        Err(kube::Error::Api(status)) if status.is_already_exists() => {
            return Err(
                Error::from(kube::Error::Api(status)).hint(format!("use it with `kubectl vcp use {name}`"))
            );
        }
        Err(error) => return Err(error.into()),
    };
    if options.dry_run == DryRun::Server || !options.wait {
        show(app, &created, options.dry_run)?;
        if options.dry_run == DryRun::None && options.credentials {
            app.printer.next("when it is ready, take its credentials:", &format!("kubectl vcp use {name}"));
        }
        return Ok(());
    }

    let step = app.printer.step(format!("waiting for control plane {name}"));
    let ready = wait_until(
        &api(&management),
        name,
        Some(created),
        options.timeout,
        &format!("control plane {name:?} to be ready"),
        |object| {
            let Some(plane) = object else {
                return Progress::Failed(Error::new(format!("control plane {name:?} was deleted meanwhile")));
            };
            progress(plane)
        },
    )
    .await?;
    step.done();
    show(app, &ready, options.dry_run)?;
    if options.credentials {
        let entry = credentials::of_control_plane(&management, &ready).await?;
        let context = context_name(name);
        credentials::merge(app, &context, &entry, options.set_current)?;
        if options.set_current {
            app.printer.next("next, try it out:", "kubectl get namespaces");
        } else {
            app.printer.next("next, try it out:", &format!("kubectl --context {context} get namespaces"));
        }
    } else {
        app.printer.next("next, take its credentials:", &format!("kubectl vcp use {name}"));
    }
    Ok(())
}

/// How far a control plane is.
pub(super) fn progress(plane: &ControlPlane) -> Progress<ControlPlane> {
    let name = plane.name_any();
    let conditions = plane.status.as_ref().map_or(&[][..], |status| &status.conditions);
    match readiness(&format!("control plane {name:?}"), conditions, plane.metadata.generation) {
        Progress::Done(()) => Progress::Done(plane.clone()),
        Progress::Waiting(why) => Progress::Waiting(why),
        Progress::Failed(error) => {
            let because = |wanted: &str| conditions.iter().any(|condition| condition.reason == wanted);
            let delete = format!("remove it with `kubectl vcp delete {name}`");
            Progress::Failed(if because(reason::PATH_RETAINED) {
                error
                    .hint(format!("{delete}, then take up the data with `kubectl vcp create {name} --adopt`"))
            } else {
                error.hint(delete)
            })
        }
    }
}

/// Shows what was created, in the format asked for.
fn show(app: &App, plane: &ControlPlane, dry_run: DryRun) -> Result<()> {
    match output::object(app.output, &to_value(plane)?)? {
        Some(text) => app.printer.data(&text),
        None => {
            app.printer.result(&format!("{} created{}", resource_name(&plane.name_any()), dry_run.suffix()));
        }
    }
    Ok(())
}
