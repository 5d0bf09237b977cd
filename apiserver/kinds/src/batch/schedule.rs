//! Cron schedules, as `robfig/cron` reads them.

/// The least and most of each of the five fields, and the names they may have.
const FIELDS: [(u32, u32, &[&str]); 5] = [
    (0, 59, &[]),
    (0, 23, &[]),
    (1, 31, &[]),
    (1, 12, &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]),
    (0, 6, &["sun", "mon", "tue", "wed", "thu", "fri", "sat"]),
];

/// What is wrong with a schedule.
pub(super) fn error(schedule: &str) -> Option<String> {
    let mut rest = schedule;
    if rest.starts_with("TZ=") || rest.starts_with("CRON_TZ=") {
        let (zone, after) = rest.split_once(' ')?;
        let zone = zone.split_once('=').map_or("", |(_, z)| z);
        if zone.is_empty() {
            return Some(format!("provided bad location {zone}: unknown time zone {zone}"));
        }
        rest = after.trim();
    }
    if let Some(name) = rest.strip_prefix('@') {
        return match name {
            "yearly" | "annually" | "monthly" | "weekly" | "daily" | "midnight" | "hourly" => None,
            _ if name.starts_with("every ") => None,
            _ => Some(format!("unrecognized descriptor: @{name}")),
        };
    }
    let fields: Vec<&str> = rest.split_whitespace().collect();
    if fields.len() != FIELDS.len() {
        let shown: Vec<String> = fields.iter().map(|f| (*f).to_owned()).collect();
        return Some(format!("expected exactly 5 fields, found {}: [{}]", fields.len(), shown.join(" ")));
    }
    fields
        .iter()
        .zip(FIELDS)
        .find_map(|(field, limits)| field.split(',').find_map(|part| range(part, limits)))
}

fn range(text: &str, (min, max, names): (u32, u32, &[&str])) -> Option<String> {
    let (span, step) = match text.split_once('/') {
        Some((_, step)) if step.contains('/') => return Some(format!("too many slashes: {text}")),
        Some((span, step)) => (span, Some(step)),
        None => (text, None),
    };
    let number = |part: &str| -> Result<u32, String> {
        if let Some(i) = names.iter().position(|n| n.eq_ignore_ascii_case(part)) {
            return Ok(i as u32 + min);
        }
        part.parse::<u32>().map_err(|_| {
            format!("failed to parse int from {part}: strconv.Atoi: parsing {part:?}: invalid syntax")
        })
    };
    let (start, mut end) = match span.split_once('-') {
        _ if span == "*" || span == "?" => (min, max),
        Some((_, b)) if b.contains('-') => return Some(format!("too many hyphens: {text}")),
        Some((a, b)) => match (number(a), number(b)) {
            (Ok(a), Ok(b)) => (a, b),
            (Err(e), _) | (_, Err(e)) => return Some(e),
        },
        None => match number(span) {
            Ok(n) => (n, n),
            Err(e) => return Some(e),
        },
    };
    if let Some(step) = step {
        match number(step) {
            Ok(0) => return Some(format!("step of range should be a positive number: {text}")),
            Ok(_) if start == end => end = max,
            Ok(_) => {}
            Err(e) => return Some(e),
        }
    }
    if start < min {
        return Some(format!("beginning of range ({start}) below minimum ({min}): {text}"));
    }
    if end > max {
        return Some(format!("end of range ({end}) above maximum ({max}): {text}"));
    }
    (start > end).then(|| format!("beginning of range ({start}) beyond end of range ({end}): {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules_are_read() {
        for good in
            ["*/5 * * * *", "0 0 1 jan sun", "@daily", "@every 1h", "TZ=UTC 0 0 * * *", "1,2-4/2 * * * 0-6"]
        {
            assert_eq!(error(good), None, "{good}");
        }
        for bad in ["", "* * * *", "60 * * * *", "* * * * 7", "x * * * *", "*/0 * * * *", "@never"] {
            assert!(error(bad).is_some(), "{bad}");
        }
    }
}
