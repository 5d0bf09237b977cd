//! `delete`: end a control plane, keeping or removing its data, and say which.

use std::time::Duration;

use kplane_crds::tenancy::VirtualCluster;
use kplane_crds::v1alpha1::{ControlPlane, ControlPlaneClass, DeletionPolicy};
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, Patch, PatchParams, Preconditions};
use serde_json::json;

use super::{api, is_detached, not_found, record, resource_name};
use crate::app::{App, Management};
use crate::args::DryRun;
use crate::error::{Error, Result, is_not_found};
use crate::kubeconfig::{self, Section, context_name, control_plane_of};
use crate::wait::{Progress, wait_until};

/// What is to be deleted, and how.
#[derive(Clone, Debug)]
pub struct DeleteOptions {
    /// The control plane.
    pub name: String,
    /// What becomes of its data; by its own policy or its class's when not said.
    pub policy: Option<DeletionPolicy>,
    /// Wait until it is gone.
    pub wait: bool,
    /// How long to wait.
    pub timeout: Duration,
    /// Whether it is only tried.
    pub dry_run: DryRun,
    /// Nothing to delete is no error.
    pub ignore_not_found: bool,
}

/// Deletes a control plane.
pub async fn delete(app: &App, options: &DeleteOptions) -> Result<()> {
    let name = options.name.as_str();
    let management = app.management().await?;
    let plane = match api(&management).get_opt(name).await? {
        Some(plane) => plane,
        None => return delete_retained(app, &management, options).await,
    };
    let policy = match options.policy {
        Some(policy) => policy,
        None => policy_in_force(&management, &plane).await?,
    };
    let suffix = options.dry_run.suffix();
    if options.dry_run == DryRun::Client {
        app.printer.result(&format!("{} deleted{suffix}", resource_name(name)));
        return Ok(());
    }
    let dry_run = options.dry_run == DryRun::Server;
    if options.policy.is_some() && plane.spec.deletion_policy != options.policy {
        let patch = json!({ "spec": { "deletionPolicy": policy } });
        let parameters = PatchParams { dry_run, ..PatchParams::default() };
        api(&management).patch(name, &parameters, &Patch::Merge(patch)).await?;
    }
    // Only the object that was looked at: another of its name may have come since.
    let parameters = DeleteParams { dry_run, ..DeleteParams::default() }
        .preconditions(Preconditions { uid: plane.uid(), resource_version: None });
    api(&management).delete(name, &parameters).await?;
    if dry_run {
        app.printer.result(&format!("{} deleted{suffix}", resource_name(name)));
        return Ok(());
    }
    if options.wait {
        let step = app.printer.step(format!("waiting for control plane {name} to be gone"));
        gone(&api(&management), name, plane.uid(), options.timeout).await?;
        step.done();
    }
    app.printer.result(&format!("{} deleted", resource_name(name)));
    forget_contexts(app, name)?;
    match policy {
        DeletionPolicy::Destroy if options.wait => app.printer.result("its data is removed"),
        DeletionPolicy::Destroy => app.printer.result("its data is being removed"),
        DeletionPolicy::Retain => {
            app.printer.result("its data remains, out of reach");
            app.printer.next("take it up again:", &format!("kubectl vcp create {name} --adopt"));
            app.printer.next("or remove it:", &format!("kubectl vcp delete {name} --destroy"));
        }
    }
    Ok(())
}

/// What is left of a control plane that was deleted before: with --destroy it goes too.
async fn delete_retained(app: &App, management: &Management, options: &DeleteOptions) -> Result<()> {
    let name = options.name.as_str();
    let Some(record) = record(management, name).await?.filter(is_detached) else {
        // The contexts may have outlived it, say when a GitOps tool deleted it.
        forget_contexts(app, name)?;
        return if options.ignore_not_found { Ok(()) } else { Err(not_found(management, name).await) };
    };
    if options.policy != Some(DeletionPolicy::Destroy) {
        return Err(Error::new(format!("control plane {name:?} is deleted already; its data remains"))
            .hint(format!("remove it with `kubectl vcp delete {name} --destroy`"))
            .hint(format!("or take it up again with `kubectl vcp create {name} --adopt`")));
    }
    let suffix = options.dry_run.suffix();
    if options.dry_run != DryRun::Client {
        let dry_run = options.dry_run == DryRun::Server;
        let records: Api<VirtualCluster> = Api::all(management.client.clone());
        let patch = json!({ "spec": { "deletionPolicy": DeletionPolicy::Destroy } });
        let parameters = PatchParams { dry_run, ..PatchParams::default() };
        records.patch(name, &parameters, &Patch::Merge(patch)).await?;
        let parameters = DeleteParams { dry_run, ..DeleteParams::default() }
            .preconditions(Preconditions { uid: record.uid(), resource_version: None });
        records.delete(name, &parameters).await?;
        if options.wait && !dry_run {
            gone(&records, name, record.uid(), options.timeout).await?;
        }
    }
    app.printer.result(&format!("virtualcluster.tenancy.kplane.dev/{name} deleted{suffix}"));
    if options.dry_run == DryRun::None {
        app.printer.result(if options.wait { "its data is removed" } else { "its data is being removed" });
    }
    Ok(())
}

/// Waits until an object is gone, or another of its name has come.
pub(super) async fn gone<K>(api: &Api<K>, name: &str, uid: Option<String>, timeout: Duration) -> Result<()>
where
    K: kube::Resource + Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    let what = format!("{name:?} to be gone");
    wait_until(api, name, None, timeout, &what, |object| match object {
        Some(object) if object.uid() == uid => {
            let finalizers = object.finalizers().join(", ");
            Progress::Waiting(if finalizers.is_empty() {
                "it is still there".into()
            } else {
                format!("held by {finalizers}")
            })
        }
        _ => Progress::Done(()),
    })
    .await
}

/// The policy by the object, or else by its class, or else Retain.
async fn policy_in_force(management: &Management, plane: &ControlPlane) -> Result<DeletionPolicy> {
    if let Some(policy) = plane.spec.deletion_policy {
        return Ok(policy);
    }
    let Some(class) = &plane.spec.class_ref else { return Ok(DeletionPolicy::Retain) };
    let classes: Api<ControlPlaneClass> = Api::all(management.client.clone());
    match classes.get(&class.name).await {
        Ok(class) => Ok(class.spec.deletion_policy.unwrap_or_default()),
        Err(error) if is_not_found(&error) => Ok(DeletionPolicy::Retain),
        Err(error) => Err(error.into()),
    }
}

/// Removes what `create` and `get-credentials` put into the kubeconfig.
fn forget_contexts(app: &App, name: &str) -> Result<()> {
    let merged = kubeconfig::Merged::load(&app.settings.kubeconfig)?;
    let own = context_name(name);
    let with_role = |context: &String| control_plane_of(context) == Some(name) && context.contains('@');
    let mut contexts: Vec<String> = merged.names(Section::Contexts).into_iter().filter(with_role).collect();
    contexts.push(own);
    let (any, current) = kubeconfig::edit(&app.settings.kubeconfig, |edit| {
        let mut all = (false, None);
        for context in &contexts {
            let removed = edit.remove_entry(context);
            all.0 |= removed.any;
            if removed.was_current {
                all.1 = Some(context.clone());
            }
        }
        Ok(all)
    })?;
    if any {
        app.printer.result(&format!("context \"{}\" removed", context_name(name)));
    }
    if let Some(context) = current {
        app.printer.warning(&format!(
            "\"{context}\" was the current context; choose another with `kubectl config use-context`"
        ));
    }
    Ok(())
}
