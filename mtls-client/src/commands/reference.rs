//! The commands `completions` and `man`.

use std::fmt::Display;
use std::io;
use std::path::Path;

use clap::CommandFactory;
use mtls_manual::{Shell, write_pages};

use crate::cli::Cli;
use crate::connect::failure::Failure;
use crate::exit::Exit;
use crate::output::messages;

pub(crate) const COMPLETIONS_EXAMPLES: &str = "\
Examples:
  mtls-client completions bash > ~/.local/share/bash-completion/completions/mtls-client
      install for bash; then start a new shell
  mtls-client completions zsh > \"${fpath[1]}/_mtls-client\"
      install for zsh
  mtls-client completions fish > ~/.config/fish/completions/mtls-client.fish
      install for fish";

pub(crate) const MAN_EXAMPLES: &str = "\
Examples:
  mtls-client man ~/.local/share/man/man1
      install the pages for the current user; then `man mtls-client-get`
  mtls-client man pages && man -l pages/mtls-client.1
      write the pages to a directory, and read one";

/// Writes a shell's completion script to standard output.
pub(crate) fn completions(shell: Shell) -> Exit {
    let script = mtls_manual::completions(shell, Cli::command());
    exit(messages::print(&script).map_err(to_stdout))
}

/// Writes the manual pages, and their paths to standard output.
pub(crate) fn man(dir: &Path) -> Exit {
    let written = write_pages(dir, Cli::command())
        .map_err(|failed| not_written(failed.path.display(), &failed.error));
    exit(written.and_then(|paths| {
        let paths = paths.iter().map(|path| format!("{}\n", path.display()));
        messages::print(&paths.collect::<String>()).map_err(to_stdout)
    }))
}

fn exit(result: Result<(), Failure>) -> Exit {
    match result {
        Ok(()) => Exit::Success,
        Err(failure) => {
            messages::error(&failure);
            failure.exit
        }
    }
}

fn to_stdout(error: io::Error) -> Failure {
    not_written("standard output", &error)
}

fn not_written(what: impl Display, error: &io::Error) -> Failure {
    let message =
        format!("could not write `{what}`: {error}. Name a directory that you may write to.");
    Failure::new(Exit::Write, "write-error", message)
}
