//! A configuration file, converted to arguments.

use std::ops::Range;
use std::path::{Path, PathBuf};

use clap::{Arg, ArgAction, Command};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{ConfigError, Problem};
use crate::cli::WITHOUT_CONFIGURATION;
use crate::text_file::read_text;

/// Characters of a key that a message quotes. No option has a name that is as long.
const LONGEST_KEY: usize = 64;

/// A configuration file: a table for each command.
#[derive(Debug)]
pub(super) struct ConfigFile {
    pub(super) path: PathBuf,
    pub(super) tables: Vec<Table>,
}

/// The options of one command.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) command: String,
    pub(super) line: usize,
    pub(super) settings: Vec<Setting>,
}

/// One key.
#[derive(Debug)]
pub(super) struct Setting {
    /// clap's name for the option.
    pub(super) id: String,
    pub(super) line: usize,
    /// The equivalent arguments.
    pub(super) arguments: Vec<String>,
    pub(super) positional: bool,
}

impl ConfigFile {
    /// Reads a file. Every key of every table has to be an option of that command.
    ///
    /// # Errors
    /// All errors, in the order of the file.
    pub(super) fn read(path: &Path, root: &Command) -> Result<Self, Vec<ConfigError>> {
        let at = |line, problem| ConfigError::new(path, line, problem);
        let text = read_text(path).map_err(|error| vec![at(None, Problem::Read(error))])?;
        Self::parse(path, &text, root)
    }

    pub(super) fn parse(path: &Path, text: &str, root: &Command) -> Result<Self, Vec<ConfigError>> {
        let document = DeTable::parse(text).map_err(|error| {
            let line = error.span().map(|span| line_of(text, &span));
            let problem = Problem::Syntax(error.message().trim_end().to_owned());
            vec![ConfigError::new(path, line, problem)]
        })?;
        let mut reading = Reading {
            path,
            text,
            errors: Vec::new(),
        };
        let mut tables: Vec<Table> = in_order(document.get_ref())
            .into_iter()
            .filter_map(|(name, value)| reading.table(name, value, root))
            .collect();
        tables.sort_by_key(|table| table.line);
        reading.errors.sort_by_key(ConfigError::line);
        match reading.errors.is_empty() {
            true => Ok(Self {
                path: path.to_owned(),
                tables,
            }),
            false => Err(reading.errors),
        }
    }

    /// The options of a command.
    pub(super) fn table(&self, command: &str) -> Result<&Table, ConfigError> {
        let found = self.tables.iter().find(|table| table.command == command);
        found.ok_or_else(|| {
            let command = command.to_owned();
            ConfigError::new(&self.path, None, Problem::NoTable { command })
        })
    }
}

/// The commands that can have a table.
pub(super) fn configurable(root: &Command) -> impl Iterator<Item = &Command> {
    root.get_subcommands()
        .filter(|command| !WITHOUT_CONFIGURATION.contains(&command.get_name()))
}

type Key<'a> = Spanned<std::borrow::Cow<'a, str>>;
type Value<'a> = Spanned<DeValue<'a>>;

/// A file that is being read.
struct Reading<'a> {
    path: &'a Path,
    text: &'a str,
    errors: Vec<ConfigError>,
}

impl Reading<'_> {
    fn table(&mut self, name: &Key<'_>, value: &Value<'_>, root: &Command) -> Option<Table> {
        let line = line_of(self.text, &name.span());
        let commands = || {
            configurable(root)
                .map(|command| command.get_name().to_owned())
                .collect()
        };
        let name = name.get_ref();
        let Some(table) = value.get_ref().as_table() else {
            let (key, commands) = (quoted(name), commands());
            return self.refuse(line, Problem::OutsideTable { key, commands });
        };
        let Some(command) = configurable(root).find(|command| command.get_name() == name) else {
            let (name, commands) = (quoted(name), commands());
            return self.refuse(line, Problem::UnknownTable { name, commands });
        };
        let settings = in_order(table)
            .into_iter()
            .filter_map(|(key, value)| self.setting(key, value, command, root))
            .collect();
        Some(Table {
            command: name.to_string(),
            line,
            settings,
        })
    }

    fn setting(
        &mut self,
        key: &Key<'_>,
        value: &Value<'_>,
        command: &Command,
        root: &Command,
    ) -> Option<Setting> {
        let line = line_of(self.text, &key.span());
        let key = key.get_ref();
        let options = || options(command, root);
        let Some(arg) = options().find(|arg| key_of(arg) == *key) else {
            let problem = Problem::UnknownKey {
                table: command.get_name().to_owned(),
                key: quoted(key),
                suggestion: most_similar(key, options().map(key_of)),
            };
            return self.refuse(line, problem);
        };
        match arguments(arg, value.get_ref()) {
            Ok(arguments) => Some(Setting {
                id: arg.get_id().to_string(),
                line,
                arguments,
                positional: arg.is_positional(),
            }),
            Err(expected) => {
                let (key, found) = (key.to_string(), value.get_ref().type_str());
                self.refuse(
                    line,
                    Problem::WrongType {
                        key,
                        expected,
                        found,
                    },
                )
            }
        }
    }

    fn refuse<T>(&mut self, line: usize, problem: Problem) -> Option<T> {
        self.errors
            .push(ConfigError::new(self.path, Some(line), problem));
        None
    }
}

