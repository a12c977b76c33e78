//! A page, from what the help of a command says.

use std::io;

use clap::Command;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

const MANUAL: &str = "Multipath TLS";

/// The page of a command. It refers to the others of these names.
pub(crate) fn render(command: &Command, names: &[String], source: &str) -> io::Result<String> {
    let name = page_name(command);
    // One line, where every option would make a paragraph; they are listed below.
    let mut described = command.clone();
    let usage = described.render_usage().to_string();
    let usage = usage.trim_start_matches("Usage:").trim().to_owned();
    let man = Man::new(described.override_usage(usage));
    let mut page = title(&name, source).into_bytes();
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut page)?;
    }
    man.render_options_section(&mut page)?;
    let help = command.get_after_long_help().or(command.get_after_help());
    if let Some(help) = help {
        sections(&help.to_string()).to_writer(&mut page)?;
    }
    see_also(&name, names).to_writer(&mut page)?;
    Ok(without_blank_lines(&page))
}

/// The name of a command's page: `mtls-client-get` for `mtls-client get`.
pub(crate) fn page_name(command: &Command) -> String {
    let name = command.get_display_name();
    name.unwrap_or_else(|| command.get_name()).to_owned()
}

/// Without a date, so that the same program always writes the same page.
fn title(name: &str, source: &str) -> String {
    let name = name.to_uppercase();
    format!(".TH \"{name}\" \"1\" \"\" \"{source}\" \"{MANUAL}\"\n")
}

/// The help text after the options, as sections of a page: blocks that begin with
/// `Examples:` and `Exit status:`, and paragraphs.
fn sections(help: &str) -> Roff {
    let mut roff = Roff::new();
    let mut in_notes = false;
    for block in help.split("\n\n") {
        if let Some(examples) = block.strip_prefix("Examples:\n") {
            roff.control("SH", ["EXAMPLES"]);
            self::examples(&mut roff, examples);
        } else if let Some(statuses) = block.strip_prefix("Exit status:\n") {
            roff.control("SH", ["EXIT STATUS"]);
            exit_statuses(&mut roff, statuses);
        } else {
            match in_notes {
                true => roff.control("PP", []),
                false => roff.control("SH", ["NOTES"]),
            };
            in_notes = true;
            roff.text([roman(block.replace('\n', " "))]);
        }
    }
    roff
}

/// A command by two spaces, what it does by six.
fn examples(roff: &mut Roff, text: &str) {
    let mut meanings = 0;
    for (index, line) in text.lines().enumerate() {
        match line.strip_prefix("      ") {
            None => {
                if meanings > 0 {
                    roff.control("RE", []);
                }
                if index > 0 {
                    roff.control("PP", []);
                }
                meanings = 0;
                roff.text([bold(line.trim())]);
            }
            Some(meaning) => {
                if meanings == 0 {
                    roff.control("RS", ["4"]);
                }
                meanings += 1;
                roff.text([roman(meaning.trim())]);
            }
        }
    }
    if meanings > 0 {
        roff.control("RE", []);
    }
}

/// A number and its meaning in a line, which may go on in the next ones; then a paragraph.
fn exit_statuses(roff: &mut Roff, text: &str) {
    let mut in_list = true;
    for line in text.lines().map(str::trim) {
        let status = line.split_once("  ");
        match status.filter(|(number, _)| in_list && number.parse::<u8>().is_ok()) {
            Some((number, meaning)) => {
                roff.control("TP", ["6"]);
                roff.text([bold(number)]);
                roff.text([roman(meaning.trim())]);
            }
            None => {
                if in_list && line.starts_with("and ") {
                    in_list = false;
                    roff.control("PP", []);
                }
                roff.text([roman(line)]);
            }
        }
    }
}

fn see_also(name: &str, names: &[String]) -> Roff {
    let mut roff = Roff::new();
    let others: Vec<_> = names.iter().filter(|other| *other != name).collect();
    roff.control("SH", ["SEE ALSO"]);
    for (index, other) in others.iter().enumerate() {
        let end = if index + 1 < others.len() { "," } else { "" };
        roff.control("BR", [other.as_str(), &format!("(1){end}")]);
    }
    roff
}

/// An empty line in running text is bad form (man-pages(7)): a space is meant, or nothing beside
/// a line break, of which one is enough.
fn without_blank_lines(page: &[u8]) -> String {
    let text = String::from_utf8_lossy(page);
    let lines: Vec<_> = text.lines().map(str::trim_end).collect();
    let mut tidy: Vec<&str> = Vec::with_capacity(lines.len());
    for (index, line) in lines.iter().enumerate() {
        let after_break = tidy.last() == Some(&".br");
        let before_break = lines.get(index + 1) == Some(&".br");
        match *line {
            "" if after_break || before_break => {}
            ".br" if after_break => {}
            "" => tidy.push(".sp"),
            line => tidy.push(line),
        }
    }
    in_ascii(&(tidy.join("\n") + "\n"))
}

/// Without it a formatter reads the bytes as Latin-1 (groff_char(7)).
fn in_ascii(text: &str) -> String {
    let mut ascii = String::with_capacity(text.len());
    for c in text.chars() {
        match c.is_ascii() {
            true => ascii.push(c),
            false => ascii.push_str(&format!("\\[u{:04X}]", u32::from(c))),
        }
    }
    ascii
}
