//! Cron schedules, as `robfig/cron` reads them: when the next time is (no client required).

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

/// The least and most of each of the five fields, and the names they may have.
const FIELDS: [(u32, u32, &[&str]); 5] = [
    (0, 59, &[]),
    (0, 23, &[]),
    (1, 31, &[]),
    (1, 12, &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]),
    (0, 6, &["sun", "mon", "tue", "wed", "thu", "fri", "sat"]),
];
/// A schedule that has no time within so many years has none.
const YEARS: i16 = 5;

/// When something is to happen.
#[derive(Clone, Debug)]
pub enum Schedule {
    /// At these minutes, hours, days, months and days of the week.
    At(Box<Fields>),
    /// Every so often.
    Every(SignedDuration),
}

/// The fields of a schedule, a bit for each value.
#[derive(Clone, Debug)]
pub struct Fields {
    bits: [u64; 5],
    /// Whether any day of the month, or of the week, will do.
    any_day: bool,
    any_weekday: bool,
    zone: TimeZone,
}

impl Schedule {
    /// Reads a schedule; its times are of this zone unless it names another.
    pub fn parse(text: &str, zone: TimeZone) -> Result<Self, String> {
        let (mut rest, mut zone) = (text.trim(), zone);
        if let Some(named) = rest.strip_prefix("TZ=").or_else(|| rest.strip_prefix("CRON_TZ=")) {
            let (name, after) = named.split_once(' ').ok_or("a time zone and no schedule")?;
            zone = TimeZone::get(name).map_err(|_| format!("provided bad location {name}"))?;
            rest = after.trim();
        }
        if let Some(every) = rest.strip_prefix("@every ") {
            let every = duration(every).ok_or_else(|| format!("failed to parse duration {rest}"))?;
            return Ok(Self::Every(every.max(SignedDuration::from_secs(1))));
        }
        let fields = match rest {
            "@yearly" | "@annually" => "0 0 1 1 *",
            "@monthly" => "0 0 1 * *",
            "@weekly" => "0 0 * * 0",
            "@daily" | "@midnight" => "0 0 * * *",
            "@hourly" => "0 * * * *",
            other => other,
        };
        let parts: Vec<&str> = fields.split_whitespace().collect();
        if parts.len() != FIELDS.len() {
            return Err(format!("expected exactly 5 fields, found {}: {parts:?}", parts.len()));
        }
        let mut bits = [0; 5];
        for (at, (part, limits)) in parts.iter().zip(FIELDS).enumerate() {
            for range in part.split(',') {
                bits[at] |= bits_of(range, limits)?;
            }
        }
        let any = |part: &str| part.split(',').any(|r| r.starts_with(['*', '?']));
        let (any_day, any_weekday) = (any(parts[2]), any(parts[4]));
        Ok(Self::At(Box::new(Fields { bits, any_day, any_weekday, zone })))
    }

    /// The first time after another; `None` if there is none for years.
    pub fn after(&self, time: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Every(every) => Timestamp::from_second((time + *every).as_second()).ok(),
            Self::At(fields) => fields.after(time),
        }
    }
}

impl Fields {
    fn has(&self, field: usize, value: i8) -> bool {
        u32::try_from(value).is_ok_and(|value| self.bits[field] & (1 << value) != 0)
    }

    fn has_day(&self, date: jiff::civil::Date) -> bool {
        let day = self.has(2, date.day());
        let weekday = self.has(4, date.weekday().to_sunday_zero_offset());
        // With both restricted either will do.
        if self.any_day || self.any_weekday { day && weekday } else { day || weekday }
    }

    fn after(&self, time: Timestamp) -> Option<Timestamp> {
        let local = time.to_zoned(self.zone.clone()).datetime();
        let last = local.year().saturating_add(YEARS);
        let (mut date, mut hour, mut minute) = (local.date(), local.hour(), local.minute() + 1);
        while date.year() <= last {
            if !self.has(3, date.month()) {
                date = date.first_of_month().checked_add(jiff::Span::new().months(1)).ok()?;
                (hour, minute) = (0, 0);
                continue;
            }
            if self.has_day(date) {
                while hour < 24 {
                    if self.has(1, hour) {
                        while minute < 60 {
                            if self.has(0, minute)
                                && let Some(found) = self.instant(date.at(hour, minute, 0, 0))
                                && found > time
                            {
                                return Some(found);
                            }
                            minute += 1;
                        }
                    }
                    hour += 1;
                    minute = 0;
                }
            }
            date = date.tomorrow().ok()?;
            (hour, minute) = (0, 0);
        }
        None
    }

