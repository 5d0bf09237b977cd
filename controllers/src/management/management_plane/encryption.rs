//! The keys that Secrets are encrypted with in the store, and how one is replaced (no client required but to read and
//! write them).
//!
//! Each step waits until all servers have taken the one before, so that none meets a value that it cannot open:
//!
//! ```text
//! settled ──▶ reading: the next key opens ──▶ writing: it seals ──▶ sweeping: all is looked at once more ──▶ settled
//!             until all servers know it       until all do so       until nothing is left of the old one
//! ```
//!
//! The state is the file itself, as the server reads it: a line a key, the one that seals first, behind a name unless it
//! is the first that the plane ever had; and `again: NAME` while all is looked at once more. A server that did not know of
//! the new key yet may have sealed a value with the old one behind the back of the first look.

use kplane_crds::v1alpha1::ManagementPlane;
use kube::ResourceExt;
use serde_json::json;

use super::authority::digest;
use super::build::{self, PKI_SECRET};
use super::issue::{Certificates, random_line};
use super::taken_up;
use super::validate::Deployed;
use crate::Error;
use crate::management::context::Context;
use crate::runtime::raw::Raw;

/// The file, in the Secret that the servers share, of the keys.
pub const FILE: &str = "encryption.key";
/// Any new value of this annotation of the ManagementPlane replaces the key.
const ROTATE: &str = "controlplane.kplane.dev/rotate-encryption-key";
/// On the Secret: the value of that annotation that was acted upon last.
pub const ROTATED_FOR: &str = "controlplane.kplane.dev/encryption-key-rotated-for";
/// What the names of keys begin with; the time when they were made follows.
const NAME: &str = "plane-";

/// The keys of a plane.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keys {
    /// Names and keys, the one that seals first. The plane's first key has no name.
    keys: Vec<(String, String)>,
    /// Why all is looked at once more, if it is.
    again: String,
    /// The value of the annotation that was acted upon last.
    pub rotated_for: String,
}

/// How far the replacement of a key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// There is one.
    Settled,
    /// The next one opens, and seals nothing yet.
    Reading,
    /// The next one seals.
    Writing,
    /// What the old one sealed is looked for once more.
    Sweeping,
}

impl Step {
    /// For people.
    pub fn in_words(self) -> &'static str {
        match self {
            Self::Settled => "Secrets are encrypted with one key",
            Self::Reading => "all servers are given another key to encrypt Secrets with, before one does",
            Self::Writing => "Secrets are encrypted with the new key; those of the old one are written anew",
            Self::Sweeping => "all is looked at once more for what the old key encrypted, before it goes",
        }
    }
}

/// The value of the annotation.
pub fn asked(plane: &ManagementPlane) -> String {
    plane.annotations().get(ROTATE).cloned().unwrap_or_default()
}

