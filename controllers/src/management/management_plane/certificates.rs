//! The certificates of a deployed management plane (no client required).
//!
//! One authority signs the serving certificate and root's administrator's, another etcd's.

use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, SanType,
};

use crate::Error;

const DAY: u64 = 86_400;
/// How long the authority lives.
const AUTHORITY_LIFETIME: Duration = Duration::from_secs(3650 * DAY);

/// A certificate and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The certificate, in PEM.
    pub certificate: String,
    /// The private key, in PEM.
    pub key: String,
    /// When it ends.
    pub expires: jiff::Timestamp,
}

/// The name of the authority of the API server.
pub const PLANE_AUTHORITY: &str = "kplane-ca";
/// The name of the authority of etcd.
pub const ETCD_AUTHORITY: &str = "kplane-etcd-ca";

/// Makes an authority of this name. When it was made is in its subject: clients tell authorities apart by it.
pub fn authority(name: &str, now: jiff::Timestamp) -> Result<Pair, Error> {
    let key = KeyPair::generate()?;
    let (params, expires) = authority_params(&format!("{name}-{}", now.as_second()), now)?;
    Ok(Pair { certificate: params.self_signed(&key)?.pem(), key: key.serialize_pem(), expires })
}

/// Makes an authority to follow another, and its certificate signed by that one: for those who trust that one alone.
pub fn successor(name: &str, old: &Pair, now: jiff::Timestamp) -> Result<(Pair, String), Error> {
    let key = KeyPair::generate()?;
    let (params, expires) = authority_params(&format!("{name}-{}", now.as_second()), now)?;
    let certificate = params.self_signed(&key)?.pem();
    let mut bridge = params;
    bridge.use_authority_key_identifier_extension = true;
    let left = u64::try_from(old.expires.as_second().saturating_sub(now.as_second())).unwrap_or(0);
    limit(&mut bridge, Duration::from_secs(left), now)?;
    let issuer = Issuer::from_ca_cert_pem(&old.certificate, KeyPair::from_pem(&old.key)?)?;
    let bridge = bridge.signed_by(&key, &issuer)?.pem();
    Ok((Pair { certificate, key: key.serialize_pem(), expires }, bridge))
}

/// When a certificate in PEM ends, the first of several; `None` when it is none.
pub fn end(pem: &[u8]) -> Option<jiff::Timestamp> {
    validity(pem).map(|(_, end)| end)
}

/// From when to when a certificate in PEM is valid, the first of several; `None` when it is none.
pub fn validity(pem: &[u8]) -> Option<(jiff::Timestamp, jiff::Timestamp)> {
    let (_, block) = x509_parser::pem::parse_x509_pem(pem).ok()?;
    let certificate = block.parse_x509().ok()?;
    let time = |time: x509_parser::time::ASN1Time| jiff::Timestamp::from_second(time.timestamp()).ok();
    Some((time(certificate.validity().not_before)?, time(certificate.validity().not_after)?))
}

/// Makes a serving certificate for these names and addresses.
pub fn serving(
    authority: &Pair,
    names: Vec<String>,
    lifetime: Duration,
    now: jiff::Timestamp,
) -> Result<Pair, Error> {
    let mut params = CertificateParams::new(names)?;
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    sign(authority, params, "kplane-apiserver", None, lifetime, now)
}

/// Makes a certificate of etcd for these names: of a member, which serves and is a client of the others, or of a
/// client.
pub fn etcd(
    authority: &Pair,
    names: Vec<String>,
    serves: bool,
    lifetime: Duration,
    now: jiff::Timestamp,
) -> Result<Pair, Error> {
    let mut params = CertificateParams::new(names)?;
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    if serves {
        params.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
    }
    let name = if serves { "kplane-etcd" } else { "kplane-apiserver" };
    sign(authority, params, name, None, lifetime, now)
}

