//! Quantities as whole numbers of nano-units, for comparing and printing.

use serde_json::Value;

/// One unit.
pub(crate) const ONE: i128 = 1_000_000_000;

/// A quantity in nano-units; `None` for what is none.
pub(crate) fn of(value: &Value) -> Option<i128> {
    match value {
        Value::String(text) => parse(text.trim()),
        Value::Number(number) => parse(&number.to_string()),
        _ => None,
    }
}

/// A quantity as it is shown.
pub(crate) fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn parse(text: &str) -> Option<i128> {
    let end = text
        .char_indices()
        .find(|(i, c)| !(c.is_ascii_digit() || *c == '.' || (*i == 0 && (*c == '-' || *c == '+'))))
        .map_or(text.len(), |(i, _)| i);
    let (number, suffix) = text.split_at(end);
    let (negative, digits) = match number.as_bytes().first()? {
        b'-' => (true, &number[1..]),
        b'+' => (false, &number[1..]),
        _ => (false, number),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let (multiplier, divisor) = scale(suffix)?;
    let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let kept = &fraction[..fraction.len().min(12)];
    let part: i128 = if kept.is_empty() { 0 } else { kept.parse().ok()? };
    let tens = 10_i128.checked_pow(u32::try_from(kept.len()).ok()?)?;
    let nanos = whole.checked_mul(multiplier)?.checked_mul(ONE)? / divisor;
    let rest = part.checked_mul(multiplier)?.checked_mul(ONE)? / tens / divisor;
    let sum = nanos.checked_add(rest)?;
    Some(if negative { -sum } else { sum })
}

fn scale(suffix: &str) -> Option<(i128, i128)> {
    Some(match suffix {
        "" => (1, 1),
        "n" => (1, ONE),
        "u" => (1, 1_000_000),
        "m" => (1, 1_000),
        "k" => (1_000, 1),
        "M" => (1_000_000, 1),
        "G" => (1_000_000_000, 1),
        "T" => (1_000_000_000_000, 1),
        "P" => (1_000_000_000_000_000, 1),
        "E" => (1_000_000_000_000_000_000, 1),
        "Ki" => (1 << 10, 1),
        "Mi" => (1 << 20, 1),
        "Gi" => (1 << 30, 1),
        "Ti" => (1 << 40, 1),
        "Pi" => (1 << 50, 1),
        "Ei" => (1 << 60, 1),
        _ => {
            let exponent: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
            let power = 10_i128.checked_pow(exponent.unsigned_abs().min(18))?;
            if exponent < 0 { (1, power) } else { (power, 1) }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn quantities_compare_across_suffixes() {
        for (a, b) in [("1", "1000m"), ("1Ki", "1024"), ("0.5", "500m"), ("1e3", "1k"), ("1.5Gi", "1536Mi")] {
            assert_eq!(of(&json!(a)), of(&json!(b)), "{a} {b}");
        }
        assert_eq!(of(&json!("x")), None);
        assert_eq!(of(&json!(2)), Some(2 * ONE));
    }
}
