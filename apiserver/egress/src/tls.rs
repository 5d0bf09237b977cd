//! How peers are verified.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::sync::OnceCell;

use crate::dial::Protocols;
use crate::{Error, Target};

/// Makes the client's side of TLS for each target. What the machine trusts is read once, when a target first asks for it.
#[derive(Debug)]
pub(crate) struct TlsConfigs {
    provider: Arc<CryptoProvider>,
    machine: OnceCell<Arc<RootCertStore>>,
}

impl Default for TlsConfigs {
    fn default() -> Self {
        Self { provider: Arc::new(rustls::crypto::ring::default_provider()), machine: OnceCell::new() }
    }
}

impl TlsConfigs {
    pub async fn config(&self, target: &Target, protocols: Protocols) -> Result<Arc<ClientConfig>, Error> {
        let verifier = self.verifier(target).await?;
        let builder = ClientConfig::builder_with_provider(self.provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|e| Error::Invalid(format!("TLS: {e}")))?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let mut config = match &target.tls.client {
            None => builder.with_no_client_auth(),
            Some(client) => {
                let invalid = |what: &str, why: String| Error::Invalid(format!("the client {what}: {why}"));
                let chain = certificates(&client.certificate).map_err(|why| invalid("certificate", why))?;
                let key = PrivateKeyDer::from_pem_slice(&client.key)
                    .map_err(|e| invalid("key", format!("is not a private key: {e}")))?;
                builder
                    .with_client_auth_cert(chain, key)
                    .map_err(|e| invalid("certificate", e.to_string()))?
            }
        };
        // Sessions would be state of targets that nobody calls.
        config.resumption = Resumption::disabled();
        config.alpn_protocols = match protocols {
            Protocols::Any => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
            Protocols::Http1 => vec![b"http/1.1".to_vec()],
        };
        Ok(Arc::new(config))
    }

    async fn verifier(&self, target: &Target) -> Result<Arc<Verifier>, Error> {
        let provider = self.provider.clone();
        if target.tls.insecure {
            return Ok(Arc::new(Verifier { provider, trust: None }));
        }
        let (roots, pinned) = if target.tls.ca_bundle.is_empty() {
            (self.machine_roots().await?, Vec::new())
        } else {
            let invalid = |why: String| Error::Invalid(format!("unable to load root certificates: {why}"));
            let bundle = certificates(&target.tls.ca_bundle).map_err(invalid)?;
            let mut roots = RootCertStore::empty();
            let (added, _) = roots.add_parsable_certificates(bundle.iter().cloned());
            if added == 0 {
                return Err(invalid("no certificate of the bundle can be read".into()));
            }
            (Arc::new(roots), bundle)
        };
        let path = WebPkiServerVerifier::builder_with_provider(roots, provider.clone())
            .build()
            .map_err(|e| Error::Invalid(format!("unable to load root certificates: {e}")))?;
        Ok(Arc::new(Verifier { provider, trust: Some(Trust { path, pinned }) }))
    }

    async fn machine_roots(&self) -> Result<Arc<RootCertStore>, Error> {
        let roots = self.machine.get_or_try_init(|| async {
            let found = tokio::task::spawn_blocking(rustls_native_certs::load_native_certs).await;
            let found = found.map_err(|e| Error::Invalid(format!("unable to load root certificates: {e}")))?;
            for error in &found.errors {
                tracing::warn!(%error, "some of the certificates that this machine trusts cannot be read");
            }
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(found.certs);
            if roots.is_empty() {
                return Err(Error::Tls(
                    "failed to verify certificate: x509: certificate signed by unknown authority (this machine trusts \
                     no authority; give the target a CA bundle)"
                        .into(),
                ));
            }
            Ok(Arc::new(roots))
        });
        roots.await.cloned()
    }
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|_| "unable to parse bytes as PEM block".to_owned())?;
    if found.is_empty() { Err("unable to parse bytes as PEM block".to_owned()) } else { Ok(found) }
}

/// The name that the peer must show a certificate for.
pub(crate) fn server_name(target: &Target) -> Result<ServerName<'static>, Error> {
    let name = target.server_name();
    if let Ok(ip) = name.parse::<IpAddr>() {
        return Ok(ServerName::IpAddress(ip.into()));
    }
    ServerName::try_from(name.to_owned())
        .map_err(|_| Error::Invalid(format!("{name:?} is no name that a certificate can be for")))
}

/// Verifies a peer by a path to a trusted authority.
#[derive(Debug)]
struct Verifier {
    provider: Arc<CryptoProvider>,
    /// `None`: whatever the peer shows is taken.
    trust: Option<Trust>,
}

#[derive(Debug)]
struct Trust {
    path: Arc<WebPkiServerVerifier>,
    /// Certificates that are trusted as they are. Webhooks often bring a bundle that is the self-signed certificate of
    /// the server itself, marked as an authority; Go takes it, the path verifier does not.
    pinned: Vec<CertificateDer<'static>>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let Some(trust) = &self.trust else { return Ok(ServerCertVerified::assertion()) };
        let verified =
            trust.path.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        let Err(error) = verified else { return verified };
        if !trust.pinned.iter().any(|pinned| pinned == end_entity) {
            return Err(error);
        }
        verify_validity(end_entity, now)?;
        verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

fn verify_validity(certificate: &CertificateDer<'_>, now: UnixTime) -> Result<(), rustls::Error> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate)
        .map_err(|_| rustls::Error::InvalidCertificate(CertificateError::BadEncoding))?;
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    let validity = parsed.validity();
    if now < validity.not_before.timestamp() {
        return Err(rustls::Error::InvalidCertificate(CertificateError::NotValidYet));
    }
    if now > validity.not_after.timestamp() {
        return Err(rustls::Error::InvalidCertificate(CertificateError::Expired));
    }
    Ok(())
}

/// A handshake that failed, in Go's words where it has some.
pub(crate) fn failure(error: &io::Error, target: &Target) -> Error {
    let Some(cause) = error.get_ref().and_then(|e| e.downcast_ref::<rustls::Error>()) else {
        return match error.kind() {
            io::ErrorKind::UnexpectedEof => Error::Closed,
            _ => Error::Tls(error.to_string()),
        };
    };
    let unverified = |why: String| Error::Tls(format!("failed to verify certificate: x509: {why}"));
    let rustls::Error::InvalidCertificate(why) = cause else { return Error::Tls(cause.to_string()) };
    match why {
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            unverified("certificate signed by unknown authority".into())
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            unverified("certificate has expired or is not yet valid: it has expired".into())
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            unverified("certificate has expired or is not yet valid: it is not yet valid".into())
        }
        CertificateError::NotValidForName => {
            unverified(format!("certificate is not valid for {}", target.server_name()))
        }
        CertificateError::NotValidForNameContext { presented, .. } if presented.is_empty() => unverified(
            format!("certificate is not valid for any names, but wanted to match {}", target.server_name()),
        ),
        CertificateError::NotValidForNameContext { presented, .. } => {
            let names: Vec<&str> = presented.iter().map(|name| plain_name(name)).collect();
            unverified(format!("certificate is valid for {}, not {}", names.join(", "), target.server_name()))
        }
        other => unverified(other.to_string()),
    }
}

/// `DnsName("a")` as `a`.
fn plain_name(name: &str) -> &str {
    name.split_once('(').map_or(name, |(_, rest)| rest.trim_end_matches(')').trim_matches('"'))
}
