//! Texts of values.

use kplane_machinery::time::Duration;

/// Seconds with a fraction, as a duration is written in JSON.
pub(crate) fn duration_text(duration: Duration) -> String {
    let nanos = duration.0.unsigned_abs();
    let sign = if duration.0 < 0 { "-" } else { "" };
    let (whole, part) = (nanos / 1_000_000_000, nanos % 1_000_000_000);
    if part == 0 {
        return format!("{sign}{whole}s");
    }
    format!("{sign}{whole}.{}s", format!("{part:09}").trim_end_matches('0'))
}

/// As Go's `%g` with the fewest digits.
pub(crate) fn double_text(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    if value == 0.0 {
        return if value.is_sign_negative() { "-0" } else { "0" }.to_owned();
    }
    let scientific = format!("{value:e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let power: i32 = exponent.parse().unwrap_or(0);
    if (-4..6).contains(&power) {
        return format!("{value}");
    }
    let sign = if power < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", power.abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_read_as_in_go() {
        for (value, text) in [
            (1.0, "1"),
            (1.5, "1.5"),
            (999_999.0, "999999"),
            (1e6, "1e+06"),
            (-0.00001, "-1e-05"),
            (123e-7, "1.23e-05"),
        ] {
            assert_eq!(double_text(value), text);
        }
    }

    #[test]
    fn durations_are_seconds() {
        assert_eq!(duration_text(Duration(-1_000_000)), "-0.001s");
        assert_eq!(duration_text(Duration(90_500_000_000)), "90.5s");
    }
}
