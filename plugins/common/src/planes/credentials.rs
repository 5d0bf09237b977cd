//! Credentials: from the Secret of a control plane into the kubeconfig.

use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use kplane_crds::names;
use kplane_crds::reference::{LocalObjectReference, SecretReference};
use kplane_crds::v1alpha1::{
    ControlPlane, ControlPlaneCredential, ControlPlaneCredentialSpec, EXPIRATION_ANNOTATION,
    KUBECONFIG_EXTERNAL_KEY, KUBECONFIG_KEY,
};
use kube::ResourceExt;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::json;

use super::{api, create, read};
use crate::app::{App, Management};
use crate::error::{Error, Result, is_not_found};
use crate::kubeconfig::{self, Entry, Section, context_name, control_plane_of, role_context_name};
use crate::output::{self, Output};
use crate::wait::{Progress, readiness, wait_until};

/// Which credentials, and what becomes of them.
#[derive(Clone, Debug)]
pub struct CredentialOptions {
    /// The control plane.
    pub name: String,
    /// A ClusterRole in it, instead of its administrator.
    pub role: Option<String>,
    /// How long the credentials with a role are valid.
    pub duration: Option<String>,
    /// Whether the kubeconfig fetches fresh ones by itself.
    pub exec: bool,
    /// Print a kubeconfig instead of changing one.
    pub print: bool,
    /// Make the context the current one.
    pub set_current: bool,
    /// How long to wait for the control plane.
    pub timeout: Duration,
}

/// Takes the credentials of a control plane.
pub async fn get_credentials(app: &App, options: &CredentialOptions) -> Result<()> {
    let name = &options.name;
    let management = app.management().await?;
    let mut entry = fetch(&management, options).await?.entry;
    let context = match &options.role {
        Some(role) => role_context_name(name, role),
        None => context_name(name),
    };
    if options.exec {
        entry = super::exec::entry(app, &management, options, &entry)?;
    }
    if options.print || app.output.is_some() {
        let document = entry.document(&context);
        let text = match app.output {
            Some(Output::Json) => output::json(&document)?,
            Some(Output::Name) => format!("{context}\n"),
            _ => output::yaml(&document)?,
        };
        app.printer.data(&text);
        return Ok(());
    }
    merge(app, &context, &entry, options.set_current)
}

/// Credentials, and when they end.
pub(super) struct Fetched {
    /// The cluster and the user.
    pub entry: Entry,
    /// When the certificate ends, as its Secret says.
    pub expires: Option<String>,
}

/// Takes credentials from the management cluster, once they are there.
pub(super) async fn fetch(management: &Management, options: &CredentialOptions) -> Result<Fetched> {
    if options.duration.is_some() && options.role.is_none() {
        return Err(Error::new("--duration needs --role")
            .hint("the administrator's credentials are renewed by the management plane"));
    }
    let name = &options.name;
    let plane = read(management, name).await?;
    match &options.role {
        Some(role) => with_role(management, name, role, options).await,
        None => when_ready(management, plane, options.timeout).await,
    }
}

/// Makes a control plane's context the current one, taking its credentials when the kubeconfig has none.
pub async fn use_control_plane(app: &App, name: &str, timeout: Duration) -> Result<()> {
    let context = context_name(name);
    let merged = kubeconfig::Merged::load(&app.settings.kubeconfig)?;
    if merged.body(Section::Contexts, &context).is_none() {
        let management = app.management().await?;
        let plane = read(&management, name).await?;
        let fetched = when_ready(&management, plane, timeout).await?;
        return merge(app, &context, &fetched.entry, true);
    }
    kubeconfig::edit(&app.settings.kubeconfig, |edit| {
        edit.set_current_context(&context);
        Ok(())
    })?;
    app.printer.result(&format!("Switched to context \"{context}\"."));
    Ok(())
}

/// Puts an entry into the kubeconfig and says so.
pub fn merge(app: &App, context: &str, entry: &Entry, set_current: bool) -> Result<()> {
    kubeconfig::edit(&app.settings.kubeconfig, |edit| {
        edit.set_entry(context, entry);
        if set_current {
            edit.set_current_context(context);
        }
        Ok(())
    })?;
    app.printer.result(&if set_current {
        format!("context \"{context}\" set, and made the current one")
    } else {
        format!("context \"{context}\" set")
    });
    Ok(())
}

/// The credentials of a control plane, once it is ready.
async fn when_ready(management: &Management, plane: ControlPlane, timeout: Duration) -> Result<Fetched> {
    let name = plane.name_any();
    let what = format!("control plane {name:?} to be ready");
    let ready = wait_until(&api(management), &name, Some(plane), timeout, &what, |object| match object {
        Some(plane) => create::progress(plane),
        None => Progress::Failed(Error::new(format!("control plane {name:?} was deleted meanwhile"))),
    })
    .await?;
    fetch_secret(management, &reference_of(&ready)).await
}

/// The credentials of a control plane that is ready.
pub(super) async fn of_control_plane(management: &Management, plane: &ControlPlane) -> Result<Entry> {
    of_secret(management, &reference_of(plane)).await
}

/// The Secret of a control plane's administrator.
fn reference_of(plane: &ControlPlane) -> SecretReference {
    let name = plane.name_any();
    let reference = plane.status.as_ref().and_then(|status| status.kubeconfig_secret_ref.clone());
    reference
        .unwrap_or_else(|| SecretReference::new(names::namespace(&name), names::kubeconfig_secret(&name)))
}

