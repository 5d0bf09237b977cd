//! The plane's own keys, as the file `pki/encryption.key` holds them.
//!
//! A line holds a key: 32 bytes in base64, behind a name unless it is the first that the plane ever had. The first line
//! seals, all open. So a key is replaced in steps, each of which all servers have taken before the next: the new one comes
//! second, then first, then alone. A line `again: TEXT` has all values looked at once more, since a server that had not
//! heard of the new key may have written behind the back of the first look.

use std::path::Path;

use anyhow::{Context as _, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::config::PLANE;
use super::keys::MasterKey;

/// The keys; none where none was given.
#[derive(Clone, Debug, Default)]
pub struct PlaneKeys {
    keys: Vec<(String, MasterKey)>,
    again: String,
}

impl PlaneKeys {
    /// Those in the file, or a new one if one is to be made.
    pub fn open(path: &Path, make: bool) -> anyhow::Result<Self> {
        match std::fs::read_to_string(path) {
            Ok(text) => Self::parse(&text).with_context(|| format!("{} holds no keys", path.display())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && make => {
                let key = MasterKey::random().map_err(anyhow::Error::msg)?;
                crate::kubeconfig::write_private(path, &format!("{}\n", STANDARD.encode(key.bytes())))
                    .with_context(|| format!("cannot write {}", path.display()))?;
                Ok(Self { keys: vec![(PLANE.to_owned(), key)], again: String::new() })
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
    }

    fn parse(text: &str) -> anyhow::Result<Self> {
        let mut found = Self::default();
        let lines = text.lines().map(str::trim).enumerate().filter(|(_, line)| !line.is_empty());
        for (number, line) in lines {
            if let Some(again) = line.strip_prefix("again: ") {
                again.clone_into(&mut found.again);
                continue;
            }
            let (name, encoded) = line.split_once(' ').unwrap_or((PLANE, line));
            // What is wrong is not repeated: it may be a key.
            let key = STANDARD.decode(encoded.trim()).ok().filter(|key| key.len() == 32);
            let key = key.with_context(|| format!("line {}: it is not 32 bytes in base64", number + 1))?;
            if name.contains(':') || found.keys.iter().any(|(known, _)| known == name) {
                bail!("line {}: the name must be another than the others' and hold no colon", number + 1);
            }
            found.keys.push((name.to_owned(), MasterKey::new(key)));
        }
        if found.keys.is_empty() {
            bail!("it must hold 32 bytes in base64");
        }
        Ok(found)
    }

    /// The keys, the one that seals first.
    pub fn all(&self) -> &[(String, MasterKey)] {
        &self.keys
    }

    /// The key of this name.
    pub fn find(&self, name: &str) -> Option<&MasterKey> {
        self.keys.iter().find(|(known, _)| known == name).map(|(_, key)| key)
    }

    /// What tells these from others. Nothing, as long as no key was ever replaced.
    pub fn fingerprint(&self) -> String {
        match self.keys.first() {
            Some((name, _)) if name != PLANE || !self.again.is_empty() => {
                format!(";plane={name};again={}", self.again)
            }
            _ => String::new(),
        }
    }

    /// Those of this text.
    #[cfg(test)]
    pub fn of(text: &str) -> Self {
        Self::parse(text).expect("keys")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_holds_a_key_a_line_and_names_tell_them_apart() {
        let encoded = |byte: u8| STANDARD.encode([byte; 32]);
        let one = PlaneKeys::of(&format!("{}\n", encoded(1)));
        assert_eq!((one.all()[0].0.as_str(), one.fingerprint()), (PLANE, String::new()));
        let text = format!("plane-2 {}\n{}\nagain: x\n", encoded(2), encoded(1));
        let both = PlaneKeys::of(&text);
        assert_eq!(both.all()[0].0, "plane-2");
        assert_eq!(both.fingerprint(), ";plane=plane-2;again=x");
        assert_eq!(both.find(PLANE).map(MasterKey::bytes), one.find(PLANE).map(MasterKey::bytes));
        for wrong in [String::new(), "again: x".into(), "short".into(), format!("{0}\n{0}", encoded(1))] {
            assert!(PlaneKeys::parse(&wrong).is_err(), "{wrong}");
        }
    }
}
