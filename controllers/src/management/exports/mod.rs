//! The other forms in which a kubeconfig is written: what tools look for in Secrets of a shape of their own.
//!
//! A copy is made of what is in the Secret with the kubeconfigs, and of nothing else, so that it is renewed with it. Where
//! copies are is recorded in the status before one is written, so that none is forgotten.

mod build;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kplane_crds::conditions::{EXPORTS_READY, reason};
use kplane_crds::reference::SecretReference;
use kube::ResourceExt;
use kube::api::{DeleteParams, PostParams, Preconditions};

use super::access::is_controlled_by;
use super::secrets::{Found, Secrets, is_refused_by_policy};
use crate::Error;
use crate::runtime::conditions::Conditions;
use crate::runtime::raw;

pub use build::{Source, build};

/// The keys of the labels that a spec asked for, on a copy: those that it asks for no more are removed.
const LABELS_ANNOTATION: &str = "controlplane.kplane.dev/exported-labels";

/// Why a copy is not written.
#[derive(Debug)]
pub enum Trouble {
    /// Nothing but a change by somebody else helps.
    Refused {
        /// For programs.
        reason: &'static str,
        /// For people.
        message: String,
    },
    /// It failed and is tried again.
    Failed(Error),
}

impl Trouble {
    /// Something that somebody else has to change.
    fn refused(reason: &'static str, message: impl Into<String>) -> Self {
        Self::Refused { reason, message: message.into() }
    }
}

/// How far the copies came.
#[derive(Debug, Default)]
pub struct Exported {
    /// Where copies are, or may be.
    pub recorded: Vec<SecretReference>,
    /// Whether any is asked for.
    pub wanted: bool,
    /// Why one is not as it should be, for programs and for people.
    pub trouble: Option<(&'static str, String)>,
    /// What failed, if trying again may help.
    pub error: Option<Error>,
}

impl Exported {
    /// Nothing is written, for this reason.
    pub fn troubled(recorded: Vec<SecretReference>, trouble: Trouble) -> Self {
        let mut exported = Self { recorded, wanted: true, ..Self::default() };
        exported.note(trouble);
        exported
    }

    /// The first trouble is the one that is told.
    fn note(&mut self, trouble: Trouble) {
        if self.trouble.is_some() {
            return;
        }
        self.trouble = Some(match &trouble {
            Trouble::Refused { reason, message } => (reason, message.clone()),
            Trouble::Failed(error) => (reason::RETRYING, error.to_string()),
        });
        if let Trouble::Failed(error) = trouble {
            self.error = Some(error);
        }
    }