impl Keys {
    /// What the file says.
    pub fn read(file: &str, rotated_for: &str) -> Self {
        let mut found = Self { rotated_for: rotated_for.to_owned(), ..Self::default() };
        for line in file.lines().map(str::trim).filter(|line| !line.is_empty()) {
            match (line.strip_prefix("again: "), line.split_once(' ')) {
                (Some(again), _) => again.clone_into(&mut found.again),
                (None, Some((name, key))) => found.keys.push((name.to_owned(), key.trim().to_owned())),
                (None, None) => found.keys.push((String::new(), line.to_owned())),
            }
        }
        found
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    fn file(&self) -> String {
        let mut lines: Vec<String> =
            self.keys.iter().map(|(name, key)| format!("{name} {key}").trim_start().to_owned()).collect();
        if !self.again.is_empty() {
            lines.push(format!("again: {}", self.again));
        }
        lines.join("\n") + "\n"
    }

    /// How far the replacement is. The names of keys are in the order of their age.
    pub fn at(&self) -> Step {
        let newest = self.keys.iter().map(|(name, _)| name).max();
        match self.keys.as_slice() {
            [] | [_] => Step::Settled,
            [(first, _), ..] if Some(first) != newest => Step::Reading,
            _ if self.again.is_empty() => Step::Writing,
            _ => Step::Sweeping,
        }
    }

    /// Changes when servers must begin anew for it; nothing for a plane whose key was never replaced.
    pub fn digest(&self) -> Option<String> {
        let first_ever =
            matches!(self.keys.as_slice(), [] | [(_, _)]) && self.keys.iter().all(|(n, _)| n.is_empty());
        (!first_ever).then(|| digest([self.file().as_str()]))
    }

    /// What the server says of the store when nothing is left of the old key.
    pub fn mark(&self) -> String {
        let name = self.keys.first().map_or("", |(name, _)| name.as_str());
        format!(";plane={name};again={}", self.again)
    }

    /// The next state, if there is one. `everywhere` says whether all servers have this one, `swept` whether nothing is
    /// left of the old key, `new` is a key to be.
    pub fn step(
        &self,
        asked: &str,
        everywhere: bool,
        swept: bool,
        new: impl FnOnce() -> Result<String, Error>,
        now: jiff::Timestamp,
    ) -> Result<Option<Self>, Error> {
        let mut next = self.clone();
        match self.at() {
            Step::Settled if !self.keys.is_empty() && !asked.is_empty() && asked != self.rotated_for => {
                next.keys.push((format!("{NAME}{}", now.as_second()), new()?.trim().to_owned()));
                asked.clone_into(&mut next.rotated_for);
            }
            Step::Reading if everywhere => next.keys.rotate_right(1),
            Step::Writing if everywhere => next.again = format!("{}", now.as_second()),
            Step::Sweeping if everywhere && swept => {
                next.keys.truncate(1);
                next.again.clear();
            }
            _ => return Ok(None),
        }
        Ok(Some(next))
    }
}

/// Takes the replacement of the key a step on, if it is time. Says whether it did: then the servers are to begin anew.
pub async fn tend(
    plane: &ManagementPlane,
    deployed: &Deployed,
    certificates: &Certificates,
    raw: &Raw,
    context: &Context,
    now: jiff::Timestamp,
) -> Result<bool, Error> {
    let keys = &certificates.encryption;
    let step = keys.at();
    let everywhere =
        step != Step::Settled && taken_up::by_pods(plane, deployed, raw, &certificates.digests).await?;
    let swept = step == Step::Sweeping && everywhere && is_swept(keys, context).await;
    let Some(next) = keys.step(&asked(plane), everywhere, swept, random_line, now)? else { return Ok(false) };
    let path = build::secret(plane, PKI_SECRET, json!({}), json!({})).path();
    let version = raw.get(&path).await?["metadata"]["resourceVersion"].clone();
    let patch = json!({
        "metadata": { "resourceVersion": version, "annotations": { ROTATED_FOR: next.rotated_for } },
        "stringData": { FILE: next.file() },
    });
    raw.merge(&path, &patch).await?;
    tracing::info!(step = ?next.at(), "the key that Secrets are encrypted with is being replaced");
    Ok(true)
}

/// Whether the servers say that all values are sealed with the first of these keys. When they cannot be asked, not yet.
async fn is_swept(keys: &Keys, context: &Context) -> bool {
    let Ok(access) = context.planes.access().await else { return false };
    let Ok(request) = http::Request::get("/metrics").body(Vec::new()) else { return false };
    let Ok(text) = access.client.request_text(request).await else { return false };
    text.lines().any(|line| line.starts_with("kplane_store_encryption{") && line.contains(&keys.mark()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> jiff::Timestamp {
        jiff::Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    #[test]
    fn a_key_is_replaced_in_steps_that_all_servers_have_taken() {
        let new = || Ok("bmV3\n".to_owned());
        let step =
            |keys: &Keys, everywhere, swept| keys.step("please", everywhere, swept, new, at(1)).unwrap();
        let first = Keys::read("b2xk\n", "");
        assert_eq!((first.at(), first.digest()), (Step::Settled, None));
        assert_eq!(first.step("", true, true, new, at(1)).unwrap(), None);
        let reading = step(&first, false, false).unwrap();
        assert_eq!((reading.at(), reading.file().as_str()), (Step::Reading, "b2xk\nplane-1800000001 bmV3\n"));
        assert_eq!(Keys::read(&reading.file(), "please"), reading);
        assert_eq!(step(&reading, false, true), None, "a server does not know it yet");
        let writing = step(&reading, true, false).unwrap();
        assert_eq!((writing.at(), writing.file().as_str()), (Step::Writing, "plane-1800000001 bmV3\nb2xk\n"));
        assert_eq!(step(&writing, false, true), None);
        // Who still wrote with the old one may have done so behind the first look.
        let sweeping = step(&writing, true, true).unwrap();
        assert_eq!(
            (sweeping.at(), Keys::read(&sweeping.file(), "please")),
            (Step::Sweeping, sweeping.clone())
        );
        assert_eq!(sweeping.mark(), ";plane=plane-1800000001;again=1800000001");
        assert_eq!(step(&sweeping, true, false), None);
        assert_eq!(step(&sweeping, false, true), None);
        let settled = step(&sweeping, true, true).unwrap();
        assert_eq!((settled.at(), settled.file().as_str()), (Step::Settled, "plane-1800000001 bmV3\n"));
        assert_eq!(step(&settled, true, true), None, "it was asked for once");
        let digests = [&reading, &writing, &sweeping, &settled].map(|keys| keys.digest().unwrap());
        assert!(digests.windows(2).all(|two| two[0] != two[1]));
        // And again: the newest name is the one that comes.
        let again = settled.step("again", true, true, new, at(9)).unwrap().unwrap();
        assert_eq!(again.at(), Step::Reading);
        assert_eq!(again.step("again", true, true, new, at(9)).unwrap().unwrap().at(), Step::Writing);
        // A plane from before there was a key has none to replace.
        assert_eq!(Keys::default().step("please", true, true, new, at(1)).unwrap(), None);
    }
}
