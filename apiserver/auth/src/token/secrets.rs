//! The secret that token keys derive from, and those it replaced.
//!
//! The file `plane.key` has a secret a line, the newest first: 32 bytes in base64, and behind them from when it signs and
//! until when it is trusted, in seconds since 1970. A plain one signs and is trusted for good. A new secret is trusted at
//! once and signs a little later, so that every replica knows it before the first token comes.

use super::keys::PlaneSecret;

/// How long a new secret is only trusted.
const SETTLING: i64 = 120;

/// A secret and its time.
#[derive(Clone, Debug)]
pub struct DatedSecret {
    /// The secret.
    pub secret: PlaneSecret,
    /// From when it signs.
    pub from: i64,
    /// Until when it is trusted; for good without.
    pub until: Option<i64>,
}

impl DatedSecret {
    /// One that signs and is trusted for good.
    pub fn plain(secret: PlaneSecret) -> Self {
        Self { secret, from: 0, until: None }
    }

    fn read(line: &str) -> Option<Self> {
        let mut words = line.split_ascii_whitespace();
        let mut dated = Self::plain(PlaneSecret::from_text(words.next()?.as_bytes())?);
        for word in words {
            match word.split_once('=')? {
                ("from", time) => dated.from = time.parse().ok()?,
                ("until", time) => dated.until = Some(time.parse().ok()?),
                _ => return None,
            }
        }
        Some(dated)
    }

    fn write(&self) -> String {
        let mut line = self.secret.to_text().trim().to_owned();
        if self.from > 0 {
            line.push_str(&format!(" from={}", self.from));
        }
        if let Some(until) = self.until {
            line.push_str(&format!(" until={until}"));
        }
        line.push('\n');
        line
    }
}

/// Reads the text of the file; `None` when it is not one.
pub fn read(text: &[u8]) -> Option<Vec<DatedSecret>> {
    let text = std::str::from_utf8(text).ok()?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let secrets: Vec<_> = lines.map(DatedSecret::read).collect::<Option<_>>()?;
    (!secrets.is_empty()).then_some(secrets)
}

/// Puts a new secret before the others: they are trusted for as long as the tokens that they signed may live. Those whose
/// time is over go.
pub fn rotate(secrets: &[DatedSecret], new: PlaneSecret, overlap: i64, now: i64) -> Vec<DatedSecret> {
    let mut all = vec![DatedSecret { secret: new, from: now + SETTLING, until: None }];
    for secret in secrets {
        let until = secret.until.unwrap_or(now + SETTLING + overlap);
        if until > now {
            all.push(DatedSecret { until: Some(until), ..secret.clone() });
        }
    }
    all
}

/// The text of the file.
pub fn write(secrets: &[DatedSecret]) -> String {
    secrets.iter().map(DatedSecret::write).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rotated_file_keeps_what_is_still_trusted() {
        let one = read(PlaneSecret::from([1; 32]).to_text().as_bytes()).unwrap();
        let two = rotate(&one, PlaneSecret::from([2; 32]), 1000, 5000);
        let again = read(write(&two).as_bytes()).unwrap();
        assert_eq!(
            again.iter().map(|s| (s.from, s.until)).collect::<Vec<_>>(),
            [(5120, None), (0, Some(6120))]
        );
        let three = rotate(&again, PlaneSecret::from([3; 32]), 1000, 7000);
        assert_eq!(three.len(), 2);
        assert!(read(b"nope").is_none() && read(b"").is_none() && read(b"AAAA until=1").is_none());
    }
}
