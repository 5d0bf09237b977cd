//! Keys, and what is sealed with them.
//!
//! For each value a key of its own derives from the configured one, by the identity of the control plane and the key of
//! the store. So each control plane has keys of its own, and a value that is moved elsewhere does not open there.

use bytes::Bytes;
use crypto_secretbox::aead::{Aead, KeyInit};
use crypto_secretbox::{Nonce, XSalsa20Poly1305};
use hkdf::Hkdf;
use rand::TryRngCore;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, UnboundKey};
use sha2::Sha256;

/// What the derived keys are for; another use derives with another text.
const PURPOSE: &[u8] = b"kplane/encryption-at-rest/v1";
const SECRETBOX_NONCE: usize = 24;

/// How values are sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cipher {
    /// AES-256 in Galois/Counter mode, bound to the key of the store.
    AesGcm,
    /// XSalsa20 and Poly1305.
    Secretbox,
}

impl Cipher {
    /// As the prefix of a value names it.
    pub fn name(self) -> &'static str {
        match self {
            Self::AesGcm => "aesgcm",
            Self::Secretbox => "secretbox",
        }
    }
}

/// A key that others derive from.
#[derive(Clone)]
pub struct MasterKey(Vec<u8>);

impl std::fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MasterKey(..)")
    }
}

/// A value that does not open: another key, another place, or not what was written.
#[derive(Debug, PartialEq, Eq)]
pub struct Refused;

impl MasterKey {
    /// From its bytes.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(bytes.into())
    }

    /// A new one, at random.
    pub fn random() -> Result<Self, String> {
        let mut bytes = vec![0; 32];
        rand::rngs::OsRng.try_fill_bytes(&mut bytes).map_err(|e| format!("no random bytes: {e}"))?;
        Ok(Self(bytes))
    }

    /// Its bytes, for whoever keeps them safe.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    fn derive(&self, place: &[u8]) -> [u8; 32] {
        let mut key = [0; 32];
        // 32 bytes are fewer than HKDF can make: it does not fail.
        let made = Hkdf::<Sha256>::new(Some(PURPOSE), &self.0).expand(place, &mut key);
        debug_assert!(made.is_ok());
        key
    }

    /// Seals a value for a place.
    pub fn seal(&self, cipher: Cipher, place: &[u8], value: &[u8]) -> Result<Vec<u8>, String> {
        let key = self.derive(place);
        let failed = || "the value could not be encrypted".to_owned();
        match cipher {
            Cipher::AesGcm => {
                let nonce: [u8; NONCE_LEN] = random()?;
                let key = UnboundKey::new(&AES_256_GCM, &key).map_err(|_| failed())?;
                let mut out = Vec::with_capacity(NONCE_LEN + value.len() + AES_256_GCM.tag_len());
                out.extend_from_slice(&nonce);
                out.extend_from_slice(value);
                let tag = LessSafeKey::new(key)
                    .seal_in_place_separate_tag(
                        ring::aead::Nonce::assume_unique_for_key(nonce),
                        Aad::from(place),
                        &mut out[NONCE_LEN..],
                    )
                    .map_err(|_| failed())?;
                out.extend_from_slice(tag.as_ref());
                Ok(out)
            }
            Cipher::Secretbox => {
                let nonce: [u8; SECRETBOX_NONCE] = random()?;
                let sealed = XSalsa20Poly1305::new(&key.into())
                    .encrypt(&Nonce::from(nonce), value)
                    .map_err(|_| failed())?;
                Ok([&nonce[..], &sealed].concat())
            }
        }
    }

    /// Opens a value that was sealed for a place.
    pub fn open(&self, cipher: Cipher, place: &[u8], sealed: &[u8]) -> Result<Bytes, Refused> {
        let key = self.derive(place);
        match cipher {
            Cipher::AesGcm => {
                let (nonce, rest) = sealed.split_at_checked(NONCE_LEN).ok_or(Refused)?;
                let nonce = ring::aead::Nonce::try_assume_unique_for_key(nonce).map_err(|_| Refused)?;
                let key = UnboundKey::new(&AES_256_GCM, &key).map_err(|_| Refused)?;
                let mut buffer = rest.to_vec();
                let length = LessSafeKey::new(key)
                    .open_in_place(nonce, Aad::from(place), &mut buffer)
                    .map_err(|_| Refused)?
                    .len();
                buffer.truncate(length);
                Ok(buffer.into())
            }
            Cipher::Secretbox => {
                let (nonce, rest) = sealed.split_at_checked(SECRETBOX_NONCE).ok_or(Refused)?;
                let nonce: [u8; SECRETBOX_NONCE] = nonce.try_into().map_err(|_| Refused)?;
                let opened = XSalsa20Poly1305::new(&key.into()).decrypt(&Nonce::from(nonce), rest);
                opened.map(Bytes::from).map_err(|_| Refused)
            }
        }
    }
}

fn random<const N: usize>() -> Result<[u8; N], String> {
    let mut bytes = [0; N];
    rand::rngs::OsRng.try_fill_bytes(&mut bytes).map_err(|e| format!("no random bytes: {e}"))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_opens_in_its_place_with_its_key_and_nowhere_else() {
        let (key, other) = (MasterKey::new([1; 32]), MasterKey::new([2; 32]));
        for cipher in [Cipher::AesGcm, Cipher::Secretbox] {
            let sealed = key.seal(cipher, b"a//secrets/n/s", b"the value").expect("sealed");
            assert!(!sealed.windows(9).any(|window| window == b"the value"));
            assert_ne!(sealed, key.seal(cipher, b"a//secrets/n/s", b"the value").expect("sealed"));
            assert_eq!(key.open(cipher, b"a//secrets/n/s", &sealed), Ok("the value".into()));
            assert_eq!(key.open(cipher, b"b//secrets/n/s", &sealed), Err(Refused));
            assert_eq!(other.open(cipher, b"a//secrets/n/s", &sealed), Err(Refused));
            for at in 0..sealed.len() {
                let mut changed = sealed.clone();
                changed[at] ^= 1;
                assert_eq!(key.open(cipher, b"a//secrets/n/s", &changed), Err(Refused), "byte {at}");
            }
            assert_eq!(key.open(cipher, b"a//secrets/n/s", &sealed[..10]), Err(Refused));
            assert_eq!(key.open(cipher, b"a//secrets/n/s", b""), Err(Refused));
        }
    }
}
