//! An authority through its life: made, replaced by another without a break, forgotten (no client required).
//!
//! A new authority signs nothing until everybody trusts it, and an old one is trusted until nothing that it signed is in
//! use:
//!
//! ```text
//! settled ──▶ trusting: the next one is trusted ──▶ overlapping: it signs, the old one is trusted ──▶ settled
//!             until all pods and kubeconfigs        until all pods show what it signed and the
//!             know it                               overlap is over
//! ```
//!
//! When the next one begins to sign, its certificate is also signed by the old one. That *bridge* goes with what the server
//! shows, so that a client who has not heard of the new one goes on until the overlap is over.

use std::time::Duration;

use kplane_crds::v1alpha1::EXPIRATION_ANNOTATION;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::certificates::{self, Pair};
use crate::Error;

/// Any new value of this annotation of the ManagementPlane replaces its authorities.
pub const ROTATE_AUTHORITIES: &str = "controlplane.kplane.dev/rotate-authorities";
/// In the Secret of an authority: the value of that annotation that was acted upon last.
const ROTATED_FOR: &str = "controlplane.kplane.dev/rotated-for";
/// An authority is replaced when less than this is left of its life: what it signs must not outlive it.
const REPLACE_BEFORE: Duration = Duration::from_secs(3 * 365 * 86_400);

/// An authority, with those that come after and before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority {
    /// What signs.
    pub current: Pair,
    /// What is to sign as soon as everybody trusts it.
    pub next: Option<Next>,
    /// What is still trusted, the newest first.
    pub former: Vec<Former>,
    /// The value of the annotation that was acted upon last.
    pub rotated_for: String,
}

/// An authority that is to sign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Next {
    pair: Pair,
    /// Its certificate, signed by the one before it.
    bridge: String,
}

/// An authority that signed. Its key is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Former {
    /// Its certificate, in PEM.
    pub certificate: String,
    /// The certificate of the one after it, signed by this one.
    pub bridge: String,
    /// Until when it is trusted at least.
    pub until: jiff::Timestamp,
}

/// How far the replacement of an authority is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// There is one.
    Settled,
    /// The next one is trusted, and signs nothing yet.
    Trusting,
    /// The new one signs, and the old one is trusted still.
    Overlapping,
}

impl Authority {
    /// A new one of this name.
    pub fn new(name: &str, asked: &str, now: jiff::Timestamp) -> Result<Self, Error> {
        let current = certificates::authority(name, now)?;
        Ok(Self { current, next: None, former: Vec::new(), rotated_for: asked.to_owned() })
    }

    /// How far its replacement is.
    pub fn phase(&self) -> Phase {
        match (&self.next, self.former.is_empty()) {
            (Some(_), _) => Phase::Trusting,
            (None, false) => Phase::Overlapping,
            (None, true) => Phase::Settled,
        }
    }

    fn trusted(&self) -> impl Iterator<Item = &str> {
        let next = self.next.iter().map(|next| next.pair.certificate.as_str());
        let former = self.former.iter().map(|former| former.certificate.as_str());
        std::iter::once(self.current.certificate.as_str()).chain(next).chain(former)
    }

    /// Whom to trust, in PEM: first the one that signs.
    pub fn bundle(&self) -> String {
        self.trusted().collect()
    }

    /// The same, in the order that it had before the one that signs now began to.
    pub fn bundle_of_before(&self) -> String {
        match (self.phase(), self.former.split_first()) {
            (Phase::Overlapping, Some((before, older))) => {
                let older = older.iter().map(|former| former.certificate.as_str());
                [before.certificate.as_str(), &self.current.certificate].into_iter().chain(older).collect()
            }
            _ => self.bundle(),
        }
    }

    /// Whether a kubeconfig that trusts these certificates must be written anew before the next step: one that has not
    /// heard of the next authority, or whose certificate may be of a former one. Those that trust neither, because they are
    /// for other addresses, need not.
    pub fn is_behind(&self, trusted: &str) -> bool {
        let (knows, current) = (|pem: &str| trusted.contains(pem.trim()), self.current.certificate.trim());
        match &self.next {
            Some(next) => knows(current) && !knows(&next.pair.certificate),
            None => {
                self.former.iter().any(|former| knows(&former.certificate))
                    && !trusted.trim_start().starts_with(current)
            }
        }
    }

    /// What goes behind a certificate that is shown to those who may trust a former one alone.
    pub fn bridges(&self) -> String {
        self.former.iter().map(|former| former.bridge.as_str()).collect()
    }

    /// Changes with whom to trust, and not with who of them signs.
    pub fn trust_digest(&self) -> String {
        let mut all: Vec<&str> = self.trusted().collect();
        all.sort_unstable();
        digest(all)
    }

