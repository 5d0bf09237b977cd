//! From flags to a server that runs, and ends in good order.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use kplane_auth::pki::{CertificateResolver, FrontProxy, Pki, PkiOptions, server_config};
use kplane_machinery::GroupVersionKind;
use kplane_machinery::time::Time;
use kplane_registry::{Registry, RegistryOptions};
use kplane_storage::{SealedStore, SharedStore};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::app::{App, Kinds};
use crate::encryption::{self, Encryption, PlaneKeys};
use crate::filters::audit::Audit;
use crate::filters::fairness::{Fairness, Limits};
use crate::identity::Identities;
use crate::options::{Options, Storage};
use crate::{base, custom, kubeconfig, listen, reload, settle, tenancy};

/// How often certificates are looked at.
const RENEWAL: Duration = Duration::from_secs(3600);

/// How often the files of keys and certificates are looked at.
const FILES: Duration = Duration::from_secs(5);

/// A server that listens.
pub struct Server {
    app: Arc<App>,
    listener: TcpListener,
    tls: Arc<rustls::ServerConfig>,
    store: SharedStore,
    /// The store beneath, which sees what is encrypted.
    inner: SharedStore,
    encryption: Arc<Encryption>,
    pki: Arc<tokio::sync::RwLock<Pki>>,
    serving: Option<Serving>,
    /// Where it listens.
    pub address: SocketAddr,
    /// The URL clients reach it at.
    pub url: String,
    /// How long it serves on once it is to end.
    shutdown_delay: Duration,
    /// How long a layer stays that nobody names.
    layer_grace: Duration,
    /// How many connections it has at most.
    connections: usize,
    /// The files that are read again when they change.
    files: reload::Files,
    /// What its clients trust, in PEM.
    pub ca_pem: String,
    /// The kubeconfig of root's administrator.
    pub admin_kubeconfig: PathBuf,
}

/// Opens the store, makes what is missing, and listens. Nothing is served before [`Server::serve`]. It ends when
/// `draining` is cancelled and `--shutdown-delay-duration` has passed.
pub async fn start(options: Options, draining: CancellationToken) -> anyhow::Result<Server> {
    let dir = &options.data_dir;
    create_private_dir(dir).with_context(|| format!("cannot make the data folder {}", dir.display()))?;
    let at = SocketAddr::new(options.bind_address, options.secure_port);
    // Before anything is opened: a taken port is the likeliest failure, and the cheapest to find.
    let listener = TcpListener::bind(at).await.with_context(|| {
        format!("cannot listen on {at}; if the port is taken, choose another with --secure-port")
    })?;
    let address = listener.local_addr().context("the address that is listened on")?;
    let host = match options.external_hostname.as_str() {
        "" if address.ip().is_unspecified() => "127.0.0.1".to_owned(),
        "" => address.ip().to_string(),
        given => given.to_owned(),
    };
    let advertised = if host.contains(':') {
        format!("[{host}]:{}", address.port())
    } else {
        format!("{host}:{}", address.port())
    };
    let url = format!("https://{advertised}");

    let now = Time::now().unix();
    let mut names: Vec<String> = vec![options.external_hostname.clone()];
    let mut addresses = vec![options.kubernetes_service_address];
    if !address.ip().is_unspecified() {
        addresses.push(address.ip());
    }
    for name in &options.cert_names {
        match name.parse() {
            Ok(address) => addresses.push(address),
            Err(_) => names.push(name.clone()),
        }
    }
    if let Ok(address) = options.external_hostname.parse() {
        addresses.push(address);
    }
    let pki = Pki::open(
        PkiOptions { dir: dir.join("pki"), names, addresses, cluster_domain: options.cluster_domain.clone() },
        now,
    )
    .context("the certificates of the server")?;
    let ca_pem = pki.ca_pem().to_owned();
    let front_proxy = FrontProxy::new(pki.oldest_secret().context("the plane has no secret")?)?;
    let serving = match (&options.tls_cert_file, &options.tls_private_key_file) {
        (Some(certificate), Some(key)) => {
            let resolver = Arc::new(CertificateResolver::default());
            resolver.load_files(certificate, key).context("the serving certificate")?;
            Some(Serving { resolver, certificate: certificate.clone(), key: key.clone() })
        }
        _ => None,
    };
    let resolver = serving.as_ref().map_or_else(|| pki.resolver(), |serving| serving.resolver.clone());
    let tls = Arc::new(server_config(resolver)?);

    let inner = open_store(&options, &draining).await?;
    // Servers that share an etcd share their keys as well: one that made its own could not be read by the others.
    let make = options.storage == Storage::Embedded;
    let plane_keys = PlaneKeys::open(&dir.join("pki/encryption.key"), make)?;
    let encryption =
        Encryption::open(options.encryption_provider_config.as_deref(), plane_keys, &options.etcd_prefix)
            .await
            .context("encryption at rest")?;
    let store: SharedStore = Arc::new(SealedStore::new(inner.clone(), encryption.clone()));
    let registry = Registry::open(
        store.clone(),
        RegistryOptions {
            prefix: options.etcd_prefix.clone(),
            history: options.etcd_compaction_interval,
            ..RegistryOptions::default()
        },
    )
    .await
    .context("the store cannot be used")?;
    let kinds = Kinds::default();
    let base = base::ensure(&registry, &kinds, &options, &ca_pem, front_proxy.ca_pem(), address)
        .await
        .context("what control planes start with")?;
    let delete_options = kplane_schema::builtin()
        .for_gvk(&GroupVersionKind::new("", "v1", "DeleteOptions"))
        .context("the schema of DeleteOptions is missing")?;

    let admin = pki.admin()?;
    let admin_kubeconfig = dir.join("admin.kubeconfig");
    let text = kubeconfig::render("kplane-admin", &url, &ca_pem, &admin.certificate, &admin.key);
    kubeconfig::write_private(&admin_kubeconfig, &text)
        .with_context(|| format!("cannot write {}", admin_kubeconfig.display()))?;

    let pki = Arc::new(tokio::sync::RwLock::new(pki));
    let files =
        reload::Files::new(options.authentication_config.as_deref(), options.authorization_config.as_deref());
    let identities = Identities::new(&pki, &options, &url).await?;
    let shutdown = CancellationToken::new();
    let app = Arc::new(App {
        definitions: custom::Definitions::new(&registry),
        registry,
        admission: kplane_admission::Chain::default(),
        admission_configurations: crate::admission_configuration::Configurations::default(),
        aggregator: crate::aggregation::Aggregator::new(front_proxy),
        egress: kplane_egress::Egress::new(crate::egress::policy(&options, address)?),
        identities,
        audit: Audit::of(&options, &shutdown)?,
        fairness: Fairness::new(Limits {
            reads: options.max_requests_inflight,
            writes: options.max_mutating_requests_inflight,
        }),
        root_name: options.root_control_plane_name.clone(),
        cluster_domain: options.cluster_domain.clone(),
        advertised,
        draining,
        shutdown,
        metrics: Arc::default(),
        quota_queues: Default::default(),
        protobuf: crate::protobuf::AVAILABLE,
        delete_options,
        base,
        kinds,
    });
    let shutdown_delay = options.shutdown_delay_duration;
    let layer_grace = options.layer_grace_period;
    let connections = match options.max_connections {
        0 => crate::connections::most_by_files(),
        most => most,
    };
    Ok(Server {
        app,
        listener,
        tls,
        store,
        inner,
        encryption,
        pki,
        serving,
        address,
        url,
        shutdown_delay,
        layer_grace,
        connections,
        files,
        ca_pem,
        admin_kubeconfig,
    })
}

