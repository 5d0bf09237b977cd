//! Who a request comes from.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The group of every identity that presented credentials.
pub const AUTHENTICATED: &str = "system:authenticated";
/// The group of those that presented none.
pub const UNAUTHENTICATED: &str = "system:unauthenticated";
/// The user of those that presented none.
pub const ANONYMOUS: &str = "system:anonymous";
/// The group that may do everything.
pub const MASTERS: &str = "system:masters";
/// The extra key that names the credential, not its owner.
pub const CREDENTIAL_ID: &str = "authentication.kubernetes.io/credential-id";

/// `authentication.k8s.io` `UserInfo`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct UserInfo {
    /// The unique name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub username: String,
    /// Tells apart users of one name over time.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub uid: String,
    /// The groups it is in.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// What else the authenticator knows.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub extra: BTreeMap<String, Vec<String>>,
}

impl UserInfo {
    /// A user in groups.
    pub fn new<G: Into<String>>(username: impl Into<String>, groups: impl IntoIterator<Item = G>) -> Self {
        Self {
            username: username.into(),
            groups: groups.into_iter().map(Into::into).collect(),
            ..Self::default()
        }
    }

    /// Who comes without credentials.
    pub fn anonymous() -> Self {
        Self::new(ANONYMOUS, [UNAUTHENTICATED])
    }

    /// Whether it is in the group.
    pub fn in_group(&self, group: &str) -> bool {
        self.groups.iter().any(|g| g == group)
    }

    /// Adds `system:authenticated`, unless the identity is anonymous or has it already.
    pub fn authenticated(mut self) -> Self {
        if self.username != ANONYMOUS && !self.in_group(AUTHENTICATED) && !self.in_group(UNAUTHENTICATED) {
            self.groups.push(AUTHENTICATED.to_owned());
        }
        self
    }

    /// With the credential's id among the extras.
    pub(crate) fn with_credential(mut self, id: String) -> Self {
        self.extra.insert(CREDENTIAL_ID.to_owned(), vec![id]);
        self
    }
}

/// The user name of a service account.
pub fn service_account_username(namespace: &str, name: &str) -> String {
    format!("system:serviceaccount:{namespace}:{name}")
}

/// The namespace and name in the user name of a service account.
pub fn parse_service_account(username: &str) -> Option<(&str, &str)> {
    let (namespace, name) = username.strip_prefix("system:serviceaccount:")?.split_once(':')?;
    (!namespace.is_empty() && !name.is_empty() && !name.contains(':')).then_some((namespace, name))
}
