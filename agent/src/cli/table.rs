//! Columns of text, as wide as they need to be.

use std::fmt;

/// Rows of equal length.
#[derive(Debug, Default)]
pub(super) struct Table(Vec<Vec<String>>);

impl Table {
    /// Adds a row.
    pub(super) fn row<const N: usize>(&mut self, cells: [&str; N]) {
        self.0.push(cells.map(str::to_owned).into());
    }

    /// Whether it has no row.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn width(&self, column: usize) -> usize {
        self.0.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or_default()
    }
}

/// Each row indented by two; the last column is not filled up.
impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for row in &self.0 {
            let mut line = String::from("  ");
            for (column, cell) in row.iter().enumerate() {
                line.push_str(&format!("{cell:width$}  ", width = self.width(column)));
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_no_line_ends_in_blanks() {
        let mut table = Table::default();
        table.row(["a", "one", ""]);
        table.row(["bcd", "é", "x"]);
        assert_eq!(table.to_string(), "  a    one\n  bcd  é    x\n");
    }
}
