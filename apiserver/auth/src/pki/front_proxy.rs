//! The authority by which extension servers know that a request comes through the API server of their control plane.
//!
//! Its key derives from the plane's secret and its certificate is the same in every replica and after every start, so
//! nothing is stored. It signs nothing that the API server itself trusts. All control planes share it, so what an extension
//! server must look at is the name: it has the uid of the control plane, and `requestheader-allowed-names` says it.

use std::time::Duration;

use p256::ecdsa::signature::Signer;
use p256::ecdsa::{Signature, SigningKey};
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PublicKeyData, SerialNumber,
};
use rustls::pki_types::CertificateDer;

use super::{CertifiedPem, PkiError};
use crate::token::PlaneSecret;

/// When the authority's certificate begins and ends: 2025 and 2125.
const NOT_BEFORE: i64 = 1_735_689_600;
const NOT_AFTER: i64 = 4_891_363_200;
/// How much earlier than now a certificate begins: clocks differ.
const BACKDATE: i64 = 5 * 60;

/// The authority.
pub struct FrontProxy {
    key: Key,
    certificate: CertificateDer<'static>,
    pem: String,
}

impl std::fmt::Debug for FrontProxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FrontProxy").field("certificate", &self.pem).finish_non_exhaustive()
    }
}

/// Signs without chance, so that the same is signed the same.
struct Key {
    signing: SigningKey,
    point: Vec<u8>,
}

impl PublicKeyData for Key {
    fn der_bytes(&self) -> &[u8] {
        &self.point
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &rcgen::PKCS_ECDSA_P256_SHA256
    }
}

impl rcgen::SigningKey for Key {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        let signature: Signature = self.signing.sign(message);
        Ok(signature.to_der().as_bytes().to_vec())
    }
}

fn params(name: &str, not_before: i64, not_after: i64) -> Result<CertificateParams, PkiError> {
    let mut params = super::authority::params(name, not_before, not_after)?;
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

impl FrontProxy {
    /// Derives it.
    pub fn new(secret: &PlaneSecret) -> Result<Self, PkiError> {
        let signing = secret
            .derive_key(b"kplane/front-proxy-ca/v1", "")
            .ok_or_else(|| PkiError::issue("the key of the front proxy cannot be derived"))?;
        let point = signing.verifying_key().to_encoded_point(false).as_bytes().to_vec();
        let key = Key { signing, point };
        let mut params = params("kplane-front-proxy-ca", NOT_BEFORE, NOT_AFTER)?;
        params.serial_number = Some(SerialNumber::from(vec![1]));
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let certificate = params.self_signed(&key).map_err(PkiError::issue)?;
        Ok(Self { key, certificate: certificate.der().clone(), pem: certificate.pem() })
    }

    /// The authority's certificate, in PEM: `requestheader-client-ca-file`.
    pub fn ca_pem(&self) -> &str {
        &self.pem
    }

    /// The name in the certificate that a control plane's requests are proxied with.
    pub fn name(uid: &str) -> String {
        format!("front-proxy-client:{uid}")
    }

    /// A certificate for the requests of a control plane.
    pub fn issue(&self, uid: &str, ttl: Duration, now: i64) -> Result<CertifiedPem, PkiError> {
        let key = KeyPair::generate().map_err(PkiError::issue)?;
        let seconds = i64::try_from(ttl.as_secs()).map_err(PkiError::issue)?;
        let mut params = params(&Self::name(uid), now - BACKDATE, now.saturating_add(seconds))?;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let issuer = Issuer::from_ca_cert_der(&self.certificate, &self.key).map_err(PkiError::issue)?;
        let certificate = params.signed_by(&key, &issuer).map_err(PkiError::issue)?;
        Ok(CertifiedPem { certificate: certificate.pem(), key: key.serialize_pem() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_same_for_the_same_secret_and_names_the_control_plane() {
        let secret = PlaneSecret::from([7; 32]);
        let one = FrontProxy::new(&secret).unwrap();
        assert_eq!(one.ca_pem(), FrontProxy::new(&secret).unwrap().ca_pem());
        assert_ne!(one.ca_pem(), FrontProxy::new(&PlaneSecret::from([8; 32])).unwrap().ca_pem());
        let issued = one.issue("u-1", Duration::from_secs(3600), 1_800_000_000).unwrap();
        let der = super::super::certificates_of_pem(issued.certificate.as_bytes()).unwrap();
        let (_, leaf) = x509_parser::parse_x509_certificate(&der[0]).unwrap();
        let (_, authority) = x509_parser::parse_x509_certificate(&one.certificate).unwrap();
        assert_eq!(leaf.subject().to_string(), "CN=front-proxy-client:u-1");
        assert_eq!(leaf.issuer(), authority.subject());
    }
}
