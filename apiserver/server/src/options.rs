//! The flags of `kplane-apiserver`, named as kube-apiserver's where they mean the same.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Parser, ValueEnum};

/// Which store holds the objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Storage {
    /// etcd 3.5, at `--etcd-servers`.
    Etcd,
    /// One file in `--data-dir`.
    Embedded,
}

/// Serves any number of virtual control planes from one process.
///
/// Started with neither certificates nor tokens, it makes its own in --data-dir and leaves there
/// admin.kubeconfig, the credentials of root's administrator.
#[derive(Clone, Debug, Parser)]
#[command(name = "kplane-apiserver", version)]
pub struct Options {
    /// Where objects are kept.
    #[arg(long, value_enum, default_value = "embedded")]
    pub storage: Storage,

    /// Where keys, certificates, admin.kubeconfig and, with --storage=embedded, all objects are kept.
    #[arg(long, value_name = "DIR", default_value = "kplane-data")]
    pub data_dir: PathBuf,

    /// The etcd servers, separated by commas: https://HOST:PORT.
    #[arg(long, value_name = "URLS", value_delimiter = ',')]
    pub etcd_servers: Vec<String>,

    /// Under which prefix of etcd everything is stored. Keys of others under it are refused.
    #[arg(long, default_value = "/kplane")]
    pub etcd_prefix: String,

    /// The authority that signed the etcd servers' certificates.
    #[arg(long, value_name = "FILE")]
    pub etcd_cafile: Option<PathBuf>,

    /// The client certificate shown to etcd.
    #[arg(long, value_name = "FILE", requires = "etcd_keyfile")]
    pub etcd_certfile: Option<PathBuf>,

    /// The key of --etcd-certfile.
    #[arg(long, value_name = "FILE", requires = "etcd_certfile")]
    pub etcd_keyfile: Option<PathBuf>,

    /// The address to listen on.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    pub bind_address: IpAddr,

    /// The port to listen on; 0 takes a free one.
    #[arg(long, value_name = "PORT", default_value_t = 6443)]
    pub secure_port: u16,

    /// The host name or address that clients reach the server at, in kubeconfigs and token issuers.
    /// Empty: the address listened on.
    #[arg(long, value_name = "HOST", default_value = "")]
    pub external_hostname: String,

    /// Host names and addresses, besides the usual ones, that the serving certificate is made for.
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub cert_names: Vec<String>,

    /// A domain whose subdomains are control planes: with example.test, https://NAME.example.test is the control plane
    /// NAME at /. The serving certificate covers them.
    #[arg(long, value_name = "DOMAIN")]
    pub cluster_domain: Option<String>,

    /// The serving certificate. Empty: one is made in --data-dir.
    #[arg(long, value_name = "FILE", requires = "tls_private_key_file")]
    pub tls_cert_file: Option<PathBuf>,

    /// The key of --tls-cert-file.
    #[arg(long, value_name = "FILE", requires = "tls_cert_file")]
    pub tls_private_key_file: Option<PathBuf>,

    /// Tokens of root's users: lines of `token,user,uid,"group1,group2"`.
    #[arg(long, value_name = "FILE")]
    pub token_auth_file: Option<PathBuf>,

    /// The name that, besides `root`, addresses the root control plane.
    #[arg(long, value_name = "NAME", default_value = "root")]
    pub root_control_plane_name: String,

    /// Where each request is written down as an audit event; - is standard output. Empty: nowhere.
    #[arg(long, value_name = "FILE")]
    pub audit_log_path: Option<PathBuf>,

    /// How many requests that change nothing are answered at once; one control plane gets at most half of them.
    #[arg(long, value_name = "N", default_value_t = 400)]
    pub max_requests_inflight: usize,

    /// How many requests that write are answered at once; one control plane gets at most half of them.
    #[arg(long, value_name = "N", default_value_t = 200)]
    pub max_mutating_requests_inflight: usize,

    /// Whether requests without credentials are served as system:anonymous.
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set)]
    pub anonymous_auth: bool,

    /// The address that `default/kubernetes` has in every control plane.
    #[arg(long, value_name = "ADDRESS", default_value = "10.96.0.1")]
    pub kubernetes_service_address: IpAddr,

    /// Ranges of addresses that calls directed by control planes (webhooks, aggregated APIs) must not reach: the pod,
    /// service and node ranges of the host cluster. Loopback, link-local and the like are denied anyway.
    #[arg(long, value_name = "RANGES", value_delimiter = ',')]
    pub egress_denied_cidrs: Vec<String>,

    /// Ranges of addresses that such calls may reach in spite of that. The class of a control plane, or its
    /// VirtualCluster, allows more for one (spec.egress.allowedCIDRs).
    #[arg(long, value_name = "RANGES", value_delimiter = ',')]
    pub egress_allowed_cidrs: Vec<String>,
}
