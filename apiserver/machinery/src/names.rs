//! What names may look like, in the words of `k8s.io/apimachinery/pkg/util/validation`: each check
//! returns what is wrong, and nothing when all is well.

use std::net::{Ipv4Addr, Ipv6Addr};

use rand::Rng;

/// The longest DNS label.
pub const DNS1123_LABEL_MAX: usize = 63;
/// The longest DNS name.
pub const DNS1123_SUBDOMAIN_MAX: usize = 253;

const LABEL_FMT: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
const SUBDOMAIN_FMT: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*";
const QUALIFIED_FMT: &str = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]";
const QUALIFIED_MSG: &str = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character";
const CONFIG_KEY_FMT: &str = "[-._a-zA-Z0-9]+";
const ENV_VAR_FMT: &str = "[-._a-zA-Z][-._a-zA-Z0-9]*";

/// `must be no more than N characters`.
pub fn max_len_error(length: usize) -> String {
    format!("must be no more than {length} characters")
}

/// A message followed by examples and the regular expression, as upstream words it.
pub fn regex_error(message: &str, fmt: &str, examples: &[&str]) -> String {
    if examples.is_empty() {
        return format!("{message} (regex used for validation is '{fmt}')");
    }
    let mut out = format!("{message} (e.g. ");
    for (i, example) in examples.iter().enumerate() {
        if i > 0 {
            out.push_str(" or ");
        }
        out.push_str(&format!("'{example}', "));
    }
    out.push_str(&format!("regex used for validation is '{fmt}')"));
    out
}

/// `must be between A and B, inclusive`.
pub fn inclusive_range_error(low: i64, high: i64) -> String {
    format!("must be between {low} and {high}, inclusive")
}

fn lower_alnum(b: u8) -> bool {
    b.is_ascii_lowercase() || b.is_ascii_digit()
}

/// First and last byte pass `edge`, all pass `inner`, and there is at least one.
fn edged(text: &str, first: fn(u8) -> bool, inner: fn(u8) -> bool, last: fn(u8) -> bool) -> bool {
    let bytes = text.as_bytes();
    match (bytes.first(), bytes.last()) {
        (Some(&f), Some(&l)) => first(f) && last(l) && bytes.iter().all(|&b| inner(b)),
        _ => false,
    }
}

fn matches_label(text: &str) -> bool {
    edged(text, lower_alnum, |b| lower_alnum(b) || b == b'-', lower_alnum)
}

fn matches_subdomain(text: &str) -> bool {
    text.split('.').all(matches_label)
}

fn matches_qualified(text: &str) -> bool {
    edged(
        text,
        |b| b.is_ascii_alphanumeric(),
        |b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'),
        |b| b.is_ascii_alphanumeric(),
    )
}

/// A lowercase RFC 1123 label: `my-name`.
pub fn is_dns1123_label(value: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if value.len() > DNS1123_LABEL_MAX {
        errors.push(max_len_error(DNS1123_LABEL_MAX));
    }
    if !matches_label(value) {
        if matches_subdomain(value) {
            errors.push("must not contain dots".to_owned());
        } else {
            errors.push(regex_error(
                "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character",
                LABEL_FMT,
                &["my-name", "123-abc"],
            ));
        }
    }
    errors
}

/// A lowercase RFC 1123 subdomain: `example.com`.
pub fn is_dns1123_subdomain(value: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if value.len() > DNS1123_SUBDOMAIN_MAX {
        errors.push(max_len_error(DNS1123_SUBDOMAIN_MAX));
    }
    if !matches_subdomain(value) {
        errors.push(regex_error(
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character",
            SUBDOMAIN_FMT,
            &["example.com"],
        ));
    }
    errors
}

/// A subdomain that starts with `*.`.
pub fn is_wildcard_dns1123_subdomain(value: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if value.len() > DNS1123_SUBDOMAIN_MAX {
        errors.push(max_len_error(DNS1123_SUBDOMAIN_MAX));
    }
    if !value.strip_prefix("*.").is_some_and(matches_subdomain) {
        errors.push(regex_error(
            "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character",
            &format!("\\*\\.{SUBDOMAIN_FMT}"),
            &["*.example.com"],
        ));
    }
    errors
}

