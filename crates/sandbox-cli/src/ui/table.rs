//! Output in columns, or as JSON.

use std::fmt;

use crate::exit::Outcome;
use crate::ui::escape::{Escaped, escaped_json};
use crate::ui::messages;

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
    messages::print(&format!("{text}\n"))
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
}
