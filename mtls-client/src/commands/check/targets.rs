//! What was typed after `check`, and what it means.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use mtls_core::path::Endpoint;

use super::args;
use crate::args::target::parse_target;
use crate::usage::UsageError;

/// How large a file with targets may be, in bytes.
const LONGEST_LIST: u64 = 64 << 20;

/// Servers to verify.
#[derive(Debug)]
pub(crate) struct Check {
    pub(crate) targets: Vec<Endpoint>,
    /// How many at a time.
    pub(crate) jobs: usize,
}

impl Check {
    pub(crate) fn understand(typed: &args::Check) -> Result<Self, UsageError> {
        let target = |text: &String| {
            parse_target(text)
                .map_err(|error| UsageError::new("TARGET", format_args!("`{text}`: {error}")))
        };
        let targets = typed.targets.iter().map(target);
        let mut targets: Vec<_> = targets.collect::<Result<_, _>>()?;
        for file in &typed.input {
            targets.extend(listed(file)?);
        }
        Ok(Self {
            targets,
            jobs: typed.jobs.into(),
        })
    }
}

fn listed(file: &Path) -> Result<Vec<Endpoint>, UsageError> {
    let name = match file.as_os_str() == "-" {
        true => "standard input".to_owned(),
        false => format!("`{}`", file.display()),
    };
    let wrong =
        |reason: &dyn std::fmt::Display| UsageError::new("--input", format_args!("{name}{reason}"));
    let text = read(file).map_err(|error| wrong(&format_args!(": {error}")))?;
    let targets = parse_list(&text)
        .map_err(|(line, reason)| wrong(&format_args!(", line {line}: {reason}")))?;
    match targets.is_empty() {
        true => Err(wrong(
            &": there is no target in it; write HOST or HOST:PORT in each line",
        )),
        false => Ok(targets),
    }
}

fn read(file: &Path) -> io::Result<String> {
    let mut text = String::new();
    let length = match file.as_os_str() == "-" {
        true => io::stdin().take(LONGEST_LIST + 1).read_to_string(&mut text),
        false => File::open(file)?
            .take(LONGEST_LIST + 1)
            .read_to_string(&mut text),
    }?;
    match length as u64 > LONGEST_LIST {
        true => Err(io::Error::other(format!(
            "it is longer than {LONGEST_LIST} bytes; split it"
        ))),
        false => Ok(text),
    }
}

/// One target in a line; what is wrong comes with its line.
fn parse_list(text: &str) -> Result<Vec<Endpoint>, (usize, String)> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut targets = Vec::new();
    for (line, number) in text.lines().zip(1..) {
        let target = without_comment(line).trim();
        if target.is_empty() {
            continue;
        }
        let parsed = parse_target(target);
        targets.push(parsed.map_err(|error| (number, format!("`{target}`: {error}")))?);
    }
    Ok(targets)
}

/// `#` begins a comment at the beginning of a line or after a space: a URL may have one inside.
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
    fn comments_and_blank_lines_are_nothing() {
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
    fn what_is_wrong_comes_with_its_line() {
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
