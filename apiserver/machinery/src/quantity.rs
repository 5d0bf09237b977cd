//! `resource.Quantity`: fixed-point numbers with suffixes, such as `500m`, `1Gi` and `1e3`.

use std::cmp::Ordering;
use std::fmt;

/// How a quantity was written, and so how it is written again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// `12M`
    #[default]
    DecimalSi,
    /// `12Mi`
    BinarySi,
    /// `12e6`
    DecimalExponent,
}

/// A quantity: `mantissa × 10^scale`, with a scale of at least -9.
#[derive(Clone, Copy, Debug, Default)]
pub struct Quantity {
    mantissa: i128,
    scale: i32,
    format: Format,
}

/// Why a text is no quantity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// It has not the form of one.
    #[error("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")]
    Format,
    /// Its number is none.
    #[error("unable to parse numeric part of quantity")]
    Numeric,
    /// Its suffix is unknown.
    #[error("unable to parse quantity's suffix")]
    Suffix,
}

const NANO: i32 = -9;
/// Digits that a mantissa may have and still be multiplied safely.
const MAX_DIGITS: usize = 36;

/// The base, exponent and format of a suffix.
fn interpret(suffix: &str) -> Option<(u8, i32, Format)> {
    Some(match suffix {
        "" => (10, 0, Format::DecimalSi),
        "n" => (10, -9, Format::DecimalSi),
        "u" => (10, -6, Format::DecimalSi),
        "m" => (10, -3, Format::DecimalSi),
        "k" => (10, 3, Format::DecimalSi),
        "M" => (10, 6, Format::DecimalSi),
        "G" => (10, 9, Format::DecimalSi),
        "T" => (10, 12, Format::DecimalSi),
        "P" => (10, 15, Format::DecimalSi),
        "E" => (10, 18, Format::DecimalSi),
        "Ki" => (2, 10, Format::BinarySi),
        "Mi" => (2, 20, Format::BinarySi),
        "Gi" => (2, 30, Format::BinarySi),
        "Ti" => (2, 40, Format::BinarySi),
        "Pi" => (2, 50, Format::BinarySi),
        "Ei" => (2, 60, Format::BinarySi),
        _ => {
            let exponent = suffix.strip_prefix(['e', 'E'])?;
            (10, exponent.parse::<i32>().ok().filter(|e| e.abs() < 1_000_000)?, Format::DecimalExponent)
        }
    })
}

/// The sign, whole digits, fraction digits and suffix.
fn split(text: &str) -> Result<(bool, &str, &str, &str), ParseError> {
    let (negative, rest) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    let digits = |s: &str| s.bytes().take_while(u8::is_ascii_digit).count();
    let (whole, mut rest) = rest.split_at(digits(rest));
    let mut fraction = "";
    if let Some(after) = rest.strip_prefix('.') {
        (fraction, rest) = after.split_at(digits(after));
    }
    let letters = rest.bytes().take_while(|b| b"eEinumkKMGTP".contains(b)).count();
    let mut tail = &rest[letters..];
    tail = tail.strip_prefix(['-', '+']).unwrap_or(tail);
    if !tail.bytes().all(|b| b.is_ascii_digit()) {
        return Err(ParseError::Format);
    }
    Ok((negative, whole.trim_start_matches('0'), fraction, rest))
}

impl Quantity {
    /// Zero.
    pub const ZERO: Self = Self { mantissa: 0, scale: 0, format: Format::DecimalSi };

    /// A whole number.
    pub fn from_int(value: i64, format: Format) -> Self {
        Self { mantissa: i128::from(value), scale: 0, format }.normalised()
    }

    /// A number of thousandths.
    pub fn from_milli(value: i64, format: Format) -> Self {
        Self { mantissa: i128::from(value), scale: -3, format }.normalised()
    }

