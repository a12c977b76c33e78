//! The verdict page as text.

use std::fmt;

use super::facts::{Facts, PathFacts};
use super::words::{INTERCEPTION, KNOWN, TRUST, UNKNOWN};

/// The width of the text in characters.
const WIDTH: usize = 80;
/// The width of the names of details.
const NAMES: usize = 20;

/// Displays the page.
pub(super) struct AsText<'a>(pub(super) &'a Facts);

impl fmt::Display for AsText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let facts = self.0;
        writeln!(f, "{}\n", facts.words.title.to_uppercase())?;
        wrap(f, "", &facts.words.lead)?;
        wrap(f, "", facts.words.more)?;
        writeln!(f)?;
        for path in &facts.paths {
            self.path(f, path)?;
        }
        writeln!(f)?;
        for (name, value) in facts.details() {
            writeln!(f, "{name:<NAMES$}{value}")?;
        }
        for (heading, points) in [
            ("Known to this server", &KNOWN[..]),
            ("Unknown to this server", &UNKNOWN[..]),
        ] {
            writeln!(f, "\n{heading}")?;
            for point in points {
                wrap(f, "- ", point)?;
            }
        }
        writeln!(f)?;
        wrap(f, "", TRUST)?;
        writeln!(f, "\nSigns of an interception")?;
        wrap(f, "", INTERCEPTION)
    }
}

impl AsText<'_> {
    fn path(&self, f: &mut fmt::Formatter<'_>, path: &PathFacts) -> fmt::Result {
        write!(f, "{:<NAMES$}{}", path.name, path.state)?;
        if let Some(client) = path.client {
            write!(f, ", from {client}")?;
        }
        if let Some(server) = path.server {
            write!(f, " to {server}")?;
        }
        writeln!(f)
    }
}

/// Breaks lines between words; the lines after a mark are indented as far as it is wide.
fn wrap(f: &mut fmt::Formatter<'_>, mark: &str, text: &str) -> fmt::Result {
    f.write_str(mark)?;
    let mut column = mark.len();
    for word in text.split_whitespace() {
        if column > mark.len() && column + 1 + word.len() > WIDTH {
            write!(f, "\n{:indent$}", "", indent = mark.len())?;
            column = mark.len();
        } else if column > mark.len() {
            f.write_str(" ")?;
            column += 1;
        }
        f.write_str(word)?;
        column += word.len();
    }
    writeln!(f)
}
