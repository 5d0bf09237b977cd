//! Writes what was built (client required).

use k8s_openapi::api::core::v1::{Namespace, Secret};
use kplane_crds::conditions::{CREDENTIALS_READY, reason};
use kplane_crds::names;
use kplane_crds::reference::SecretReference;
use kplane_crds::tenancy::VirtualCluster;
use kplane_crds::v1alpha1::{ControlPlane, ControlPlaneEndpoint, ControlPlaneStatus};
use kube::api::PostParams;
use kube::{Api, ResourceExt};

use super::build::{Prepared, owner};
use super::status::Progress;
use super::validate::{Claim, Refusal};
use crate::Error;
use crate::management::access::{self, SecretPlan, is_controlled_by};
use crate::management::context::Context;
use crate::management::exports::{self, Exported};
use crate::management::kubeconfig::{Validity, is_current};
use crate::management::secrets::Found;
use crate::runtime::raw;

/// Writes it, in the order that makes each step safe: nothing is written before the path is ours.
pub async fn apply(
    control_plane: &ControlPlane,
    prepared: Prepared,
    context: &Context,
    now: jiff::Timestamp,
) -> Progress {
    let mut progress = Progress::default();
    let record = match claim(control_plane, &prepared, context).await {
        Ok(Ok(record)) => record,
        Ok(Err(refusal)) => return Progress::refused(refusal),
        Err(error) => return Progress::failed(error),
    };
    progress.record_uid = record.uid();
    progress.epoch = record.spec.credential_epoch;
    progress.addons = Some(prepared.valid.addons());

    let (namespace, endpoint) =
        tokio::join!(apply_namespace(&prepared, context), apply_endpoint(&prepared, context));
    if let Err(error) = endpoint {
        return progress.and_failed(error);
    }
    progress.addresses =
        Some((prepared.valid.addresses.internal.clone(), prepared.valid.addresses.external.clone()));
    if let Err(error) = namespace {
        return progress.and_failed(error);
    }
    match credentials(control_plane, &prepared, &record, context, now).await {
        Ok(Ok((secret, validity))) => {
            progress.secret =
                Some(SecretReference::new(secret.namespace().unwrap_or_default(), secret.name_any()));
            progress.validity = Some(validity);
            match export(control_plane, &secret, context).await {
                Ok(exported) => progress.and_exported(exported),
                Err(error) => progress.and_failed(error),
            }
        }
        Ok(Err(refusal)) => {
            progress.refusal = Some(refusal);
            progress
        }
        Err(error) => progress.and_failed(error),
    }
}

/// Claims the path by creating or taking over the record. That another was faster is a refusal at the next look.
async fn claim(
    control_plane: &ControlPlane,
    prepared: &Prepared,
    context: &Context,
) -> Result<Result<VirtualCluster, Refusal>, Error> {
    let records: Api<VirtualCluster> = Api::all(prepared.valid.access.client.clone());
    let written = match (&prepared.valid.claim, &prepared.record) {
        (Claim::Keep(current) | Claim::Adopt(current), None) => return Ok(Ok(current.as_ref().clone())),
        (Claim::Create, None) => return Err(Error::Wait("there is no record to create".into())),
        (Claim::Create, Some(record)) => records.create(&PostParams::default(), record).await,
        // The resourceVersion of what was decided upon goes with it.
        (_, Some(record)) => {
            records.replace(&prepared.valid.cluster_path, &PostParams::default(), record).await
        }
    };
    match written {
        Ok(record) => {
            if matches!(prepared.valid.claim, Claim::Adopt(_)) {
                let note = format!("adopted the retained control plane {}", record.uid().unwrap_or_default());
                context.events.normal(control_plane, "Adopted", note).await;
            }
            Ok(Ok(record))
        }
        Err(error) if raw::is_conflict(&error) => Ok(Err(Refusal {
            condition: kplane_crds::conditions::ACCEPTED,
            reason: reason::PROGRESSING,
            message: "the record of the path changed meanwhile".into(),
            stalled: false,
        })),
        Err(error) => Err(error.into()),
    }
}