    /// Reads one. What is finer than a billionth is rounded away from zero, as upstream.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        if text.is_empty() {
            return Err(ParseError::Format);
        }
        let (negative, whole, fraction, suffix) = split(text)?;
        let (base, exponent, mut format) = interpret(suffix).ok_or(ParseError::Suffix)?;
        // A lone sign or point stands for zero, as upstream has it, but only with digits or at the end.
        let magnitude = if base == 2 {
            let amount = binary(whole, fraction, exponent as u32);
            if amount.cmp_int(1) == Ordering::Less && amount.mantissa != 0 {
                format = Format::DecimalSi;
            }
            amount
        } else {
            decimal(whole, fraction, exponent)
        };
        let mantissa = if negative { -magnitude.mantissa } else { magnitude.mantissa };
        Ok(Self { mantissa, scale: magnitude.scale, format }.normalised())
    }

    /// From a JSON value as a quantity may stand in an object: a text or a number.
    pub fn from_value(value: &serde_json::Value) -> Result<Self, ParseError> {
        match value {
            serde_json::Value::String(s) => Self::parse(s.trim()),
            serde_json::Value::Number(n) => Self::parse(&n.to_string()),
            serde_json::Value::Null => Ok(Self::ZERO),
            _ => Err(ParseError::Format),
        }
    }

    /// The mantissa without trailing zeros, so that equal numbers look equal.
    fn normalised(mut self) -> Self {
        if self.mantissa == 0 {
            self.scale = 0;
        }
        while self.mantissa != 0 && self.mantissa % 10 == 0 {
            self.mantissa /= 10;
            self.scale += 1;
        }
        self
    }

    /// How it was written.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Whether it is zero.
    pub fn is_zero(&self) -> bool {
        self.mantissa == 0
    }

    /// -1, 0 or 1.
    pub fn sign(&self) -> i32 {
        self.mantissa.signum() as i32
    }

    /// The mantissa at a finer scale, if it fits.
    fn mantissa_at(&self, scale: i32) -> Option<i128> {
        let by = u32::try_from(self.scale.checked_sub(scale)?).ok()?;
        self.mantissa.checked_mul(10i128.checked_pow(by)?)
    }

    /// The number in units of `10^scale`, rounded away from zero; saturates.
    pub fn scaled_value(&self, scale: i32) -> i64 {
        let wide = if scale <= self.scale {
            self.mantissa_at(scale).unwrap_or(if self.mantissa < 0 { i128::MIN } else { i128::MAX })
        } else {
            match 10i128.checked_pow((scale - self.scale) as u32) {
                Some(unit) => {
                    let whole = self.mantissa / unit;
                    if self.mantissa % unit == 0 { whole } else { whole + self.mantissa.signum() }
                }
                None => self.mantissa.signum(),
            }
        };
        i64::try_from(wide).unwrap_or(if wide < 0 { i64::MIN } else { i64::MAX })
    }

    /// The number, rounded up to a whole one.
    pub fn value(&self) -> i64 {
        self.scaled_value(0)
    }

    /// The number in thousandths, rounded up.
    pub fn milli_value(&self) -> i64 {
        self.scaled_value(-3)
    }

    /// The number as an `i64` if it is whole and fits.
    pub fn as_i64(&self) -> Option<i64> {
        if self.scale < 0 {
            return None;
        }
        i64::try_from(self.mantissa_at(0)?).ok()
    }

    /// About the number.
    pub fn as_f64(&self) -> f64 {
        self.mantissa as f64 * 10f64.powi(self.scale)
    }

    /// Rounded away from zero to a multiple of `10^scale`, as `Quantity.RoundUp`.
    pub fn round_up(self, scale: i32) -> Self {
        if scale <= self.scale {
            return self;
        }
        let mantissa = match 10i128.checked_pow((scale - self.scale) as u32) {
            Some(unit) => {
                let whole = self.mantissa / unit;
                if self.mantissa % unit == 0 { whole } else { whole + self.mantissa.signum() }
            }
            None => self.mantissa.signum(),
        };
        Self { mantissa, scale, format: self.format }.normalised()
    }

    /// The sum, in the format of the first unless that is zero.
    #[expect(clippy::should_implement_trait, reason = "it saturates, which an operator would hide")]
    pub fn add(self, other: Self) -> Self {
        let format = if self.is_zero() { other.format } else { self.format };
        let scale = self.scale.min(other.scale);
        let sum = match (self.mantissa_at(scale), other.mantissa_at(scale)) {
            (Some(a), Some(b)) => a.checked_add(b).map(|mantissa| Self { mantissa, scale, format }),
            _ => None,
        };
        // Too far apart for one mantissa: the smaller does not matter.
        sum.unwrap_or_else(|| {
            let larger = if self.magnitude_cmp(&other) == Ordering::Less { other } else { self };
            Self { format, ..larger }
        })
        .normalised()
    }

    /// The difference.
    #[expect(clippy::should_implement_trait, reason = "it saturates, which an operator would hide")]
    pub fn sub(self, other: Self) -> Self {
        let format = if self.is_zero() { other.format } else { self.format };
        Self { format, ..self.add(other.negated()) }
    }

    /// With the other sign.
    pub fn negated(self) -> Self {
        Self { mantissa: -self.mantissa, ..self }
    }

    fn magnitude_cmp(&self, other: &Self) -> Ordering {
        let digits =
            |q: &Self| q.mantissa.unsigned_abs().checked_ilog10().map(|d| i64::from(d) + i64::from(q.scale));
        match (digits(self), digits(other)) {
            (None, None) => Ordering::Equal,
            (None, _) => Ordering::Less,
            (_, None) => Ordering::Greater,
            (Some(a), Some(b)) if a != b => a.cmp(&b),
            _ => {
                // As many digits before the point: the finer scale holds both.
                let scale = self.scale.min(other.scale);
                match (self.mantissa_at(scale), other.mantissa_at(scale)) {
                    (Some(a), Some(b)) => a.unsigned_abs().cmp(&b.unsigned_abs()),
                    _ => Ordering::Equal,
                }
            }
        }
    }

    fn cmp_int(&self, value: i64) -> Ordering {
        self.cmp(&Self::from_int(value, self.format))
    }
}