/// A DNS-1035 label, which starts with a letter.
pub fn is_dns1035_label(value: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if value.len() > DNS1123_LABEL_MAX {
        errors.push(max_len_error(DNS1123_LABEL_MAX));
    }
    if !edged(value, |b| b.is_ascii_lowercase(), |b| lower_alnum(b) || b == b'-', lower_alnum) {
        errors.push(regex_error(
            "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character",
            "[a-z]([-a-z0-9]*[a-z0-9])?",
            &["my-name", "abc-123"],
        ));
    }
    errors
}

/// A name with an optional DNS prefix: `example.com/MyName`; the keys of labels and annotations.
pub fn is_qualified_name(value: &str) -> Vec<String> {
    let mut errors = Vec::new();
    let name_error = || regex_error(QUALIFIED_MSG, QUALIFIED_FMT, &["MyName", "my.name", "123-abc"]);
    let parts: Vec<&str> = value.split('/').collect();
    let name = match parts.as_slice() {
        [name] => *name,
        [prefix, name] => {
            if prefix.is_empty() {
                errors.push("prefix part must be non-empty".to_owned());
            } else {
                errors.extend(is_dns1123_subdomain(prefix).into_iter().map(|e| format!("prefix part {e}")));
            }
            *name
        }
        _ => {
            errors.push(format!(
                "a qualified name {} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')",
                name_error()
            ));
            return errors;
        }
    };
    if name.is_empty() {
        errors.push("name part must be non-empty".to_owned());
    } else if name.len() > 63 {
        errors.push(format!("name part {}", max_len_error(63)));
    }
    if !matches_qualified(name) {
        errors.push(format!("name part {}", name_error()));
    }
    errors
}

/// The value of a label.
pub fn is_valid_label_value(value: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if value.len() > 63 {
        errors.push(max_len_error(63));
    }
    if !value.is_empty() && !matches_qualified(value) {
        errors.push(regex_error(
            "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character",
            &format!("({QUALIFIED_FMT})?"),
            &["MyValue", "my_value", "12345"],
        ));
    }
    errors
}

/// A C identifier.
pub fn is_c_identifier(value: &str) -> Vec<String> {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    if edged(value, |b| b.is_ascii_alphabetic() || b == b'_', word, word) {
        return Vec::new();
    }
    vec![regex_error(
        "a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric characters or '_'",
        "[A-Za-z_][A-Za-z0-9_]*",
        &["my_name", "MY_NAME", "MyName"],
    )]
}

/// Whether a text is a version by semver.org, 2.0.0.
pub fn is_semantic_version(text: &str) -> bool {
    let number = |part: &str| {
        !part.is_empty()
            && part.bytes().all(|b| b.is_ascii_digit())
            && (part == "0" || !part.starts_with('0'))
    };
    let word = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    // A part before a release that is all digits is a number.
    let before = |part: &str| word(part) && (number(part) || part.bytes().any(|b| !b.is_ascii_digit()));
    let (rest, build) = text.split_once('+').map_or((text, None), |(rest, build)| (rest, Some(build)));
    let (core, pre) = rest.split_once('-').map_or((rest, None), |(core, pre)| (core, Some(pre)));
    core.split('.').count() == 3
        && core.split('.').all(number)
        && pre.is_none_or(|pre| pre.split('.').all(before))
        && build.is_none_or(|build| build.split('.').all(word))
}

/// A port number.
pub fn is_valid_port_num(port: i64) -> Vec<String> {
    is_in_range(port, 1, 65535)
}

/// A number from `low` to `high`.
pub fn is_in_range(value: i64, low: i64, high: i64) -> Vec<String> {
    if (low..=high).contains(&value) { Vec::new() } else { vec![inclusive_range_error(low, high)] }
}

