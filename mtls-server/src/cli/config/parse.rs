//! The combination of the command line, the environment and the file.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use clap::error::{ContextKind, ContextValue};
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command, CommandFactory, FromArgMatches};
use mtls_core::pem::redact;

use super::environment::{variable_of, with_environment};
use super::error::{CommandLineError, ConfigError, Problem};
use super::file::{ConfigFile, Setting, Table};
use crate::cli::{Cli, WITHOUT_CONFIGURATION};

impl Cli {
    /// Reads a command line, the program's name first, with the environment and the file that it
    /// names.
    ///
    /// # Errors
    /// [`CommandLineError`], which also carries a requested help text.
    pub fn from_arguments(
        arguments: impl IntoIterator<Item = OsString>,
    ) -> Result<Self, CommandLineError> {
        let command = with_environment(Self::command());
        let typed: Vec<OsString> = arguments.into_iter().collect();
        let Some(first) = FirstLook::at(&command, &typed) else {
            return strict(&command, typed).map_err(CommandLineError::typed);
        };
        let Some(path) = &first.config else {
            return strict(&command, typed).map_err(|error| first.blame(error));
        };
        let file = ConfigFile::read(path, &command).map_err(CommandLineError::File)?;
        let table = file
            .table(first.command.get_name())
            .map_err(|error| CommandLineError::File(vec![error]))?;
        let settings: Vec<&Setting> = table
            .settings
            .iter()
            .filter(|setting| !first.sources.contains_key(setting.id.as_str()))
            .collect();
        strict(&command, insert(typed, &settings)).map_err(|error| {
            match blamed(&error, first.command, &settings) {
                Some(setting) => {
                    let problem = Problem::Rejected(in_one_line(&error));
                    let error = ConfigError::new(path, Some(setting.line), problem);
                    CommandLineError::File(vec![error])
                }
                None => first.blame(error),
            }
        })
    }

    /// Parses a table alone.
    pub(super) fn from_table(file: &ConfigFile, table: &Table) -> Result<Self, ConfigError> {
        let command = Self::command();
        let typed = ["mtls-server", &table.command].map(OsString::from).to_vec();
        let settings: Vec<&Setting> = table.settings.iter().collect();
        strict(&command, insert(typed, &settings)).map_err(|error| {
            let subcommand = command.find_subcommand(&table.command);
            let blamed = subcommand.and_then(|command| blamed(&error, command, &settings));
            let line = blamed.map_or(table.line, |setting| setting.line);
            ConfigError::new(
                &file.path,
                Some(line),
                Problem::Rejected(in_one_line(&error)),
            )
        })
    }
}

fn strict(command: &Command, arguments: Vec<OsString>) -> Result<Cli, clap::Error> {
    let mut command = command.clone();
    let matches = command.try_get_matches_from_mut(arguments)?;
    Cli::from_arg_matches(&matches).map_err(|error| error.format(&mut command))
}

/// A first, lenient parse of a command line without the file that it names.
struct FirstLook<'a> {
    command: &'a Command,
    config: Option<PathBuf>,
    /// The options that are set already, and their sources.
    sources: HashMap<&'a str, ValueSource>,
}

impl<'a> FirstLook<'a> {
    /// `None` for a command line without a configurable command, and for one that asks for help.
    fn at(command: &'a Command, typed: &[OsString]) -> Option<Self> {
        let lenient = command.clone().ignore_errors(true);
        let matches = lenient.try_get_matches_from(typed).ok()?;
        let (name, matches) = matches.subcommand()?;
        let configured = !WITHOUT_CONFIGURATION.contains(&name);
        let command = command.find_subcommand(name).filter(|_| configured)?;
        Some(Self {
            command,
            config: matches.get_one("config").cloned(),
            sources: sources(command, matches),
        })
    }

    /// Attributes an error to the variable that caused it.
    fn blame(&self, error: clap::Error) -> CommandLineError {
        let variables = self.command.get_arguments().filter(|arg| {
            self.sources.get(arg.get_id().as_str()) == Some(&ValueSource::EnvVariable)
        });
        for arg in variables {
            if mentions(&error, arg) {
                return CommandLineError::Environment {
                    variable: variable_of(arg),
                    message: in_one_line(&error),
                };
            }
        }
        CommandLineError::typed(error)
    }
}

fn sources<'a>(command: &'a Command, matches: &ArgMatches) -> HashMap<&'a str, ValueSource> {
    let ids = command.get_arguments().map(|arg| arg.get_id().as_str());
    ids.chain(["verbose"])
        .filter_map(|id| Some((id, matches.value_source(id)?)))
        .filter(|(_, source)| *source != ValueSource::DefaultValue)
        .collect()
}

/// Inserts the arguments of a file into the typed ones: options before `--`, after which all arguments
/// are positional.
fn insert(typed: Vec<OsString>, settings: &[&Setting]) -> Vec<OsString> {
    let end = typed
        .iter()
        .position(|argument| argument == OsStr::new("--"))
        .unwrap_or(typed.len());
    let (before, after) = typed.split_at(end);
    let of = |positional: bool| {
        settings
            .iter()
            .filter(move |setting| setting.positional == positional)
            .flat_map(|setting| setting.arguments.iter().map(OsString::from))
    };
    let mut all: Vec<OsString> = before.iter().cloned().chain(of(false)).collect();
    all.extend(after.iter().cloned());
    if after.is_empty() && of(true).next().is_some() {
        all.push(OsString::from("--"));
    }
    all.extend(of(true));
    all
}

/// The setting that caused an error.
fn blamed<'a>(
    error: &clap::Error,
    command: &Command,
    settings: &[&'a Setting],
) -> Option<&'a Setting> {
    settings.iter().copied().find(|setting| {
        command
            .get_arguments()
            .filter(|arg| arg.get_id().as_str() == setting.id)
            .any(|arg| mentions(error, arg))
    })
}

/// Whether an error concerns an argument. clap names it as in `--listen <IP:PORT>` or `<DIR>`.
fn mentions(error: &clap::Error, arg: &Arg) -> bool {
    let name = match (arg.get_long(), arg.get_value_names()) {
        (Some(long), _) => format!("--{long}"),
        (None, Some([name, ..])) => format!("<{name}>"),
        (None, _) => return false,
    };
    let is_it = |text: &String| text.split([' ', '=']).next() == Some(name.as_str());
    [ContextKind::InvalidArg, ContextKind::PriorArg]
        .into_iter()
        .filter_map(|kind| error.get(kind))
        .any(|value| match value {
            ContextValue::String(text) => is_it(text),
            ContextValue::Strings(texts) => texts.iter().any(is_it),
            _ => false,
        })
}

/// clap's message without its usage and hints.
fn in_one_line(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let lines = text.lines().take_while(|line| !line.trim().is_empty());
    let line = lines.map(str::trim).collect::<Vec<_>>().join(" ");
    redact(line.strip_prefix("error: ").unwrap_or(&line)).into_owned()
}

impl CommandLineError {
    fn typed(error: clap::Error) -> Self {
        Self::Typed(Box::new(error))
    }
}