/// `whole.fraction × 10^exponent`, rounded up to billionths.
fn decimal(whole: &str, fraction: &str, exponent: i32) -> Quantity {
    let digits = format!("{whole}{fraction}");
    let trimmed = digits.trim_start_matches('0');
    let mut scale = exponent.saturating_sub(i32::try_from(fraction.len()).unwrap_or(i32::MAX));
    let mut kept = trimmed;
    let mut lost = false;
    let too_fine = usize::try_from(NANO.saturating_sub(scale)).unwrap_or(0);
    let too_many = trimmed.len().saturating_sub(MAX_DIGITS);
    let cut = too_fine.max(too_many);
    if cut > 0 {
        let keep = trimmed.len().saturating_sub(cut);
        lost = trimmed[keep..].bytes().any(|b| b != b'0');
        kept = &trimmed[..keep];
        scale = scale.saturating_add(i32::try_from(cut).unwrap_or(i32::MAX));
    }
    // At most MAX_DIGITS digits always fit.
    let mantissa = kept.parse::<i128>().unwrap_or(0) + i128::from(lost);
    Quantity { mantissa, scale, format: Format::DecimalSi }.normalised()
}

/// `whole.fraction × 2^exponent`, rounded up to billionths and capped at the largest `i64`.
fn binary(whole: &str, fraction: &str, exponent: u32) -> Quantity {
    let cap = Quantity { mantissa: i128::from(i64::MAX), scale: 0, format: Format::BinarySi };
    let factor = 1i128 << exponent;
    if whole.len() > 19 {
        return cap;
    }
    let whole = whole.parse::<i128>().unwrap_or(0) * factor;
    let used = &fraction[..fraction.len().min(18)];
    let rest_matters = fraction[used.len()..].bytes().any(|b| b != b'0');
    let unit = 10i128.pow(used.len() as u32);
    let product = (used.parse::<i128>().unwrap_or(0) + i128::from(rest_matters)) * factor;
    let whole = whole + product / unit;
    if whole > i128::from(i64::MAX) {
        return cap;
    }
    let rest = (product % unit) * 1_000_000_000;
    let nanos = rest / unit + i128::from(rest % unit != 0);
    Quantity { mantissa: whole * 1_000_000_000 + nanos, scale: NANO, format: Format::BinarySi }.normalised()
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// By the number alone, however it is written.
impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self.sign(), other.sign()) {
            (a, b) if a != b => a.cmp(&b),
            (-1, _) => other.magnitude_cmp(self),
            _ => self.magnitude_cmp(other),
        }
    }
}

