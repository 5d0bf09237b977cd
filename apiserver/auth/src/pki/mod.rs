//! The plane's own certificates: a CA, the serving certificate, root's administrator, and client certificates for each
//! virtual control plane.
//!
//! One CA serves all: what belongs to a virtual control plane carries its uid as the URI `kplane://vcp/<uid>`, beside
//! the usual common name (user) and organisations (groups), and every other control plane refuses it.
//!
//! Files of the data directory, all of mode 0600: `ca.crt`, `ca.key`, `server.crt`, `server.key`, `admin.crt`,
//! `admin.key`, and `plane.key`, the secret from which the keys of service account tokens derive. What is there is
//! read and never made again; a file that cannot be read is an error.

mod authority;
mod front_proxy;
mod peer;
mod tls;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rand::TryRngCore;
use rcgen::{KeyPair, PublicKeyData};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

pub use authority::{Authority, ClientSubject};
pub use front_proxy::FrontProxy;
pub use peer::{ClientTrust, PeerError, PeerScope, VcpScope, VerifiedPeer};
pub use tls::{CertificateResolver, server_config};

use crate::files;
use crate::token::PlaneSecret;
use crate::token::secrets::{self, DatedSecret};
use crate::user::MASTERS;

/// The file of the secrets that the keys of tokens derive from.
const SECRETS: &str = "plane.key";

const DAY: i64 = 24 * 60 * 60;
/// How long the CA lives.
const CA_LIFETIME: i64 = 10 * 365 * DAY;
/// How long the certificates made at start live.
const LEAF_LIFETIME: i64 = 365 * DAY;
/// What the uid of root's administrator derives for.
const ADMIN_UID: &[u8] = b"kplane administrator";
/// The user of root's administrator.
pub const ADMIN_USER: &str = "kplane-admin";

/// What went wrong with certificates and keys.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// A file could not be read or written.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file holds what it should not.
    #[error("{path}: {why}")]
    Broken {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A certificate could not be made.
    #[error("cannot issue a certificate: {0}")]
    Issue(String),
    /// The TLS library refused the configuration.
    #[error("cannot configure TLS: {0}")]
    Tls(#[from] rustls::Error),
}

impl PkiError {
    fn file(path: &Path) -> impl FnOnce(std::io::Error) -> Self + '_ {
        move |source| Self::File { path: path.to_owned(), source }
    }

    pub(crate) fn broken(path: &Path, why: impl fmt::Display) -> Self {
        Self::Broken { path: path.to_owned(), why: why.to_string() }
    }

    pub(crate) fn issue(why: impl fmt::Display) -> Self {
        Self::Issue(why.to_string())
    }
}

/// A certificate and its private key, in PEM.
#[derive(Clone)]
pub struct CertifiedPem {
    /// The certificate, with the intermediates after it.
    pub certificate: String,
    /// The key, PKCS #8.
    pub key: String,
}

impl fmt::Debug for CertifiedPem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CertifiedPem").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}

/// What the plane's certificates are made for.
#[derive(Clone, Debug, Default)]
pub struct PkiOptions {
    /// The folder of the files.
    pub dir: PathBuf,
    /// Names of the server beside those it always has.
    pub names: Vec<String>,
    /// Addresses of the server beside loopback.
    pub addresses: Vec<IpAddr>,
    /// The domain whose subdomains are control planes.
    pub cluster_domain: Option<String>,
}

impl PkiOptions {
    fn server_names(&self) -> Vec<String> {
        let mut names: Vec<String> = [
            "localhost",
            "kubernetes",
            "kubernetes.default",
            "kubernetes.default.svc",
            "kubernetes.default.svc.cluster.local",
        ]
        .map(str::to_owned)
        .into();
        names.extend(hostname::get().ok().and_then(|name| name.into_string().ok()));
        names.extend(self.names.iter().cloned());
        if let Some(domain) = &self.cluster_domain {
            names.extend([domain.clone(), format!("*.{domain}")]);
        }
        names.retain(|name| !name.is_empty() && name.is_ascii());
        names.sort();
        names.dedup();
        names
    }

    fn server_addresses(&self) -> Vec<IpAddr> {
        let mut addresses = vec![IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
        addresses.extend(&self.addresses);
        addresses.sort();
        addresses.dedup();
        addresses
    }
}

/// The plane's own public key infrastructure.
pub struct Pki {
    options: PkiOptions,
    authority: Authority,
    secrets: Vec<DatedSecret>,
    resolver: Arc<CertificateResolver>,
}

impl fmt::Debug for Pki {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pki").field("dir", &self.options.dir).finish_non_exhaustive()
    }
}