/// Writes the credentials in the other forms that the spec asks for.
async fn export(control_plane: &ControlPlane, secret: &Secret, context: &Context) -> Result<Exported, Error> {
    let status = control_plane.status.clone().unwrap_or_default();
    let recorded = &status.exported_secret_refs;
    let asked = control_plane.spec.exports.as_deref();
    if asked.is_none() && recorded.is_empty() {
        return Ok(Exported::default());
    }
    let name = control_plane.name_any();
    let source = exports::Source {
        name: &name,
        control_plane: &name,
        argo_cd_secret: names::argo_cd_secret(&name),
        owner: owner(control_plane),
        secret,
    };
    let wanted = match exports::build(asked, &source) {
        Ok(wanted) => wanted,
        Err(trouble) => {
            return Ok(Exported::troubled(recorded.clone(), trouble));
        }
    };
    if let Some(all) = exports::to_record(&wanted, recorded) {
        let new = ControlPlaneStatus { exported_secret_refs: all, ..status.clone() };
        let api: Api<ControlPlane> = Api::all(context.client.clone());
        crate::runtime::status::write(&api, control_plane, control_plane.status.as_ref(), &new).await?;
    }
    Ok(exports::apply(&context.secrets, &source.owner.uid, &wanted, recorded).await)
}

async fn apply_namespace(prepared: &Prepared, context: &Context) -> Result<(), Error> {
    let Some(namespace) = &prepared.namespace else { return Ok(()) };
    let api: Api<Namespace> = Api::all(context.client.clone());
    match api.create(&PostParams::default(), namespace).await {
        Ok(_) => Ok(()),
        Err(error) if raw::is_conflict(&error) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

async fn apply_endpoint(prepared: &Prepared, context: &Context) -> Result<(), Error> {
    let Some(endpoint) = &prepared.endpoint else { return Ok(()) };
    let api: Api<ControlPlaneEndpoint> = Api::all(context.client.clone());
    if endpoint.metadata.resource_version.is_some() {
        api.replace(&endpoint.name_any(), &PostParams::default(), endpoint).await?;
    } else {
        api.create(&PostParams::default(), endpoint).await?;
    }
    Ok(())
}

/// Sees to the role of the kubeconfig's user, its certificate and the Secret.
async fn credentials(
    control_plane: &ControlPlane,
    prepared: &Prepared,
    record: &VirtualCluster,
    context: &Context,
    now: jiff::Timestamp,
) -> Result<Result<(Secret, Validity), Refusal>, Error> {
    let valid = &prepared.valid;
    let name = control_plane.name_any();
    let record_uid = record.uid().unwrap_or_default();
    let lifetime = context.options.credential_lifetime;
    let epoch = record.spec.credential_epoch.unwrap_or(0);
    let plan = SecretPlan {
        namespace: names::namespace(&name),
        name: names::kubeconfig_secret(&name),
        control_plane: name,
        owner: owner(control_plane),
        inputs: access::inputs(&prepared.grant, &record_uid, epoch, &valid.addresses, lifetime),
        grant: prepared.grant.clone(),
        addresses: valid.addresses.clone(),
    };
    let current = match &valid.found.secret {
        Found::Secret(secret) if is_controlled_by(&secret.metadata, &plan.owner.uid) => Some(secret),
        Found::Secret(_) | Found::Hidden => {
            return Ok(Err(Refusal {
                condition: CREDENTIALS_READY,
                reason: reason::NOT_OURS,
                message: format!(
                    "there is a Secret {}/{} that this object did not make",
                    plan.namespace, plan.name
                ),
                stalled: true,
            }));
        }
        Found::Nothing => None,
    };
    if let Some(secret) = current
        && is_current(secret, &plan.inputs, now)
        && let Some(validity) = Validity::of(secret)
    {
        plan.grant.verify(&valid.access).await?;
        return Ok(Ok((secret.as_ref().clone(), validity)));
    }
    let (granted, credential) = tokio::join!(
        plan.grant.ensure(&valid.access),
        access::request(&valid.access, &plan.grant, lifetime),
    );
    granted?;
    let secret = plan.build(&credential?, now)?;
    let api = context.secrets.of(&plan.namespace);
    let written = access::write_secret(&api, secret, current.map(Box::as_ref)).await?;
    let validity = Validity::of(&written).ok_or_else(|| Error::Convert {
        what: "the Secret that was written",
        message: "it does not say when it ends".into(),
    })?;
    Ok(Ok((written, validity)))
}
