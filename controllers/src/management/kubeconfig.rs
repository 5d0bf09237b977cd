//! Kubeconfigs, as they are written to Secrets.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kplane_crds::tenancy::CredentialRequestStatus;
use kplane_crds::v1alpha1::{EXPIRATION_ANNOTATION, KUBECONFIG_EXTERNAL_KEY, KUBECONFIG_KEY};
use serde_json::json;

use crate::Error;

/// The key, in a Secret, of when its certificate was made.
pub const ISSUED_ANNOTATION: &str = "controlplane.kplane.dev/issued-time";
/// The key, in a Secret, of a digest of what it was made for: user, role, addresses, certificates of the server.
pub const INPUTS_ANNOTATION: &str = "controlplane.kplane.dev/inputs";

/// One kubeconfig with one cluster, one user and one context.
pub fn render(
    server: &str,
    ca_pem: &str,
    user: &str,
    credential: &CredentialRequestStatus,
) -> Result<String, Error> {
    let mut cluster = json!({ "server": server });
    if !ca_pem.is_empty() {
        cluster["certificate-authority-data"] = STANDARD.encode(ca_pem).into();
    }
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{ "name": "controlplane", "cluster": cluster }],
        "users": [{ "name": user, "user": {
            "client-certificate-data": credential.client_certificate_data,
            "client-key-data": credential.client_key_data,
        }}],
        "contexts": [{ "name": "controlplane", "context": { "cluster": "controlplane", "user": user } }],
        "current-context": "controlplane",
    });
    serde_saphyr::to_string(&config)
        .map_err(|error| Error::Convert { what: "a kubeconfig", message: error.to_string() })
}

/// The addresses that kubeconfigs point at, and what verifies them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Addresses {
    /// The address inside the management cluster.
    pub internal: String,
    /// The certificates, in PEM, that verify it.
    pub internal_ca: String,
    /// The address from outside.
    pub external: String,
    /// The certificates, in PEM, that verify it.
    pub external_ca: String,
}

/// The data of a Secret with both kubeconfigs.
pub fn secret_data(
    addresses: &Addresses,
    user: &str,
    credential: &CredentialRequestStatus,
) -> Result<BTreeMap<String, ByteString>, Error> {
    let internal = render(&addresses.internal, &addresses.internal_ca, user, credential)?;
    let external = render(&addresses.external, &addresses.external_ca, user, credential)?;
    Ok(BTreeMap::from([
        (KUBECONFIG_KEY.to_owned(), ByteString(internal.into_bytes())),
        (KUBECONFIG_EXTERNAL_KEY.to_owned(), ByteString(external.into_bytes())),
    ]))
}

/// When the certificate in a Secret was made and when it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// When it was made.
    pub issued: jiff::Timestamp,
    /// When it ends.
    pub expires: jiff::Timestamp,
}

impl Validity {
    /// What a Secret says of itself.
    pub fn of(secret: &Secret) -> Option<Self> {
        let annotations = secret.metadata.annotations.as_ref()?;
        let time = |key: &str| annotations.get(key)?.parse().ok();
        Some(Self { issued: time(ISSUED_ANNOTATION)?, expires: time(EXPIRATION_ANNOTATION)? })
    }

    /// From when on it is surely valid: one that was made while the clock was ahead is not yet.
    fn begin(&self) -> jiff::Timestamp {
        // As far as the API server dates certificates back.
        self.issued.checked_sub(jiff::SignedDuration::from_mins(5)).unwrap_or(self.issued)
    }

    /// When it is to be renewed: when two thirds of its life have passed.
    pub fn renewal(&self) -> jiff::Timestamp {
        let life = self.expires.as_second().saturating_sub(self.issued.as_second()).max(0);
        jiff::Timestamp::from_second(self.issued.as_second().saturating_add(life / 3 * 2))
            .unwrap_or(self.expires)
    }

    /// How long until it is to be renewed; zero when that is past.
    pub fn until_renewal(&self, now: jiff::Timestamp) -> std::time::Duration {
        let seconds = self.renewal().as_second().saturating_sub(now.as_second());
        std::time::Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
    }
}

/// Whether a Secret holds what it should, and long enough.
pub fn is_current(secret: &Secret, inputs: &str, now: jiff::Timestamp) -> bool {
    let made_for = secret.metadata.annotations.as_ref().and_then(|a| a.get(INPUTS_ANNOTATION));
    let has = |key: &str| secret.data.as_ref().is_some_and(|data| data.contains_key(key));
    made_for.map(String::as_str) == Some(inputs)
        && has(KUBECONFIG_KEY)
        && has(KUBECONFIG_EXTERNAL_KEY)
        && Validity::of(secret).is_some_and(|validity| validity.begin() <= now && now < validity.renewal())
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use kube::config::Kubeconfig;

    fn credential() -> CredentialRequestStatus {
        CredentialRequestStatus {
            client_certificate_data: STANDARD.encode("cert"),
            client_key_data: STANDARD.encode("key"),
            certificate_authority_data: None,
            expiration_timestamp: Time(jiff::Timestamp::UNIX_EPOCH),
        }
    }

    #[test]
    fn a_kubeconfig_is_read_back_whole() {
        let text = render("https://host/x", "pem", "owl", &credential()).unwrap();
        let config = Kubeconfig::from_yaml(&text).unwrap();
        let cluster = config.clusters[0].cluster.clone().unwrap();
        assert_eq!(cluster.server.as_deref(), Some("https://host/x"));
        assert_eq!(cluster.certificate_authority_data, Some(STANDARD.encode("pem")));
        assert_eq!(config.current_context.as_deref(), Some("controlplane"));
        let user = config.auth_infos[0].auth_info.clone().unwrap();
        assert_eq!(user.client_certificate_data, Some(STANDARD.encode("cert")));
    }

    #[test]
    fn renewal_is_at_two_thirds() {
        let at = |second| jiff::Timestamp::from_second(second).unwrap();
        let validity = Validity { issued: at(0), expires: at(300) };
        assert_eq!(validity.until_renewal(at(50)).as_secs(), 150);
        assert_eq!(validity.until_renewal(at(250)).as_secs(), 0);
    }

    #[test]
    fn a_secret_is_current_for_its_inputs_and_time() {
        let at = |second| jiff::Timestamp::from_second(second).unwrap();
        let mut secret = Secret::default();
        assert!(!is_current(&secret, "a", at(0)));
        secret.metadata.annotations = Some(BTreeMap::from([
            (INPUTS_ANNOTATION.into(), "a".into()),
            (ISSUED_ANNOTATION.into(), at(0).to_string()),
            (EXPIRATION_ANNOTATION.into(), at(300).to_string()),
        ]));
        secret.data = Some(secret_data(&Addresses::default(), "owl", &credential()).unwrap());
        assert!(is_current(&secret, "a", at(100)));
        assert!(!is_current(&secret, "b", at(100)));
        assert!(!is_current(&secret, "a", at(200)));
        assert!(is_current(&secret, "a", at(-300)) && !is_current(&secret, "a", at(-301)));
    }
}
