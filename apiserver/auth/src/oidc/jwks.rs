//! The public keys of an issuer, and the signatures they verify.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256,
    RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512, RsaParameters, RsaPublicKeyComponents,
    UnparsedPublicKey,
};
use serde_json::Value;

/// The keys of an issuer that we can use.
#[derive(Debug, Default)]
pub struct JwkSet {
    keys: Vec<Jwk>,
}

#[derive(Debug)]
struct Jwk {
    id: String,
    /// The algorithm it is for, if it says so.
    algorithm: String,
    public: Public,
}

#[derive(Debug)]
enum Public {
    Rsa {
        n: Vec<u8>,
        e: Vec<u8>,
    },
    /// The uncompressed point, and the bytes of a coordinate.
    Ec {
        point: Vec<u8>,
        size: usize,
    },
    Ed25519(Vec<u8>),
}

/// Why a signature was not verified.
#[derive(Debug, PartialEq, Eq)]
pub enum Unverified {
    /// There is no such key: there may be one by now.
    UnknownKey,
    /// The signature is not of the key.
    Signature,
    /// An algorithm that we have not, or that the key is not for.
    Algorithm,
}

impl JwkSet {
    /// Reads a key set. Keys that we cannot use are left out.
    pub fn parse(set: &Value) -> Result<Self, String> {
        let keys = set["keys"].as_array().ok_or("the key set has no keys")?;
        Ok(Self { keys: keys.iter().filter_map(Jwk::parse).collect() })
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Verifies what was signed, by the key of this id, or by any when none is named.
    pub fn verify(
        &self,
        id: &str,
        algorithm: &str,
        signed: &[u8],
        signature: &[u8],
    ) -> Result<(), Unverified> {
        let mut found = Err(Unverified::UnknownKey);
        for key in self.keys.iter().filter(|key| id.is_empty() || key.id == id) {
            match key.verify(algorithm, signed, signature) {
                Ok(()) => return Ok(()),
                Err(why) => found = Err(why),
            }
        }
        found
    }
}

impl Jwk {
    fn parse(key: &Value) -> Option<Self> {
        let text = |field: &str| key[field].as_str().unwrap_or_default();
        let bytes = |field: &str| BASE64_URL_SAFE_NO_PAD.decode(text(field).trim_end_matches('=')).ok();
        if !matches!(text("use"), "" | "sig") {
            return None;
        }
        let public = match (text("kty"), text("crv")) {
            ("RSA", _) => Public::Rsa { n: unsigned(bytes("n")?), e: unsigned(bytes("e")?) },
            ("EC", curve) => {
                let size = match curve {
                    "P-256" => 32,
                    "P-384" => 48,
                    _ => return None,
                };
                let (x, y) = (bytes("x")?, bytes("y")?);
                if x.len() > size || y.len() > size {
                    return None;
                }
                let mut point = vec![4];
                for coordinate in [x, y] {
                    point.resize(point.len() + size - coordinate.len(), 0);
                    point.extend(coordinate);
                }
                Public::Ec { point, size }
            }
            ("OKP", "Ed25519") => Public::Ed25519(bytes("x")?),
            _ => return None,
        };
        Some(Self { id: text("kid").to_owned(), algorithm: text("alg").to_owned(), public })
    }

    fn verify(&self, algorithm: &str, signed: &[u8], signature: &[u8]) -> Result<(), Unverified> {
        // A token must not choose another algorithm than its key is for.
        if !self.algorithm.is_empty() && self.algorithm != algorithm {
            return Err(Unverified::Algorithm);
        }
        let rsa: Option<&RsaParameters> = match algorithm {
            "RS256" => Some(&RSA_PKCS1_2048_8192_SHA256),
            "RS384" => Some(&RSA_PKCS1_2048_8192_SHA384),
            "RS512" => Some(&RSA_PKCS1_2048_8192_SHA512),
            "PS256" => Some(&RSA_PSS_2048_8192_SHA256),
            "PS384" => Some(&RSA_PSS_2048_8192_SHA384),
            "PS512" => Some(&RSA_PSS_2048_8192_SHA512),
            _ => None,
        };
        let verified = match (&self.public, rsa, algorithm) {
            (Public::Rsa { n, e }, Some(parameters), _) => {
                RsaPublicKeyComponents { n, e }.verify(parameters, signed, signature)
            }
            (Public::Ec { point, size: 32 }, None, "ES256") => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(signed, signature)
            }
            (Public::Ec { point, size: 48 }, None, "ES384") => {
                UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, point).verify(signed, signature)
            }
            (Public::Ed25519(key), None, "EdDSA") => {
                UnparsedPublicKey::new(&ED25519, key).verify(signed, signature)
            }
            _ => return Err(Unverified::Algorithm),
        };
        verified.map_err(|_| Unverified::Signature)
    }
}

/// Without the zeros that some write before a number.
fn unsigned(bytes: Vec<u8>) -> Vec<u8> {
    bytes.into_iter().skip_while(|byte| *byte == 0).collect()
}
