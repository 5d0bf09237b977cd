//! Keys that derive from one secret.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use hkdf::Hkdf;
use p256::ecdsa::signature::{Signer, Verifier};
use p256::ecdsa::{Signature, SigningKey, VerifyingKey};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::secrets::DatedSecret;

/// How many derived keys are remembered.
const REMEMBERED: usize = 1024;
/// What the derived keys are for; another use derives with another text.
const PURPOSE: &[u8] = b"kplane/service-account-key/v1";
/// Begins the DER `SubjectPublicKeyInfo` of a P-256 point.
const SPKI_PREFIX: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
    0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// The secret that the keys of every control plane derive from.
#[derive(Clone)]
pub struct PlaneSecret([u8; 32]);

impl fmt::Debug for PlaneSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PlaneSecret(..)")
    }
}

impl From<[u8; 32]> for PlaneSecret {
    fn from(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl PlaneSecret {
    /// Reads its text: base64, with or without a newline.
    pub fn from_text(text: &[u8]) -> Option<Self> {
        let bytes = BASE64_STANDARD.decode(text.trim_ascii()).ok()?;
        Some(Self(bytes.try_into().ok()?))
    }

    /// Its text.
    pub fn to_text(&self) -> String {
        format!("{}\n", BASE64_STANDARD.encode(self.0))
    }

    fn signing_key(&self, uid: &str) -> Option<SigningKey> {
        self.derive_key(PURPOSE, uid)
    }

    /// A uid for a purpose (RFC 9562, version 8): the same in all servers that share the secret.
    pub(crate) fn derive_uid(&self, purpose: &[u8]) -> Option<String> {
        let mut bytes = [0; 16];
        Hkdf::<Sha256>::new(Some(purpose), &self.0).expand(b"uid", &mut bytes).ok()?;
        bytes[6] = (bytes[6] & 0x0f) | 0x80;
        bytes[8] = (bytes[8] & 0x3f) | 0x80;
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        Some([&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-"))
    }

    /// The key for a purpose, and within it for a uid.
    pub(crate) fn derive_key(&self, purpose: &[u8], uid: &str) -> Option<SigningKey> {
        let derive = Hkdf::<Sha256>::new(Some(purpose), &self.0);
        // Nearly every 32 bytes are a key: the second turn is for one in 2^32.
        (0..=u8::MAX).find_map(|turn| {
            let mut scalar = [0; 32];
            derive.expand_multi_info(&[uid.as_bytes(), &[0, turn]], &mut scalar).ok()?;
            SigningKey::from_slice(&scalar).ok()
        })
    }
}

/// The key pair of one control plane, of one secret.
pub(super) struct DerivedKey {
    signing: SigningKey,
    verifying: VerifyingKey,
    /// As kube-apiserver names keys: the hash of the public one.
    pub(super) id: String,
    /// From when it signs.
    from: i64,
    /// Until when it is trusted.
    pub(super) until: Option<i64>,
}

impl DerivedKey {
    fn new(dated: &DatedSecret, name: &str) -> Option<Self> {
        let signing = dated.secret.signing_key(name)?;
        let verifying = *signing.verifying_key();
        let point = verifying.to_encoded_point(false);
        let mut hash = Sha256::new();
        hash.update(SPKI_PREFIX);
        hash.update(point.as_bytes());
        let id = BASE64_URL_SAFE_NO_PAD.encode(hash.finalize());
        Some(Self { signing, verifying, id, from: dated.from, until: dated.until })
    }

    pub(super) fn sign(&self, message: &[u8]) -> Vec<u8> {
        let signature: Signature = self.signing.sign(message);
        signature.to_bytes().to_vec()
    }

    pub(super) fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        Signature::from_slice(signature).is_ok_and(|s| self.verifying.verify(message, &s).is_ok())
    }

    fn jwk(&self) -> Value {
        let point = self.verifying.to_encoded_point(false);
        let part = |bytes: Option<&p256::FieldBytes>| bytes.map(|b| BASE64_URL_SAFE_NO_PAD.encode(b));
        json!({
            "use": "sig", "kty": "EC", "kid": self.id, "crv": "P-256", "alg": "ES256",
            "x": part(point.x()), "y": part(point.y()),
        })
    }
}

/// The key pairs of one control plane, the newest first.
pub(super) struct DerivedKeys(Vec<DerivedKey>);

impl DerivedKeys {
    /// The one that signs now.
    pub(super) fn signing(&self, now: i64) -> Option<&DerivedKey> {
        self.trusted(now).find(|key| key.from <= now).or_else(|| self.0.first())
    }

    /// Those that are trusted now.
    pub(super) fn trusted(&self, now: i64) -> impl Iterator<Item = &DerivedKey> {
        self.0.iter().filter(move |key| key.until.is_none_or(|until| until > now))
    }
}

type Derived = Arc<DerivedKeys>;

/// The keys of all control planes, derived when they are asked for.
pub struct TokenKeys {
    secrets: RwLock<Vec<DatedSecret>>,
    remembered: Mutex<HashMap<Arc<str>, Derived>>,
}

impl fmt::Debug for TokenKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenKeys").finish_non_exhaustive()
    }
}

impl TokenKeys {
    /// Signs with keys of the newest secret whose time has come, accepts those of all that are trusted.
    pub fn new(secrets: Vec<DatedSecret>) -> Self {
        Self { secrets: RwLock::new(secrets), remembered: Mutex::default() }
    }

    /// Takes other secrets, say after they were rotated.
    pub fn replace(&self, secrets: Vec<DatedSecret>) {
        *self.secrets.write().unwrap_or_else(PoisonError::into_inner) = secrets;
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Whether the key of this id is the one that signs now.
    pub(super) fn signs_with(&self, name: &str, id: &str, now: i64) -> bool {
        self.of(name).signing(now).is_some_and(|key| key.id == id)
    }

    /// The keys of a control plane.
    pub(super) fn of(&self, uid: &str) -> Derived {
        if let Some(found) = self.remembered.lock().unwrap_or_else(PoisonError::into_inner).get(uid) {
            return found.clone();
        }
        let secrets = self.secrets.read().unwrap_or_else(PoisonError::into_inner);
        let derived: Derived =
            Arc::new(DerivedKeys(secrets.iter().filter_map(|secret| DerivedKey::new(secret, uid)).collect()));
        let mut remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        if remembered.len() >= REMEMBERED {
            remembered.clear();
        }
        remembered.insert(uid.into(), derived.clone());
        derived
    }

    /// The public keys of a control plane: what `/openid/v1/jwks` answers.
    pub fn jwks(&self, uid: &str, now: i64) -> Value {
        json!({ "keys": self.of(uid).trusted(now).map(DerivedKey::jwk).collect::<Vec<_>>() })
    }

    /// What `/.well-known/openid-configuration` answers.
    pub fn openid_configuration(&self, issuer: &str) -> Value {
        json!({
            "issuer": issuer,
            "jwks_uri": format!("{}/openid/v1/jwks", issuer.trim_end_matches('/')),
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["ES256"],
        })
    }
}
