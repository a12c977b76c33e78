//! `mtls-server config`.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::{CommandFactory, Subcommand};

use super::addresses;
use super::error::{CommandLineError, ConfigError, Problem};
use super::file::ConfigFile;
use crate::cli::Cli;

/// The commands for a configuration file.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Report errors in a configuration file, without serving
    ///
    /// Reads each table like the command's options, but without the environment, so each table must
    /// be complete. Reads the certificates, keys and directories that it names, and binds its
    /// addresses for a moment. Connects to each server of a shared registry. An address that another
    /// program uses, or that needs a privilege, is reported as not checked. The exit status is 2
    /// if there is an error.
    Check {
        /// Configuration file
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
}

impl ConfigCommand {
    pub(in crate::cli) async fn run(self) -> Result<(), CommandLineError> {
        let Self::Check { file } = self;
        let checked = check(&file).await.map_err(CommandLineError::File)?;
        let mut lines: Vec<_> = checked.unchecked.iter().map(ToString::to_string).collect();
        let tables = checked.tables.join(", ");
        lines.push(format!("{}: nothing wrong: {tables}", file.display()));
        // The exit status is the result too.
        let _ = writeln!(io::stdout(), "{}", lines.join("\n"));
        Ok(())
    }
}

/// The result for a file without errors.
struct Checked {
    tables: Vec<String>,
    /// The addresses that could not be bound now.
    unchecked: Vec<ConfigError>,
}

/// Checks all tables of a file.
async fn check(path: &Path) -> Result<Checked, Vec<ConfigError>> {
    let file = ConfigFile::read(path, &Cli::command())?;
    if file.tables.is_empty() {
        return Err(vec![ConfigError::new(path, None, Problem::Empty)]);
    }
    let (mut wrong, mut unchecked) = (Vec::new(), Vec::new());
    for table in &file.tables {
        match Cli::from_table(&file, table) {
            Ok(cli) => {
                let at = |problem| ConfigError::new(path, Some(table.line), problem);
                let addresses = addresses::check(&cli.command.addresses());
                let registry = cli.command.check_registry().await;
                let errors = cli.command.check().into_iter().chain(addresses.wrong);
                let errors = errors.chain(registry);
                wrong.extend(errors.map(Problem::Unusable).map(at));
                unchecked.extend(
                    addresses
                        .unchecked
                        .into_iter()
                        .map(Problem::Unchecked)
                        .map(at),
                );
            }
            Err(error) => wrong.push(error),
        }
    }
    match wrong.is_empty() {
        true => Ok(Checked {
            tables: file.tables.into_iter().map(|table| table.command).collect(),
            unchecked,
        }),
        false => Err(wrong),
    }
}