/// The canonical form: no fraction, and the largest suffix that loses nothing.
impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.mantissa == 0 {
            return f.write_str("0");
        }
        if self.format == Format::BinarySi
            && self.scale >= 0
            && (self.cmp_int(1024) != Ordering::Less || self.cmp_int(-1024) != Ordering::Greater)
            && let Some(mut number) = self.mantissa_at(0)
        {
            let mut power = 0;
            while number % 1024 == 0 && power < 6 {
                number /= 1024;
                power += 1;
            }
            return write!(f, "{number}{}", ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"][power]);
        }
        let mut exponent = self.scale - self.scale.rem_euclid(3);
        if self.format != Format::DecimalExponent {
            exponent = exponent.min(18);
        }
        // What is too large to be counted in this unit is written out.
        let (number, zeros) = match self.mantissa_at(exponent) {
            Some(number) => (number, 0),
            None => (self.mantissa, usize::try_from(self.scale - exponent).unwrap_or(0)),
        };
        write!(f, "{number}{:0<zeros$}", "")?;
        if self.format == Format::DecimalExponent {
            return if exponent == 0 { Ok(()) } else { write!(f, "e{exponent}") };
        }
        let suffix = ["n", "u", "m", "", "k", "M", "G", "T", "P", "E"];
        let index = usize::try_from(exponent / 3 + 3).unwrap_or(3).min(9);
        f.write_str(suffix[index])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_larger_than_any_unit_is_written_out() {
        for text in
            ["444444444444444444000000003980433795905195572T", "444444444444444444000000003980433796e23"]
        {
            let quantity = Quantity::parse(text).expect("a quantity");
            assert_eq!(Quantity::parse(&quantity.to_string()), Ok(quantity), "{quantity}");
        }
        assert_eq!(Quantity::parse("7e22").expect("a quantity").to_string(), "70e21");
        assert_eq!(Quantity::parse("70000000E").expect("a quantity").to_string(), "70000000E");
    }

    #[test]
    fn quantities_are_written_canonically() {
        for (text, canonical) in [
            ("0", "0"),
            ("1000m", "1"),
            ("0.5", "500m"),
            ("1024Mi", "1Gi"),
            ("1.5Gi", "1536Mi"),
            ("1500Mi", "1500Mi"),
            ("1e3", "1e3"),
            ("1500e3", "1500e3"),
            ("12e6", "12e6"),
            ("1000000", "1M"),
            ("100Ki", "100Ki"),
            ("1Ki", "1Ki"),
            ("62.5Ki", "64000"),
            ("0.5Ki", "512"),
            ("0.0001Ki", "102400u"),
            ("1.1Mi", "1153433600m"),
            ("0.1n", "1n"),
            ("-5m", "-5m"),
            ("+1", "1"),
            (".5", "500m"),
            ("5.", "5"),
            ("9Ei", "9223372036854775807"),
            ("100E", "100E"),
            ("1e100", "10e99"),
            ("16Gi", "16Gi"),
            ("1234567890123456789012", "1234567890123456789012"),
            ("10E-3", "10e-3"),
        ] {
            assert_eq!(Quantity::parse(text).map(|q| q.to_string()).as_deref(), Ok(canonical), "{text}");
        }
    }

    #[test]
    fn what_is_no_quantity_is_refused() {
        for (text, error) in [
            ("", ParseError::Format),
            ("1 ", ParseError::Format),
            ("abc", ParseError::Format),
            ("1x", ParseError::Format),
            ("1mm", ParseError::Suffix),
            ("1ki", ParseError::Suffix),
            ("1i", ParseError::Suffix),
        ] {
            assert_eq!(Quantity::parse(text).map(|q| q.to_string()), Err(error), "{text}");
        }
    }

    #[test]
    fn numbers_add_and_compare() {
        let q = |t: &str| Quantity::parse(t).unwrap();
        assert_eq!(q("1Gi"), q("1024Mi"));
        assert!(q("1G") < q("1Gi"));
        assert!(q("-2") < q("-1"));
        assert!(q("1e100") > q("1Ei"));
        assert_eq!(q("500m").add(q("1")).to_string(), "1500m");
        assert_eq!(q("1Gi").sub(q("512Mi")).to_string(), "512Mi");
        assert_eq!(q("1").sub(q("1Mi")).to_string(), "-1048575");
        assert_eq!(q("1500m").value(), 2);
        assert_eq!(q("1.2345").milli_value(), 1235);
        assert_eq!(q("1Ei").as_i64(), Some(1 << 60));
        assert_eq!(q("1.2345").round_up(-3).to_string(), "1235m");
    }
}