    /// Says in the conditions how the copies are.
    pub fn tell(&self, conditions: &mut Conditions) {
        match &self.trouble {
            Some((reason, message)) => {
                conditions.set(EXPORTS_READY, false, reason, message.clone());
            }
            None if self.wanted => {
                conditions.set(
                    EXPORTS_READY,
                    true,
                    reason::RECONCILED,
                    "the kubeconfig is in every other form",
                );
            }
            None => {
                conditions.remove(EXPORTS_READY);
            }
        }
    }
}

/// Where a Secret is.
fn reference(secret: &Secret) -> SecretReference {
    SecretReference::new(secret.namespace().unwrap_or_default(), secret.name_any())
}

/// What is to be recorded before anything is written; `None` when it is recorded already.
pub fn to_record(wanted: &[Secret], recorded: &[SecretReference]) -> Option<Vec<SecretReference>> {
    let new = wanted.iter().map(reference).filter(|at| !recorded.contains(at));
    let all: Vec<_> = recorded.iter().cloned().chain(new).collect();
    (all.len() != recorded.len()).then_some(all)
}

/// Writes the copies, and removes those that are not asked for any more.
pub async fn apply(
    secrets: &Secrets,
    owner_uid: &str,
    wanted: &[Secret],
    recorded: &[SecretReference],
) -> Exported {
    let mut exported = Exported { wanted: !wanted.is_empty(), ..Exported::default() };
    for secret in wanted {
        exported.recorded.push(reference(secret));
        if let Err(trouble) = write(secrets, owner_uid, secret).await {
            exported.note(trouble);
        }
    }
    for old in recorded.iter().filter(|old| !wanted.iter().any(|secret| reference(secret) == **old)) {
        if let Err(error) = remove(secrets, owner_uid, old).await {
            exported.recorded.push(old.clone());
            exported.note(Trouble::Failed(error));
        }
    }
    exported
}

/// Removes all copies.
pub async fn remove_all(
    secrets: &Secrets,
    owner_uid: &str,
    recorded: &[SecretReference],
) -> Result<(), Error> {
    for at in recorded {
        remove(secrets, owner_uid, at).await?;
    }
    Ok(())
}

async fn write(secrets: &Secrets, owner_uid: &str, secret: &Secret) -> Result<(), Trouble> {
    let failed = |error: kube::Error| Trouble::Failed(error.into());
    let (namespace, name) = (secret.namespace().unwrap_or_default(), secret.name_any());
    let api = secrets.of(&namespace);
    let mut current = match secrets.find(&namespace, &name).await.map_err(failed)? {
        Found::Secret(found) if is_controlled_by(&found.metadata, owner_uid) => Some(found),
        Found::Secret(_) | Found::Hidden => {
            return Err(Trouble::refused(
                reason::NOT_OURS,
                format!(
                    "there is a Secret {namespace}/{name} that this object did not make; remove it, or choose another name in spec.exports"
                ),
            ));
        }
        Found::Nothing => None,
    };
    if let Some(found) = &current {
        // A type cannot be changed.
        if found.type_ != secret.type_ {
            remove(secrets, owner_uid, &reference(secret)).await.map_err(Trouble::Failed)?;
            current = None;
        }
    }
    let written = match current {
        None => api.create(&PostParams::default(), secret).await,
        Some(current) => match over(&current, secret) {
            None => return Ok(()),
            // The resourceVersion of what was looked at goes with it.
            Some(new) => api.replace(&name, &PostParams::default(), &new).await,
        },
    };
    match written {
        Ok(_) => Ok(()),
        Err(error) if raw::is_not_found(&error) => Err(Trouble::refused(
            reason::NAMESPACE_NOT_FOUND,
            format!("there is no namespace {namespace} for the Secret {name}"),
        )),
        // Its words say who can allow it, and how.
        Err(error) if is_refused_by_policy(&error) => {
            Err(Trouble::refused(reason::NAMESPACE_NOT_ALLOWED, error.to_string()))
        }
        Err(error) => Err(failed(error)),
    }
}

/// The Secret to write over one that is there; `None` when that is as it should be. What others wrote on it stays.
fn over(current: &Secret, wanted: &Secret) -> Option<Secret> {
    let asked_before = current.annotations().get(LABELS_ANNOTATION).cloned().unwrap_or_default();
    let mut labels = current.labels().clone();
    labels.retain(|key, _| !asked_before.split(',').any(|asked| asked == key));
    labels.extend(wanted.labels().clone());
    let mut annotations = current.annotations().clone();
    annotations.extend(wanted.annotations().clone());
    let new = Secret {
        metadata: ObjectMeta {
            labels: Some(labels),
            annotations: Some(annotations),
            owner_references: wanted.metadata.owner_references.clone(),
            ..current.metadata.clone()
        },
        data: wanted.data.clone(),
        ..current.clone()
    };
    // An empty map and none are the same.
    let same = new.labels() == current.labels()
        && new.annotations() == current.annotations()
        && new.metadata.owner_references == current.metadata.owner_references
        && new.data == current.data;
    (!same).then_some(new)
}

/// Removes a copy, if it is ours.
async fn remove(secrets: &Secrets, owner_uid: &str, at: &SecretReference) -> Result<(), Error> {
    let (Some(namespace), Some(name)) = (&at.namespace, &at.name) else { return Ok(()) };
    let Found::Secret(found) = secrets.find(namespace, name).await? else { return Ok(()) };
    let api = secrets.of(namespace);
    if is_controlled_by(&found.metadata, owner_uid) {
        let exactly = Preconditions { uid: found.uid(), resource_version: None };
        raw::optional(api.delete(name, &DeleteParams::default().preconditions(exactly)).await)?;
    }
    Ok(())
}

/// The annotation that names the labels a spec asks for.
fn asked_labels(labels: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let keys: Vec<&str> = labels.keys().map(String::as_str).collect();
    BTreeMap::from([(LABELS_ANNOTATION.to_owned(), keys.join(","))])
}
