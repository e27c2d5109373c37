//! Prints tables and JSON.

use std::fmt;

use crate::exit::Outcome;
use crate::ui::escape::{Escaped, escape_json};
use crate::ui::messages;

/// Output formats.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    #[default]
    Table,
    Json,
}

/// Rows of cells, displayed in aligned columns.
#[derive(Default)]
pub(crate) struct Table(Vec<Vec<String>>);

impl Table {
    /// Adds a row. The text is escaped.
    pub(crate) fn push(&mut self, cells: impl IntoIterator<Item = String>) {
        self.0.push(cells.into_iter().map(display_cell).collect());
    }

    /// Formats a row with the widths of the rows that the table has, without adding it.
    pub(crate) fn format_row(&self, cells: impl IntoIterator<Item = String>) -> String {
        let row: Vec<String> = cells.into_iter().map(display_cell).collect();
        join_cells(&row, &self.widths())
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

fn display_cell(cell: String) -> String {
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
            .try_for_each(|row| writeln!(f, "{}", join_cells(row, &widths)))
    }
}

fn join_cells(row: &[String], widths: &[usize]) -> String {
    let cells = row
        .iter()
        .zip(widths)
        .map(|(cell, width)| format!("{cell:width$}"));
    cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
}

/// Prints a table or JSON to stdout, with a newline at its end.
///
/// # Errors
///
/// If stdout cannot be written to, unless it is a closed pipe.
pub(crate) fn print(format: Format, text: &str) -> Outcome {
    let text = match format {
        Format::Table => text.trim_end().to_owned(),
        Format::Json => escape_json(text),
    };
    if text.is_empty() {
        return Ok(0);
    }
    messages::print_stdout(&format!("{text}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_hostile_cells_escaped() {
        let mut table = Table::default();
        table.push(["ID", "LABELS"].map(str::to_owned));
        table.push(["a\n\u{1b}[2J", ""].map(str::to_owned));
        assert_eq!(
            table.to_string(),
            "ID            LABELS\na\\n\\u{1b}[2J  -\n"
        );
    }
}
