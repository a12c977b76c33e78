//! A table whose columns are as wide as their cells.

use std::fmt::Write;

use unicode_width::UnicodeWidthStr;

use super::style::{Colour, Style};

/// Rows of `N` cells under headings.
pub(crate) struct Table<const N: usize> {
    headings: [&'static str; N],
    rows: Vec<Row<N>>,
}

/// A text and its colour.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cell {
    text: String,
    colour: Option<Colour>,
}

enum Row<const N: usize> {
    Cells([Cell; N]),
    /// Two cells and a text in place of the others, which does not widen the columns.
    Remark([Cell; 2], Cell),
}

impl<const N: usize> Table<N> {
    pub(crate) fn new(headings: [&'static str; N]) -> Self {
        Self {
            headings,
            rows: Vec::new(),
        }
    }

    pub(crate) fn row(&mut self, cells: [Cell; N]) {
        self.rows.push(Row::Cells(cells));
    }

    /// Adds a row of two cells and a text in place of the others.
    pub(crate) fn row_with_remark(&mut self, cells: [Cell; 2], remark: impl Into<Cell>) {
        self.rows.push(Row::Remark(cells, remark.into()));
    }

    /// Appends the table to a text, indented by two columns.
    pub(crate) fn write(&self, text: &mut String, style: Style) {
        let widths: [usize; N] = std::array::from_fn(|column| self.width(column));
        let headings = self.headings.map(|heading| Cell {
            text: heading.to_owned(),
            colour: Some(Colour::Faint),
        });
        write_row(text, headings.iter().zip(widths), style);
        for row in &self.rows {
            match row {
                Row::Cells(cells) => write_row(text, cells.iter().zip(widths), style),
                Row::Remark(cells, remark) => {
                    let cells = cells.iter().zip(widths).chain([(remark, 0)]);
                    write_row(text, cells, style);
                }
            }
        }
    }

    fn width(&self, column: usize) -> usize {
        let cells = self.rows.iter().filter_map(|row| match row {
            Row::Cells(cells) => cells.get(column),
            Row::Remark(cells, _) => cells.get(column),
        });
        let widths = cells.map(|cell| cell.text.width());
        widths.max().unwrap_or(0).max(self.headings[column].len())
    }
}

fn write_row<'a>(text: &mut String, cells: impl Iterator<Item = (&'a Cell, usize)>, style: Style) {
    let mut gap = 0;
    for (cell, width) in cells {
        let len = cell.text.width();
        if len > 0 {
            // Padding is written before the next cell, so that no line ends with spaces.
            text.extend(std::iter::repeat_n(' ', gap + 2));
            let _ = match cell.colour {
                Some(colour) => write!(text, "{}", style.paint(colour, &cell.text)),
                None => write!(text, "{}", cell.text),
            };
            gap = 0;
        } else {
            gap += 2;
        }
        gap += width.saturating_sub(len);
    }
    text.push('\n');
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self { text, colour: None }
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

impl From<(String, Colour)> for Cell {
    fn from((text, colour): (String, Colour)) -> Self {
        Self {
            text,
            colour: Some(colour),
        }
    }
}
