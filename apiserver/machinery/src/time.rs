//! Times and durations as the API writes them.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

/// A moment: `metav1.Time` (whole seconds) and `metav1.MicroTime` are its two texts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time {
    seconds: i64,
    nanos: u32,
}

impl Time {
    /// From seconds and nanoseconds since 1970.
    pub fn from_unix(seconds: i64, nanos: u32) -> Self {
        Self { seconds: seconds + i64::from(nanos / 1_000_000_000), nanos: nanos % 1_000_000_000 }
    }

    /// Now.
    pub fn now() -> Self {
        match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => Self::from_unix(since.as_secs() as i64, since.subsec_nanos()),
            Err(before) => Self::from_unix(-(before.duration().as_secs() as i64), 0),
        }
    }

    /// Seconds since 1970.
    pub fn unix(self) -> i64 {
        self.seconds
    }

    /// The nanoseconds of the second.
    pub fn subsec_nanos(self) -> u32 {
        self.nanos
    }

    /// Without the fraction of a second.
    pub fn truncated(self) -> Self {
        Self { seconds: self.seconds, nanos: 0 }
    }

    /// Later by that much.
    #[expect(clippy::should_implement_trait, reason = "it saturates, which an operator would hide")]
    pub fn add(self, duration: Duration) -> Self {
        let nanos = i64::from(self.nanos) + duration.0.rem_euclid(1_000_000_000);
        Self::from_unix(
            self.seconds.saturating_add(duration.0.div_euclid(1_000_000_000)),
            u32::try_from(nanos).unwrap_or_default(),
        )
    }

    /// How long after `earlier` this is; saturates at about 292 years.
    pub fn since(self, earlier: Self) -> Duration {
        let seconds = self.seconds.saturating_sub(earlier.seconds);
        let nanos = i64::from(self.nanos) - i64::from(earlier.nanos);
        Duration(seconds.saturating_mul(1_000_000_000).saturating_add(nanos))
    }

    /// Reads RFC 3339, with or without a fraction, as Go does; the error is Go's.
    pub fn parse(text: &str) -> Result<Self, String> {
        parse_rfc3339(text, "2006-01-02T15:04:05Z07:00")
    }

    /// Reads a `MicroTime`: the same texts, other words when it fails.
    pub fn parse_micro(text: &str) -> Result<Self, String> {
        parse_rfc3339(text, "2006-01-02T15:04:05.000000Z07:00")
    }

    /// `2006-01-02T15:04:05.000000Z`.
    pub fn micro(self) -> String {
        let text = self.to_string();
        format!("{}.{:06}Z", text.trim_end_matches('Z'), self.nanos / 1000)
    }

    /// `2006-01-02T15:04:05.123Z`, the fraction without trailing zeros: Go's RFC3339Nano.
    pub fn nano(self) -> String {
        if self.nanos == 0 {
            return self.to_string();
        }
        let fraction = format!("{:09}", self.nanos);
        format!("{}.{}Z", self.to_string().trim_end_matches('Z'), fraction.trim_end_matches('0'))
    }
}

/// `2006-01-02T15:04:05Z`, the text of `metav1.Time`.
impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = civil(self.seconds.div_euclid(86_400));
        let second = self.seconds.rem_euclid(86_400);
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z",
            second / 3600,
            second / 60 % 60,
            second % 60
        )
    }
}

/// Now, as `metadata.creationTimestamp` has it.
pub fn now() -> String {
    Time::now().to_string()
}

/// Now, as a `MicroTime`.
pub fn now_micro() -> String {
    Time::now().micro()
}

/// The age of a timestamp as kubectl shows it; `<unknown>` when absent or unreadable.
pub fn human_age(timestamp: &str, now: Time) -> String {
    match Time::parse(timestamp) {
        Ok(then) if !timestamp.is_empty() => human_duration(now.since(then)),
        _ => "<unknown>".to_owned(),
    }
}

/// Year, month and day of a day counted from 1970-01-01 (Howard Hinnant's algorithm).
fn civil(days: i64) -> (i64, i64, i64) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let day_of_era = z.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day_of_year - (153 * shifted + 2) / 5 + 1)
}

/// The inverse of [`civil`].
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let shifted = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * shifted + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

