//! An issuer of tokens: discovery, keys, and tokens of whatever claims.

use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use kplane_tests::https::{Authority, serve};
use p256::ecdsa::signature::Signer;
use p256::ecdsa::{Signature, SigningKey};
use serde_json::{Value, json};

/// One that runs while the test does.
pub struct Issuer {
    /// Its URL, as in the claim `iss`.
    pub url: String,
    /// What verifies it.
    pub authority: Authority,
    /// The key that signs, by its number.
    key: Arc<Mutex<u8>>,
}

fn signing_key(number: u8) -> SigningKey {
    SigningKey::from_slice(&[number; 32]).expect("a key")
}

impl Issuer {
    pub fn start() -> Self {
        let authority = Authority::new();
        let key = Arc::new(Mutex::new(1));
        let url = Arc::new(Mutex::new(String::new()));
        let (shown_key, shown_url) = (key.clone(), url.clone());
        let address = serve(&authority, move |asked| {
            let issuer = shown_url.lock().expect("the URL").clone();
            match asked.path.as_str() {
                "/.well-known/openid-configuration" => {
                    Some(json!({"issuer": issuer, "jwks_uri": format!("{issuer}/keys")}))
                }
                "/keys" => {
                    let number = *shown_key.lock().expect("the key");
                    let point = signing_key(number).verifying_key().to_encoded_point(false);
                    let part = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
                    Some(json!({"keys": [{
                        "kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": number.to_string(),
                        "x": part(point.x().expect("x")), "y": part(point.y().expect("y")),
                    }]}))
                }
                _ => None,
            }
        });
        url.lock().expect("the URL").clone_from(&address);
        Self { url: address, authority, key }
    }

    /// Signs with another key from now on, and shows that one alone.
    pub fn rotate(&self) {
        *self.key.lock().expect("the key") += 1;
    }

    /// A token that is good for an hour, with these claims besides.
    pub fn token(&self, claims: Value) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("the time").as_secs();
        let mut all = json!({"iss": self.url, "aud": "kplane", "exp": now + 3600, "iat": now});
        for (claim, value) in claims.as_object().expect("claims") {
            all[claim] = value.clone();
        }
        let number = *self.key.lock().expect("the key");
        let header = json!({"alg": "ES256", "kid": number.to_string()});
        let part = |text: String| BASE64_URL_SAFE_NO_PAD.encode(text);
        let signed = format!("{}.{}", part(header.to_string()), part(all.to_string()));
        let signature: Signature = signing_key(number).sign(signed.as_bytes());
        format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature.to_bytes()))
    }

    /// How it is configured, as one entry of `jwt`.
    pub fn authenticator(&self) -> Value {
        json!({
            "issuer": {
                "url": self.url, "audiences": ["kplane"], "certificateAuthority": self.authority.pem(),
            },
            "claimMappings": {
                "username": {"expression": "'oidc:' + claims.sub"},
                "groups": {"claim": "groups", "prefix": "oidc:"},
            },
            "claimValidationRules": [{"expression": "claims.sub != 'banned'", "message": "banned"}],
            "userValidationRules": [{
                "expression": "!user.groups.exists(g, g.startsWith('system:'))", "message": "reserved",
            }],
        })
    }
}
