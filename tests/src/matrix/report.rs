//! Everything that happened.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::cell::{Cell, Outcome, Protocol, Trust};

/// All cells, in the order of the table.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    schema: u32,
    /// How many cells are not as expected.
    differences: usize,
    seconds: f64,
    cells: Vec<Cell>,
}

impl Report {
    pub(super) fn new(cells: Vec<Cell>, took: Duration) -> Self {
        Self {
            schema: 1,
            differences: cells.iter().filter(|cell| !cell.as_expected()).count(),
            seconds: took.as_secs_f64(),
            cells,
        }
    }

    pub(super) fn differences(&self) -> usize {
        self.differences
    }

    pub(super) fn seconds(&self) -> f64 {
        self.seconds
    }

    pub(super) fn cells(&self) -> &[Cell] {
        &self.cells
    }

    /// How many cells were attacked.
    pub(super) fn attacked(&self) -> usize {
        let attacked = self.cells.iter().filter(|cell| cell.skipped().is_none());
        attacked.count()
    }

    /// How many attacks ran.
    pub(super) fn attempts(&self) -> usize {
        self.cells.iter().map(|cell| cell.attempts.len()).sum()
    }

    pub(super) fn count(&self, outcome: Outcome) -> usize {
        let attacked = self.cells.iter().filter(|cell| cell.skipped().is_none());
        let observed = attacked.map(Cell::observed);
        observed.filter(|observed| *observed == outcome).count()
    }

    /// The reasons why cells are not attacked, each with their number.
    pub(super) fn skipped(&self) -> BTreeMap<&str, usize> {
        let mut reasons = BTreeMap::new();
        for reason in self.cells.iter().filter_map(Cell::skipped) {
            *reasons.entry(reason).or_default() += 1;
        }
        reasons
    }

    /// The protocols that were attacked: the columns.
    pub(super) fn protocols(&self) -> Vec<Protocol> {
        let attacked =
            |protocol: &Protocol| self.cells.iter().any(|cell| cell.protocol == *protocol);
        Protocol::ALL.into_iter().filter(attacked).collect()
    }

    /// The kinds of trust that were tried: one table each.
    pub(super) fn trusts(&self) -> Vec<Trust> {
        let tried = |trust: &Trust| self.cells.iter().any(|cell| cell.trust == *trust);
        Trust::ALL.into_iter().filter(tried).collect()
    }

    /// The rows of one table.
    pub(super) fn rows(&self, trust: Trust) -> impl Iterator<Item = &[Cell]> {
        self.cells
            .chunk_by(|one, next| {
                (one.trust, one.attackers.name) == (next.trust, next.attackers.name)
            })
            .filter(move |row| row.first().is_some_and(|cell| cell.trust == trust))
    }
}
