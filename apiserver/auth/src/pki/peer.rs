//! From a client certificate to a user.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use sha2::{Digest, Sha256};
use x509_parser::der_parser::{Oid, oid};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::authority::SCOPE_URI;
use super::tls::provider;
use crate::user::UserInfo;

/// The attribute that carries a user's uid.
const USER_UID: Oid<'static> = oid!(1.3.6.1.4.1.57683.2);
/// How many verified certificates are remembered.
const REMEMBERED: usize = 4096;

/// Where a client certificate is good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerScope {
    /// In root, and for its administrators everywhere.
    Root,
    /// In one virtual control plane only.
    Vcp(VcpScope),
}

/// The virtual control plane that a client certificate is for, and which of the certificates for it this is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VcpScope {
    /// The uid of the control plane.
    pub uid: String,
    /// The control plane's epoch when it was issued: in another it is void.
    pub epoch: u64,
    /// Which generation of its user's certificates it is of, if those are told apart.
    pub generation: Option<String>,
}

impl VcpScope {
    /// That of a control plane which tells neither epochs nor generations apart.
    pub fn of(uid: impl Into<String>) -> Self {
        Self { uid: uid.into(), ..Self::default() }
    }

    /// As a URI says it behind `kplane://vcp/`; `None` when it cannot be said.
    pub(super) fn written(&self) -> Option<String> {
        let plain = |text: &str| {
            !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.')
        };
        if !plain(&self.uid) || self.generation.as_deref().is_some_and(|generation| !plain(generation)) {
            return None;
        }
        let mut said = vec![];
        if self.epoch > 0 {
            said.push(format!("epoch={}", self.epoch));
        }
        said.extend(self.generation.iter().map(|generation| format!("generation={generation}")));
        let separator = if said.is_empty() { "" } else { "?" };
        Some(format!("{}{separator}{}", self.uid, said.join("&")))
    }

    fn read(text: &str) -> Option<Self> {
        let (uid, rest) = text.split_once('?').unwrap_or((text, ""));
        let mut scope = Self::of(uid);
        for term in rest.split('&').filter(|term| !term.is_empty()) {
            match term.split_once('=')? {
                ("epoch", epoch) => scope.epoch = epoch.parse().ok()?,
                ("generation", generation) => scope.generation = Some(generation.to_owned()),
                // Whatever a newer server restricts it to, this one does not know.
                _ => return None,
            }
        }
        (!uid.is_empty()).then_some(scope)
    }
}

/// A client certificate that a trusted CA signed.
#[derive(Clone, Debug)]
pub struct VerifiedPeer {
    /// The common name, the organisations, and the certificate's fingerprint; not yet `system:authenticated`.
    pub user: UserInfo,
    /// Where it is good.
    pub scope: PeerScope,
    /// When the first certificate of its chain ends, in seconds since 1970.
    pub not_after: i64,
}

/// Why a client certificate was refused.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// It is not signed by a trusted CA for clients, or not valid now.
    #[error("verifying certificate failed: {0}")]
    Untrusted(rustls::Error),
    /// It cannot be read.
    #[error("the certificate cannot be read: {0}")]
    Unreadable(String),
    /// It says two things about where it is good, or nothing we know.
    #[error("the certificate belongs to no control plane we know")]
    Scope,
    /// There is no CA for clients.
    #[error("no client certificates are accepted")]
    NoAuthority,
}

/// The CAs whose client certificates are accepted, replaceable while the server runs.
#[derive(Default)]
pub struct ClientTrust {
    verifier: RwLock<Option<Arc<dyn ClientCertVerifier>>>,
    remembered: Mutex<HashMap<[u8; 32], Arc<VerifiedPeer>>>,
}

impl fmt::Debug for ClientTrust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientTrust").finish_non_exhaustive()
    }
}

