//! Builds the copies (no client required).

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kplane_crds::conditions::reason;
use kplane_crds::v1alpha1::{
    ArgoCdExport, ClusterApiExport, ExportedEndpoint, Exports, KUBECONFIG_EXTERNAL_KEY, KUBECONFIG_KEY,
    NAME_LABEL,
};
use kube::ResourceExt;
use serde_json::{Value, json};

use super::{Trouble, asked_labels, reference};
use crate::Error;

/// The label by which Argo CD knows what a Secret is.
const ARGO_CD_LABEL: &str = "argocd.argoproj.io/secret-type";
/// The label by which Cluster API knows the cluster of a Secret.
const CLUSTER_API_LABEL: &str = "cluster.x-k8s.io/cluster-name";
/// The type of Cluster API's Secrets.
const CLUSTER_API_TYPE: &str = "cluster.x-k8s.io/secret";

/// What copies are made of.
pub struct Source<'a> {
    /// The name of the object that asks for them.
    pub name: &'a str,
    /// The name of the ControlPlane, for the label.
    pub control_plane: &'a str,
    /// The name of Argo CD's Secret, unless the spec names one.
    pub argo_cd_secret: String,
    /// The owner of the copies.
    pub owner: OwnerReference,
    /// The Secret with the kubeconfigs.
    pub secret: &'a Secret,
}

/// The copies that a spec asks for.
pub fn build(exports: Option<&Exports>, source: &Source<'_>) -> Result<Vec<Secret>, Trouble> {
    let Some(exports) = exports else { return Ok(Vec::new()) };
    let mut all = Vec::new();
    if let Some(export) = &exports.argo_cd {
        all.push(argo_cd(export, source).map_err(Trouble::Failed)?);
    }
    if let Some(export) = &exports.cluster_api {
        all.push(cluster_api(export, source).map_err(Trouble::Failed)?);
    }
    let mut taken = vec![reference(source.secret)];
    for secret in &all {
        let at = reference(secret);
        if taken.contains(&at) {
            let (namespace, name) = (secret.namespace().unwrap_or_default(), secret.name_any());
            return Err(Trouble::refused(
                reason::INVALID_SPEC,
                format!("spec.exports asks for two things in one Secret, {namespace}/{name}"),
            ));
        }
        taken.push(at);
    }
    Ok(all)
}

fn argo_cd(export: &ArgoCdExport, source: &Source<'_>) -> Result<Secret, Error> {
    let kubeconfig = Parts::read(source.secret, export.endpoint)?;
    let config = json!({ "tlsClientConfig": {
        "insecure": false,
        "caData": kubeconfig.ca,
        "certData": kubeconfig.certificate,
        "keyData": kubeconfig.key,
    }});
    let name = export.cluster_name.clone().unwrap_or_else(|| source.name.to_owned());
    let mut data = vec![("name", name), ("server", kubeconfig.server), ("config", config.to_string())];
    if let Some(project) = &export.project {
        data.push(("project", project.clone()));
    }
    let mut labels = export.labels.clone();
    labels.insert(ARGO_CD_LABEL.to_owned(), "cluster".to_owned());
    let name = export.secret_name.clone().unwrap_or_else(|| source.argo_cd_secret.clone());
    let mut secret = copy(source, &export.namespace, name, "Opaque", labels, data);
    secret.metadata.annotations = Some(asked_labels(&export.labels));
    Ok(secret)
}

fn cluster_api(export: &ClusterApiExport, source: &Source<'_>) -> Result<Secret, Error> {
    let cluster = export.cluster_name.as_deref().unwrap_or(source.name);
    let data = vec![("value", text(source.secret, export.endpoint)?.to_owned())];
    let labels = BTreeMap::from([(CLUSTER_API_LABEL.to_owned(), cluster.to_owned())]);
    let name = format!("{cluster}-kubeconfig");
    Ok(copy(source, &export.namespace, name, CLUSTER_API_TYPE, labels, data))
}

fn copy(
    source: &Source<'_>,
    namespace: &str,
    name: String,
    type_: &str,
    mut labels: BTreeMap<String, String>,
    data: Vec<(&str, String)>,
) -> Secret {
    labels.insert(NAME_LABEL.to_owned(), source.control_plane.to_owned());
    let data = data.into_iter().map(|(key, value)| (key.to_owned(), ByteString(value.into_bytes())));
    Secret {
        metadata: ObjectMeta {
            name: Some(name),
            namespace: Some(namespace.to_owned()),
            labels: Some(labels),
            owner_references: Some(vec![source.owner.clone()]),
            ..ObjectMeta::default()
        },
        type_: Some(type_.to_owned()),
        data: Some(data.collect()),
        ..Secret::default()
    }
}

/// The kubeconfig for one of the addresses.
fn text(secret: &Secret, endpoint: ExportedEndpoint) -> Result<&str, Error> {
    let key = match endpoint {
        ExportedEndpoint::Internal => KUBECONFIG_KEY,
        ExportedEndpoint::External => KUBECONFIG_EXTERNAL_KEY,
    };
    let bytes = secret.data.as_ref().and_then(|data| data.get(key));
    bytes.and_then(|bytes| std::str::from_utf8(&bytes.0).ok()).ok_or_else(|| unreadable("it is not there"))
}

fn unreadable(why: impl std::fmt::Display) -> Error {
    Error::Convert { what: "the kubeconfig in the Secret", message: why.to_string() }
}

/// What a kubeconfig of ours says, each part in base64 as it is there.
struct Parts {
    server: String,
    ca: Option<String>,
    certificate: String,
    key: String,
}

impl Parts {
    fn read(secret: &Secret, endpoint: ExportedEndpoint) -> Result<Self, Error> {
        let config: Value = serde_saphyr::from_str(text(secret, endpoint)?).map_err(unreadable)?;
        let part = |pointer: &str| config.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
        let needed = |pointer: &str| part(pointer).ok_or_else(|| unreadable(format!("it has no {pointer}")));
        Ok(Self {
            server: needed("/clusters/0/cluster/server")?,
            ca: part("/clusters/0/cluster/certificate-authority-data"),
            certificate: needed("/users/0/user/client-certificate-data")?,
            key: needed("/users/0/user/client-key-data")?,
        })
    }
}
