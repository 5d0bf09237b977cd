//! The CA itself: what it signs, and reading what it signed.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use rand::TryRngCore;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PublicKeyData, SanType, SerialNumber, SigningKey,
};
use rustls::pki_types::CertificateDer;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;
use x509_parser::prelude::X509Certificate;

use super::peer::VcpScope;
use super::{PkiError, certificates_of_pem};
use crate::der;

/// How much earlier than now a certificate begins: clocks differ.
const BACKDATE: i64 = 5 * 60;
/// Begins the URI that says whose a client certificate is.
pub(super) const SCOPE_URI: &str = "kplane://";

/// Whom a client certificate is of.
#[derive(Clone, Copy, Debug, Default)]
pub struct ClientSubject<'a> {
    /// The name of the user.
    pub user: &'a str,
    /// The uid of the user; empty: it has none.
    pub uid: &'a str,
    /// Its groups.
    pub groups: &'a [String],
}

impl<'a> ClientSubject<'a> {
    /// A user without a uid.
    pub fn new(user: &'a str, groups: &'a [String]) -> Self {
        Self { user, uid: "", groups }
    }
}

/// A CA with its key.
pub struct Authority {
    certificate: CertificateDer<'static>,
    /// All that are trusted: its own first, then those that came before it or come next.
    trusted: Vec<CertificateDer<'static>>,
    pem: String,
    leaf: Leaf,
    key: KeyPair,
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").field("certificate", &self.pem).finish_non_exhaustive()
    }
}

impl Authority {
    /// The certificate of a new CA, in PEM.
    pub(super) fn generate(key: &KeyPair, not_after: i64, now: i64) -> Result<String, PkiError> {
        let mut params = params("kplane-ca", now - BACKDATE, not_after)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages =
            vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
        Ok(params.self_signed(key).map_err(PkiError::issue)?.pem())
    }

    /// A CA from its certificate and key; the error says what is wrong with the certificate.
    pub(super) fn load(pem: &[u8], key: KeyPair) -> Result<Self, String> {
        let leaf = Leaf::parse(pem)?;
        if !leaf.has_key(&key) {
            return Err("is not of the CA's key".to_owned());
        }
        if !leaf.ca {
            return Err("is not the certificate of a CA".to_owned());
        }
        if *key.algorithm() != rcgen::PKCS_ECDSA_P256_SHA256 {
            return Err("is not of an ECDSA P-256 key".to_owned());
        }
        let trusted = certificates_of_pem(pem)?;
        let certificate = trusted.first().cloned().ok_or_else(|| "holds no certificate".to_owned())?;
        let pem = String::from_utf8(pem.to_vec()).map_err(|_| "is not PEM".to_owned())?;
        Ok(Self { certificate, trusted, pem, leaf, key })
    }

    /// The same CA with a newer certificate. The others that are trusted stay so.
    pub(super) fn renewed(&self, not_after: i64, now: i64) -> Result<Self, PkiError> {
        let key = KeyPair::try_from(self.key.serialized_der()).map_err(PkiError::issue)?;
        let mut pem = Self::generate(&key, not_after, now)?;
        self.trusted[1..].iter().for_each(|other| pem.push_str(&self::pem(other)));
        Self::load(pem.as_bytes(), key).map_err(PkiError::issue)
    }

    pub(super) fn due(&self, now: i64) -> bool {
        self.leaf.due(now)
    }

    pub(super) fn is_over(&self, now: i64) -> bool {
        now >= self.leaf.not_after
    }

    /// All that is trusted, in PEM: its own certificate, then those of the CAs before and after it.
    pub fn certificate_pem(&self) -> &str {
        &self.pem
    }

    /// All that is trusted: its own certificate first.
    pub fn trusted(&self) -> &[CertificateDer<'static>] {
        &self.trusted
    }

    /// The certificate.
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// A serving certificate for the names and addresses, in PEM.
    pub fn issue_server(
        &self,
        key: &impl PublicKeyData,
        names: &[String],
        addresses: &[IpAddr],
        not_after: i64,
        now: i64,
    ) -> Result<String, PkiError> {
        let mut params = params("kplane-apiserver", now - BACKDATE, not_after.min(self.leaf.not_after))?;
        for name in names {
            params
                .subject_alt_names
                .push(SanType::DnsName(name.as_str().try_into().map_err(PkiError::issue)?));
        }
        params.subject_alt_names.extend(addresses.iter().copied().map(SanType::IpAddress));
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let issuer = Issuer::from_ca_cert_der(&self.certificate, &self.key).map_err(PkiError::issue)?;
        Ok(params.signed_by(key, &issuer).map_err(PkiError::issue)?.pem())
    }