fn month_length(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

fn parse_rfc3339(text: &str, layout: &str) -> Result<Time, String> {
    let quoted = crate::field::go_quote(text);
    let mut rest = text;
    let cannot = |rest: &str, element: &str| {
        format!(
            "parsing time {quoted} as {layout:?}: cannot parse {} as {element:?}",
            crate::field::go_quote(rest)
        )
    };
    let range = |what: &str| format!("parsing time {quoted}: {what} out of range");
    let number = |rest: &mut &str, length: usize, element: &str| -> Result<i64, String> {
        match rest.get(..length) {
            Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => {
                *rest = &rest[length..];
                digits.parse().map_err(|_| cannot(rest, element))
            }
            _ => Err(cannot(rest, element)),
        }
    };
    let literal = |rest: &mut &str, element: &str| -> Result<(), String> {
        *rest = rest.strip_prefix(element).ok_or_else(|| cannot(rest, element))?;
        Ok(())
    };
    let year = number(&mut rest, 4, "2006")?;
    literal(&mut rest, "-")?;
    let month = number(&mut rest, 2, "01")?;
    if !(1..=12).contains(&month) {
        return Err(range("month"));
    }
    literal(&mut rest, "-")?;
    let day = number(&mut rest, 2, "02")?;
    literal(&mut rest, "T")?;
    let hour = number(&mut rest, 2, "15")?;
    if hour > 23 {
        return Err(range("hour"));
    }
    literal(&mut rest, ":")?;
    let minute = number(&mut rest, 2, "04")?;
    if minute > 59 {
        return Err(range("minute"));
    }
    literal(&mut rest, ":")?;
    let second = number(&mut rest, 2, "05")?;
    if second > 59 {
        return Err(range("second"));
    }
    let mut nanos = 0u32;
    if let Some(fraction) = rest.strip_prefix(['.', ',']) {
        let length = fraction.bytes().take_while(u8::is_ascii_digit).count();
        if length > 0 {
            let padded = format!("{:0<9}", &fraction[..length.min(9)]);
            nanos = padded.parse().unwrap_or_default();
            rest = &fraction[length..];
        }
    } else if layout.contains(".000000") {
        return Err(cannot(rest, ".000000"));
    }
    let offset = if let Some(after) = rest.strip_prefix('Z') {
        rest = after;
        0
    } else {
        let sign = match rest.as_bytes().first() {
            Some(b'+') => 1,
            Some(b'-') => -1,
            _ => return Err(cannot(rest, "Z07:00")),
        };
        let zone =
            rest.get(1..6).filter(|z| z.as_bytes()[2] == b':').ok_or_else(|| cannot(rest, "Z07:00"))?;
        let hours: i64 = zone[..2].parse().map_err(|_| cannot(rest, "Z07:00"))?;
        let minutes: i64 = zone[3..].parse().map_err(|_| cannot(rest, "Z07:00"))?;
        rest = &rest[6..];
        sign * (hours * 3600 + minutes * 60)
    };
    if !rest.is_empty() {
        return Err(format!("parsing time {quoted}: extra text: {}", crate::field::go_quote(rest)));
    }
    if day < 1 || day > month_length(year, month) {
        return Err(range("day"));
    }
    let seconds = days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second - offset;
    Ok(Time { seconds, nanos })
}

/// A span in nanoseconds: `metav1.Duration`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Duration(pub i64);

impl Duration {
    /// From seconds.
    pub fn from_secs(seconds: i64) -> Self {
        Self(seconds.saturating_mul(1_000_000_000))
    }

    /// Whole seconds, towards zero.
    pub fn as_secs(self) -> i64 {
        self.0 / 1_000_000_000
    }

    /// Reads Go's form: `1h30m`, `1.5s`, `-2us`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let quoted = crate::field::go_quote(text);
        let invalid = || format!("time: invalid duration {quoted}");
        let (negative, mut rest) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        if rest == "0" {
            return Ok(Self(0));
        }
        if rest.is_empty() {
            return Err(invalid());
        }
        let mut total: i128 = 0;
        while !rest.is_empty() {
            let whole_length = rest.bytes().take_while(u8::is_ascii_digit).count();
            let (whole, mut after) = rest.split_at(whole_length);
            let mut fraction = "";
            if let Some(tail) = after.strip_prefix('.') {
                let length = tail.bytes().take_while(u8::is_ascii_digit).count();
                (fraction, after) = tail.split_at(length);
            }
            if whole.is_empty() && fraction.is_empty() {
                return Err(invalid());
            }
            let unit_length = after.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(after.len());
            if unit_length == 0 {
                return Err(format!("time: missing unit in duration {quoted}"));
            }
            let (unit, tail) = after.split_at(unit_length);
            let scale: i128 = match unit {
                "ns" => 1,
                "us" | "µs" | "μs" => 1_000,
                "ms" => 1_000_000,
                "s" => 1_000_000_000,
                "m" => 60_000_000_000,
                "h" => 3_600_000_000_000,
                _ => {
                    return Err(format!(
                        "time: unknown unit {} in duration {quoted}",
                        crate::field::go_quote(unit)
                    ));
                }
            };
            if !whole.is_empty() {
                let whole: i64 = whole.parse().map_err(|_| invalid())?;
                total += i128::from(whole) * scale;
            }
            let fraction = &fraction[..fraction.len().min(18)];
            if !fraction.is_empty() {
                let digits: i128 = fraction.parse().map_err(|_| invalid())?;
                total += digits * scale / 10i128.pow(fraction.len() as u32);
            }
            rest = tail;
        }
        let signed = if negative { -total } else { total };
        i64::try_from(signed).map(Self).map_err(|_| invalid())
    }
}

