//! TLS of the server.

use std::fmt;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{DigitallySignedStruct, DistinguishedName, ServerConfig, SignatureScheme};

use super::{PkiError, certificates_of_pem};

/// The one crypto provider.
pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// Answers handshakes with the certificate of the moment.
#[derive(Default)]
pub struct CertificateResolver {
    current: RwLock<Option<Arc<CertifiedKey>>>,
}

impl fmt::Debug for CertificateResolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CertificateResolver").finish_non_exhaustive()
    }
}

impl CertificateResolver {
    /// Serves the certificate of these files from now on (`--tls-cert-file`, `--tls-private-key-file`). When they are
    /// broken, the error names the file and what was served before stays. Says whether it is another than before.
    pub fn load_files(&self, certificate: &Path, key: &Path) -> Result<bool, PkiError> {
        let pem = std::fs::read(certificate).map_err(PkiError::file(certificate))?;
        let chain = certificates_of_pem(&pem).map_err(|why| PkiError::broken(certificate, why))?;
        if self
            .current
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .as_ref()
            .is_some_and(|c| c.cert == chain)
        {
            return Ok(false);
        }
        let pem = std::fs::read(key).map_err(PkiError::file(key))?;
        let private = PrivateKeyDer::from_pem_slice(&pem)
            .map_err(|e| PkiError::broken(key, format!("is not a private key: {e}")))?;
        let certified = CertifiedKey::from_der(chain, private, &provider())
            .map_err(|e| PkiError::broken(certificate, format!("does not go with {}: {e}", key.display())))?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(certified));
        Ok(true)
    }
}

impl ResolvesServerCert for CertificateResolver {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The server's side of TLS: 1.2 and newer, HTTP/2 and HTTP/1.1, a client certificate asked for but not needed.
///
/// The handshake proves only that the client holds the key of the certificate it shows. Whether the certificate is
/// trusted is for authentication to say, because a refused one is answered with 401.
pub fn server_config(resolver: Arc<CertificateResolver>) -> Result<ServerConfig, PkiError> {
    let provider = provider();
    let asks = Arc::new(AsksForCertificate { provider: provider.clone() });
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(asks)
        .with_cert_resolver(resolver);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// Asks for a client certificate and takes any whose key the client proves to hold.
#[derive(Debug)]
struct AsksForCertificate {
    provider: Arc<CryptoProvider>,
}

impl ClientCertVerifier for AsksForCertificate {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
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
