//! Values of Kubernetes' libraries.

use std::net::IpAddr;

use kplane_machinery::quantity::Quantity;

use crate::admission::{Decision, Question};
use crate::library::format::Format;
use crate::library::semver::Version;
use crate::library::url::Url;

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Special {
    Quantity(Quantity),
    Ip(IpAddr),
    Cidr(IpAddr, u8),
    Url(Url),
    Semver(Version),
    Format(&'static Format),
    /// Who is asked about.
    Authorizer(Subject),
    PathCheck(Box<Question>),
    GroupCheck(Box<Question>),
    ResourceCheck(Box<Question>),
    Decision(Box<Decision>),
}

/// Who is asked about: who makes the request, or a service account.
type Subject = Option<(String, String)>;

impl Special {
    pub(crate) fn type_name(&self) -> &'static str {
        match self {
            Self::Quantity(_) => "kubernetes.Quantity",
            Self::Ip(_) => "net.IP",
            Self::Cidr(..) => "net.CIDR",
            Self::Url(_) => "kubernetes.URL",
            Self::Semver(_) => "kubernetes.Semver",
            Self::Format(_) => "kubernetes.NamedFormat",
            Self::Authorizer(_) => "kubernetes.authorization.Authorizer",
            Self::PathCheck(_) => "kubernetes.authorization.PathCheck",
            Self::GroupCheck(_) => "kubernetes.authorization.GroupCheck",
            Self::ResourceCheck(_) => "kubernetes.authorization.ResourceCheck",
            Self::Decision(_) => "kubernetes.authorization.Decision",
        }
    }

    /// As values count in costs.
    pub(crate) fn size(&self) -> u64 {
        match self {
            Self::Ip(IpAddr::V4(_)) | Self::Cidr(IpAddr::V4(_), _) => 4,
            Self::Ip(IpAddr::V6(_)) | Self::Cidr(IpAddr::V6(_), _) => 16,
            _ => 1,
        }
    }
}
