//! Where in the text an error is, and how cel-go shows it.

/// What is wrong, at an offset in characters; `None` stands for no place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Issue {
    pub at: Option<u32>,
    pub message: String,
}

impl Issue {
    pub(crate) fn at(offset: u32, message: impl Into<String>) -> Self {
        Self { at: Some(offset), message: message.into() }
    }
}

/// At most so many errors are shown.
const SHOWN: usize = 100;

/// The errors as one text, in the order of their places.
pub(crate) fn show(source: &str, mut issues: Vec<Issue>) -> String {
    issues.sort_by_key(|issue| issue.at.map_or(0, |at| at + 1));
    let more = issues.len().saturating_sub(SHOWN);
    let mut shown: Vec<String> = issues.iter().take(SHOWN).map(|issue| one(source, issue)).collect();
    if more > 0 {
        shown.push(format!("{more} more errors were truncated"));
    }
    shown.join("\n")
}

fn one(source: &str, issue: &Issue) -> String {
    let Some(at) = issue.at else {
        return format!("ERROR: <input>:-1:0: {}", issue.message);
    };
    let (mut line, mut column) = (1, 0);
    let mut start = 0;
    for (byte, c) in source.char_indices().take(at as usize).map(|(i, c)| (i + c.len_utf8(), c)) {
        if c == '\n' {
            line += 1;
            column = 0;
            start = byte;
        } else {
            column += 1;
        }
    }
    let text = source[start..].split('\n').next().unwrap_or("").replace('\t', " ");
    format!("ERROR: <input>:{line}:{}: {}\n | {text}\n | {}^", column + 1, issue.message, ".".repeat(column))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_shown_at_their_places() {
        let issues = vec![Issue::at(6, "second"), Issue::at(1, "first")];
        assert_eq!(
            show("ab\ncdé.f", issues),
            "ERROR: <input>:1:2: first\n | ab\n | .^\nERROR: <input>:2:4: second\n | cdé.f\n | ...^"
        );
    }
}