    /// Changes with who signs.
    pub fn signer_digest(&self) -> String {
        digest([self.current.certificate.as_str()])
    }

    /// The next state, if there is one. `everywhere` says whether all that runs has taken up this one.
    pub fn step(
        &self,
        name: &str,
        asked: &str,
        everywhere: bool,
        overlap: Duration,
        now: jiff::Timestamp,
    ) -> Result<Option<Self>, Error> {
        if let Some(next) = &self.next {
            if !everywhere {
                return Ok(None);
            }
            let replaced = Former {
                certificate: self.current.certificate.clone(),
                bridge: next.bridge.clone(),
                until: later(now, overlap).min(self.current.expires),
            };
            let former = std::iter::once(replaced).chain(self.former.iter().cloned()).collect();
            return Ok(Some(Self { current: next.pair.clone(), next: None, former, ..self.clone() }));
        }
        if everywhere && self.former.iter().any(|former| former.until <= now) {
            let former = self.former.iter().filter(|former| former.until > now).cloned().collect();
            return Ok(Some(Self { former, ..self.clone() }));
        }
        let wanted = !asked.is_empty() && asked != self.rotated_for;
        if wanted || later(now, REPLACE_BEFORE) >= self.current.expires {
            let (pair, bridge) = certificates::successor(name, &self.current, now)?;
            let next = Some(Next { pair, bridge });
            return Ok(Some(Self { next, rotated_for: asked.to_owned(), ..self.clone() }));
        }
        Ok(None)
    }

    /// When the first of the former ones may be forgotten.
    pub fn look_again(&self) -> Option<jiff::Timestamp> {
        self.former.iter().map(|former| former.until).min()
    }

    /// The data and the annotations of its Secret.
    pub fn to_secret(&self) -> (Value, Value) {
        let next = match &self.next {
            Some(Next { pair, bridge }) => json!({
                "certificate": pair.certificate,
                "key": pair.key,
                "expires": pair.expires.to_string(),
                "bridge": bridge,
            })
            .to_string(),
            None => String::new(),
        };
        let former: Vec<Value> = self
            .former
            .iter()
            .map(
                |f| json!({ "certificate": f.certificate, "bridge": f.bridge, "until": f.until.to_string() }),
            )
            .collect();
        let data = json!({
            "ca.crt": self.bundle(),
            "ca.key": self.current.key,
            "next.json": next,
            "former.json": Value::from(former).to_string(),
        });
        let annotations = json!({
            EXPIRATION_ANNOTATION: self.current.expires.to_string(),
            ROTATED_FOR: self.rotated_for,
        });
        (data, annotations)
    }

    /// What a Secret holds: `data` gives the text of a key, `annotation` that of an annotation. `None` when it is no
    /// authority.
    pub fn of_secret<'a>(
        data: impl Fn(&str) -> Option<String>,
        annotation: impl Fn(&str) -> Option<&'a str>,
    ) -> Option<Self> {
        let text = |value: &Value, key: &str| Some(value.get(key)?.as_str()?.to_owned());
        let time = |value: &Value, key: &str| text(value, key)?.parse().ok();
        // Those that were made before authorities were replaced have neither of these.
        let parsed = |key: &str| match data(key).filter(|found| !found.is_empty()) {
            Some(found) => serde_json::from_str(&found).ok(),
            None => Some(Value::Null),
        };
        let next = match parsed("next.json")? {
            Value::Null => None,
            value => Some(Next {
                pair: Pair {
                    certificate: text(&value, "certificate")?,
                    key: text(&value, "key")?,
                    expires: time(&value, "expires")?,
                },
                bridge: text(&value, "bridge")?,
            }),
        };
        let former = match parsed("former.json")? {
            Value::Null => Vec::new(),
            value => {
                let one = |value: &Value| {
                    Some(Former {
                        certificate: text(value, "certificate")?,
                        bridge: text(value, "bridge")?,
                        until: time(value, "until")?,
                    })
                };
                value.as_array()?.iter().map(one).collect::<Option<_>>()?
            }
        };
        let current = Pair {
            certificate: first_certificate(&data("ca.crt")?)?,
            key: data("ca.key")?,
            expires: annotation(EXPIRATION_ANNOTATION)?.parse().ok()?,
        };
        let rotated_for = annotation(ROTATED_FOR).unwrap_or_default().to_owned();
        Some(Self { current, next, former, rotated_for })
    }
}

fn later(from: jiff::Timestamp, by: Duration) -> jiff::Timestamp {
    let by = jiff::SignedDuration::try_from(by).unwrap_or(jiff::SignedDuration::MAX);
    from.checked_add(by).unwrap_or(jiff::Timestamp::MAX)
}

fn first_certificate(bundle: &str) -> Option<String> {
    const END: &str = "-----END CERTIFICATE-----";
    let end = bundle.find(END)? + END.len();
    Some(format!("{}\n", bundle[..end].trim_start()))
}

