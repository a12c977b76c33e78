//! Configuration files: arbitrary text.

use std::path::Path;
use std::sync::OnceLock;

use clap::{Command, CommandFactory};

use super::file::ConfigFile;
use crate::cli::Cli;

/// A file is refused with a message for each error, or each of its tables is parsed.
pub(crate) fn fuzz(data: &[u8]) {
    static ROOT: OnceLock<Command> = OnceLock::new();
    let text = String::from_utf8_lossy(data);
    let root = ROOT.get_or_init(Cli::command);
    match ConfigFile::parse(Path::new("mtls-server.toml"), &text, root) {
        Ok(file) => {
            for table in &file.tables {
                if let Err(error) = Cli::from_table(&file, table) {
                    assert!(!error.to_string().is_empty());
                }
            }
        }
        Err(errors) => {
            assert!(!errors.is_empty());
            assert!(errors.iter().all(|error| !error.to_string().is_empty()));
        }
    }
}
