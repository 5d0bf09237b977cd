//! The flags of `kplane-apiserver`, named as kube-apiserver's where they mean the same.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

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

    /// How much history is kept for watches and paged lists, such as 5m or 1h30m; 0 keeps all of it.
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = duration)]
    pub etcd_compaction_interval: Duration,

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

    /// An AuthenticationConfiguration (apiserver.config.k8s.io/v1): issuers of JSON web tokens of root's users, and whether
    /// requests without credentials are served.
    #[arg(long, value_name = "FILE")]
    pub authentication_config: Option<PathBuf>,

    /// A kubeconfig that leads to a webhook for the tokens of root's users (TokenReview v1).
    #[arg(long, value_name = "FILE")]
    pub authentication_token_webhook_config_file: Option<PathBuf>,

    /// How long the webhook's answers are remembered.
    #[arg(long, value_name = "DURATION", default_value = "2m", value_parser = duration)]
    pub authentication_token_webhook_cache_ttl: Duration,

    /// An AuthorizationConfiguration (apiserver.config.k8s.io/v1) for root: Node, RBAC, AlwaysAllow, AlwaysDeny and
    /// webhooks (SubjectAccessReview v1), in order. Empty: Node, then RBAC.
    #[arg(long, value_name = "FILE", conflicts_with = "authorization_webhook_config_file")]
    pub authorization_config: Option<PathBuf>,

    /// A kubeconfig that leads to a webhook for what root's users may do, asked after Node and RBAC.
    #[arg(long, value_name = "FILE")]
    pub authorization_webhook_config_file: Option<PathBuf>,

    /// CAs whose client certificates are those of root's users, besides the server's own.
    #[arg(long, value_name = "FILE")]
    pub client_ca_file: Option<PathBuf>,

    /// The CA of a proxy before root that says in headers who asks.
    #[arg(long, value_name = "FILE")]
    pub requestheader_client_ca_file: Option<PathBuf>,

    /// The common names that this proxy's certificate may have. Empty: any.
    #[arg(long, value_name = "NAMES", value_delimiter = ',', requires = "requestheader_client_ca_file")]
    pub requestheader_allowed_names: Vec<String>,

    /// The headers in which it says the user's name.
    #[arg(long, value_name = "NAMES", value_delimiter = ',', default_value = "x-remote-user")]
    pub requestheader_username_headers: Vec<String>,

    /// The headers in which it says the user's uid.
    #[arg(long, value_name = "NAMES", value_delimiter = ',', default_value = "x-remote-uid")]
    pub requestheader_uid_headers: Vec<String>,

    /// The headers in which it says the user's groups.
    #[arg(long, value_name = "NAMES", value_delimiter = ',', default_value = "x-remote-group")]
    pub requestheader_group_headers: Vec<String>,

    /// How the headers begin in which it says more.
    #[arg(long, value_name = "PREFIXES", value_delimiter = ',', default_value = "x-remote-extra-")]
    pub requestheader_extra_headers_prefix: Vec<String>,

    /// The longest life of a service account token, whatever is asked for. 0: as long as is asked for.
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = duration)]
    pub service_account_max_token_expiration: Duration,

    /// Replaces the secret that the keys of service account tokens derive from, and exits. Servers that run take the new
    /// one up within seconds; what the old one signed stays good for --token-key-overlap.
    #[arg(long)]
    pub rotate_token_key: bool,

    /// How long a replaced secret is trusted: as long as the longest token may live.
    #[arg(long, value_name = "DURATION", default_value = "8760h", value_parser = duration)]
    pub token_key_overlap: Duration,

    /// The apiserver.config.k8s.io/v1 EncryptionConfiguration that says which resources are encrypted in the store, and
    /// how. Empty: Secrets, with a key of the plane's own.
    #[arg(long, value_name = "FILE")]
    pub encryption_provider_config: Option<PathBuf>,

    /// The name that, besides `root`, addresses the root control plane.
    #[arg(long, value_name = "NAME", default_value = "root")]
    pub root_control_plane_name: String,

    /// Where each request is written down as an audit event; - is standard output. Empty: nowhere.
    #[arg(long, value_name = "FILE")]
    pub audit_log_path: Option<PathBuf>,

    /// The audit.k8s.io/v1 Policy that says what is written down. Empty: all requests, at level Metadata.
    #[arg(long, value_name = "FILE")]
    pub audit_policy_file: Option<PathBuf>,

    /// For how many days old audit logs are kept; 0: for ever.
    #[arg(long, value_name = "DAYS", default_value_t = 0)]
    pub audit_log_maxage: u64,

    /// How many old audit logs are kept; 0: all.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub audit_log_maxbackup: usize,

    /// The size in megabytes beyond which the audit log is turned over; 0: never.
    #[arg(long, value_name = "MEGABYTES", default_value_t = 100)]
    pub audit_log_maxsize: u64,

    /// A kubeconfig of the server that audit events are sent to. Empty: to none.
    #[arg(long, value_name = "FILE")]
    pub audit_webhook_config_file: Option<PathBuf>,

    /// How many audit events are sent at once.
    #[arg(long, value_name = "N", default_value_t = 400)]
    pub audit_webhook_batch_max_size: usize,

    /// For how many seconds audit events wait to be sent with others.
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    pub audit_webhook_batch_max_wait: u64,

    /// How many audit events wait at most; more are dropped.
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    pub audit_webhook_batch_buffer_size: usize,

    /// How many requests that change nothing are answered at once. Together with those that write these are the seats
    /// that Priority and Fairness hands out; one control plane gets at most half of them.
    #[arg(long, value_name = "N", default_value_t = 400)]
    pub max_requests_inflight: usize,

    /// How many requests that write are answered at once; see --max-requests-inflight.
    #[arg(long, value_name = "N", default_value_t = 200)]
    pub max_mutating_requests_inflight: usize,

    /// How many connections are open at once. When there are more, idle ones of the control plane or address that has the
    /// most are closed. 0: about as many as the process may have files open.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub max_connections: usize,

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

    /// How long a layer of add-ons stays that no control plane names any more: 30m, 1h.
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = duration)]
    pub layer_grace_period: Duration,

    /// How long, after a SIGTERM, the server goes on with everything while /readyz says no, so that load balancers send
    /// no more to it: 10s, 1m30s.
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = duration)]
    pub shutdown_delay_duration: Duration,
}

