//! Text for a terminal or a log.

/// The text with U+FFFD for each control character but line breaks and tabs: a terminal would execute
/// others, such as the escape sequences in the message of a server.
pub(crate) fn printable(text: &str) -> String {
    text.replace(
        |c: char| c.is_control() && !matches!(c, '\n' | '\t'),
        "\u{fffd}",
    )
}

/// The same in one line, so that it cannot imitate another one.
pub(crate) fn printable_line(text: &str) -> String {
    text.replace(char::is_control, "\u{fffd}")
}