impl Server {
    /// Serves until it is told to end, then lets requests in flight finish and closes the store.
    pub async fn serve(self) -> anyhow::Result<()> {
        tracing::info!(url = self.url, "serving");
        let shutdown = self.app.shutdown.clone();
        let loops = [
            tokio::spawn(end(self.app.clone(), self.shutdown_delay)),
            tokio::spawn(custom::controller::run(self.app.clone())),
            tokio::spawn(tenancy::controller::run(self.app.clone())),
            tokio::spawn(crate::layers::collect(self.app.clone(), self.layer_grace)),
            tokio::spawn(crate::quota::run(self.app.clone())),
            tokio::spawn(crate::aggregation::availability::run(self.app.clone())),
            tokio::spawn(settle::run(self.app.clone(), settle::VOLUMES)),
            tokio::spawn(settle::run(self.app.clone(), settle::FLOW_SCHEMAS)),
            tokio::spawn(settle::run(self.app.clone(), settle::PRIORITY_LEVELS)),
            tokio::spawn(settle::run(self.app.clone(), settle::SIGNING_REQUESTS)),
            tokio::spawn(encryption::sweep::run(
                self.app.registry.clone(),
                self.inner,
                self.encryption,
                shutdown.clone(),
            )),
            tokio::spawn(Fairness::run(self.app.clone())),
            tokio::spawn(renew_certificates(self.pki.clone(), shutdown.clone())),
            tokio::spawn(reload_files(self.app.clone(), self.serving)),
            tokio::spawn(reload::run(self.app.clone(), self.files)),
            tokio::spawn(crate::legacy_tokens::mark_used(self.app.clone())),
            tokio::spawn(settle::run(self.app.clone(), settle::TOKEN_SECRETS)),
            tokio::spawn(settle::run(self.app.clone(), settle::TOKEN_ACCOUNTS)),
            tokio::spawn(settle::run(self.app.clone(), settle::TOKEN_EPOCHS)),
        ];
        let (draining, most) = (self.app.draining.clone(), self.connections);
        listen::serve(self.listener, self.tls, self.app.clone(), most, draining, shutdown).await;
        for task in loops {
            task.await.context("a loop of the server failed")?;
        }
        self.store.close().await.context("the store could not be closed in good order")?;
        tracing::info!("ended");
        Ok(())
    }

