//! The ManagementPlane, which every provider ends with.

use std::time::{Duration, Instant};

use kplane_crds::v1alpha1::{MANAGEMENT_PLANE_NAME, ManagementPlane, ManagementPlaneSpec};
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::json;

use crate::app::{App, Management};
use crate::error::{Error, Result, is_unknown_kind, not_installed};
use crate::wait::{Progress, readiness, wait_until};

/// Makes the ManagementPlane if there is none, sets its port right, and waits until it is ready.
pub(super) async fn ready(
    management: &Management,
    wanted: ManagementPlaneSpec,
    timeout: Duration,
) -> Result<ManagementPlane> {
    let api: Api<ManagementPlane> = Api::all(management.client.clone());
    let end = Instant::now() + timeout;
    let port = wanted.exposure.port;
    let wanted = ManagementPlane::new(MANAGEMENT_PLANE_NAME, wanted);
    let object = loop {
        match api.create(&PostParams::default(), &wanted).await {
            Ok(object) => break object,
            Err(kube::Error::Api(status)) if status.is_already_exists() => {
                let object = api.get(MANAGEMENT_PLANE_NAME).await?;
                if port.is_none() || object.spec.exposure.port == port {
                    break object;
                }
                let patch = json!({ "spec": { "exposure": { "port": port } } });
                let parameters = PatchParams::default();
                break api.patch(MANAGEMENT_PLANE_NAME, &parameters, &Patch::Merge(patch)).await?;
            }
            // The controllers make the kinds when they start.
            Err(error) if is_unknown_kind(&error) => {
                if Instant::now() >= end {
                    return Err(not_installed(&error));
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            Err(error) => return Err(error.into()),
        }
    };
    let left = end.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
    wait_until(
        &api,
        MANAGEMENT_PLANE_NAME,
        Some(object),
        left,
        "the management plane to be ready",
        |object| match object {
            Some(object) => {
                let conditions = object.status.as_ref().map_or(&[][..], |status| &status.conditions);
                match readiness("the management plane", conditions, object.metadata.generation) {
                    Progress::Done(()) => Progress::Done(object.clone()),
                    Progress::Waiting(why) => Progress::Waiting(why),
                    Progress::Failed(error) => Progress::Failed(error),
                }
            }
            None => Progress::Failed(Error::new("the management plane was deleted")),
        },
    )
    .await
}

/// Remembers the provider, and the context of a cluster that it does not name itself, so that the next command need
/// not name them. With another provider a context that was remembered leads to the wrong cluster, and is forgotten.
pub(super) fn remember(app: &App, context: Option<&str>) -> Result<()> {
    let mut file = app.settings.file.clone();
    let profile = app.settings.profile.clone();
    let provider = app.settings.provider.as_str();
    let before = file.text(&profile, &["provider"])?;
    let known = file.text(&profile, &["managementContext"])?;
    let other_provider = before.as_deref() != Some(provider);
    let wanted = match context {
        None if !other_provider => known.clone(),
        given => given.map(str::to_owned),
    };
    if !other_provider && known == wanted {
        return Ok(());
    }
    file.set(&profile, &["provider"], json!(provider));
    if known != wanted {
        file.set(&profile, &["managementContext"], json!(wanted.unwrap_or_default()));
    }
    file.save()
}
