//! What `doctor` looks at for the providers of clusters.

use std::io::{Read, Write};
use std::path::Path;

use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use kube::Client;
use kube::api::{Api, PostParams};

use super::tool::Tool;
use super::{image, up};
use crate::app::{App, Management};
use crate::error::{Error, Result};
use crate::kubeconfig::Merged;
use crate::providers::ProviderName;
use crate::providers::disk;
use crate::providers::local::port;

/// The oldest minor version of Kubernetes 1 whose API has all that is applied: policies of admission are stable since 1.30.
const OLDEST_MINOR: u32 = 30;

/// How much room a cluster in containers needs at the least: its node's image, its data, and ours.
const NEEDED_MIB: u64 = 4096;

/// One thing that was looked at.
pub struct Check {
    /// What.
    pub what: String,
    /// What was found, or what is wrong with it and what to do.
    pub found: Result<String>,
}

/// Looks at the programs, the container engine, the port, and at what may be done in the cluster.
pub async fn checks(provider: ProviderName, app: &App) -> Vec<Check> {
    let mut all = Vec::new();
    let mut add = |what: &str, found: Result<String>| all.push(Check { what: what.into(), found });
    let mut reachable = true;
    if let Some(tool) =
        Tool::of(provider, &app.settings.cluster_name, &app.settings.kubeconfig.default_file())
    {
        add(tool.name(), tool.fit_version());
        add("container engine", engine());
        // Where Docker keeps images and the clusters' data, if it is on this machine.
        let images = Path::new("/var/lib/docker");
        if images.exists() {
            add("disk", disk::room(images, NEEDED_MIB));
        }
        add(
            "image archive",
            match image::archive(None) {
                Ok(Some(path)) => Ok(path.display().to_string()),
                Ok(None) => Ok("none beside this program; the cluster pulls the image".into()),
                Err(error) => Err(error),
            },
        );
        match tool.exists() {
            Ok(true) => add("cluster", Ok(format!("{:?} is there", app.settings.cluster_name))),
            Ok(false) => {
                reachable = false;
                add("cluster", Ok(format!("{:?} is not made yet", app.settings.cluster_name)));
                add("port", free_port(app));
            }
            Err(error) => {
                reachable = false;
                add("cluster", Err(error));
            }
        }
    }
    if reachable {
        match management(provider, app).await {
            Ok(management) => {
                add("version of the cluster", version(&management.client).await);
                add("permissions", permissions(&management.client).await);
            }
            Err(error) => add("cluster", Err(error)),
        }
    }
    all
}

/// The cluster that kplane is installed in; for one that is there already, or else the one that `up` would install into.
async fn management(provider: ProviderName, app: &App) -> Result<Management> {
    match app.management().await {
        Err(_) if provider == ProviderName::Existing && app.settings.context.is_none() => {
            up::management(provider, app, &Merged::load(&app.settings.kubeconfig)?).await
        }
        found => found,
    }
}

/// Whether the port of the API server can be had.
fn free_port(app: &App) -> Result<String> {
    port::choose(app.settings.port, None, port::is_free).map(|choice| match choice {
        port::Choice::As(port) | port::Choice::Moved { to: port, .. } => format!("{port} is free"),
    })
}

/// Whether the container engine answers, by the socket that its clients use.
fn engine() -> Result<String> {
    let host = std::env::var("DOCKER_HOST").unwrap_or_else(|_| "unix:///var/run/docker.sock".into());
    let Some(path) = host.strip_prefix("unix://") else {
        return Ok(format!("{host} (not looked at: it is not a socket of this machine)"));
    };
    let failed = |error: std::io::Error| {
        Error::new(format!("no container engine answers at {path}"))
            .caused_by(&error)
            .hint("start Docker, or set DOCKER_HOST to the socket of another engine")
            .hint("or do without one: `kubectl kplane up --provider local`")
    };
    let mut stream = std::os::unix::net::UnixStream::connect(path).map_err(failed)?;
    let limit = Some(std::time::Duration::from_secs(5));
    stream.set_read_timeout(limit).and_then(|()| stream.set_write_timeout(limit)).map_err(failed)?;
    stream.write_all(b"GET /_ping HTTP/1.0\r\nHost: docker\r\n\r\n").map_err(failed)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).map_err(failed)?;
    if answer.split_whitespace().nth(1) == Some("200") {
        return Ok(format!("answers at {path}"));
    }
    Err(failed(std::io::Error::other(answer.lines().next().unwrap_or("it said nothing").to_owned())))
}

async fn version(client: &Client) -> Result<String> {
    let info = client.apiserver_version().await?;
    let digits: String = info.minor.chars().take_while(char::is_ascii_digit).collect();
    if info.major == "1" && digits.parse::<u32>().is_ok_and(|minor| minor < OLDEST_MINOR) {
        return Err(Error::new(format!("the cluster is of version {}", info.git_version))
            .hint(format!("kplane needs Kubernetes 1.{OLDEST_MINOR} or later: upgrade the cluster")));
    }
    Ok(info.git_version)
}

/// What `up` does in the cluster: group, resource, verb.
const NEEDED: [(&str, &str, &str); 7] = [
    ("", "namespaces", "create"),
    ("apiextensions.k8s.io", "customresourcedefinitions", "create"),
    ("admissionregistration.k8s.io", "validatingadmissionpolicies", "create"),
    ("rbac.authorization.k8s.io", "clusterroles", "create"),
    ("rbac.authorization.k8s.io", "clusterrolebindings", "create"),
    ("apps", "deployments", "create"),
    ("controlplane.kplane.dev", "managementplanes", "create"),
];

async fn permissions(client: &Client) -> Result<String> {
    let api: Api<SelfSubjectAccessReview> = Api::all(client.clone());
    let mut missing = Vec::new();
    for (group, resource, verb) in NEEDED {
        let review = SelfSubjectAccessReview {
            spec: SelfSubjectAccessReviewSpec {
                resource_attributes: Some(ResourceAttributes {
                    group: Some(group.into()),
                    resource: Some(resource.into()),
                    verb: Some(verb.into()),
                    ..ResourceAttributes::default()
                }),
                ..SelfSubjectAccessReviewSpec::default()
            },
            ..SelfSubjectAccessReview::default()
        };
        let answer = api.create(&PostParams::default(), &review).await?;
        if !answer.status.is_some_and(|status| status.allowed) {
            let dot = if group.is_empty() { "" } else { "." };
            missing.push(format!("{verb} {resource}{dot}{group}"));
        }
    }
    if missing.is_empty() {
        return Ok("all that is needed".into());
    }
    Err(Error::new("this user may not install into the cluster")
        .caused_by(&std::io::Error::other(format!("it may not {}", missing.join(", "))))
        .hint(
            "use a context of a cluster administrator, or ask one to run `kubectl apply -k config/default`",
        ))
}