/// The credentials of a ControlPlaneCredential that is ready.
pub(super) async fn of_credential(
    management: &Management,
    credential: &ControlPlaneCredential,
) -> Result<Entry> {
    let reference = credential.status.as_ref().and_then(|status| status.secret_ref.clone());
    let reference = reference.unwrap_or_else(|| {
        SecretReference::new(
            names::namespace(&credential.spec.control_plane_ref.name),
            names::credential_secret(&credential.name_any()),
        )
    });
    of_secret(management, &reference).await
}

/// The credentials that a context of ours is for; `None` when there is nothing to take them from.
pub async fn of_context(management: &Management, context: &str) -> Result<Option<Entry>> {
    let Some(name) = control_plane_of(context) else { return Ok(None) };
    let reference = match context.split_once('@') {
        None => {
            let Some(plane) = api(management).get_opt(name).await? else { return Ok(None) };
            plane.status.and_then(|status| status.kubeconfig_secret_ref)
        }
        Some((_, role)) => {
            let credentials: Api<ControlPlaneCredential> = Api::all(management.client.clone());
            let Some(object) = credentials.get_opt(&credential_name(name, role)).await? else {
                return Ok(None);
            };
            object.status.and_then(|status| status.secret_ref)
        }
    };
    match reference {
        Some(reference) => of_secret(management, &reference).await.map(Some),
        None => Ok(None),
    }
}

/// The kubeconfig in a Secret: the one for clients outside, or else the one for those inside.
async fn of_secret(management: &Management, reference: &SecretReference) -> Result<Entry> {
    Ok(fetch_secret(management, reference).await?.entry)
}

async fn fetch_secret(management: &Management, reference: &SecretReference) -> Result<Fetched> {
    let (namespace, name) =
        (reference.namespace.as_deref().unwrap_or_default(), reference.name.as_deref().unwrap_or_default());
    let origin = format!("Secret {namespace}/{name}");
    let failed = || Error::new(format!("cannot read the credentials in {origin}"));
    let secrets: Api<Secret> = Api::namespaced(management.client.clone(), namespace);
    let secret = secrets.get(name).await.map_err(|error| {
        let hint = is_not_found(&error).then_some("the controllers write it; see `kubectl vcp describe`");
        let error = Error::from(error).context(format!("cannot read the credentials in {origin}"));
        match hint {
            Some(hint) => error.hint(hint),
            None => error,
        }
    })?;
    let expires = secret.annotations().get(EXPIRATION_ANNOTATION).cloned();
    let data = secret.data.unwrap_or_default();
    let bytes = data.get(KUBECONFIG_EXTERNAL_KEY).or_else(|| data.get(KUBECONFIG_KEY)).ok_or_else(|| {
        failed().caused_by(&std::io::Error::other(format!("it has no key {KUBECONFIG_EXTERNAL_KEY}")))
    })?;
    let text = std::str::from_utf8(&bytes.0).map_err(|error| failed().caused_by(&error))?;
    Ok(Fetched { entry: Entry::parse(&origin, text)?, expires })
}

/// The object that gives a role in a control plane. No control plane has a dot in its name, so none meets another's.
pub(super) fn credential_name(control_plane: &str, role: &str) -> String {
    format!("{control_plane}.{}", role.replace(':', "-").to_lowercase())
}

/// Credentials with a role, through a ControlPlaneCredential.
async fn with_role(
    management: &Management,
    control_plane: &str,
    role: &str,
    options: &CredentialOptions,
) -> Result<Fetched> {
    let credentials: Api<ControlPlaneCredential> = Api::all(management.client.clone());
    let name = credential_name(control_plane, role);
    let spec = ControlPlaneCredentialSpec {
        control_plane_ref: LocalObjectReference::new(control_plane),
        role: role.to_owned(),
        duration: options.duration.clone().unwrap_or_else(|| "24h".into()),
        secret_ref: None,
        exports: None,
    };
    let object = ControlPlaneCredential::new(&name, spec);
    let start = match credentials.create(&PostParams::default(), &object).await {
        Ok(object) => object,
        Err(kube::Error::Api(status)) if status.is_already_exists() => {
            let mut patch = json!({ "spec": { "role": role } });
            if let Some(duration) = &options.duration {
                patch["spec"]["duration"] = json!(duration);
            }
            credentials.patch(&name, &PatchParams::default(), &Patch::Merge(patch)).await?
        }
        Err(error) => return Err(error.into()),
    };
    let what = format!("the credential {name:?} to be ready");
    let ready = wait_until(&credentials, &name, Some(start), options.timeout, &what, |object| {
        let Some(object) = object else {
            return Progress::Failed(Error::new(format!("the credential {name:?} was deleted meanwhile")));
        };
        let conditions = object.status.as_ref().map_or(&[][..], |status| &status.conditions);
        match readiness(&format!("the credential {name:?}"), conditions, object.metadata.generation) {
            Progress::Done(()) => Progress::Done(object.clone()),
            Progress::Waiting(why) => Progress::Waiting(why),
            Progress::Failed(error) => Progress::Failed(error),
        }
    })
    .await?;
    let reference = ready.status.and_then(|status| status.secret_ref).unwrap_or_else(|| {
        SecretReference::new(names::namespace(control_plane), names::credential_secret(&name))
    });
    fetch_secret(management, &reference).await
}
