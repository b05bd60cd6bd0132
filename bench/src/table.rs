//! Tables in a terminal. None is wider than 80 columns, or than the terminal if that is wider: what does not fit goes
//! into further tables, with the first column again.

use std::fmt::{Display, Formatter};

use comfy_table::CellAlignment;
use comfy_table::presets::UTF8_FULL_CONDENSED;

/// So wide is any terminal.
const COLUMNS_MIN: usize = 80;
/// A first column that leaves too little room is wrapped at this width.
const FIRST_WIDTH: usize = 26;
/// Two blanks and a line, for each column.
const BORDER: usize = 3;

/// A table with its first row.
#[derive(Clone, Debug)]
pub struct Table {
    header: Vec<String>,
    rows: Vec<Vec<String>>,
}

/// A table with its first row; all columns but the first are aligned to the right.
pub fn table(header: &[&str]) -> Table {
    Table { header: header.iter().map(ToString::to_string).collect(), rows: Vec::new() }
}

impl Table {
    /// Adds a row. Its cells may have several lines.
    pub fn add_row<T: Into<String>>(&mut self, cells: impl IntoIterator<Item = T>) {
        self.rows.push(cells.into_iter().map(Into::into).collect());
    }

    /// Whether it has no rows besides the first.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Cut into pieces of this width.
    fn within(&self, columns: usize) -> Vec<comfy_table::Table> {
        let count = self.rows.iter().map(Vec::len).max().unwrap_or(0).max(self.header.len());
        let natural: Vec<usize> = (0..count).map(|column| self.width(column)).collect();
        let whole = natural.iter().map(|width| width + BORDER).sum::<usize>() + 1;
        let first = natural.first().copied().unwrap_or(0);
        let first = if whole > columns { first.min(FIRST_WIDTH) } else { first };
        let mut pieces = Vec::new();
        let mut next = 1;
        loop {
            let (begin, mut used) = (next, first + BORDER + 1);
            while next < count && (next == begin || used + natural[next] + BORDER <= columns) {
                used += natural[next] + BORDER;
                next += 1;
            }
            let chosen: Vec<usize> = std::iter::once(0).chain(begin..next).collect();
            pieces.push(self.piece(&chosen, &natural, first));
            if next >= count {
                return pieces;
            }
        }
    }

    /// What a column needs: its longest line, while its head may be wrapped between words.
    fn width(&self, column: usize) -> usize {
        let cells = self.rows.iter().filter_map(|row| row.get(column)).flat_map(|cell| cell.lines());
        let cells = cells.map(|line| line.chars().count());
        let head = self.header.get(column).map_or("", String::as_str);
        let words = head.split_whitespace().map(|word| word.chars().count());
        let whole = if column == 0 { head.chars().count() } else { 0 };
        cells.chain(words).chain([whole]).max().unwrap_or(0)
    }

    fn piece(&self, chosen: &[usize], natural: &[usize], first: usize) -> comfy_table::Table {
        let mut table = comfy_table::Table::new();
        table.load_style(UTF8_FULL_CONDENSED);
        let width = |column: usize| if column == 0 { first } else { natural[column] };
        let cell = |row: &[String], column: usize| row.get(column).cloned().unwrap_or_default();
        let head = |&column: &usize| wrapped(&cell(&self.header, column), width(column));
        table.set_header(chosen.iter().map(head).collect::<Vec<_>>());
        for row in &self.rows {
            let fitted = |&column: &usize| match column {
                0 => wrapped(&cell(row, 0), first),
                column => cell(row, column),
            };
            table.add_row(chosen.iter().map(fitted).collect::<Vec<_>>());
        }
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        table
    }
}

impl Display for Table {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> std::fmt::Result {
        let columns = comfy_table::Table::new().width().map_or(COLUMNS_MIN, |width| COLUMNS_MIN.max(width.into()));
        for (number, piece) in self.within(columns).iter().enumerate() {
            let line_end = if number == 0 { "" } else { "\n" };
            write!(formatter, "{line_end}{piece}")?;
        }
        Ok(())
    }
}

/// Lines of at most that width, broken between words. A word that is longer stays whole.
fn wrapped(text: &str, width: usize) -> String {
    let mut lines: Vec<String> = Vec::new();
    for line in text.lines() {
        let mut current = String::new();
        for word in line.split(' ') {
            if !current.is_empty() && current.chars().count() + 1 + word.chars().count() > width {
                lines.push(std::mem::take(&mut current));
            } else if !current.is_empty() {
                current.push(' ');
            }
            current += word;
        }
        lines.push(current);
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn widest(table: &comfy_table::Table) -> usize {
        table.to_string().lines().map(|line| line.chars().count()).max().unwrap_or(0)
    }

    #[test]
    fn what_fits_is_one_table() {
        let mut rows = table(&["", "p50", "p99"]);
        rows.add_row(["there", "1 µs", "2 µs"]);
        let pieces = rows.within(80);
        assert_eq!(pieces.len(), 1);
        assert!(pieces[0].to_string().contains("there"));
    }

    #[test]
    fn what_does_not_fit_goes_into_further_tables_with_the_first_column_again() {
        let header: Vec<String> = (0..12).map(|number| format!("column {number} of many")).collect();
        let mut rows = table(&header.iter().map(String::as_str).collect::<Vec<_>>());
        rows.add_row((0..12).map(|number| format!("{number}23,456 Mbit/s\n{number}00,000 – 200,000")));
        for columns in [60, 80, 120] {
            let pieces = rows.within(columns);
            assert!(pieces.len() > 1);
            for piece in &pieces {
                assert!(widest(piece) <= columns, "{columns}\n{piece}");
                assert!(piece.to_string().contains("023,456"), "{piece}");
            }
            let all: String = pieces.iter().map(ToString::to_string).collect();
            assert!((0..12).all(|number| all.contains(&format!("{number}23,456 Mbit/s"))), "{all}");
        }
    }

    #[test]
    fn a_long_first_column_is_wrapped_and_a_long_word_is_not() {
        let mut rows = table(&["load", "throughput"]);
        rows.add_row(["a name that is much longer than a terminal is wide, since somebody wanted to say it all", "1"]);
        assert!(widest(&rows.within(80)[0]) <= 80);
        assert_eq!(wrapped("one two three", 7), "one two\nthree");
        assert_eq!(wrapped("a-very-long-word or two", 6), "a-very-long-word\nor two");
        assert_eq!(wrapped("two\nlines", 80), "two\nlines");
    }

    #[test]
    fn a_table_without_rows_is_printed_too() {
        assert!(table(&["a", "b"]).is_empty());
        assert!(table(&["a", "b"]).to_string().contains('b'));
        assert_eq!(table(&[]).within(80).len(), 1);
    }
}
