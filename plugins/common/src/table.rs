//! Tables as kubectl prints them: upper-case heads, columns three spaces apart, nothing after the last.

/// Rows under heads.
#[derive(Clone, Debug, Default)]
pub struct Table {
    heads: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these heads.
    pub fn new(heads: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self { heads: heads.into_iter().map(|head| head.into().to_uppercase()).collect(), rows: Vec::new() }
    }

    /// Adds a row; an empty cell shows as `<none>`.
    pub fn row(&mut self, cells: impl IntoIterator<Item = impl Into<String>>) {
        let cells = cells.into_iter().map(Into::into);
        self.rows.push(cells.map(|cell| if cell.is_empty() { "<none>".into() } else { cell }).collect());
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The text, with or without its heads.
    pub fn render(&self, heads: bool) -> String {
        let lines: Vec<&Vec<String>> = heads.then_some(&self.heads).into_iter().chain(&self.rows).collect();
        let columns = lines.iter().map(|line| line.len()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..columns)
            .map(|c| lines.iter().filter_map(|line| line.get(c)).map(|cell| cell.chars().count()).max())
            .map(Option::unwrap_or_default)
            .collect();
        let mut text = String::new();
        for line in lines {
            let mut out = String::new();
            for (cell, width) in line.iter().zip(&widths) {
                out.push_str(cell);
                out.extend(std::iter::repeat_n(' ', width + 3 - cell.chars().count()));
            }
            text.push_str(out.trim_end());
            text.push('\n');
        }
        text
    }
}

/// How long ago, in kubectl's words: `5s`, `3m20s`, `4h10m`, `2d3h`, `45d`, `3y10d`.
pub fn age(seconds: i64) -> String {
    let (s, m, h, d) = (seconds.max(0), seconds / 60, seconds / 3600, seconds / 86400);
    let two = |big: i64, unit: char, small: i64, other: char| {
        if small == 0 { format!("{big}{unit}") } else { format!("{big}{unit}{small}{other}") }
    };
    match s {
        0..=119 => format!("{s}s"),
        120..=599 => two(m, 'm', s % 60, 's'),
        600..=10799 => format!("{m}m"),
        10800..=28799 => two(h, 'h', m % 60, 'm'),
        28800..=172_799 => format!("{h}h"),
        172_800..=691_199 => two(d, 'd', h % 24, 'h'),
        691_200..=63_071_999 => format!("{d}d"),
        63_072_000..=252_287_999 => two(d / 365, 'y', d % 365, 'd'),
        _ => format!("{}y", d / 365),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_three_spaces_apart() {
        let mut table = Table::new(["Name", "Status"]);
        table.row(["demo", "Ready"]);
        table.row(["longer-name", ""]);
        assert_eq!(table.render(true), "NAME          STATUS\ndemo          Ready\nlonger-name   <none>\n");
        assert_eq!(table.render(false), "demo          Ready\nlonger-name   <none>\n");
    }

    #[test]
    fn ages_are_kubectls() {
        for (seconds, text) in [
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (200, "3m20s"),
            (600, "10m"),
            (10800, "3h"),
            (15000, "4h10m"),
            (28800, "8h"),
            (183_600, "2d3h"),
            (691_200, "8d"),
            (63_072_000, "2y"),
            (-5, "0s"),
        ] {
            assert_eq!(age(seconds), text, "{seconds}");
        }
    }
}