    /// Whether the store answers.
    pub fn health(
        &self,
    ) -> impl Fn() -> futures::future::BoxFuture<'static, Result<(), String>> + Send + Sync + use<> {
        let app = self.app.clone();
        move || {
            let app = app.clone();
            Box::pin(async move { app.registry.ready().await.map_err(|e| e.to_string()) })
        }
    }
}

/// Ends the server some time after it was told to: until then it says that it is not ready and serves what still comes.
async fn end(app: Arc<App>, delay: Duration) {
    app.draining.cancelled().await;
    tokio::time::sleep(delay).await;
    app.shutdown.cancel();
}

/// How long a server waits for its etcd when it starts: where both start at once, etcd takes longer, and a server that
/// ended would be started again ever later.
const STORE_WITHIN: Duration = Duration::from_secs(60);
/// How often it looks.
const STORE_AGAIN: Duration = Duration::from_secs(1);

async fn open_store(options: &Options, draining: &CancellationToken) -> anyhow::Result<SharedStore> {
    match options.storage {
        Storage::Embedded => {
            let path = options.data_dir.join("store");
            let store =
                kplane_storage::EmbeddedStore::open(&path, kplane_storage::EmbeddedOptions::default())
                    .with_context(|| format!("cannot open the store {}", path.display()))?;
            Ok(Arc::new(store))
        }
        Storage::Etcd => {
            if options.etcd_servers.is_empty() {
                bail!("--storage=etcd needs --etcd-servers, such as https://127.0.0.1:2379");
            }
            let servers = options.etcd_servers.join(", ");
            let pem = |file: &Option<PathBuf>| -> anyhow::Result<Option<Vec<u8>>> {
                let Some(path) = file else { return Ok(None) };
                std::fs::read(path).map(Some).with_context(|| format!("cannot read {}", path.display()))
            };
            let etcd = kplane_storage::EtcdOptions {
                ca: pem(&options.etcd_cafile)?,
                cert: pem(&options.etcd_certfile)?,
                key: pem(&options.etcd_keyfile)?,
                ..kplane_storage::EtcdOptions::new(options.etcd_servers.iter().cloned())
            };
            let end = tokio::time::Instant::now() + STORE_WITHIN;
            loop {
                let error = match kplane_storage::EtcdStore::connect(etcd.clone()).await {
                    Ok(store) => return Ok(Arc::new(store)),
                    Err(error) => error,
                };
                let again = matches!(error, kplane_storage::Error::Unavailable(_))
                    && tokio::time::Instant::now() < end
                    && !draining.is_cancelled();
                if !again {
                    return Err(error)
                        .with_context(|| format!("cannot reach etcd at {servers}; is it running?"));
                }
                tracing::warn!(%error, servers, "cannot reach etcd yet; is it running?");
                tokio::select! {
                    () = draining.cancelled() => {}
                    () = tokio::time::sleep(STORE_AGAIN) => {}
                }
            }
        }
    }
}

async fn renew_certificates(pki: Arc<tokio::sync::RwLock<Pki>>, shutdown: CancellationToken) {
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(RENEWAL) => {}
        }
        match pki.write().await.renew_if_due(Time::now().unix()) {
            Ok(true) => tracing::info!("certificates were renewed"),
            Ok(false) => {}
            Err(error) => tracing::error!(%error, "certificates could not be renewed"),
        }
    }
}

/// A serving certificate that the operator gives.
struct Serving {
    resolver: Arc<CertificateResolver>,
    certificate: PathBuf,
    key: PathBuf,
}

/// Takes up what is replaced in files while the server runs, without ending a connection: the secret of the tokens, the
/// serving certificate, the CAs of clients. What cannot be used is said, and what was used before stays.
async fn reload_files(app: Arc<App>, serving: Option<Serving>) {
    let said = |what: &str, changed: Result<bool, String>| match changed {
        Ok(true) => tracing::info!(what, "was replaced"),
        Ok(false) => {}
        Err(error) => tracing::error!(what, error, "cannot be used; the one from before stays"),
    };
    loop {
        tokio::select! {
            () = app.shutdown.cancelled() => return,
            () = tokio::time::sleep(FILES) => {}
        }
        said("the secret of the tokens", app.identities.reload_secrets().await.map_err(|e| e.to_string()));
        said("--client-ca-file", app.identities.reload_client_cas().map_err(|e| format!("{e:#}")));
        if let Some(serving) = &serving {
            let loaded = serving.resolver.load_files(&serving.certificate, &serving.key);
            said("the serving certificate", loaded.map_err(|e| e.to_string()));
        }
    }
}

/// Replaces the secret of the tokens in a data directory: what `--rotate-token-key` does.
pub fn rotate_token_key(options: &Options) -> anyhow::Result<()> {
    let overlap = i64::try_from(options.token_key_overlap.as_secs()).unwrap_or(i64::MAX);
    Pki::rotate_secret(&options.data_dir.join("pki"), overlap, Time::now().unix())
        .context("the secret of the tokens cannot be rotated")
}

/// A folder that nobody else can read.
fn create_private_dir(path: &Path) -> std::io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}
