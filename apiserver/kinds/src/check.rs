//! The forms of names and values that fields take, with upstream's wording
//! (`k8s.io/apimachinery/pkg/util/validation`).

use std::net::IpAddr;

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
        let masked;
        let name = if prefix && name.len() > 1 && name.ends_with('-') {
            masked = format!("{}a", &name[..name.len() - 1]);
            &masked
        } else {
            name
        };
        match self {
            Self::Subdomain => subdomain(name),
            Self::Label => label(name),
            Self::Label1035 => label1035(name),
            Self::PathSegment if prefix => path_segment_part(name),
            Self::PathSegment => path_segment(name),
            Self::Ip => canonical_ip(name),
            Self::Any => Vec::new(),
        }
    }
}

const SUBDOMAIN_SAYS: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', \
     and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is \
     '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const LABEL_SAYS: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must \
     start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is \
     '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const LABEL1035_SAYS: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an \
     alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for \
     validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";
const QUALIFIED_SAYS: &str = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an \
     alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is \
     '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const LABEL_VALUE_SAYS: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', \
     and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used \
     for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";

fn max_len(limit: usize) -> String {
    format!("must be no more than {limit} bytes")
}

fn checked(text: &str, limit: usize, matches: bool, says: &str) -> Vec<String> {
    let mut out = Vec::new();
    if text.len() > limit {
        out.push(max_len(limit));
    }
    if !matches {
        out.push(says.to_owned());
    }
    out
}

fn lower_alnum(b: u8) -> bool {
    b.is_ascii_lowercase() || b.is_ascii_digit()
}

/// Whether each byte passes, and the first and last pass the narrower test; never for an empty text.
fn bounded(text: &str, inner: impl Fn(u8) -> bool, ends: impl Fn(u8) -> bool) -> bool {
    let bytes = text.as_bytes();
    match (bytes.first(), bytes.last()) {
        (Some(first), Some(last)) => ends(*first) && ends(*last) && bytes.iter().all(|b| inner(*b)),
        _ => false,
    }
}

fn is_label(text: &str) -> bool {
    bounded(text, |b| lower_alnum(b) || b == b'-', lower_alnum)
}

/// A DNS label.
pub fn label(text: &str) -> Vec<String> {
    checked(text, 63, is_label(text), LABEL_SAYS)
}

/// A DNS label that begins with a letter.
pub fn label1035(text: &str) -> Vec<String> {
    let letter_first = text.as_bytes().first().is_some_and(u8::is_ascii_lowercase);
    checked(text, 63, letter_first && is_label(text), LABEL1035_SAYS)
}

/// A DNS subdomain.
pub fn subdomain(text: &str) -> Vec<String> {
    checked(text, 253, text.split('.').all(is_label), SUBDOMAIN_SAYS)
}

/// A DNS subdomain whose first label is `*`.
pub fn wildcard_subdomain(text: &str) -> Vec<String> {
    let matches = text.strip_prefix("*.").is_some_and(|rest| rest.split('.').all(is_label));
    checked(
        text,
        253,
        matches,
        "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of \
         lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character (e.g. '*.example.com', \
         regex used for validation is '\\*\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')",
    )
}

fn is_qualified_part(text: &str) -> bool {
    bounded(text, |b| b.is_ascii_alphanumeric() || b"-_.".contains(&b), |b| b.is_ascii_alphanumeric())
}

/// A name with an optional DNS prefix: the key of a label.
pub fn qualified(text: &str) -> Vec<String> {
    let parts: Vec<&str> = text.split('/').collect();
    let mut out = Vec::new();
    let name = match parts.as_slice() {
        [name] => *name,
        [prefix, name] => {
            if prefix.is_empty() {
                out.push("prefix part must be non-empty".to_owned());
            } else {
                out.extend(subdomain(prefix).into_iter().map(|m| format!("prefix part {m}")));
            }
            *name
        }
        _ => {
            out.push(format!(
                "a qualified name {QUALIFIED_SAYS} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
            ));
            return out;
        }
    };
    if name.is_empty() {
        out.push("name part must be non-empty".to_owned());
    } else if name.len() > 63 {
        out.push(format!("name part {}", max_len(63)));
    }
    if !is_qualified_part(name) {
        out.push(format!("name part {QUALIFIED_SAYS}"));
    }
    out
}

