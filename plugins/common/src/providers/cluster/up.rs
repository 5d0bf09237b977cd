//! Installing the management plane into a cluster, which is made first where the provider makes clusters.

use std::time::{Duration, Instant};

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Node;
use kplane_crds::v1alpha1::{
    EtcdSpec, ExposureType, MANAGEMENT_PLANE_NAME, ManagedEtcd, ManagementPlane, ManagementPlaneSpec,
    StoreType, Topology,
};
use kube::api::{Api, ListParams};

use super::tool::Tool;
use super::{MADE_BY_UP, NODE_PORT, image, manifests};
use crate::app::{App, Management};
use crate::error::{Error, Result};
use crate::kubeconfig::{self, Merged};
use crate::providers::local::port::{self, Choice};
use crate::providers::{DEFAULT_PORT, ProviderName, UpRequest, plane};
use crate::wait::{Progress, wait_until};

/// The Deployment of the controllers.
const CONTROLLERS: &str = "kplane-controllers";

pub(super) async fn up(provider: ProviderName, app: &App, request: &UpRequest) -> Result<()> {
    // What is broken on the user's side is told before anything is made.
    let merged = Merged::load(&app.settings.kubeconfig)?;
    let archive = image::archive(request.image_archive.as_deref())?;
    let end = Instant::now() + request.timeout;
    let left = || end.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
    let tool = Tool::of(provider, &app.settings.cluster_name, &app.settings.kubeconfig.default_file());

    let mut made = None;
    if let Some(tool) = &tool {
        made = cluster(app, tool)?;
        match &archive {
            Some(archive) => {
                let step = app.printer.step("loading the image into the cluster");
                tool.load(archive)?;
                step.done();
            }
            None => app.printer.warning(&format!(
                "there is no {} beside this program, so the cluster pulls the image from its registry",
                image::IMAGE_ARCHIVE
            )),
        }
    }
    let management = management(provider, app, &merged).await?;
    let client = &management.client;
    let namespace = &app.settings.namespace;

    let step = app.printer.step("installing the controllers");
    manifests::apply(client, &manifests::objects(namespace)?).await?;
    if made.is_some() {
        manifests::annotate_namespace(client, namespace, MADE_BY_UP).await?;
    }
    step.done();

    let step = app.printer.step("waiting for the controllers");
    controllers(client, namespace, left()).await?;
    step.done();

    let step = app.printer.step("waiting for the management plane");
    let wanted = wanted(provider, app, &management, made).await?;
    let ready = plane::ready(&management, wanted, left()).await?;
    step.done();

    let set_current = request.set_current.unwrap_or(merged.current_context().is_none());
    if set_current {
        kubeconfig::edit(&app.settings.kubeconfig, |edit| {
            edit.set_current_context(&management.context);
            Ok(())
        })?;
    }
    // kind and k3d name their contexts themselves.
    plane::remember(app, (provider == ProviderName::Existing).then_some(management.context.as_str()))?;

    let endpoint = ready.status.and_then(|status| status.endpoint).unwrap_or_default();
    app.printer.result(&format!("management plane is ready at {endpoint}"));
    app.printer.next("next, create a control plane:", "kubectl vcp create demo");
    Ok(())
}

/// Makes the cluster unless it is there; then the port of this machine that leads to the API server.
fn cluster(app: &App, tool: &Tool) -> Result<Option<u16>> {
    let name = &app.settings.cluster_name;
    if tool.exists()? {
        let step = app.printer.step(format!("using the {} cluster {name:?}", tool.name()));
        tool.export()?;
        step.done();
        return Ok(None);
    }
    let port = match port::choose(app.settings.port, None, port::is_free)? {
        Choice::As(port) | Choice::Moved { to: port, .. } => port,
    };
    let step = app.printer.step(format!("making the {} cluster {name:?}", tool.name()));
    tool.create(port)?;
    step.done();
    Ok(Some(port))
}

