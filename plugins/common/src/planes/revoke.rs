//! Calling credentials back: `revoke` ends them, `rotate` replaces them. Both only change custom resources; the controllers
//! see to it that what was issued before is refused everywhere at once.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use kplane_crds::v1alpha1::{ControlPlane, ControlPlaneCredential, REVOKE_ALL_ANNOTATION, ROTATE_ANNOTATION};
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, Patch, PatchParams, Preconditions};
use serde_json::json;

use super::credentials::{credential_name, of_control_plane, of_credential};
use super::delete::gone;
use super::{api, read};
use crate::app::{App, Management};
use crate::error::{Error, Result, is_not_found};
use crate::kubeconfig::{self, Entry, Section, context_name, control_plane_of, role_context_name};
use crate::wait::{Progress, readiness, wait_until};

/// Which credentials of a control plane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Which {
    /// The administrator's, in the Secret of the control plane.
    Administrator,
    /// Those that `get-credentials --role` made.
    Role(String),
    /// Those of a ControlPlaneCredential.
    Named(String),
    /// All that was ever issued for it.
    All,
}

/// What `revoke` and `rotate` are to do.
#[derive(Clone, Debug)]
pub struct RevokeOptions {
    /// The control plane.
    pub name: String,
    /// Which of its credentials.
    pub which: Which,
    /// How long to wait until it is done.
    pub timeout: Duration,
}

fn credentials(management: &Management) -> Api<ControlPlaneCredential> {
    Api::all(management.client.clone())
}

/// One of a control plane's credentials; another's is not touched.
async fn named(management: &Management, name: &str, object: &str) -> Result<ControlPlaneCredential> {
    let found = credentials(management).get(object).await;
    let found = found.map_err(|error| match is_not_found(&error) {
        true => Error::new(format!("there is no ControlPlaneCredential {object:?}"))
            .hint(format!("see those there are with `kubectl get controlplanecredentials`, or use --role for what `kubectl vcp get-credentials {name} --role` made")),
        false => error.into(),
    })?;
    let of = &found.spec.control_plane_ref.name;
    if of != name {
        return Err(Error::new(format!(
            "the ControlPlaneCredential {object:?} is of {of:?}, not of {name:?}"
        )));
    }
    Ok(found)
}

/// Ends credentials.
pub async fn revoke(app: &App, options: &RevokeOptions) -> Result<()> {
    let name = &options.name;
    let management = app.management().await?;
    match &options.which {
        Which::Administrator => Err(Error::new("say which credentials to revoke")
            .hint("--role or --credential ends one of them; --all ends all that was ever issued")
            .hint(format!("the administrator's are replaced by `kubectl vcp rotate {name}`"))),
        Which::Role(role) => {
            end(app, &management, name, &credential_name(name, role), options.timeout).await?;
            forget(app, &role_context_name(name, role))
        }
        Which::Named(object) => end(app, &management, name, object, options.timeout).await,
        Which::All => all(app, &management, options).await,
    }
}

/// Deletes a ControlPlaneCredential and waits until its certificate is refused.
async fn end(app: &App, management: &Management, name: &str, object: &str, timeout: Duration) -> Result<()> {
    let found = named(management, name, object).await?;
    let parameters =
        DeleteParams::default().preconditions(Preconditions { uid: found.uid(), resource_version: None });
    credentials(management).delete(object, &parameters).await?;
    let step = app.printer.step(format!("waiting for {object} to be revoked"));
    gone(&credentials(management), object, found.uid(), timeout).await?;
    step.done();
    app.printer.result(&format!("controlplanecredential.controlplane.kplane.dev/{object} revoked"));
    Ok(())
}

async fn all(app: &App, management: &Management, options: &RevokeOptions) -> Result<()> {
    let name = &options.name;
    let plane = read(management, name).await?;
    let epoch = plane.status.as_ref().and_then(|status| status.credential_epoch);
    annotate(management, name, REVOKE_ALL_ANNOTATION, &now()).await?;
    let step = app.printer.step(format!("waiting for all credentials of {name} to be revoked"));
    let what = format!("the credentials of {name:?} to be revoked");
    wait_until(&api(management), name, None, options.timeout, &what, |object| match object {
        Some(plane) if plane.status.as_ref().and_then(|status| status.credential_epoch) > epoch => {
            Progress::Done(())
        }
        Some(_) => Progress::Waiting("the controllers have not done it yet".into()),
        None => Progress::Failed(Error::new(format!("control plane {name:?} was deleted meanwhile"))),
    })
    .await?;
    step.done();
    app.printer.result(&format!("all that was issued for {name} is revoked"));
    // What is declared is issued anew; the contexts of this user follow.
    let entry = renewed(management, name, options.timeout, |plane| {
        let status = plane.status.as_ref();
        let conditions = status.map_or(&[][..], |status| &status.conditions);
        let ready = readiness("the control plane", conditions, plane.metadata.generation);
        status.and_then(|status| status.credential_epoch) > epoch && matches!(ready, Progress::Done(()))
    })
    .await?;
    replace(app, &context_name(name), &entry)?;
    let merged = kubeconfig::Merged::load(&app.settings.kubeconfig)?;
    for context in merged.names(Section::Contexts) {
        let role = context.split_once('@').map(|(_, role)| role);
        if let (Some(of), Some(role)) = (control_plane_of(&context), role)
            && of == name
        {
            let command = format!("kubectl vcp get-credentials {name} --role {role} --set-current=false");
            app.printer.next(&format!("take new credentials for the context {context}:"), &command);
        }
    }
    Ok(())
}

