//! A table in columns as wide as they must be.

use std::fmt::Write;

use crate::output::style::{Colour, Style};

/// Rows of `N` cells under headings.
pub(crate) struct Table<const N: usize> {
    headings: [&'static str; N],
    rows: Vec<Row<N>>,
}

/// A text, and how it is painted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cell {
    text: String,
    colour: Option<Colour>,
}

enum Row<const N: usize> {
    Cells([Cell; N]),
    /// The rest of the row is one text, which widens no column.
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

    /// Two cells, and a text in the place of all others.
    pub(crate) fn row_with_remark(&mut self, cells: [Cell; 2], remark: impl Into<Cell>) {
        self.rows.push(Row::Remark(cells, remark.into()));
    }

    /// Appends it, indented by two.
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
        let widths = cells.map(|cell| cell.text.chars().count());
        widths.max().unwrap_or(0).max(self.headings[column].len())
    }
}

fn write_row<'a>(text: &mut String, cells: impl Iterator<Item = (&'a Cell, usize)>, style: Style) {
    let mut gap = 0;
    for (cell, width) in cells {
        let len = cell.text.chars().count();
        if len > 0 {
            // Nothing stands at the end of a line but what is seen.
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
