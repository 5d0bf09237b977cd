//! Fetches what a ControlPlane refers to (client required).

use k8s_openapi::api::core::v1::Namespace;
use kplane_crds::names;
use kplane_crds::tenancy::VirtualCluster;
use kplane_crds::v1alpha1::{ControlPlane, ControlPlaneClass, ControlPlaneEndpoint};
use kube::{Api, ResourceExt};

use crate::Error;
use crate::management::context::Context;
use crate::management::plane::Access;
use crate::management::secrets;

/// What a reference leads to.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Reference<K> {
    /// The field is not set.
    #[default]
    Unset,
    /// There is no object of this name.
    Missing(String),
    /// The object.
    Found(Box<K>),
}

/// The way to the shared API server and what it says of the path.
pub struct AtServer {
    /// The way.
    pub access: Access,
    /// The record at the path.
    pub record: Option<VirtualCluster>,
}

/// What a ControlPlane refers to, and what was made for it before.
pub struct Found {
    /// The class.
    pub class: Reference<ControlPlaneClass>,
    /// The endpoint the spec names, or else the one that would be made.
    pub endpoint: Reference<ControlPlaneEndpoint>,
    /// The namespace.
    pub namespace: Option<Namespace>,
    /// The Secret.
    pub secret: secrets::Found,
    /// The shared API server, or why it cannot be reached yet.
    pub server: Result<AtServer, String>,
}

/// Fetches all of it, at once.
pub async fn dereference(control_plane: &ControlPlane, context: &Context) -> Result<Found, Error> {
    let client = &context.client;
    let name = control_plane.name_any();
    let namespace = names::namespace(&name);
    let secret = names::kubeconfig_secret(&name);
    let endpoint_name = control_plane.spec.endpoint_ref.as_ref().map_or(&name, |r| &r.name);
    let class = class(control_plane, context);
    let endpoints: Api<ControlPlaneEndpoint> = Api::all(client.clone());
    let endpoint = endpoints.get_opt(endpoint_name);
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let (class, endpoint, namespace, secret, server) = tokio::join!(
        class,
        endpoint,
        namespaces.get_opt(&namespace),
        context.secrets.find(&namespace, &secret),
        server(control_plane, context),
    );
    let endpoint = match endpoint? {
        Some(endpoint) => Reference::Found(Box::new(endpoint)),
        None => Reference::Missing(endpoint_name.clone()),
    };
    Ok(Found { class: class?, endpoint, namespace: namespace?, secret: secret?, server: server? })
}

/// The class of a ControlPlane.
pub async fn class(
    control_plane: &ControlPlane,
    context: &Context,
) -> Result<Reference<ControlPlaneClass>, Error> {
    let Some(reference) = &control_plane.spec.class_ref else { return Ok(Reference::Unset) };
    let api: Api<ControlPlaneClass> = Api::all(context.client.clone());
    Ok(match api.get_opt(&reference.name).await? {
        Some(class) => Reference::Found(Box::new(class)),
        None => Reference::Missing(reference.name.clone()),
    })
}

/// The record of a ControlPlane's path. That there is no way to the server yet is an answer, not an error.
pub async fn server(
    control_plane: &ControlPlane,
    context: &Context,
) -> Result<Result<AtServer, String>, Error> {
    let access = match context.planes.access().await {
        Ok(access) => access,
        Err(Error::PlaneUnknown(why)) => return Ok(Err(why)),
        Err(error) => return Err(error),
    };
    let records: Api<VirtualCluster> = Api::all(access.client.clone());
    let record = records.get_opt(control_plane.cluster_path()).await?;
    Ok(Ok(AtServer { access, record }))
}
