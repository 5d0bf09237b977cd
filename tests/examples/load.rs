//! Load on one control plane, for `hack/bench`:
//!
//! ```text
//! load <admin.kubeconfig> <control plane> <user> flood <connections> <seconds>
//! load <admin.kubeconfig> <control plane> <user> quiet <seconds>
//! ```
//!
//! A flood lists, creates, patches and reads as fast as it is answered. A quiet one reads and writes one object now and
//! then, and prints how long it took, as it sees it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kube::client::Body;
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::{Value, json};

type Failure = Box<dyn std::error::Error + Send + Sync>;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
/// How many objects there are to list.
const OBJECTS: usize = 500;
/// How often a quiet one asks.
const PAUSE: Duration = Duration::from_millis(20);

struct Tenant {
    client: kube::Client,
    prefix: String,
}

impl Tenant {
    async fn send(&self, method: &str, path: &str, body: &Value) -> Result<(u16, Vec<u8>), Failure> {
        let mut request = http::Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.prefix))
            .header("accept", "application/json");
        let bytes = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        if method == "PATCH" {
            request = request.header("content-type", "application/merge-patch+json");
        } else if !bytes.is_empty() {
            request = request.header("content-type", "application/json");
        }
        let response = self.client.send(request.body(Body::from(bytes))?).await?;
        let code = response.status().as_u16();
        Ok((code, response.into_body().collect_bytes().await?.to_vec()))
    }
}

fn config_map(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": {"a": "b"}},
        "data": {"text": "x".repeat(600)},
    })
}

/// A client with a certificate of its own: an administrator of one control plane, and of nothing else.
async fn tenant(kubeconfig: &str, vcp: &str, user: &str) -> Result<Tenant, Failure> {
    let kubeconfig = Kubeconfig::read_from(kubeconfig)?;
    let mut config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    let root = kube::Client::try_from(config.clone())?;
    let request = json!({
        "apiVersion": "tenancy.kplane.dev/v1alpha1", "kind": "CredentialRequest",
        "spec": {"user": user, "groups": ["system:masters"], "expirationSeconds": 3600},
    });
    let uri = format!("/apis/tenancy.kplane.dev/v1alpha1/virtualclusters/{vcp}/credentials");
    let issued: Value = root.request(http::Request::post(uri).body(serde_json::to_vec(&request)?)?).await?;
    let text = |field: &str| issued["status"][field].as_str().unwrap_or("").to_owned();
    config.auth_info.client_certificate_data = Some(text("clientCertificateData"));
    config.auth_info.client_key_data = Some(text("clientKeyData").into());
    STANDARD.decode(text("clientCertificateData"))?;
    config.default_retry = false;
    Ok(Tenant { client: kube::Client::try_from(config)?, prefix: format!("/clusters/{vcp}/control-plane") })
}

async fn flood(tenant: Tenant, connections: usize, time: Duration) -> Result<(), Failure> {
    for i in 0..OBJECTS {
        // Those that are there from a run before are as good.
        tenant.send("POST", MAPS, &config_map(&format!("load-{i}"))).await?;
    }
    let tenant = Arc::new(tenant);
    let (answered, refused, failed) =
        (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let begun = Instant::now();
    let mut tasks = Vec::new();
    for n in 0..connections {
        let (tenant, answered, refused, failed) =
            (tenant.clone(), answered.clone(), refused.clone(), failed.clone());
        tasks.push(tokio::spawn(async move {
            let mut i = n;
            while begun.elapsed() < time {
                let one = format!("{MAPS}/load-{}", i % OBJECTS);
                let result = match i % 4 {
                    0 => tenant.send("GET", MAPS, &Value::Null).await,
                    1 => {
                        let body = json!({"metadata": {"generateName": "flood-"}, "apiVersion": "v1", "kind": "ConfigMap"});
                        tenant.send("POST", "/api/v1/namespaces/kube-public/configmaps", &body).await
                    }
                    2 => tenant.send("PATCH", &one, &json!({"data": {"n": i.to_string()}})).await,
                    _ => tenant.send("GET", &format!("{MAPS}?labelSelector=a%3Dc"), &Value::Null).await,
                };
                match result {
                    Ok((200..=299, _)) => answered.fetch_add(1, Ordering::Relaxed),
                    Ok((429, _)) => refused.fetch_add(1, Ordering::Relaxed),
                    _ => failed.fetch_add(1, Ordering::Relaxed),
                };
                i += 1;
            }
        }));
    }
    for task in tasks {
        task.await?;
    }
    let seconds = begun.elapsed().as_secs_f64();
    let count = |counter: &AtomicUsize| counter.load(Ordering::Relaxed) as f64 / seconds;
    println!(
        "flood: {:.0} requests/s answered, {:.0} refused with 429, {:.0} failed, over {connections} connections",
        count(&answered),
        count(&refused),
        count(&failed)
    );
    Ok(())
}

async fn quiet(tenant: Tenant, time: Duration) -> Result<(), Failure> {
    tenant.send("POST", MAPS, &config_map("quiet")).await?;
    let mut taken: Vec<Duration> = Vec::new();
    let begun = Instant::now();
    let mut i = 0_u64;
    while begun.elapsed() < time {
        let started = Instant::now();
        let path = format!("{MAPS}/quiet");
        let (code, body) = match i % 4 {
            0 => tenant.send("PATCH", &path, &json!({"data": {"n": i.to_string()}})).await?,
            1 => tenant.send("GET", MAPS, &Value::Null).await?,
            _ => tenant.send("GET", &path, &Value::Null).await?,
        };
        taken.push(started.elapsed());
        if !(200..300).contains(&code) {
            return Err(format!("answered with {code}: {}", String::from_utf8_lossy(&body)).into());
        }
        i += 1;
        tokio::time::sleep(PAUSE).await;
    }
    taken.sort();
    let at = |part: f64| taken[((taken.len() - 1) as f64 * part) as usize].as_micros() as f64 / 1000.0;
    println!(
        "quiet, seen by itself: {} requests, p50 {:.2} ms, p99 {:.2} ms",
        taken.len(),
        at(0.5),
        at(0.99)
    );
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [kubeconfig, vcp, user, mode, rest @ ..] = arguments.as_slice() else {
        return Err("load <admin.kubeconfig> <control plane> <user> flood|quiet …".into());
    };
    let tenant = tenant(kubeconfig, vcp, user).await?;
    match (mode.as_str(), rest) {
        ("flood", [connections, seconds]) => {
            flood(tenant, connections.parse()?, Duration::from_secs(seconds.parse()?)).await
        }
        ("quiet", [seconds]) => quiet(tenant, Duration::from_secs(seconds.parse()?)).await,
        _ => Err(format!("{mode} is neither flood nor quiet, or its numbers are missing").into()),
    }
}
