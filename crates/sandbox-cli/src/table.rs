//! Output in columns, or as JSON.

use std::fmt;
use std::time::Duration;

use sandbox::{SandboxInfo, SandboxState};

use crate::escape::{Escaped, escaped_json};
use crate::failure::{self, Outcome};

/// The forms that a list can be printed in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    #[default]
    Table,
    Json,
}

/// Rows of cells, shown in columns.
#[derive(Default)]
pub(crate) struct Table(Vec<Vec<String>>);

impl Table {
    /// Adds a row; its text is escaped.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.0.push(cells.into_iter().map(shown).collect());
    }

    /// One row more, with the widths of those that are there.
    pub(crate) fn aligned(&self, cells: impl IntoIterator<Item = String>) -> String {
        let row: Vec<String> = cells.into_iter().map(shown).collect();
        line(&row, &self.widths())
    }

    fn widths(&self) -> Vec<usize> {
        let columns = self.0.iter().map(Vec::len).max().unwrap_or(0);
        let cells = |column| self.0.iter().filter_map(move |row| row.get(column));
        (0..columns)
            .map(|column| {
                cells(column)
                    .map(|cell| cell.chars().count())
                    .max()
                    .unwrap_or(0)
            })
            .collect()
    }
}

fn shown(cell: String) -> String {
    if cell.is_empty() {
        "-".to_owned()
    } else {
        Escaped(&cell).to_string()
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widths = self.widths();
        self.0
            .iter()
            .try_for_each(|row| writeln!(f, "{}", line(row, &widths)))
    }
}

fn line(row: &[String], widths: &[usize]) -> String {
    let cells = row
        .iter()
        .zip(widths)
        .map(|(cell, width)| format!("{cell:width$}"));
    cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
}

/// Prints it, with a newline at its end. A reader that went away has seen enough.
pub(crate) fn to_stdout(format: Format, text: &str) -> Outcome {
    let text = match format {
        Format::Table => text.trim_end().to_owned(),
        Format::Json => escaped_json(text),
    };
    if text.is_empty() {
        return Ok(0);
    }
    failure::print(&format!("{text}\n"))
}

pub(crate) fn state(info: &SandboxInfo) -> String {
    match info.state {
        SandboxState::Pending => "pending",
        SandboxState::Running => "running",
        SandboxState::Ended => "ended",
        _ => "unknown",
    }
    .to_owned()
}

pub(crate) fn labels(info: &SandboxInfo) -> String {
    let pairs: Vec<String> = info
        .labels
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    pairs.join(",")
}

/// A length of time in its largest unit: `45s`, `12m`, `5h`, `3d`.
pub(crate) fn span(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..120 => format!("{seconds}s"),
        seconds @ 120..7_200 => format!("{}m", seconds / 60),
        seconds @ 7_200..172_800 => format!("{}h", seconds / 3_600),
        seconds => format!("{}d", seconds / 86_400),
    }
}

/// A number of bytes, in a unit that keeps it short: `12 B`, `3.4 KiB`.
pub(crate) fn size(bytes: u64) -> String {
    let mut left = bytes as f64;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if left < 1024.0 {
            return if unit == "B" {
                format!("{bytes} B")
            } else {
                format!("{left:.1} {unit}")
            };
        }
        left /= 1024.0;
    }
    format!("{left:.1} TiB")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_hostile_cells_stay_in_theirs() {
        let mut table = Table::default();
        table.row(["ID", "LABELS"].map(str::to_owned));
        table.row(["a\n\u{1b}[2J", ""].map(str::to_owned));
        assert_eq!(
            table.to_string(),
            "ID            LABELS\na\\n\\u{1b}[2J  -\n"
        );
    }

    #[test]
    fn sizes_are_short() {
        for (bytes, shown) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1536, "1.5 KiB"),
            (5 << 30, "5.0 GiB"),
        ] {
            assert_eq!(size(bytes), shown);
        }
        assert_eq!(size(3 << 40), "3.0 TiB");
    }

    #[test]
    fn spans_are_short() {
        for (seconds, shown) in [
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (7_200, "2h"),
            (200_000, "2d"),
        ] {
            assert_eq!(span(Duration::from_secs(seconds)), shown);
        }
    }
}
