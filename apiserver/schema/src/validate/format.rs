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
        "bsonobjectid" => is(r"^[0-9a-fA-F]{24}$", text),
        "isbn" => is_isbn10(text) || is_isbn13(text),
        "isbn10" => is_isbn10(text),
        "isbn13" => is_isbn13(text),
        "creditcard" => is_credit_card(text),
        "ssn" => is(r"^\d{3}[- ]?\d{2}[- ]?\d{4}$", text),
        "rgbcolor" => is(
            r"^rgb\(\s*(0|[1-9]\d?|1\d\d?|2[0-4]\d|25[0-5])\s*,\s*(0|[1-9]\d?|1\d\d?|2[0-4]\d|25[0-5])\s*,\s*(0|[1-9]\d?|1\d\d?|2[0-4]\d|25[0-5])\s*\)$",
            text,
        ),
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

/// The digits of a number in which spaces and hyphens do not count; 10 for a last `X`.
fn digits(text: &str) -> Option<Vec<u32>> {
    let plain: Vec<char> = text.chars().filter(|c| !matches!(c, ' ' | '-')).collect();
    let last = plain.len().checked_sub(1)?;
    let digit =
        |(i, c): (usize, &char)| if i == last && matches!(c, 'X' | 'x') { Some(10) } else { c.to_digit(10) };
    plain.iter().enumerate().map(digit).collect()
}

fn is_isbn10(text: &str) -> bool {
    digits(text).is_some_and(|digits| {
        digits.len() == 10
            && (1..).zip(&digits).map(|(i, digit): (u32, _)| i * digit).sum::<u32>().is_multiple_of(11)
    })
}

fn is_isbn13(text: &str) -> bool {
    digits(text).is_some_and(|digits| {
        let weighted = digits.iter().zip([1, 3].into_iter().cycle()).map(|(digit, by)| digit * by);
        digits.len() == 13
            && digits.iter().all(|digit| *digit < 10)
            && weighted.sum::<u32>().is_multiple_of(10)
    })
}

/// Luhn's sum.
fn is_credit_card(text: &str) -> bool {
    digits(text).is_some_and(|digits| {
        let doubled = digits.iter().rev().zip([1, 2].into_iter().cycle()).map(|(digit, by)| digit * by);
        let sum: u32 = doubled.map(|n| if n > 9 { n - 9 } else { n }).sum();
        (13..=19).contains(&digits.len()) && digits.iter().all(|digit| *digit < 10) && sum.is_multiple_of(10)
    })
}

fn is_date(text: &str) -> bool {
    text.len() == 10 && Time::parse(&format!("{text}T00:00:00Z")).is_ok()
}

fn is_cidr(text: &str) -> bool {
    let Some((address, bits)) = text.split_once('/') else { return false };
    let Ok(bits) = bits.parse::<u8>() else { return false };
    address.parse::<Ipv4Addr>().is_ok() && bits <= 32 || address.parse::<Ipv6Addr>().is_ok() && bits <= 128
}

#[cfg(test)]
mod tests {
    use super::is_valid;

    #[test]
    fn formats_are_checked() {
        for (format, good, bad) in [
            ("isbn10", "0-306-40615-2", "0-306-40615-3"),
            ("isbn13", "978-0-306-40615-7", "978-0-306-40615-8"),
            ("creditcard", "4111 1111 1111 1111", "4111 1111 1111 1112"),
            ("ssn", "123-45-6789", "123-45-678"),
            ("rgbcolor", "rgb(1, 2, 255)", "rgb(1, 2, 256)"),
            ("bsonobjectid", "507f1f77bcf86cd799439011", "507f1f77bcf86cd79943901"),
            ("k8s-short-name", "a-b", "a.b"),
            ("cidr", "10.0.0.0/8", "10.0.0.0/33"),
        ] {
            assert!(is_valid(format, good), "{format} {good}");
            assert!(!is_valid(format, bad), "{format} {bad}");
        }
        assert!(is_valid("no-such-format", "anything"));
    }
}