/// Go's form: `1h30m0s`, `1.5s`, `250ms`, `0s`.
impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.0.unsigned_abs();
        if nanos == 0 {
            return f.write_str("0s");
        }
        if self.0 < 0 {
            f.write_str("-")?;
        }
        let decimal = |value: u64, unit: u64, digits: usize| {
            let fraction = format!("{:0digits$}", value % unit);
            let fraction = fraction.trim_end_matches('0');
            let dot = if fraction.is_empty() || unit == 1 { "" } else { "." };
            let fraction = if unit == 1 { "" } else { fraction };
            format!("{}{dot}{fraction}", value / unit)
        };
        if nanos < 1_000 {
            return write!(f, "{nanos}ns");
        }
        if nanos < 1_000_000 {
            return write!(f, "{}µs", decimal(nanos, 1_000, 3));
        }
        if nanos < 1_000_000_000 {
            return write!(f, "{}ms", decimal(nanos, 1_000_000, 6));
        }
        let minutes = nanos / 60_000_000_000;
        let seconds = decimal(nanos % 60_000_000_000, 1_000_000_000, 9);
        if minutes >= 60 {
            write!(f, "{}h{}m{seconds}s", minutes / 60, minutes % 60)
        } else if minutes > 0 {
            write!(f, "{minutes}m{seconds}s")
        } else {
            write!(f, "{seconds}s")
        }
    }
}

/// An age as kubectl shows it: `5s`, `2m30s`, `5h`, `3d4h`, `2y10d`.
pub fn human_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    if seconds < -1 {
        return "<invalid>".to_owned();
    }
    if seconds < 0 {
        return "0s".to_owned();
    }
    if seconds < 120 {
        return format!("{seconds}s");
    }
    let pair = |big: i64, big_unit: &str, small: i64, small_unit: &str| {
        if small == 0 { format!("{big}{big_unit}") } else { format!("{big}{big_unit}{small}{small_unit}") }
    };
    let minutes = seconds / 60;
    if minutes < 10 {
        return pair(minutes, "m", seconds % 60, "s");
    }
    if minutes < 180 {
        return format!("{minutes}m");
    }
    let hours = minutes / 60;
    if hours < 8 {
        return pair(hours, "h", minutes % 60, "m");
    }
    if hours < 48 {
        return format!("{hours}h");
    }
    let days = hours / 24;
    if hours < 24 * 8 {
        return pair(days, "d", hours % 24, "h");
    }
    if hours < 24 * 365 * 2 {
        return format!("{days}d");
    }
    if hours < 24 * 365 * 8 {
        return pair(days / 365, "y", days % 365, "d");
    }
    format!("{}y", days / 365)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_read_back_as_written() {
        for text in
            ["1970-01-01T00:00:00Z", "2026-11-21T08:25:44Z", "2000-02-29T23:59:59Z", "1969-12-31T23:59:59Z"]
        {
            assert_eq!(Time::parse(text).map(|t| t.to_string()).as_deref(), Ok(text));
        }
        assert_eq!(Time::parse("2026-01-01T01:00:00+01:00").unwrap().to_string(), "2026-01-01T00:00:00Z");
        let t = Time::parse("2026-01-01T00:00:00.123456789Z").unwrap();
        assert_eq!(t.micro(), "2026-01-01T00:00:00.123456Z");
        assert_eq!(t.to_string(), "2026-01-01T00:00:00Z");
        assert_eq!(t.add(Duration(900_000_000)).nano(), "2026-01-01T00:00:01.023456789Z");
    }

    #[test]
    fn bad_times_are_worded_as_go_does() {
        assert_eq!(
            Time::parse("x").unwrap_err(),
            "parsing time \"x\" as \"2006-01-02T15:04:05Z07:00\": cannot parse \"x\" as \"2006\""
        );
        assert_eq!(
            Time::parse("2026-02-30T00:00:00Z").unwrap_err(),
            "parsing time \"2026-02-30T00:00:00Z\": day out of range"
        );
    }

    #[test]
    fn durations_read_and_print_as_go_does() {
        for (text, printed) in [
            ("1h30m", "1h30m0s"),
            ("90s", "1m30s"),
            ("1.5s", "1.5s"),
            ("250ms", "250ms"),
            ("0", "0s"),
            ("-2us", "-2µs"),
        ] {
            assert_eq!(Duration::parse(text).map(|d| d.to_string()).as_deref(), Ok(printed));
        }
        assert_eq!(Duration::parse("1").unwrap_err(), "time: missing unit in duration \"1\"");
        assert_eq!(Duration::parse("").unwrap_err(), "time: invalid duration \"\"");
    }

    #[test]
    fn ages_read_as_kubectl_shows_them() {
        for (seconds, text) in [
            (5, "5s"),
            (119, "119s"),
            (150, "2m30s"),
            (660, "11m"),
            (4 * 3600 + 60, "4h1m"),
            (9 * 3600, "9h"),
            (76 * 3600, "3d4h"),
            (200 * 86400, "200d"),
            (-5, "<invalid>"),
        ] {
            assert_eq!(human_duration(Duration::from_secs(seconds)), text);
        }
    }
}
