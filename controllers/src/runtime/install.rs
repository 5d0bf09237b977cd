//! Applying the CustomResourceDefinitions.

use std::time::Duration;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Client;
use kube::api::{Api, Patch, PatchParams, PostParams};

use super::raw;
use super::status::FIELD_MANAGER;
use crate::Error;

/// How long a definition may take to be established.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// Applies our CustomResourceDefinitions and waits until all are established.
pub async fn install(client: &Client) -> Result<(), Error> {
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    let definitions = kplane_crds::definitions();
    futures::future::try_join_all(definitions.iter().map(|definition| apply(&api, definition))).await?;
    let established = definitions.iter().map(|definition| established(&api, definition));
    tokio::time::timeout(LONGEST_WAIT, futures::future::try_join_all(established))
        .await
        .map_err(|_| Error::Wait("the CustomResourceDefinitions were not established in time".into()))??;
    Ok(())
}

async fn apply(
    api: &Api<CustomResourceDefinition>,
    definition: &CustomResourceDefinition,
) -> Result<(), kube::Error> {
    let name = definition.metadata.name.as_deref().unwrap_or_default();
    let params = PatchParams::apply(FIELD_MANAGER).force();
    match api.patch(name, &params, &Patch::Apply(definition)).await {
        Ok(_) => return Ok(()),
        // A server without server-side apply.
        Err(error) if matches!(raw::code(&error), Some(415 | 501)) => {}
        Err(error) => return Err(error),
    }
    let mut tries = 0;
    loop {
        let result = match api.get_opt(name).await? {
            None => api.create(&PostParams::default(), definition).await,
            Some(mut current) => {
                if current.spec == definition.spec {
                    return Ok(());
                }
                current.spec = definition.spec.clone();
                api.replace(name, &PostParams::default(), &current).await
            }
        };
        match result {
            Ok(_) => return Ok(()),
            Err(error) if raw::is_conflict(&error) && tries < 5 => tries += 1,
            Err(error) => return Err(error),
        }
    }
}

async fn established(
    api: &Api<CustomResourceDefinition>,
    definition: &CustomResourceDefinition,
) -> Result<(), Error> {
    let name = definition.metadata.name.as_deref().unwrap_or_default();
    let mut wait = Duration::from_millis(5);
    loop {
        if api.get_opt(name).await?.is_some_and(|current| is_established(&current)) {
            return Ok(());
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(Duration::from_millis(500));
    }
}

fn is_established(definition: &CustomResourceDefinition) -> bool {
    let conditions = definition.status.as_ref().and_then(|s| s.conditions.as_ref());
    conditions.into_iter().flatten().any(|c| c.type_ == "Established" && c.status == "True")
}
