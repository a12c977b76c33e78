//! Lists of targets in files: `--input`.

use std::fmt;

use mtls_core::path::Endpoint;

use crate::args::input_file::InputFile;
use crate::args::target;
use crate::failure::Failure;

/// The largest file of targets, in bytes.
const MAX_LIST: u64 = 64 << 20;

/// Reads the targets in a file.
///
/// # Errors
/// If the file cannot be read, has a line that is not a target, or has no target.
pub(crate) fn read(file: &InputFile) -> Result<Vec<Endpoint>, Failure> {
    let failure = |reason: fmt::Arguments<'_>| Failure::usage("--input", reason);
    let text = file
        .read_text(MAX_LIST)
        .map_err(|error| failure(format_args!("{file}: {error}")))?;
    let targets = parse_list(&text)
        .map_err(|(line, reason)| failure(format_args!("{file}, line {line}: {reason}")))?;
    match targets.is_empty() {
        true => Err(failure(format_args!(
            "{file}: no target; write HOST or HOST:PORT on each line"
        ))),
        false => Ok(targets),
    }
}

/// Parses one target in each line. An error comes with the number of its line.
fn parse_list(text: &str) -> Result<Vec<Endpoint>, (usize, String)> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut targets = Vec::new();
    for (line, number) in text.lines().zip(1..) {
        let text = without_comment(line).trim();
        if text.is_empty() {
            continue;
        }
        let parsed = target::parse(text);
        targets.push(parsed.map_err(|error| (number, format!("`{text}`: {error}")))?);
    }
    Ok(targets)
}

/// Removes a comment: `#` starts one at the start of a line or after a space, but not in a URL.
fn without_comment(line: &str) -> &str {
    let mut before = ' ';
    for (at, c) in line.char_indices() {
        if c == '#' && before.is_whitespace() {
            return &line[..at];
        }
        before = c;
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Result<Vec<String>, (usize, String)> {
        parse_list(text).map(|targets| targets.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn comments_and_blank_lines_are_ignored() {
        let text = "\u{feff}example.org\r\n\n  # all of it\n\texample.net:8443  # the rest\n\
                    https://example.com/a#b\n::1";
        let expected = [
            "example.org:443",
            "example.net:8443",
            "example.com:443",
            "[::1]:443",
        ];
        assert_eq!(names(text).unwrap(), expected);
        assert_eq!(names("").unwrap(), [""; 0]);
        assert_eq!(names("#a\n #b\n").unwrap(), [""; 0]);
    }

    #[test]
    fn an_error_names_its_line() {
        for (text, line, expected) in [
            ("a.test\n\nb.test c.test\n", 3, "`b.test c.test`"),
            ("# a\nhttp://a.test/", 2, "only https"),
            ("a.test:99999", 1, "port"),
        ] {
            let (found, reason) = names(text).unwrap_err();
            assert_eq!(found, line);
            assert!(reason.contains(expected), "{reason}");
        }
    }
}
