//! The parts of times and durations.

use jiff::Timestamp;
use jiff::tz::{Offset, TimeZone};
use kplane_machinery::time::Time;

use super::{Outcome, Registry, Stop, failed, no_overload};
use crate::value::Value;

pub(super) fn declare(d: &mut Registry) {
    d.add(
        "getFullYear",
        "timestamp_to_year: timestamp.() -> int; timestamp_to_year_with_tz: timestamp.(string) -> int",
        |_, args| part(args, |time| i64::from(time.year())),
    );
    d.add(
        "getMonth",
        "timestamp_to_month: timestamp.() -> int; timestamp_to_month_with_tz: timestamp.(string) -> int",
        |_, args| part(args, |time| i64::from(time.month()) - 1),
    );
    d.add(
        "getDayOfYear",
        "timestamp_to_day_of_year: timestamp.() -> int; timestamp_to_day_of_year_with_tz: timestamp.(string) -> int",
        |_, args| part(args, |time| i64::from(time.day_of_year()) - 1),
    );
    d.add(
        "getDayOfMonth",
        "timestamp_to_day_of_month: timestamp.() -> int; timestamp_to_day_of_month_with_tz: timestamp.(string) -> int",
        |_, args| part(args, |time| i64::from(time.day()) - 1),
    );
    d.add(
        "getDate",
        "timestamp_to_day_of_month_1_based: timestamp.() -> int; timestamp_to_day_of_month_1_based_with_tz: timestamp.(string) -> int",
        |_, args| part(args, |time| i64::from(time.day())),
    );
    d.add(
        "getDayOfWeek",
        "timestamp_to_day_of_week: timestamp.() -> int; timestamp_to_day_of_week_with_tz: timestamp.(string) -> int",
        |_, args| part(args, |time| i64::from(time.weekday().to_sunday_zero_offset())),
    );
    d.add(
        "getHours",
        "timestamp_to_hours: timestamp.() -> int; timestamp_to_hours_with_tz: timestamp.(string) -> int; duration_to_hours: duration.() -> int",
        |_, args| match args {
            [Value::Duration(span)] => Ok(Value::Int(span.0 / 3_600_000_000_000)),
            _ => part(args, |time| i64::from(time.hour())),
        },
    );
    d.add(
        "getMinutes",
        "timestamp_to_minutes: timestamp.() -> int; timestamp_to_minutes_with_tz: timestamp.(string) -> int; duration_to_minutes: duration.() -> int",
        |_, args| match args {
            [Value::Duration(span)] => Ok(Value::Int(span.0 / 60_000_000_000)),
            _ => part(args, |time| i64::from(time.minute())),
        },
    );
    d.add(
        "getSeconds",
        "timestamp_to_seconds: timestamp.() -> int; timestamp_to_seconds_tz: timestamp.(string) -> int; duration_to_seconds: duration.() -> int",
        |_, args| match args {
            [Value::Duration(span)] => Ok(Value::Int(span.as_secs())),
            _ => part(args, |time| i64::from(time.second())),
        },
    );
    d.add(
        "getMilliseconds",
        "timestamp_to_milliseconds: timestamp.() -> int; timestamp_to_milliseconds_with_tz: timestamp.(string) -> int; duration_to_milliseconds: duration.() -> int",
        |_, args| match args {
            [Value::Duration(span)] => Ok(Value::Int(span.0 / 1_000_000)),
            _ => part(args, |time| i64::from(time.millisecond())),
        },
    );
}

fn part<'a>(args: &[Value<'a>], of: fn(&jiff::Zoned) -> i64) -> Outcome<'a> {
    let (time, zone) = match args {
        [Value::Timestamp(time)] => (time, TimeZone::UTC),
        [Value::Timestamp(time), Value::String(zone)] => (time, named(zone)?),
        _ => return no_overload(),
    };
    match civil(*time, zone) {
        Some(zoned) => Ok(Value::Int(of(&zoned))),
        None => failed("timestamp overflow"),
    }
}

fn civil(time: Time, zone: TimeZone) -> Option<jiff::Zoned> {
    let nanos = i32::try_from(time.subsec_nanos()).ok()?;
    Some(Timestamp::new(time.unix(), nanos).ok()?.to_zoned(zone))
}

/// A zone by its name, or by its distance from UTC: `-07:00`.
fn named(name: &str) -> Result<TimeZone, Stop> {
    let Some((hours, minutes)) = name.split_once(':') else {
        return match name {
            "" | "UTC" => Ok(TimeZone::UTC),
            _ => TimeZone::get(name).or_else(|_| failed(format!("unknown time zone {name}"))),
        };
    };
    let distance = || {
        let sign = if hours.starts_with('-') { -1 } else { 1 };
        let hours: i32 = hours.parse().ok()?;
        let minutes: i32 = minutes.parse().ok()?;
        Offset::from_seconds(hours * 3600 + sign * minutes * 60).ok()
    };
    match distance() {
        Some(offset) => Ok(TimeZone::fixed(offset)),
        None => failed(format!("invalid time zone {name}")),
    }
}