impl Pki {
    /// Reads the files, makes those that are not there, and renews the certificates that are due.
    pub fn open(options: PkiOptions, now: i64) -> Result<Self, PkiError> {
        std::fs::create_dir_all(&options.dir).map_err(PkiError::file(&options.dir))?;
        let authority = open_authority(&options.dir, now)?;
        let secrets = open_secrets(&options.dir.join(SECRETS))?;
        let mut pki = Self { options, authority, secrets, resolver: Arc::default() };
        pki.renew(now, true)?;
        Ok(pki)
    }

    /// Renews what has less than a quarter of its life left, in the files and in the running server. Says whether
    /// anything was. The CA keeps its key, so that what the old certificate signed stays trusted.
    pub fn renew_if_due(&mut self, now: i64) -> Result<bool, PkiError> {
        self.renew(now, false)
    }

    fn renew(&mut self, now: i64, start: bool) -> Result<bool, PkiError> {
        let mut renewed = false;
        if self.authority.due(now) {
            let path = self.path("ca.crt");
            let authority = self.authority.renewed(now + CA_LIFETIME, now)?;
            match files::replace(&path, authority.certificate_pem().as_bytes()) {
                Ok(()) => {
                    self.authority = authority;
                    renewed = true;
                }
                // A file that is given, and not ours to write: whoever gives it replaces it.
                Err(error) if !self.authority.is_over(now) => {
                    tracing::warn!(%error, file = %path.display(), "the CA ends soon and cannot be renewed here");
                }
                Err(error) => return Err(PkiError::file(&path)(error)),
            }
        }
        let names = self.options.server_names();
        let addresses = self.options.server_addresses();
        let server = self.leaf(
            "server",
            now,
            |leaf| leaf.covers(&names, &addresses),
            |authority, key| authority.issue_server(key, &names, &addresses, now + LEAF_LIFETIME, now),
        )?;
        let uid = self.oldest_secret().and_then(|secret| secret.derive_uid(ADMIN_UID)).unwrap_or_default();
        let admin = self.leaf(
            "admin",
            now,
            |_| true,
            |authority, key| {
                authority.certify_client(
                    &key.subject_public_key_info(),
                    None,
                    &ClientSubject { uid: &uid, ..ClientSubject::new(ADMIN_USER, &[MASTERS.to_owned()]) },
                    now + LEAF_LIFETIME,
                    now,
                )
            },
        )?;
        if server || start {
            self.resolver.load_files(&self.path("server.crt"), &self.path("server.key"))?;
        }
        Ok(renewed || server || admin)
    }

    /// Makes a certificate and key of the data directory, or renews it when it is due or does not fit.
    fn leaf(
        &self,
        stem: &str,
        now: i64,
        fits: impl Fn(&authority::Leaf) -> bool,
        issue: impl Fn(&Authority, &KeyPair) -> Result<String, PkiError>,
    ) -> Result<bool, PkiError> {
        let certificate_path = self.path(&format!("{stem}.crt"));
        let key_path = self.path(&format!("{stem}.key"));
        let found = files::read(&certificate_path).map_err(PkiError::file(&certificate_path))?;
        let key = match (read_key(&key_path)?, found.is_some()) {
            (Some(key), _) => key,
            (None, true) => return Err(missing_key(&key_path, &certificate_path)),
            (None, false) => make_key(&key_path)?,
        };
        if let Some(pem) = found {
            let leaf =
                authority::Leaf::parse(&pem).map_err(|why| PkiError::broken(&certificate_path, why))?;
            if !leaf.has_key(&key) {
                return Err(PkiError::broken(
                    &certificate_path,
                    format!("is not of the key {}", key_path.display()),
                ));
            }
            if !leaf.due(now) && fits(&leaf) {
                return Ok(false);
            }
        }
        let pem = issue(&self.authority, &key)?;
        files::replace(&certificate_path, pem.as_bytes()).map_err(PkiError::file(&certificate_path))?;
        Ok(true)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.options.dir.join(name)
    }

    /// What clients trust, in PEM: the CA's certificate, and those of the CAs before and after it.
    pub fn ca_pem(&self) -> &str {
        self.authority.certificate_pem()
    }

    /// The CA.
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// The secrets that the keys of tokens derive from, the newest first.
    pub fn secrets(&self) -> &[DatedSecret] {
        &self.secrets
    }

    /// The oldest of them: what stays the same while the keys of tokens are rotated derives from it.
    pub fn oldest_secret(&self) -> Option<&PlaneSecret> {
        self.secrets.last().map(|dated| &dated.secret)
    }

    /// Reads the secrets anew. Says whether they are others than before.
    pub fn reload_secrets(&mut self) -> Result<bool, PkiError> {
        let secrets = open_secrets(&self.path(SECRETS))?;
        let changed = secrets::write(&secrets) != secrets::write(&self.secrets);
        self.secrets = secrets;
        Ok(changed)
    }