/// A user or group id.
pub fn is_valid_user_id(id: i64) -> Vec<String> {
    is_in_range(id, 0, i64::from(i32::MAX))
}

/// A port's name (IANA_SVC_NAME).
pub fn is_valid_port_name(port: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if port.len() > 15 {
        errors.push(max_len_error(15));
    }
    if port.is_empty() || !port.bytes().all(|b| lower_alnum(b) || b == b'-') {
        errors.push("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)".to_owned());
    }
    if !port.bytes().any(|b| b.is_ascii_lowercase()) {
        errors.push("must contain at least one letter (a-z)".to_owned());
    }
    if port.contains("--") {
        errors.push("must not contain consecutive hyphens".to_owned());
    }
    if port.starts_with('-') || port.ends_with('-') {
        errors.push("must not begin or end with a hyphen".to_owned());
    }
    errors
}

/// A percentage: `25%`.
pub fn is_valid_percent(percent: &str) -> Vec<String> {
    match percent.strip_suffix('%') {
        Some(n) if !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()) => Vec::new(),
        _ => vec![regex_error(
            "a valid percent string must be a numeric string followed by an ending '%'",
            "[0-9]+%",
            &["1%", "93%"],
        )],
    }
}

/// The name of an HTTP header.
pub fn is_http_header_name(value: &str) -> Vec<String> {
    if !value.is_empty() && value.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
        return Vec::new();
    }
    vec![regex_error(
        "a valid HTTP header must consist of alphanumeric characters or '-'",
        "[-A-Za-z0-9]+",
        &["X-Header-Name"],
    )]
}

fn dir_prefix_errors(value: &str) -> Vec<String> {
    match value {
        "." => vec!["must not be '.'".to_owned()],
        ".." => vec!["must not be '..'".to_owned()],
        _ if value.starts_with("..") => vec!["must not start with '..'".to_owned()],
        _ => Vec::new(),
    }
}

/// The name of an environment variable, by the strict rule.
pub fn is_env_var_name(value: &str) -> Vec<String> {
    let mut errors = Vec::new();
    let inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
    if !edged(value, |b| b.is_ascii_alphabetic() || matches!(b, b'-' | b'.' | b'_'), inner, inner) {
        errors.push(regex_error(
            "a valid environment variable name must consist of alphabetic characters, digits, '_', '-', or '.', and must not start with a digit",
            ENV_VAR_FMT,
            &["my.env-name", "MY_ENV.NAME", "MyEnvName1"],
        ));
    }
    errors.extend(dir_prefix_errors(value));
    errors
}

/// The name of an environment variable, by the relaxed rule: printable ASCII without `=`.
pub fn is_relaxed_env_var_name(value: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if value.is_empty() {
        errors.push("environment variable name must be non-empty".to_owned());
    }
    for c in value.chars() {
        if c == '=' || !(' '..='~').contains(&c) {
            errors.push(
                "a valid environment variable name must consist only of printable ASCII characters other than '='"
                    .to_owned(),
            );
            break;
        }
    }
    errors
}

/// A key of a ConfigMap or Secret.
pub fn is_config_map_key(value: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if value.len() > DNS1123_SUBDOMAIN_MAX {
        errors.push(max_len_error(DNS1123_SUBDOMAIN_MAX));
    }
    if value.is_empty()
        || !value.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'))
    {
        errors.push(regex_error(
            "a valid config key must consist of alphanumeric characters, '-', '_' or '.'",
            CONFIG_KEY_FMT,
            &["key.name", "KEY_NAME", "key-name"],
        ));
    }
    errors.extend(dir_prefix_errors(value));
    errors
}

/// A name that can stand in a URL path; a prefix of one when `prefix`.
pub fn is_valid_path_segment(value: &str, prefix: bool) -> Vec<String> {
    if !prefix && matches!(value, "." | "..") {
        return vec![format!("may not be '{value}'")];
    }
    ["/", "%"].iter().filter(|c| value.contains(**c)).map(|c| format!("may not contain '{c}'")).collect()
}