/// Replaces credentials: what was issued before is refused, and a new certificate is in its place.
pub async fn rotate(app: &App, options: &RevokeOptions) -> Result<()> {
    let name = &options.name;
    let management = app.management().await?;
    let value = now();
    let (object, context) = match &options.which {
        Which::All => {
            return Err(Error::new("rotate replaces one credential")
                .hint(format!("`kubectl vcp revoke {name} --all` ends all of them")));
        }
        Which::Administrator => {
            read(&management, name).await?;
            annotate(&management, name, ROTATE_ANNOTATION, &value).await?;
            let step = app.printer.step(format!("waiting for new credentials of {name}"));
            let entry = renewed(&management, name, options.timeout, |plane| {
                plane.status.as_ref().and_then(|status| status.rotation.as_deref()) == Some(value.as_str())
            })
            .await?;
            step.done();
            app.printer.result(&format!("the administrator's credentials of {name} are rotated"));
            return replace(app, &context_name(name), &entry);
        }
        Which::Role(role) => (credential_name(name, role), Some(role_context_name(name, role))),
        Which::Named(object) => (object.clone(), None),
    };
    named(&management, name, &object).await?;
    let patch = json!({ "metadata": { "annotations": { ROTATE_ANNOTATION: value } } });
    credentials(&management).patch(&object, &PatchParams::default(), &Patch::Merge(patch)).await?;
    let step = app.printer.step(format!("waiting for {object} to be rotated"));
    let what = format!("the credential {object:?} to be rotated");
    let done =
        wait_until(&credentials(&management), &object, None, options.timeout, &what, |found| match found {
            Some(found) => {
                let rotation = found.status.as_ref().and_then(|status| status.rotation.as_deref());
                if rotation == Some(value.as_str()) {
                    Progress::Done(found.clone())
                } else {
                    Progress::Waiting("the controllers have not done it yet".into())
                }
            }
            None => Progress::Failed(Error::new(format!("the credential {object:?} was deleted meanwhile"))),
        })
        .await?;
    step.done();
    app.printer.result(&format!("controlplanecredential.controlplane.kplane.dev/{object} rotated"));
    match context {
        Some(context) => replace(app, &context, &of_credential(&management, &done).await?),
        None => Ok(()),
    }
}

/// The new credentials of a control plane's administrator, once its status is as wanted.
async fn renewed(
    management: &Management,
    name: &str,
    timeout: Duration,
    wanted: impl Fn(&ControlPlane) -> bool,
) -> Result<Entry> {
    let what = format!("new credentials of {name:?}");
    let plane: ControlPlane =
        wait_until(&api(management), name, None, timeout, &what, |object| match object {
            Some(plane) if wanted(plane) => Progress::Done(plane.clone()),
            Some(_) => Progress::Waiting("the controllers have not written them yet".into()),
            None => Progress::Failed(Error::new(format!("control plane {name:?} was deleted meanwhile"))),
        })
        .await?;
    of_control_plane(management, &plane).await
}

async fn annotate(management: &Management, name: &str, annotation: &str, value: &str) -> Result<()> {
    let patch = json!({ "metadata": { "annotations": { annotation: value } } });
    api(management).patch(name, &PatchParams::default(), &Patch::Merge(patch)).await?;
    Ok(())
}

fn now() -> String {
    Timestamp::now().to_string()
}

/// Puts new credentials where the kubeconfig has old ones. One that fetches its own needs none.
fn replace(app: &App, context: &str, entry: &Entry) -> Result<()> {
    let merged = kubeconfig::Merged::load(&app.settings.kubeconfig)?;
    let user = merged.body(Section::Users, context);
    if merged.body(Section::Contexts, context).is_none() || user.is_some_and(|user| user["exec"].is_object())
    {
        return Ok(());
    }
    kubeconfig::edit(&app.settings.kubeconfig, |edit| {
        edit.set_entry(context, entry);
        Ok(())
    })?;
    app.printer.result(&format!("context \"{context}\" set"));
    Ok(())
}

/// Removes a context whose credentials ended.
fn forget(app: &App, context: &str) -> Result<()> {
    let removed = kubeconfig::edit(&app.settings.kubeconfig, |edit| Ok(edit.remove_entry(context)))?;
    if removed.any {
        app.printer.result(&format!("context \"{context}\" removed"));
    }
    if removed.was_current {
        app.printer.warning(&format!(
            "\"{context}\" was the current context; choose another with `kubectl config use-context`"
        ));
    }
    Ok(())
}
