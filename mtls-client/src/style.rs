//! Colours, where somebody sees them.

use std::fmt;
use std::io::IsTerminal;

/// Whether one of the standard streams gets colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Style {
    coloured: bool,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Colour {
    Good,
    Doubtful,
    Bad,
    Faint,
}

impl Style {
    /// On a terminal that can, and without `NO_COLOR` (<https://no-color.org>).
    pub(crate) fn of(stream: &impl IsTerminal) -> Self {
        let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        Self {
            coloured: stream.is_terminal() && !is_set("NO_COLOR") && !dumb,
        }
    }

    pub(crate) fn paint<T: fmt::Display>(self, colour: Colour, text: T) -> Painted<T> {
        Painted {
            code: self.coloured.then_some(match colour {
                Colour::Good => "1;32",
                Colour::Doubtful => "1;33",
                Colour::Bad => "1;31",
                Colour::Faint => "2",
            }),
            text,
        }
    }
}

/// A text in a colour, or plain.
pub(crate) struct Painted<T> {
    code: Option<&'static str>,
    text: T,
}

impl<T: fmt::Display> fmt::Display for Painted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.code {
            Some(code) => write!(f, "\x1b[{code}m{}\x1b[0m", self.text),
            None => self.text.fmt(f),
        }
    }
}