/// What is said of a value that is no IP address.
pub const IP_MESSAGE: &str = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
/// What is said of a value that is no CIDR.
pub const CIDR_MESSAGE: &str = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";

/// An IP address. Octets with leading zeros and IPv4-mapped addresses are admitted only when `legacy`.
pub fn is_valid_ip(value: &str, legacy: bool) -> Vec<String> {
    if let Ok(v6) = value.parse::<Ipv6Addr>() {
        if !legacy && v6.to_ipv4_mapped().is_some() {
            return vec!["must not be an IPv4-mapped IPv6 address".to_owned()];
        }
        return Vec::new();
    }
    if value.parse::<Ipv4Addr>().is_ok() {
        return Vec::new();
    }
    match without_leading_zeros(value) {
        Some(_) if legacy => Vec::new(),
        Some(_) => vec!["must not have leading 0s".to_owned()],
        None => vec![IP_MESSAGE.to_owned()],
    }
}

/// A CIDR; `legacy` admits leading zeros and bits beyond the prefix.
pub fn is_valid_cidr(value: &str, legacy: bool) -> Vec<String> {
    let Some((ip, bits)) = value.split_once('/') else {
        return vec![CIDR_MESSAGE.to_owned()];
    };
    let plain_bits = !bits.is_empty() && bits.bytes().all(|b| b.is_ascii_digit());
    let parsed = bits.parse::<u32>().ok().filter(|_| plain_bits);
    let (Some(bits_value), true) = (parsed, is_valid_ip(ip, true).is_empty()) else {
        return vec![CIDR_MESSAGE.to_owned()];
    };
    let max = if ip.contains(':') { 128 } else { 32 };
    if bits_value > max {
        return vec![CIDR_MESSAGE.to_owned()];
    }
    if legacy {
        return Vec::new();
    }
    let mut errors = Vec::new();
    errors.extend(is_valid_ip(ip, false));
    if bits.len() > 1 && bits.starts_with('0') {
        errors.push("must not have leading 0s in IP or prefix length".to_owned());
    }
    if let Some(masked) = masked(ip, bits_value)
        && !same_ip(ip, &masked)
    {
        errors.push(format!(
            "must not have bits set beyond the prefix length, should be \"{masked}/{bits_value}\""
        ));
    }
    errors
}

fn without_leading_zeros(value: &str) -> Option<Ipv4Addr> {
    let mut octets = [0u8; 4];
    let parts: Vec<&str> = value.split('.').collect();
    if parts.len() != 4 {
        return None;
    }
    for (octet, part) in octets.iter_mut().zip(parts) {
        if part.is_empty() || !part.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        *octet = part
            .trim_start_matches('0')
            .parse()
            .or(if part.bytes().all(|b| b == b'0') { Ok(0) } else { Err(()) })
            .ok()?;
    }
    Some(Ipv4Addr::from(octets))
}

fn masked(ip: &str, bits: u32) -> Option<String> {
    if let Ok(v6) = ip.parse::<Ipv6Addr>() {
        let mask = if bits == 0 { 0 } else { u128::MAX << (128 - bits) };
        return Some(Ipv6Addr::from(u128::from(v6) & mask).to_string());
    }
    let v4 = ip.parse::<Ipv4Addr>().ok().or_else(|| without_leading_zeros(ip))?;
    let mask = if bits == 0 { 0 } else { u32::MAX << (32 - bits) };
    Some(Ipv4Addr::from(u32::from(v4) & mask).to_string())
}

fn same_ip(a: &str, b: &str) -> bool {
    if let (Ok(a), Ok(b)) = (a.parse::<Ipv6Addr>(), b.parse::<Ipv6Addr>()) {
        return a == b;
    }
    without_leading_zeros(a).is_some() && without_leading_zeros(a) == without_leading_zeros(b)
}