/// A short text that changes with any of the parts.
pub fn digest<'a>(parts: impl IntoIterator<Item = &'a str>) -> String {
    let mut digest = Sha256::new();
    for part in parts {
        digest.update(part.trim());
        digest.update([0]);
    }
    digest.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    fn at(day: i64) -> jiff::Timestamp {
        jiff::Timestamp::from_second(1_800_000_000 + day * 86_400).unwrap()
    }

    fn through_a_secret(authority: &Authority) -> Authority {
        let (data, annotations) = authority.to_secret();
        let text = |key: &str| data[key].as_str().map(str::to_owned);
        Authority::of_secret(text, |key| annotations[key].as_str()).unwrap()
    }

    #[test]
    fn an_authority_is_replaced_by_one_that_everybody_trusts_before_it_signs() {
        let old = Authority::new("owl", "", at(0)).unwrap();
        assert_eq!(old.step("owl", "", true, DAY, at(1)).unwrap(), None);
        let trusting = old.step("owl", "please", false, DAY, at(1)).unwrap().unwrap();
        assert_eq!((trusting.phase(), &trusting.current), (Phase::Trusting, &old.current));
        assert_eq!(through_a_secret(&trusting), trusting);
        assert_ne!(trusting.trust_digest(), old.trust_digest());
        // It waits for those who do not know the new one.
        assert_eq!(trusting.step("owl", "please", false, DAY, at(2)).unwrap(), None);
        let signing = trusting.step("owl", "please", true, DAY, at(2)).unwrap().unwrap();
        assert_eq!(signing.phase(), Phase::Overlapping);
        assert_eq!(signing.current, trusting.next.clone().unwrap().pair);
        assert_eq!(through_a_secret(&signing), signing);
        // Trusted are the same as before: nothing need start anew for it.
        assert_eq!(signing.trust_digest(), trusting.trust_digest());
        assert_ne!(signing.signer_digest(), trusting.signer_digest());
        assert!(signing.bundle().starts_with(&signing.current.certificate));
        assert_eq!(signing.look_again(), Some(at(3)));
        // Kubeconfigs follow: they must know the new one before it signs, and be signed by it before the old one goes.
        assert!(trusting.is_behind(&old.bundle()) && !trusting.is_behind(&trusting.bundle()));
        assert!(!trusting.is_behind("of another server"));
        assert_eq!(signing.bundle_of_before(), trusting.bundle());
        assert!(signing.is_behind(&signing.bundle_of_before()) && !signing.is_behind(&signing.bundle()));
        // The old one goes when its time is over and nobody shows what it signed.
        assert_eq!(signing.step("owl", "please", true, DAY, at(2)).unwrap(), None);
        assert_eq!(signing.step("owl", "please", false, DAY, at(4)).unwrap(), None);
        let settled = signing.step("owl", "please", true, DAY, at(4)).unwrap().unwrap();
        assert_eq!(
            (settled.phase(), settled.bundle()),
            (Phase::Settled, settled.current.certificate.clone())
        );
        assert_eq!(settled.step("owl", "please", true, DAY, at(5)).unwrap(), None);
        assert!(settled.step("owl", "again", true, DAY, at(5)).unwrap().is_some());
    }

    #[test]
    fn an_authority_is_replaced_long_before_its_end() {
        let authority = Authority::new("owl", "", at(0)).unwrap();
        assert_eq!(authority.step("owl", "", true, DAY, at(365 * 6)).unwrap(), None);
        assert!(authority.step("owl", "", true, DAY, at(365 * 8)).unwrap().is_some());
    }

    #[test]
    fn another_replacement_does_not_wait_for_the_end_of_an_overlap() {
        let mut authority = Authority::new("owl", "", at(0)).unwrap();
        for asked in ["one", "one", "two", "two"] {
            authority = authority.step("owl", asked, true, 9 * DAY, at(1)).unwrap().unwrap();
        }
        assert_eq!((authority.phase(), authority.former.len()), (Phase::Overlapping, 2));
        assert_eq!(authority.bundle().matches("BEGIN CERTIFICATE").count(), 3);
        assert_eq!(authority.bridges().matches("BEGIN CERTIFICATE").count(), 2);
    }

    #[test]
    fn a_secret_from_before_is_read() {
        let made = Authority::new("owl", "", at(0)).unwrap();
        let (data, annotations) = made.to_secret();
        let old = |key: &str| data[key].as_str().filter(|_| key.starts_with("ca.")).map(str::to_owned);
        let found = Authority::of_secret(old, |key| annotations[key].as_str().filter(|t| !t.is_empty()));
        assert_eq!(found, Some(made));
        assert_eq!(Authority::of_secret(|_| None, |_| None), None);
    }
}
