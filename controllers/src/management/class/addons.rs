//! From the names of add-ons to layers at the shared API server (client required).

use k8s_openapi::api::core::v1::ConfigMap;
use kplane_crds::conditions::reason;
use kplane_crds::tenancy::{self, Layer};
use kplane_crds::v1alpha1::ClassAddon;
use kube::Api;

use crate::Error;
use crate::management::context::Context;
use crate::management::plane::Access;
use crate::runtime::raw::Raw;

/// The add-ons of a class.
#[derive(Debug, Default, PartialEq)]
pub struct Addons {
    /// Those that have a layer, in the order of the class. One that cannot be had now keeps the layer it had.
    pub layers: Vec<ClassAddon>,
    /// What is wrong: a reason and a message.
    pub problem: Option<(&'static str, String)>,
}

impl Addons {
    /// What is known while the shared API server cannot be asked.
    pub fn unreached(names: &[String], known: &[ClassAddon], error: &Error) -> Self {
        let reason = match error {
            Error::PlaneUnknown(_) => reason::MANAGEMENT_PLANE_PENDING,
            _ => reason::RETRYING,
        };
        Self { layers: kept(names, known), problem: Some((reason, error.to_string())) }
    }
}

/// The manifests of the add-ons that need no ConfigMap; one of the same name goes before them. `starter` is the one that
/// classes of the first kplane name, with what it had.
fn built_in(name: &str) -> Option<&'static str> {
    (name == "starter").then_some("apiVersion: v1\nkind: Namespace\nmetadata: {name: kplane-system}\n")
}

fn kept(names: &[String], known: &[ClassAddon]) -> Vec<ClassAddon> {
    names.iter().filter_map(|name| known.iter().find(|addon| addon.name == *name)).cloned().collect()
}

/// Uploads the layer of each add-on. One that is not there or not valid is a problem of the class, not an error.
pub async fn resolve(names: &[String], known: &[ClassAddon], context: &Context) -> Result<Addons, Error> {
    let mut addons = Addons::default();
    if names.is_empty() {
        return Ok(addons);
    }
    let access = context.planes.access().await?;
    let config_maps: Api<ConfigMap> = Api::namespaced(context.client.clone(), &access.namespace);
    let mut problems = Vec::new();
    for (index, name) in names.iter().enumerate() {
        if names.iter().take(index).any(|other| other == name) {
            continue;
        }
        let found = match config_maps.get_opt(name).await? {
            // By key, so that the same ConfigMap is always the same layer.
            Some(config_map) => {
                let manifests = config_map.data.unwrap_or_default().into_values().collect();
                upload(name, manifests, &access).await?
            }
            None => match built_in(name) {
                Some(manifest) => upload(name, vec![manifest.to_owned()], &access).await?,
                None => Err((
                    reason::ADDON_NOT_FOUND,
                    format!("there is no ConfigMap {name} in the namespace {}", access.namespace),
                )),
            },
        };
        match found {
            Ok(addon) => addons.layers.push(addon),
            Err(problem) => {
                addons.layers.extend(known.iter().find(|addon| addon.name == *name).cloned());
                problems.push(problem);
            }
        }
    }
    if let Some((reason, _)) = problems.first() {
        let told: Vec<String> = problems.iter().map(|(_, message)| message.clone()).collect();
        addons.problem = Some((reason, told.join("; ")));
    }
    Ok(addons)
}

/// Uploads one add-on, or says what is wrong with it.
async fn upload(
    name: &str,
    manifests: Vec<String>,
    access: &Access,
) -> Result<Result<ClassAddon, (&'static str, String)>, Error> {
    let layer = Layer::new(name, manifests);
    let path = format!("/apis/{}/{}/layers", tenancy::GROUP, tenancy::VERSION);
    let answer = Raw::new(access.client.clone()).post(&path, &serde_json::to_value(&layer)?).await;
    match answer {
        Ok(answer) => {
            let answer: Layer = serde_json::from_value(answer)?;
            let status = answer.status.ok_or_else(|| Error::Convert {
                what: "the answer to an upload of a layer",
                message: "it has no status".into(),
            })?;
            Ok(Ok(ClassAddon { name: name.to_owned(), layer: status.hash, objects: status.objects }))
        }
        Err(kube::Error::Api(status)) if matches!(status.code, 400 | 413 | 422) => {
            Ok(Err((reason::ADDON_INVALID, format!("add-on {name}: {}", status.message))))
        }
        Err(error) => Err(error.into()),
    }
}