/// The options of a command that a file can set: its own and the global ones, without `--config`.
fn options<'a>(command: &'a Command, root: &'a Command) -> impl Iterator<Item = &'a Arg> {
    let global = root.get_arguments().filter(|arg| arg.is_global_set());
    command
        .get_arguments()
        .chain(global)
        .filter(|arg| !matches!(arg.get_id().as_str(), "config" | "help" | "version"))
}

/// An option's name without the dashes before it, or a positional argument's.
fn key_of(arg: &Arg) -> String {
    match arg.get_long() {
        Some(long) => long.to_owned(),
        None => arg.get_id().as_str().replace('_', "-"),
    }
}

/// The equivalent arguments, or a description of the expected type.
fn arguments(arg: &Arg, value: &DeValue<'_>) -> Result<Vec<String>, &'static str> {
    let option = |value: String| match arg.get_long() {
        Some(long) => format!("--{long}={value}"),
        None => value,
    };
    match (arg.get_action(), value) {
        (ArgAction::SetTrue, DeValue::Boolean(true)) => Ok(vec![format!("--{}", key_of(arg))]),
        (ArgAction::SetTrue, DeValue::Boolean(false)) => Ok(Vec::new()),
        (ArgAction::SetTrue, _) => Err("true or false"),
        (ArgAction::Count, value) => match scalar(value).and_then(|count| count.parse().ok()) {
            Some(count @ 0_u8..=9) => Ok(vec![format!("--{}", key_of(arg)); usize::from(count)]),
            _ => Err("a number from 0 to 9"),
        },
        (ArgAction::Append, DeValue::Array(values)) => {
            let expected = "a list of one or more strings";
            let values: Option<Vec<String>> = values
                .iter()
                .map(|value| scalar(value.get_ref()).map(option))
                .collect();
            values.filter(|values| !values.is_empty()).ok_or(expected)
        }
        (ArgAction::Append, value) => scalar(value)
            .map(|value| vec![option(value)])
            .ok_or("a string or a list of strings"),
        (_, value) => scalar(value)
            .map(|value| vec![option(value)])
            .ok_or("a string or a number"),
    }
}

fn scalar(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        // As typed but for underscores; other than decimal is no number on a command line.
        DeValue::Integer(number) if number.radix() == 10 => Some(number.as_str().replace('_', "")),
        _ => None,
    }
}

/// The beginning of a key.
fn quoted(key: &str) -> String {
    match key.char_indices().nth(LONGEST_KEY) {
        Some((end, _)) => format!("{}…", &key[..end]),
        None => key.to_owned(),
    }
}

fn most_similar(key: &str, known: impl Iterator<Item = String>) -> Option<String> {
    // The comparison takes the square of the length.
    if key.len() > LONGEST_KEY {
        return None;
    }
    let wanted = key.to_lowercase().replace('_', "-");
    known
        .map(|known| (strsim::jaro_winkler(&wanted, &known), known))
        .filter(|(similarity, _)| *similarity > 0.8)
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, known)| known)
}

/// The entries of a table in the order of the file.
fn in_order<'a, 'i>(table: &'a DeTable<'i>) -> Vec<(&'a Key<'i>, &'a Value<'i>)> {
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    entries
}

fn line_of(text: &str, span: &Range<usize>) -> usize {
    let before = text.get(..span.start).unwrap_or(text);
    before.matches('\n').count() + 1
}