/// The value of a label.
pub fn label_value(text: &str) -> Vec<String> {
    checked(text, 63, text.is_empty() || is_qualified_part(text), LABEL_VALUE_SAYS)
}

/// The key of a ConfigMap or Secret.
pub fn config_key(text: &str) -> Vec<String> {
    let matches = !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    let mut out = checked(
        text,
        253,
        matches,
        "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  \
         or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')",
    );
    match text {
        "." => out.push("must not be '.'".to_owned()),
        ".." => out.push("must not be '..'".to_owned()),
        t if t.starts_with("..") => out.push("must not start with '..'".to_owned()),
        _ => {}
    }
    out
}

/// The name of an environment variable.
pub fn env_name(text: &str) -> Vec<String> {
    let mut out = Vec::new();
    if text.is_empty() {
        out.push("environment variable name must be non-empty".to_owned());
    }
    if text.bytes().any(|b| !(0x20..=0x7e).contains(&b) || b == b'=') {
        out.push(
            "a valid environment variable name must consist only of printable ASCII characters other than '='"
                .to_owned(),
        );
    }
    out
}

/// The name of a port: an IANA service name.
pub fn port_name(text: &str) -> Vec<String> {
    let mut out = Vec::new();
    if text.len() > 15 {
        out.push(max_len(15));
    }
    if text.is_empty() || !text.bytes().all(|b| lower_alnum(b) || b == b'-') {
        out.push("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)".to_owned());
    }
    if !text.bytes().any(|b| b.is_ascii_lowercase()) {
        out.push("must contain at least one letter (a-z)".to_owned());
    }
    if text.contains("--") {
        out.push("must not contain consecutive hyphens".to_owned());
    }
    if text.starts_with('-') || text.ends_with('-') {
        out.push("must not begin or end with a hyphen".to_owned());
    }
    out
}

/// The number of a port.
pub fn port(number: i64) -> Option<&'static str> {
    (!(1..=65535).contains(&number)).then_some("must be between 1 and 65535, inclusive")
}

/// What a segment of a path may not be or hold.
pub fn path_segment(text: &str) -> Vec<String> {
    match text {
        "." => vec!["may not be '.'".to_owned()],
        ".." => vec!["may not be '..'".to_owned()],
        _ => path_segment_part(text),
    }
}

fn path_segment_part(text: &str) -> Vec<String> {
    ["/", "%"].iter().filter(|c| text.contains(**c)).map(|c| format!("may not contain '{c}'")).collect()
}

/// The name of an HTTP header.
pub fn http_header(text: &str) -> Vec<String> {
    let matches = !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    checked(
        text,
        usize::MAX,
        matches,
        "a valid HTTP header must consist of alphanumeric characters or '-' (e.g. 'X-Header-Name', regex used for \
         validation is '[-A-Za-z0-9]+')",
    )
}

/// A percentage, such as `25%`.
pub fn percent(text: &str) -> Vec<String> {
    let digits = text.strip_suffix('%').unwrap_or("");
    let matches = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    checked(
        text,
        usize::MAX,
        matches,
        "a valid percent string must consist of a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex \
         used for validation is '[0-9]+%')",
    )
}

/// What is said of a text that is no IP address.
pub const NO_IP: &str = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";

/// An IP address.
pub fn ip(text: &str) -> Vec<String> {
    if text.parse::<IpAddr>().is_ok() { Vec::new() } else { vec![NO_IP.to_owned()] }
}

fn canonical_ip(text: &str) -> Vec<String> {
    match text.parse::<IpAddr>() {
        Ok(ip) if ip.to_string() == text => Vec::new(),
        Ok(_) => vec!["must be in canonical form".to_owned()],
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