impl ClientTrust {
    /// Trusts these CAs.
    pub fn new<'a>(
        roots: impl IntoIterator<Item = &'a CertificateDer<'static>>,
    ) -> Result<Self, rustls::Error> {
        let trust = Self::default();
        trust.replace(roots)?;
        Ok(trust)
    }

    /// Trusts these CAs from now on, and no others.
    pub fn replace<'a>(
        &self,
        roots: impl IntoIterator<Item = &'a CertificateDer<'static>>,
    ) -> Result<(), rustls::Error> {
        let mut store = RootCertStore::empty();
        for root in roots {
            store.add(root.clone())?;
        }
        let verifier = if store.is_empty() {
            None
        } else {
            let built = WebPkiClientVerifier::builder_with_provider(Arc::new(store), provider())
                .build()
                .map_err(|e| rustls::Error::General(e.to_string()))?;
            Some(built)
        };
        *self.verifier.write().unwrap_or_else(PoisonError::into_inner) = verifier;
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner).clear();
        Ok(())
    }

    /// Verifies a chain, the client's own certificate first. `Ok(None)` when it names no user: then it says nothing.
    pub fn verify(
        &self,
        chain: &[CertificateDer<'_>],
        now: i64,
    ) -> Result<Option<Arc<VerifiedPeer>>, PeerError> {
        let Some((leaf, intermediates)) = chain.split_first() else { return Ok(None) };
        let fingerprint: [u8; 32] = Sha256::digest(leaf).into();
        let remembered =
            self.remembered.lock().unwrap_or_else(PoisonError::into_inner).get(&fingerprint).cloned();
        if let Some(peer) = remembered.filter(|peer| now <= peer.not_after) {
            return Ok(Some(peer));
        }
        let verifier = self.verifier.read().unwrap_or_else(PoisonError::into_inner).clone();
        let verifier = verifier.ok_or(PeerError::NoAuthority)?;
        let at = UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(now).unwrap_or(0)));
        verifier.verify_client_cert(leaf, intermediates, at).map_err(PeerError::Untrusted)?;
        let Some(mut peer) = read(leaf, &fingerprint)? else { return Ok(None) };
        for certificate in intermediates {
            peer.not_after = peer.not_after.min(parse(certificate)?.validity().not_after.timestamp());
        }
        let peer = Arc::new(peer);
        let mut cache = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        if cache.len() >= REMEMBERED {
            cache.clear();
        }
        cache.insert(fingerprint, peer.clone());
        Ok(Some(peer))
    }
}

fn parse<'a>(certificate: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, PeerError> {
    X509Certificate::from_der(certificate)
        .map(|(_, parsed)| parsed)
        .map_err(|e| PeerError::Unreadable(e.to_string()))
}

fn read(leaf: &CertificateDer<'_>, fingerprint: &[u8; 32]) -> Result<Option<VerifiedPeer>, PeerError> {
    let unreadable = |e: x509_parser::error::X509Error| PeerError::Unreadable(e.to_string());
    let certificate = parse(leaf)?;
    let subject = certificate.subject();
    let text = |value: &x509_parser::x509::AttributeTypeAndValue<'_>| {
        value.as_str().map(str::to_owned).map_err(unreadable)
    };
    // The last common name counts, as in Go.
    let Some(username) =
        subject.iter_common_name().last().map(text).transpose()?.filter(|name| !name.is_empty())
    else {
        return Ok(None);
    };
    let groups = subject.iter_organization().map(text).collect::<Result<Vec<_>, _>>()?;
    let uids = subject.iter_by_oid(&USER_UID).map(text).collect::<Result<Vec<_>, _>>()?;
    let uid = match uids.as_slice() {
        [] => String::new(),
        [uid] if !uid.is_empty() => uid.clone(),
        _ => return Err(PeerError::Unreadable("the user's uid is empty or said twice".to_owned())),
    };
    let mut scope = None;
    let names = certificate.subject_alternative_name().map_err(unreadable)?;
    for name in names.iter().flat_map(|names| &names.value.general_names) {
        let GeneralName::URI(uri) = name else { continue };
        let Some(said) = uri.strip_prefix(SCOPE_URI) else { continue };
        let said = match said.strip_prefix("vcp/") {
            Some(scope) => PeerScope::Vcp(VcpScope::read(scope).ok_or(PeerError::Scope)?),
            None if said == "root" => PeerScope::Root,
            _ => return Err(PeerError::Scope),
        };
        if scope.replace(said).is_some() {
            return Err(PeerError::Scope);
        }
    }
    let user = UserInfo { username, uid, groups, ..UserInfo::default() }
        .with_credential(format!("X509SHA256={}", hex(fingerprint)));
    Ok(Some(VerifiedPeer {
        user,
        // A CA given by the operator knows nothing of control planes: its clients are root's.
        scope: scope.unwrap_or(PeerScope::Root),
        not_after: certificate.validity().not_after.timestamp(),
    }))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