/// A duration as Go writes it: `90s`, `1h30m`, `1.5s`, `0`.
pub fn duration(text: &str) -> Result<Duration, String> {
    let bad = || format!("{text:?} is not a duration such as 90s, 5m or 1h30m");
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.').len();
        let number: f64 = rest[..digits].parse().map_err(|_| bad())?;
        rest = &rest[digits..];
        let letters = rest.len() - rest.trim_start_matches(char::is_alphabetic).len();
        let unit = match &rest[..letters] {
            "ns" => 1e-9,
            "us" | "µs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return Err(bad()),
        };
        rest = &rest[letters..];
        let part = Duration::try_from_secs_f64(number * unit).map_err(|_| bad())?;
        total = total.checked_add(part).ok_or_else(bad)?;
    }
    if text.is_empty() { Err(bad()) } else { Ok(total) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_go_writes_them() {
        assert_eq!(duration("1h30m"), Ok(Duration::from_secs(5400)));
        assert_eq!(duration("0s"), Ok(Duration::ZERO));
        assert!(duration("5").is_err() && duration("x").is_err());
        assert_eq!(duration("5m0s"), Ok(Duration::from_secs(300)));
        assert_eq!(duration("0"), Ok(Duration::ZERO));
        assert_eq!(duration("1.5s"), Ok(Duration::from_millis(1500)));
        for bad in ["", "5", "m", "1d", "1e30h", "999999999999999999999h"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }
}