    /// The instant of a local time; none if the clocks skip it.
    fn instant(&self, local: DateTime) -> Option<Timestamp> {
        let ambiguous = self.zone.to_ambiguous_timestamp(local);
        if matches!(ambiguous.offset(), jiff::tz::AmbiguousOffset::Gap { .. }) {
            return None;
        }
        ambiguous.compatible().ok()
    }
}

/// The bits of one range: `*`, `1`, `1-5`, with `/2` after it.
fn bits_of(text: &str, (min, max, names): (u32, u32, &[&str])) -> Result<u64, String> {
    let (span, step) = match text.split_once('/') {
        Some((span, step)) => (span, Some(step)),
        None => (text, None),
    };
    let number = |part: &str| -> Result<u32, String> {
        if let Some(at) = names.iter().position(|name| name.eq_ignore_ascii_case(part)) {
            return Ok(u32::try_from(at).unwrap_or(0) + min);
        }
        part.parse().map_err(|_| format!("failed to parse int from {part}"))
    };
    let (start, mut end) = match span.split_once('-') {
        _ if span == "*" || span == "?" => (min, max),
        Some((a, b)) => (number(a)?, number(b)?),
        None => {
            let one = number(span)?;
            (one, one)
        }
    };
    let step = match step {
        Some(step) => {
            if start == end && !span.contains('-') {
                end = max;
            }
            number(step)?
        }
        None => 1,
    };
    if step == 0 || start < min || end > max || start > end {
        return Err(format!("{text} is out of range"));
    }
    let step = usize::try_from(step).map_err(|e| e.to_string())?;
    Ok((start..=end).step_by(step).fold(0, |bits, value| bits | (1 << value)))
}

/// A duration as Go writes it: `1h30m`.
fn duration(text: &str) -> Option<SignedDuration> {
    let mut rest = text.trim();
    let mut total = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let amount: f64 = rest[..digits].parse().ok()?;
        let after = &rest[digits..];
        let (unit, seconds) = [("ms", 0.001), ("h", 3600.0), ("m", 60.0), ("s", 1.0)]
            .into_iter()
            .find(|(unit, _)| after.starts_with(unit))?;
        total += amount * seconds;
        rest = &after[unit.len()..];
    }
    SignedDuration::try_from_secs_f64(total).ok().filter(|d| !d.is_zero())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(schedule: &str, zone: &str, after: &str) -> String {
        let zone = TimeZone::get(zone).unwrap();
        let schedule = Schedule::parse(schedule, zone).unwrap();
        schedule.after(after.parse().unwrap()).map_or("never".into(), |t| t.to_string())
    }

    #[test]
    fn the_next_time_is_found() {
        let from = "2026-01-15T10:07:30Z";
        assert_eq!(next("*/5 * * * *", "UTC", from), "2026-01-15T10:10:00Z");
        assert_eq!(next("7 10 * * *", "UTC", from), "2026-01-16T10:07:00Z");
        assert_eq!(next("0 0 1 jan *", "UTC", from), "2027-01-01T00:00:00Z");
        assert_eq!(next("@hourly", "UTC", from), "2026-01-15T11:00:00Z");
        assert_eq!(next("@every 1h30m", "UTC", from), "2026-01-15T11:37:30Z");
        assert_eq!(next("0 0 31 2 *", "UTC", from), "never");
        // Friday the 16th, or the 20th.
        assert_eq!(next("0 0 20 * fri", "UTC", from), "2026-01-16T00:00:00Z");
        assert_eq!(next("0 0 */2 * fri", "UTC", from), "2026-01-23T00:00:00Z");
    }

    #[test]
    fn zones_and_their_gaps_are_minded() {
        assert_eq!(next("0 9 * * *", "America/New_York", "2026-01-15T10:00:00Z"), "2026-01-15T14:00:00Z");
        assert_eq!(next("TZ=Asia/Tokyo 0 9 * * *", "UTC", "2026-01-15T10:00:00Z"), "2026-01-16T00:00:00Z");
        // On the 8th of March 2026 there is no half past two in New York.
        assert_eq!(next("30 2 * * *", "America/New_York", "2026-03-08T05:00:00Z"), "2026-03-09T06:30:00Z");
    }

    #[test]
    fn nonsense_is_refused() {
        for bad in ["", "* * * *", "60 * * * *", "*/0 * * * *", "@every x", "a * * * *"] {
            assert!(Schedule::parse(bad, TimeZone::UTC).is_err(), "{bad}");
        }
    }
}
