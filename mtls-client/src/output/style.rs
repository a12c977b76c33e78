//! Colours on terminals.

use std::fmt;
use std::io::IsTerminal;

use anstyle::AnsiColor;

/// The style of a standard stream: with or without colours.
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
    Strong,
}

impl Style {
    /// With colours on a terminal that has them, unless `NO_COLOR` is set (<https://no-color.org>).
    pub(crate) fn of(stream: &impl IsTerminal) -> Self {
        let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        Self {
            coloured: stream.is_terminal() && !is_set("NO_COLOR") && !dumb,
        }
    }

    pub(crate) fn is_coloured(self) -> bool {
        self.coloured
    }

    pub(crate) fn paint<T: fmt::Display>(self, colour: Colour, text: T) -> Painted<T> {
        Painted {
            style: match (self.coloured, colour) {
                (false, _) => anstyle::Style::new(),
                (true, Colour::Good) => AnsiColor::Green.on_default().bold(),
                (true, Colour::Doubtful) => AnsiColor::Yellow.on_default().bold(),
                (true, Colour::Bad) => AnsiColor::Red.on_default().bold(),
                (true, Colour::Faint) => anstyle::Style::new().dimmed(),
                (true, Colour::Strong) => anstyle::Style::new().bold(),
            },
            text,
        }
    }
}

/// A text with or without a colour.
pub(crate) struct Painted<T> {
    style: anstyle::Style,
    text: T,
}

impl<T: fmt::Display> fmt::Display for Painted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { style, text } = self;
        write!(f, "{style}{text}{style:#}")
    }
}
