//! The forms of names and values that fields take, with upstream's wording
//! (`k8s.io/apimachinery/pkg/util/validation`).

use std::net::IpAddr;

use kplane_machinery::names;

/// What `metadata.name` of a kind must look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameRule {
    /// A DNS subdomain: what nearly every kind takes.
    Subdomain,
    /// A DNS label.
    Label,
    /// A DNS label that begins with a letter.
    Label1035,
    /// Anything that can be a segment of a path.
    PathSegment,
    /// An IP address in its canonical form.
    Ip,
    /// Anything at all: the kind checks for itself.
    Any,
}

impl NameRule {
    /// The rule as a function of the name and whether it is a prefix.
    pub fn check(self) -> fn(&str, bool) -> Vec<String> {
        match self {
            Self::Subdomain => |name, prefix| Self::Subdomain.errors(name, prefix),
            Self::Label => |name, prefix| Self::Label.errors(name, prefix),
            Self::Label1035 => |name, prefix| Self::Label1035.errors(name, prefix),
            Self::PathSegment => |name, prefix| Self::PathSegment.errors(name, prefix),
            Self::Ip => |name, prefix| Self::Ip.errors(name, prefix),
            Self::Any => |name, prefix| Self::Any.errors(name, prefix),
        }
    }

    /// What is wrong with a name; with `prefix`, with a `generateName`, whose last hyphen is no end.
    pub fn errors(self, name: &str, prefix: bool) -> Vec<String> {
        match self {
            Self::Subdomain => names::name_is_dns_subdomain(name, prefix),
            Self::Label => names::name_is_dns_label(name, prefix),
            Self::Label1035 => names::name_is_dns1035_label(name, prefix),
            Self::PathSegment => names::name_is_path_segment(name, prefix),
            Self::Ip => canonical_ip(name),
            Self::Any => Vec::new(),
        }
    }
}

/// Whether a resource is of nobody but whoever offers it: its name has a domain, which is neither Kubernetes' own nor
/// that of a quota.
pub(crate) fn is_extended_resource(name: &str) -> bool {
    name.contains('/') && !name.contains("kubernetes.io/") && !name.starts_with("requests.")
}

/// A DNS label.
pub fn label(text: &str) -> Vec<String> {
    names::is_dns1123_label(text)
}

/// A DNS label that begins with a letter.
pub fn label1035(text: &str) -> Vec<String> {
    names::is_dns1035_label(text)
}

/// A DNS subdomain.
pub fn subdomain(text: &str) -> Vec<String> {
    names::is_dns1123_subdomain(text)
}

/// A DNS subdomain whose first label is `*`.
pub fn wildcard_subdomain(text: &str) -> Vec<String> {
    names::is_wildcard_dns1123_subdomain(text)
}

/// A name with an optional DNS prefix: the key of a label.
pub fn qualified(text: &str) -> Vec<String> {
    names::is_qualified_name(text)
}

/// The value of a label.
pub fn label_value(text: &str) -> Vec<String> {
    names::is_valid_label_value(text)
}

/// The key of a ConfigMap or Secret.
pub fn config_key(text: &str) -> Vec<String> {
    names::is_config_map_key(text)
}

/// The name of an environment variable.
pub fn env_name(text: &str) -> Vec<String> {
    names::is_relaxed_env_var_name(text)
}

/// The name of a port: an IANA service name.
pub fn port_name(text: &str) -> Vec<String> {
    names::is_valid_port_name(text)
}

/// The number of a port.
pub fn port(number: i64) -> Option<&'static str> {
    (!(1..=65535).contains(&number)).then_some("must be between 1 and 65535, inclusive")
}

/// What a segment of a path may not be or hold.
pub fn path_segment(text: &str) -> Vec<String> {
    names::is_valid_path_segment(text, false)
}

/// The name of an HTTP header.
pub fn http_header(text: &str) -> Vec<String> {
    names::is_http_header_name(text)
}

/// A percentage, such as `25%`.
pub fn percent(text: &str) -> Vec<String> {
    names::is_valid_percent(text)
}

/// What is said of a text that is no IP address.
pub const NO_IP: &str = names::IP_MESSAGE;

/// An IP address.
pub fn ip(text: &str) -> Vec<String> {
    names::is_valid_ip(text, true)
}

fn canonical_ip(text: &str) -> Vec<String> {
    match text.parse::<IpAddr>() {
        Ok(ip) if ip.to_string() == text => Vec::new(),
        Ok(ip) => vec![format!("must be in canonical form ({:?})", ip.to_string())],
        Err(_) => vec![NO_IP.to_owned()],
    }
}

/// A block of addresses: the address, the length of the prefix.
pub fn parse_cidr(text: &str) -> Option<(IpAddr, u8)> {
    let (address, bits) = text.split_once('/')?;
    let address: IpAddr = address.parse().ok()?;
    let bits: u8 = bits.parse().ok()?;
    (bits <= if address.is_ipv4() { 32 } else { 128 }).then_some((address, bits))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_their_forms() {
        for (rule, good, bad) in [
            (NameRule::Subdomain, "a.b-c.1", "a..b"),
            (NameRule::Label, "1-a", "a.b"),
            (NameRule::Label1035, "a-1", "1-a"),
            (NameRule::PathSegment, "system:x", "a/b"),
            (NameRule::Ip, "2001:db8::1", "2001:DB8::1"),
        ] {
            assert!(rule.errors(good, false).is_empty(), "{good}");
            assert_eq!(rule.errors(bad, false).len(), 1, "{bad}");
        }
        assert!(NameRule::Subdomain.errors("abc-", true).is_empty());
        assert!(qualified("example.com/My_name").is_empty());
        assert_eq!(qualified("/x").len(), 1);
        assert!(config_key("a.b").is_empty());
        assert_eq!(config_key("..").len(), 1);
    }
}
