//! The commands `completions` and `man`.

use std::fmt::Display;
use std::io;
use std::path::Path;

use clap::Command;
use mtls_manual::{Shell, write_pages};

use crate::exit::Exit;
use crate::failure::Failure;
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
pub(crate) fn completions(shell: Shell, program: Command) -> Result<Exit, Failure> {
    print(&mtls_manual::completions(shell, program))
}

/// Writes the manual pages to a directory, and their paths to standard output.
pub(crate) fn man(dir: &Path, program: Command) -> Result<Exit, Failure> {
    let paths = write_pages(dir, program)
        .map_err(|failed| not_written(failed.path.display(), &failed.error))?;
    let paths = paths.iter().map(|path| format!("{}\n", path.display()));
    print(&paths.collect::<String>())
}

fn print(text: &str) -> Result<Exit, Failure> {
    match messages::print(text) {
        Ok(()) => Ok(Exit::Success),
        Err(error) => Err(not_written("standard output", &error)),
    }
}

fn not_written(place: impl Display, error: &io::Error) -> Failure {
    let message = format!("could not write `{place}`: {error}; choose another directory");
    Failure::new(Exit::Write, "write-error", message)
}
