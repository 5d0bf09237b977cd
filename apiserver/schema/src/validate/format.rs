//! The formats of texts that apiextensions checks; others are accepted.

use std::net::{Ipv4Addr, Ipv6Addr};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kplane_machinery::time::{Duration, Time};

use super::pattern;

/// Whether a text is of a format.
pub(super) fn is_valid(format: &str, text: &str) -> bool {
    match format {
        "date" => is_date(text),
        "date-time" | "datetime" => Time::parse(text).is_ok(),
        "duration" => Duration::parse(text).is_ok(),
        "ipv4" => text.parse::<Ipv4Addr>().is_ok(),
        "ipv6" => text.parse::<Ipv6Addr>().is_ok(),
        "cidr" => is_cidr(text),
        "mac" => is(r"^([0-9a-fA-F]{2}[:-]){5}[0-9a-fA-F]{2}$|^([0-9a-fA-F]{4}\.){2}[0-9a-fA-F]{4}$", text),
        "uuid" => is(r"(?i)^[0-9A-F]{8}-?[0-9A-F]{4}-?[0-9A-F]{4}-?[0-9A-F]{4}-?[0-9A-F]{12}$", text),
        "uuid3" => is(r"(?i)^[0-9A-F]{8}-?[0-9A-F]{4}-?3[0-9A-F]{3}-?[0-9A-F]{4}-?[0-9A-F]{12}$", text),
        "uuid4" => is(r"(?i)^[0-9A-F]{8}-?[0-9A-F]{4}-?4[0-9A-F]{3}-?[89AB][0-9A-F]{3}-?[0-9A-F]{12}$", text),
        "uuid5" => is(r"(?i)^[0-9A-F]{8}-?[0-9A-F]{4}-?5[0-9A-F]{3}-?[89AB][0-9A-F]{3}-?[0-9A-F]{12}$", text),
        "byte" => STANDARD.decode(text).is_ok(),
        "email" => is(r"^[^@\s]+@[^@\s]+$", text),
        "hostname" => {
            text.len() <= 255
                && is(
                    r"^([a-zA-Z0-9]([-a-zA-Z0-9]{0,61}[a-zA-Z0-9])?)(\.[a-zA-Z0-9]([-a-zA-Z0-9]{0,61}[a-zA-Z0-9])?)*\.?$",
                    text,
                )
        }
        "uri" => is(r"^[a-zA-Z][a-zA-Z0-9+.-]*:\S*$|^/\S*$", text),
        "hexcolor" => is(r"^#?([0-9a-fA-F]{3}|[0-9a-fA-F]{6})$", text),
        "k8s-short-name" => text.len() <= 63 && is(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", text),
        "k8s-long-name" => {
            text.len() <= 253
                && is(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$", text)
        }
        _ => true,
    }
}

fn is(expression: &str, text: &str) -> bool {
    pattern::matches(expression, text).unwrap_or(true)
}

fn is_date(text: &str) -> bool {
    text.len() == 10 && Time::parse(&format!("{text}T00:00:00Z")).is_ok()
}

fn is_cidr(text: &str) -> bool {
    let Some((address, bits)) = text.split_once('/') else { return false };
    let Ok(bits) = bits.parse::<u8>() else { return false };
    address.parse::<Ipv4Addr>().is_ok() && bits <= 32 || address.parse::<Ipv6Addr>().is_ok() && bits <= 128
}