/// Checks a name, or with `true` the prefix that `generateName` gives: `ValidateNameFunc`.
pub type NameCheck = fn(&str, bool) -> Vec<String>;

/// A prefix that ends in dashes is judged as the name it would begin.
fn mask_trailing_dash(name: &str) -> String {
    match name.strip_suffix('-') {
        Some(rest) if !rest.is_empty() && name.is_char_boundary(name.len() - 2) => {
            format!("{}a", &name[..name.len() - 2])
        }
        _ => name.to_owned(),
    }
}

/// `NameIsDNSSubdomain`.
pub fn name_is_dns_subdomain(name: &str, prefix: bool) -> Vec<String> {
    if prefix { is_dns1123_subdomain(&mask_trailing_dash(name)) } else { is_dns1123_subdomain(name) }
}

/// `NameIsDNSLabel`.
pub fn name_is_dns_label(name: &str, prefix: bool) -> Vec<String> {
    if prefix { is_dns1123_label(&mask_trailing_dash(name)) } else { is_dns1123_label(name) }
}

/// `NameIsDNS1035Label`.
pub fn name_is_dns1035_label(name: &str, prefix: bool) -> Vec<String> {
    if prefix { is_dns1035_label(&mask_trailing_dash(name)) } else { is_dns1035_label(name) }
}

/// `path.ValidatePathSegmentName`: what RBAC objects and a few others are named.
pub fn name_is_path_segment(name: &str, prefix: bool) -> Vec<String> {
    is_valid_path_segment(name, prefix)
}

const SUFFIX_ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
const SUFFIX_LEN: usize = 5;

/// The random suffix of a generated name.
pub fn random_suffix(rng: &mut impl Rng, length: usize) -> String {
    (0..length).map(|_| SUFFIX_ALPHABET[rng.random_range(0..SUFFIX_ALPHABET.len())] as char).collect()
}

/// A name for `generateName`: the base, cut so that the whole fits a DNS label, and a random suffix.
pub fn generate_name(base: &str) -> String {
    let mut end = base.len().min(DNS1123_LABEL_MAX - SUFFIX_LEN);
    while !base.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{}", &base[..end], random_suffix(&mut rand::rng(), SUFFIX_LEN))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_judged_as_upstream() {
        assert!(is_dns1123_subdomain("a.b-c.1").is_empty());
        assert_eq!(
            is_dns1123_subdomain("Bad_Name"),
            [
                "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
            ]
        );
        assert_eq!(is_dns1123_label("a.b"), ["must not contain dots"]);
        assert!(is_qualified_name("example.com/a_B.c").is_empty());
        assert_eq!(
            is_qualified_name("a b"),
            [
                "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
            ]
        );
        assert_eq!(is_qualified_name("/a"), ["prefix part must be non-empty"]);
        assert!(name_is_dns_subdomain("abc-", true).is_empty());
        assert!(!name_is_dns_subdomain("abc-", false).is_empty());
        assert_eq!(name_is_path_segment("a/b", false), ["may not contain '/'"]);
        assert!(is_valid_port_name("http-2").is_empty());
        assert_eq!(is_config_map_key("..").len(), 1);
    }

    #[test]
    fn addresses_are_judged_strictly_or_as_they_were() {
        assert!(is_valid_ip("10.0.0.1", false).is_empty());
        assert!(is_valid_ip("010.0.0.1", true).is_empty());
        assert!(!is_valid_ip("010.0.0.1", false).is_empty());
        assert!(is_valid_cidr("10.0.0.0/8", false).is_empty());
        assert!(!is_valid_cidr("10.0.0.1/8", false).is_empty());
        assert!(is_valid_cidr("10.0.0.1/8", true).is_empty());
        assert_eq!(is_valid_cidr("x", false), [CIDR_MESSAGE]);
    }

    #[test]
    fn generated_names_fit_a_label() {
        let name = generate_name(&"x".repeat(80));
        assert_eq!(name.len(), 63);
        assert!(is_dns1123_label(&name).is_empty());
    }
}