    /// A client certificate for a public key (a DER `SubjectPublicKeyInfo`, such as a signing request holds), in PEM:
    /// of a virtual control plane by its uid, or of root. It never outlives the CA.
    pub fn certify_client(
        &self,
        public_key: &[u8],
        vcp: Option<&VcpScope>,
        of: &ClientSubject<'_>,
        not_after: i64,
        now: i64,
    ) -> Result<String, PkiError> {
        if of.user.is_empty() {
            return Err(PkiError::issue("a client certificate needs a user"));
        }
        let (_, ca) = X509Certificate::from_der(&self.certificate).map_err(PkiError::issue)?;
        let mut subject: Vec<u8> =
            of.groups.iter().flat_map(|group| der::attribute(der::ORGANIZATION, group)).collect();
        subject.extend(der::attribute(der::COMMON_NAME, of.user));
        if !of.uid.is_empty() {
            subject.extend(der::attribute(der::USER_UID, of.uid));
        }
        let when = |unix| der::time(unix).ok_or_else(|| PkiError::issue("a time beyond the calendar"));
        let uri = match vcp {
            Some(scope) => match scope.written() {
                Some(written) => format!("{SCOPE_URI}vcp/{written}"),
                None => return Err(PkiError::issue(format!("{scope:?} cannot be written"))),
            },
            None => format!("{SCOPE_URI}root"),
        };
        let extensions = der::sequence(&[
            // Key usage: digitalSignature.
            &der::extension(&[0x55, 0x1d, 15], true, &[0x03, 2, 7, 0x80]),
            // Extended key usage: clientAuth.
            &der::extension(
                &[0x55, 0x1d, 37],
                false,
                &der::sequence(&[&der::oid(&[0x2b, 6, 1, 5, 5, 7, 3, 2])]),
            ),
            // Basic constraints: no CA.
            &der::extension(&[0x55, 0x1d, 19], true, &der::sequence(&[])),
            // Subject alternative name: whose it is.
            &der::extension(&[0x55, 0x1d, 17], false, &der::sequence(&[&der::element(0x86, uri.as_bytes())])),
        ]);
        let tbs = der::sequence(&[
            &der::element(0xa0, &der::element(der::INTEGER, &[2])),
            &der::element(der::INTEGER, &serial()?),
            &der::signature_algorithm(),
            ca.tbs_certificate.subject.as_raw(),
            &der::sequence(&[&when(now - BACKDATE)?, &when(not_after.min(self.leaf.not_after))?]),
            &der::sequence(&[&subject]),
            public_key,
            &der::element(0xa3, &extensions),
        ]);
        let signature = self.key.sign(&tbs).map_err(PkiError::issue)?;
        let whole = der::sequence(&[&tbs, &der::signature_algorithm(), &der::bit_string(&signature)]);
        Ok(pem(&whole))
    }
}

fn pem(certificate: &[u8]) -> String {
    let text = BASE64_STANDARD.encode(certificate);
    let mut out = String::from("-----BEGIN CERTIFICATE-----\n");
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(64));
        out.push_str(line);
        out.push('\n');
        rest = after;
    }
    out.push_str("-----END CERTIFICATE-----\n");
    out
}

/// A positive serial number of 127 random bits.
fn serial() -> Result<[u8; 16], PkiError> {
    let mut serial = [0; 16];
    rand::rngs::OsRng.try_fill_bytes(&mut serial).map_err(PkiError::issue)?;
    // Positive, and in the shortest form.
    serial[0] = (serial[0] & 0x7f) | 0x40;
    Ok(serial)
}

pub(super) fn params(name: &str, not_before: i64, not_after: i64) -> Result<CertificateParams, PkiError> {
    let at = |unix: i64| {
        u64::try_from(unix)
            .ok()
            .and_then(|unix| {
                rcgen::date_time_ymd(1970, 1, 1).checked_add(Duration::from_secs(unix).try_into().ok()?)
            })
            .ok_or_else(|| PkiError::issue("a time beyond the calendar"))
    };
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = at(not_before)?;
    params.not_after = at(not_after)?;
    params.serial_number = Some(SerialNumber::from_slice(&serial()?));
    Ok(params)
}

/// What we must know of a certificate of ours.
pub(super) struct Leaf {
    not_before: i64,
    not_after: i64,
    ca: bool,
    public_key: Vec<u8>,
    names: Vec<String>,
    addresses: Vec<IpAddr>,
}

impl Leaf {
    /// Reads the first certificate; the error says what is wrong with it.
    pub(super) fn parse(pem: &[u8]) -> Result<Self, String> {
        let found = certificates_of_pem(pem)?;
        let (_, certificate) =
            X509Certificate::from_der(&found[0]).map_err(|e| format!("is not a certificate: {e}"))?;
        let validity = certificate.validity();
        let mut leaf = Self {
            not_before: validity.not_before.timestamp(),
            not_after: validity.not_after.timestamp(),
            ca: certificate.is_ca(),
            public_key: certificate.public_key().raw.to_vec(),
            names: Vec::new(),
            addresses: Vec::new(),
        };
        let names =
            certificate.subject_alternative_name().map_err(|e| format!("is not a certificate: {e}"))?;
        for name in names.iter().flat_map(|names| &names.value.general_names) {
            match name {
                GeneralName::DNSName(name) => leaf.names.push((*name).to_owned()),
                GeneralName::IPAddress(bytes) => leaf.addresses.extend(
                    <[u8; 4]>::try_from(*bytes)
                        .map(IpAddr::from)
                        .or_else(|_| <[u8; 16]>::try_from(*bytes).map(IpAddr::from)),
                ),
                _ => {}
            }
        }
        Ok(leaf)
    }

    /// Whether less than a quarter of its life is left; or it has not begun, having been made while the clock was ahead.
    pub(super) fn due(&self, now: i64) -> bool {
        now < self.not_before || now >= self.not_after - (self.not_after - self.not_before) / 4
    }

    /// Whether it is of the key.
    pub(super) fn has_key(&self, key: &KeyPair) -> bool {
        self.public_key == key.subject_public_key_info()
    }

    /// Whether it serves all of these names and addresses.
    pub(super) fn covers(&self, names: &[String], addresses: &[IpAddr]) -> bool {
        names.iter().all(|name| self.names.contains(name))
            && addresses.iter().all(|address| self.addresses.contains(address))
    }
}
