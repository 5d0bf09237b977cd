//! Groups, versions, kinds and resources, spelled as the Kubernetes API spells them.

use std::fmt;
use std::sync::Arc;

/// An API group and version; the core group is the empty string.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GroupVersion {
    /// The group, empty for core.
    pub group: Arc<str>,
    /// The version, such as `v1`.
    pub version: Arc<str>,
}

impl GroupVersion {
    /// Builds a group and version.
    pub fn new(group: impl Into<Arc<str>>, version: impl Into<Arc<str>>) -> Self {
        Self { group: group.into(), version: version.into() }
    }

    /// Reads an `apiVersion`: `v1` or `apps/v1`. `None` if it has more than one slash.
    pub fn parse(api_version: &str) -> Option<Self> {
        match api_version.split_once('/') {
            None => Some(Self::new("", api_version)),
            Some((group, version)) if !version.contains('/') => Some(Self::new(group, version)),
            Some(_) => None,
        }
    }
}

/// The `apiVersion` form: `v1` for core, `apps/v1` otherwise.
impl fmt::Display for GroupVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.group.is_empty() {
            f.write_str(&self.version)
        } else {
            write!(f, "{}/{}", self.group, self.version)
        }
    }
}

macro_rules! triple {
    ($(#[$doc:meta])* $name:ident, $last:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name {
            /// The group, empty for core.
            pub group: Arc<str>,
            /// The version, such as `v1`.
            pub version: Arc<str>,
            /// The name itself.
            pub $last: Arc<str>,
        }

        impl $name {
            /// Builds one from its three parts.
            pub fn new(group: impl Into<Arc<str>>, version: impl Into<Arc<str>>, $last: impl Into<Arc<str>>) -> Self {
                Self { group: group.into(), version: version.into(), $last: $last.into() }
            }

            /// Its group and version.
            pub fn group_version(&self) -> GroupVersion {
                GroupVersion { group: self.group.clone(), version: self.version.clone() }
            }
        }
    };
}

triple!(
    /// A group, version and kind, such as `apps/v1, Kind=Deployment`.
    GroupVersionKind, kind);
triple!(
    /// A group, version and plural resource name, such as `apps/v1/deployments`.
    GroupVersionResource, resource);

/// client-go's form: `apps/v1, Kind=Deployment`; core is `/v1, Kind=Pod`.
impl fmt::Display for GroupVersionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}, Kind={}", self.group, self.version, self.kind)
    }
}

/// client-go's form: `apps/v1, Resource=deployments`.
impl fmt::Display for GroupVersionResource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}, Resource={}", self.group, self.version, self.resource)
    }
}

impl GroupVersionKind {
    /// Without the version.
    pub fn group_kind(&self) -> GroupKind {
        GroupKind { group: self.group.clone(), kind: self.kind.clone() }
    }
}

impl GroupVersionResource {
    /// Without the version.
    pub fn group_resource(&self) -> GroupResource {
        GroupResource { group: self.group.clone(), resource: self.resource.clone() }
    }
}

macro_rules! pair {
    ($(#[$doc:meta])* $name:ident, $last:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name {
            /// The group, empty for core.
            pub group: Arc<str>,
            /// The name itself.
            pub $last: Arc<str>,
        }

        impl $name {
            /// Builds one from its two parts.
            pub fn new(group: impl Into<Arc<str>>, $last: impl Into<Arc<str>>) -> Self {
                Self { group: group.into(), $last: $last.into() }
            }
        }

        /// `deployments.apps`; the core group adds nothing.
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                if self.group.is_empty() {
                    f.write_str(&self.$last)
                } else {
                    write!(f, "{}.{}", self.$last, self.group)
                }
            }
        }
    };
}

pair!(
    /// A group and kind, printed `Deployment.apps`.
    GroupKind, kind);
pair!(
    /// A group and plural resource, printed `deployments.apps`.
    GroupResource, resource);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn api_versions_read_back_as_written() {
        for text in ["v1", "apps/v1", "rbac.authorization.k8s.io/v1"] {
            assert_eq!(GroupVersion::parse(text).map(|gv| gv.to_string()).as_deref(), Some(text));
        }
        assert_eq!(GroupVersion::parse("a/b/c"), None);
        assert_eq!(GroupResource::new("", "pods").to_string(), "pods");
        assert_eq!(GroupKind::new("apps", "Deployment").to_string(), "Deployment.apps");
    }
}