/// The cluster: by its provider's context, or for one that is there already the context that is asked for, remembered
/// or current.
pub(super) async fn management(provider: ProviderName, app: &App, before: &Merged) -> Result<Management> {
    let context = match (&app.settings.context, provider) {
        (Some(context), _) => context.clone(),
        (None, ProviderName::Existing) => before.current_context().map(str::to_owned).ok_or_else(|| {
            Error::new("no context is the current one").hint("name the cluster with --context")
        })?,
        (None, _) => app.settings.provider_context(),
    };
    // Read anew: the program that made the cluster wrote its context there.
    let merged = Merged::load(&app.settings.kubeconfig)?;
    if merged.server(&context).is_some_and(|server| kubeconfig::is_control_plane_server(&server)) {
        return Err(Error::new(format!("the context {context:?} is a control plane, not a cluster"))
            .hint("name the cluster with --context"));
    }
    let client = crate::app::client(merged.for_client(&context)?).await?;
    Ok(Management { client, context })
}

/// Waits until the controllers run.
async fn controllers(client: &kube::Client, namespace: &str, timeout: Duration) -> Result<()> {
    let api: Api<Deployment> = Api::namespaced(client.clone(), namespace);
    let found = wait_until(&api, CONTROLLERS, None, timeout, "the controllers to run", |object| {
        let Some(object) = object else { return Progress::Waiting("there is no Deployment yet".into()) };
        let status = object.status.clone().unwrap_or_default();
        let seen = status.observed_generation >= object.metadata.generation;
        if seen && status.available_replicas.unwrap_or(0) > 0 && status.updated_replicas.unwrap_or(0) > 0 {
            return Progress::Done(());
        }
        let conditions = status.conditions.unwrap_or_default();
        let failed = conditions.iter().find(|c| c.type_ == "ReplicaFailure" && c.status == "True");
        let why = failed.or_else(|| conditions.iter().find(|c| c.type_ == "Available"));
        Progress::Waiting(match why.and_then(|condition| condition.message.clone()) {
            Some(message) => message,
            None => "no replica is available yet".into(),
        })
    })
    .await;
    found.map_err(|error| error.hint(format!("see why with `kubectl -n {namespace} describe pods`")))
}

/// The ManagementPlane to make when there is none: on one node a file, so that nothing else is to be pulled; in a
/// cluster of somebody's own a replicated etcd. One that is there is left as it is.
async fn wanted(
    provider: ProviderName,
    app: &App,
    management: &Management,
    made: Option<u16>,
) -> Result<ManagementPlaneSpec> {
    let there = Api::<ManagementPlane>::all(management.client.clone()).get_opt(MANAGEMENT_PLANE_NAME).await;
    if let Ok(Some(object)) = there {
        return Ok(object.spec);
    }
    let mut spec =
        ManagementPlaneSpec { namespace: app.settings.namespace.clone(), ..ManagementPlaneSpec::default() };
    spec.topology = Some(Topology::Deployed);
    spec.exposure.type_ = ExposureType::NodePort;
    spec.exposure.node_port = Some(NODE_PORT.into());
    if provider == ProviderName::Existing {
        let nodes: Api<Node> = Api::all(management.client.clone());
        let nodes = nodes.list(&ListParams::default()).await?.items;
        let members = if nodes.len() >= 3 { 3 } else { 1 };
        spec.apiserver.replicas = if nodes.len() >= 2 { 2 } else { 1 };
        spec.store.type_ = StoreType::Etcd;
        let managed = ManagedEtcd { replicas: members, ..ManagedEtcd::default() };
        spec.store.etcd = Some(EtcdSpec { managed: Some(managed), external: None });
        spec.exposure.host = node_address(&nodes);
        spec.exposure.port = Some(NODE_PORT.into());
    } else {
        spec.apiserver.replicas = 1;
        spec.store.type_ = StoreType::Embedded;
        spec.exposure.host = Some("127.0.0.1".into());
        spec.exposure.port = Some(made.or(app.settings.port).unwrap_or(DEFAULT_PORT).into());
    }
    Ok(spec)
}

/// An address of a node by which clients outside may reach its ports: an external one if any node has one.
fn node_address(nodes: &[Node]) -> Option<String> {
    let addresses = || {
        let status = nodes.iter().filter_map(|node| node.status.as_ref());
        status.flat_map(|status| status.addresses.iter().flatten())
    };
    let of = |type_: &str| addresses().find(|address| address.type_ == type_).map(|a| a.address.clone());
    of("ExternalIP").or_else(|| of("InternalIP"))
}
