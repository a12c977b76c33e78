//! `mtls-server config`.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::{CommandFactory, Subcommand};

use super::error::{ConfigError, Problem};
use super::file::{ConfigFile, Table};
use crate::cli::Cli;
use crate::error::Error;

/// What can be done with a configuration file.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Say what is wrong with a configuration file, without serving
    ///
    /// Each table is read as the command's options would be, without the environment, so each has
    /// to be complete; and the certificates, keys and directories that it names are looked at. The
    /// exit status is 2 when anything is wrong.
    Check {
        /// The file
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
}

impl ConfigCommand {
    pub(in crate::cli) fn run(self) -> Result<(), Error> {
        let Self::Check { file } = self;
        let tables = check(&file).map_err(Error::Config)?;
        let fine = format!("{}: nothing wrong: {}", file.display(), tables.join(", "));
        // The exit status tells it too.
        let _ = writeln!(io::stdout(), "{fine}");
        Ok(())
    }
}

/// The tables of a file that has nothing wrong.
fn check(path: &Path) -> Result<Vec<String>, Vec<ConfigError>> {
    let file = ConfigFile::read(path, &Cli::command())?;
    if file.tables.is_empty() {
        return Err(vec![ConfigError::new(path, None, Problem::Empty)]);
    }
    let errors: Vec<ConfigError> = file
        .tables
        .iter()
        .flat_map(|table| check_table(&file, table))
        .collect();
    match errors.is_empty() {
        true => Ok(file.tables.into_iter().map(|table| table.command).collect()),
        false => Err(errors),
    }
}

fn check_table(file: &ConfigFile, table: &Table) -> Vec<ConfigError> {
    match Cli::from_table(file, table) {
        Ok(cli) => cli
            .command
            .check()
            .into_iter()
            .map(|error| ConfigError::new(&file.path, Some(table.line), Problem::Unusable(error)))
            .collect(),
        Err(error) => vec![error],
    }
}