    /// Puts a new secret before those of a folder. The old ones are trusted for so many seconds more.
    pub fn rotate_secret(dir: &Path, overlap: i64, now: i64) -> Result<(), PkiError> {
        let path = dir.join(SECRETS);
        let old = open_secrets(&path)?;
        let rotated = secrets::rotate(&old, new_secret()?, overlap, now);
        files::replace(&path, secrets::write(&rotated).as_bytes()).map_err(PkiError::file(&path))
    }

    /// What answers a TLS handshake with the serving certificate of the moment.
    pub fn resolver(&self) -> Arc<CertificateResolver> {
        self.resolver.clone()
    }

    /// Root's administrator, as read from the files.
    pub fn admin(&self) -> Result<CertifiedPem, PkiError> {
        let read = |name: &str| {
            let path = self.path(name);
            std::fs::read_to_string(&path).map_err(PkiError::file(&path))
        };
        Ok(CertifiedPem { certificate: read("admin.crt")?, key: read("admin.key")? })
    }

    /// A new client certificate: of a virtual control plane, or of root.
    pub fn issue_client(
        &self,
        vcp: Option<&VcpScope>,
        of: &ClientSubject<'_>,
        ttl: std::time::Duration,
        now: i64,
    ) -> Result<CertifiedPem, PkiError> {
        let key = KeyPair::generate().map_err(PkiError::issue)?;
        let seconds = i64::try_from(ttl.as_secs()).map_err(PkiError::issue)?;
        let certificate = self.authority.certify_client(
            &key.subject_public_key_info(),
            vcp,
            of,
            now.saturating_add(seconds),
            now,
        )?;
        Ok(CertifiedPem { certificate, key: key.serialize_pem() })
    }
}

/// The certificates of a PEM file; it holds at least one.
pub fn certificates_of_pem(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|e| format!("is not PEM: {e}"))?;
    if found.is_empty() {
        return Err("holds no certificate".to_owned());
    }
    Ok(found)
}

fn open_authority(dir: &Path, now: i64) -> Result<Authority, PkiError> {
    let (certificate_path, key_path) = (dir.join("ca.crt"), dir.join("ca.key"));
    let found = files::read(&certificate_path).map_err(PkiError::file(&certificate_path))?;
    let key = match (read_key(&key_path)?, found.is_some()) {
        (Some(key), _) => key,
        (None, true) => return Err(missing_key(&key_path, &certificate_path)),
        (None, false) => make_key(&key_path)?,
    };
    let pem = match found {
        Some(pem) => pem,
        None => {
            let made = Authority::generate(&key, now + CA_LIFETIME, now)?;
            files::create(&certificate_path, made.as_bytes()).map_err(PkiError::file(&certificate_path))?;
            // Another process may have been first: its certificate is the one.
            std::fs::read(&certificate_path).map_err(PkiError::file(&certificate_path))?
        }
    };
    Authority::load(&pem, key).map_err(|why| PkiError::broken(&certificate_path, why))
}

fn missing_key(key: &Path, certificate: &Path) -> PkiError {
    PkiError::broken(key, format!("is missing, but its certificate {} is there", certificate.display()))
}

fn read_key(path: &Path) -> Result<Option<KeyPair>, PkiError> {
    let Some(pem) = files::read(path).map_err(PkiError::file(path))? else { return Ok(None) };
    let pem = String::from_utf8(pem).map_err(|_| PkiError::broken(path, "is not PEM"))?;
    KeyPair::from_pem(&pem)
        .map(Some)
        .map_err(|e| PkiError::broken(path, format!("is not a private key: {e}")))
}

/// Makes a key; when another process was first, takes its.
fn make_key(path: &Path) -> Result<KeyPair, PkiError> {
    let key = KeyPair::generate().map_err(PkiError::issue)?;
    if files::create(path, key.serialize_pem().as_bytes()).map_err(PkiError::file(path))? {
        return Ok(key);
    }
    read_key(path)?.ok_or_else(|| PkiError::broken(path, "was removed while it was read"))
}

fn new_secret() -> Result<PlaneSecret, PkiError> {
    let mut secret = [0; 32];
    rand::rngs::OsRng.try_fill_bytes(&mut secret).map_err(PkiError::issue)?;
    Ok(PlaneSecret::from(secret))
}

fn open_secrets(path: &Path) -> Result<Vec<DatedSecret>, PkiError> {
    let found = match files::read(path).map_err(PkiError::file(path))? {
        Some(found) => found,
        None => {
            files::create(path, new_secret()?.to_text().as_bytes()).map_err(PkiError::file(path))?;
            std::fs::read(path).map_err(PkiError::file(path))?
        }
    };
    secrets::read(&found).ok_or_else(|| PkiError::broken(path, "is not 32 bytes in base64 a line"))
}

#[cfg(test)]
mod tests;
