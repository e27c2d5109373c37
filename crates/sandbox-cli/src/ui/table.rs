//! Prints tables and JSON.

use crate::exit::Outcome;
use crate::ui::messages;
use crate::ui::printable::Printable;

/// Output formats.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    #[default]
    Table,
    Json,
}

/// Rows of cells, displayed in aligned columns.
#[derive(Default)]
pub(crate) struct Table(Vec<Vec<Printable>>);

impl Table {
    /// Adds a row. The text is escaped.
    pub(crate) fn push(&mut self, cells: impl IntoIterator<Item = String>) {
        self.0.push(cells.into_iter().map(format_cell).collect());
    }

    /// Formats a row with the widths of the rows that the table has, without adding it.
    pub(crate) fn format_row(&self, cells: impl IntoIterator<Item = String>) -> Printable {
        let row: Vec<Printable> = cells.into_iter().map(format_cell).collect();
        join_cells(&row, &self.widths())
    }

    /// Formats all rows, a line each.
    pub(crate) fn format(&self) -> Printable {
        let widths = self.widths();
        let rows = self.0.iter().map(|row| join_cells(row, &widths));
        rows.fold(Printable::default(), |text, row| {
            text.with(&row).with_trusted("\n")
        })
    }

    fn widths(&self) -> Vec<usize> {
        let columns = self.0.iter().map(Vec::len).max().unwrap_or(0);
        let cells = |column| self.0.iter().filter_map(move |row| row.get(column));
        (0..columns)
            .map(|column| {
                cells(column)
                    .map(|cell| cell.as_str().chars().count())
                    .max()
                    .unwrap_or(0)
            })
            .collect()
    }
}

fn format_cell(cell: String) -> Printable {
    if cell.is_empty() {
        Printable::trusted("-")
    } else {
        Printable::line(cell)
    }
}

fn join_cells(row: &[Printable], widths: &[usize]) -> Printable {
    let cells = row
        .iter()
        .zip(widths)
        .map(|(cell, width)| format!("{:width$}", cell.as_str()));
    Printable::trusted(cells.collect::<Vec<_>>().join("  ").trim_end())
}

/// Prints text to stdout, with a newline at its end. Nothing is printed if it is empty.
///
/// # Errors
///
/// If stdout cannot be written to, unless it is a closed pipe.
pub(crate) fn print(text: &Printable) -> Outcome {
    match text.as_str().trim_end() {
        "" => Ok(0),
        text => messages::print_stdout(&Printable::trusted(text).with_trusted("\n")),
    }
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
            table.format().as_str(),
            "ID            LABELS\na\\n\\u{1b}[2J  -\n"
        );
    }
}