/// Makes a client certificate for root. The URI says so: without it the API server takes it for nobody's.
pub fn client(
    authority: &Pair,
    user: &str,
    group: &str,
    lifetime: Duration,
    now: jiff::Timestamp,
) -> Result<Pair, Error> {
    let mut params = CertificateParams::new(Vec::<String>::new())?;
    params.subject_alt_names = vec![SanType::URI("kplane://root".try_into()?)];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    sign(authority, params, user, Some(group), lifetime, now)
}

fn sign(
    authority: &Pair,
    mut params: CertificateParams,
    common_name: &str,
    organization: Option<&str>,
    lifetime: Duration,
    now: jiff::Timestamp,
) -> Result<Pair, Error> {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    if let Some(organization) = organization {
        name.push(DnType::OrganizationName, organization);
    }
    params.distinguished_name = name;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    // What outlives its authority is trusted by nobody.
    let left = u64::try_from(authority.expires.as_second().saturating_sub(now.as_second())).unwrap_or(0);
    let expires = limit(&mut params, lifetime.min(Duration::from_secs(left)), now)?;
    let key = KeyPair::generate()?;
    let issuer = Issuer::from_ca_cert_pem(&authority.certificate, KeyPair::from_pem(&authority.key)?)?;
    Ok(Pair { certificate: params.signed_by(&key, &issuer)?.pem(), key: key.serialize_pem(), expires })
}

fn authority_params(
    common_name: &str,
    now: jiff::Timestamp,
) -> Result<(CertificateParams, jiff::Timestamp), Error> {
    let mut params = CertificateParams::new(Vec::<String>::new())?;
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    params.distinguished_name = name;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages =
        vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
    let expires = limit(&mut params, AUTHORITY_LIFETIME, now)?;
    Ok((params, expires))
}

/// Sets from when to when a certificate is valid: from a day before, for clocks that are behind.
fn limit(
    params: &mut CertificateParams,
    lifetime: Duration,
    now: jiff::Timestamp,
) -> Result<jiff::Timestamp, Error> {
    // By the day, and then by the second: the type of the two is not ours to name.
    let time = |timestamp: jiff::Timestamp| {
        let date = timestamp.to_zoned(jiff::tz::TimeZone::UTC).date();
        let month = u8::try_from(date.month()).unwrap_or(1);
        let day = u8::try_from(date.day()).unwrap_or(1);
        let seconds = u64::try_from(timestamp.as_second()).unwrap_or(0) % DAY;
        rcgen::date_time_ymd(i32::from(date.year()), month, day) + Duration::from_secs(seconds)
    };
    let wrong =
        |error: jiff::Error| Error::Convert { what: "a certificate's lifetime", message: error.to_string() };
    let seconds = |duration: Duration| {
        jiff::SignedDuration::from_secs(i64::try_from(duration.as_secs()).unwrap_or(i64::MAX / 1_000_000))
    };
    let from = now.checked_sub(seconds(Duration::from_secs(DAY))).map_err(wrong)?;
    let until = now.checked_add(seconds(lifetime)).map_err(wrong)?;
    params.not_before = time(from);
    params.not_after = time(until);
    Ok(until)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_are_signed_by_the_authority_that_was_kept() {
        let now = jiff::Timestamp::from_second(1_800_000_000).unwrap();
        let authority = authority(PLANE_AUTHORITY, now).unwrap();
        let names = vec!["kplane-apiserver".to_owned(), "127.0.0.1".to_owned()];
        let pair = serving(&authority, names, Duration::from_secs(3600), now).unwrap();
        assert!(pair.certificate.starts_with("-----BEGIN CERTIFICATE-----"));
        assert_eq!(pair.expires.as_second() - now.as_second(), 3600);
        // What is believed of its end is what stands in it: one that ended before it is due would serve nobody.
        assert_eq!(end(pair.certificate.as_bytes()), Some(pair.expires));
        let pair = client(&authority, "admin", "system:masters", Duration::from_secs(3600), now).unwrap();
        assert!(pair.key.contains("PRIVATE KEY"));
    }
}
