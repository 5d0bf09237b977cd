//! Secrets of the management cluster, read with no more rights than there are.
//!
//! Deployed controllers may get, list and watch no Secret outside the namespace of the management plane. What they may is
//! change those that they made: a policy (`config/rbac/policy.yaml`) refuses it of all others. So they read by a change of
//! nothing, which is answered with the object and writes none. Those who may read all Secrets, as root's administrator
//! may in the cluster that `kplaned` serves, read as everybody does, and are told of changes.

use std::time::Duration;

use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::json;

use crate::runtime::raw;

/// How often a Secret is looked for that nobody may watch: one that was deleted or changed is put back then.
const LOOK_AGAIN: Duration = Duration::from_secs(3600);

/// What the answer says by which a policy of ours refuses something.
const REFUSED_BY_POLICY: &str = "ValidatingAdmissionPolicy 'kplane-controllers-";

/// What there is at a name.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Found {
    /// Nothing.
    #[default]
    Nothing,
    /// A Secret that may be read.
    Secret(Box<Secret>),
    /// Another's, which the controllers may not read.
    Hidden,
}

impl Found {
    /// The Secret, if it may be read.
    pub fn secret(&self) -> Option<&Secret> {
        match self {
            Self::Secret(secret) => Some(secret),
            Self::Nothing | Self::Hidden => None,
        }
    }
}

/// The way to Secrets.
#[derive(Clone)]
pub struct Secrets {
    client: Client,
    all: bool,
}

impl Secrets {
    /// Of somebody who may read all of them.
    pub fn all(client: Client) -> Self {
        Self { client, all: true }
    }

    /// Of somebody who may read what a policy lets them change.
    pub fn guarded(client: Client) -> Self {
        Self { client, all: false }
    }

    /// As the cluster says that this client may.
    pub async fn as_allowed(client: Client) -> Result<Self, kube::Error> {
        let reviews: Api<SelfSubjectAccessReview> = Api::all(client.clone());
        for verb in ["get", "watch"] {
            let review = SelfSubjectAccessReview {
                spec: SelfSubjectAccessReviewSpec {
                    resource_attributes: Some(ResourceAttributes {
                        resource: Some("secrets".into()),
                        verb: Some(verb.into()),
                        ..ResourceAttributes::default()
                    }),
                    ..SelfSubjectAccessReviewSpec::default()
                },
                ..SelfSubjectAccessReview::default()
            };
            let answer = reviews.create(&PostParams::default(), &review).await?;
            if !answer.status.is_some_and(|status| status.allowed) {
                return Ok(Self::guarded(client));
            }
        }
        Ok(Self::all(client))
    }

    /// Whether they can be watched.
    pub fn can_watch(&self) -> bool {
        self.all
    }

    /// When to look again at one that is as it should be until then.
    pub fn look_again(&self, then: Duration) -> Duration {
        if self.all { then } else { then.min(LOOK_AGAIN) }
    }

    /// Those of a namespace, to be written.
    pub fn of(&self, namespace: &str) -> Api<Secret> {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// What is there.
    pub async fn find(&self, namespace: &str, name: &str) -> Result<Found, kube::Error> {
        let api = self.of(namespace);
        let answer = if self.all {
            api.get(name).await
        } else {
            api.patch(name, &PatchParams::default(), &Patch::Merge(json!({}))).await
        };
        match answer {
            Ok(secret) => Ok(Found::Secret(Box::new(secret))),
            Err(error) if raw::is_not_found(&error) => Ok(Found::Nothing),
            Err(error) if !self.all && is_refused_by_policy(&error) => Ok(Found::Hidden),
            Err(error) => Err(error),
        }
    }
}

/// Whether a policy of ours refused it, and not the roles.
pub fn is_refused_by_policy(error: &kube::Error) -> bool {
    match error {
        kube::Error::Api(status) => status.code == 403 && status.message.contains(REFUSED_BY_POLICY),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::FakeApi;

    const PATH: &str = "/api/v1/namespaces/barn/secrets/hay";

    #[tokio::test]
    async fn a_look_is_a_get_or_a_change_of_nothing() {
        let api = FakeApi::default();
        for (secrets, writes) in [
            (Secrets::all(api.client()), vec![]),
            (Secrets::guarded(api.client()), vec![format!("PATCH {PATH}")]),
        ] {
            api.remove(PATH);
            assert_eq!(secrets.find("barn", "hay").await.unwrap(), Found::Nothing);
            api.put(PATH, json!({ "metadata": { "name": "hay", "namespace": "barn" } }));
            api.writes();
            let found = secrets.find("barn", "hay").await.unwrap();
            assert_eq!(found.secret().and_then(|s| s.metadata.name.as_deref()), Some("hay"));
            assert_eq!(api.writes(), writes);
        }
    }

    #[test]
    fn a_policy_and_a_role_refuse_in_different_words() {
        let refused = |message: &str| {
            is_refused_by_policy(&kube::Error::Api(Box::new(
                serde_json::from_value(json!({ "code": 403, "message": message })).unwrap(),
            )))
        };
        assert!(refused(
            "secrets \"hay\" is forbidden: ValidatingAdmissionPolicy 'kplane-controllers-secrets' with binding \
             'kplane-controllers-secrets' denied request: the controllers may touch only Secrets that they made"
        ));
        assert!(!refused("secrets \"hay\" is forbidden: User \"owl\" cannot patch resource \"secrets\""));
    }
}
