//! `mtls-server completions` and `mtls-server man`.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::CommandFactory;
use mtls_manual::{CompletionsArgs, ManArgs, write_pages};

use super::Cli;
use crate::error::Error;

pub(super) const COMPLETIONS_EXAMPLES: &str = "\
Examples:
  mtls-server completions bash > ~/.local/share/bash-completion/completions/mtls-server
      for bash; start a new shell afterwards
  mtls-server completions zsh > \"${fpath[1]}/_mtls-server\"
      for zsh
  mtls-server completions fish > ~/.config/fish/completions/mtls-server.fish
      for fish";

pub(super) const MAN_EXAMPLES: &str = "\
Examples:
  mtls-server man ~/.local/share/man/man1
      install the pages for yourself; then `man mtls-server-serve`
  mtls-server man pages && man -l pages/mtls-server.1
      write them somewhere, and read one";

/// Writes a shell's completion script to standard output.
pub(super) fn completions(args: &CompletionsArgs) -> Result<(), Error> {
    print(&mtls_manual::completions(args.shell, Cli::command()))
}

/// Writes the manual pages, and their paths to standard output.
pub(super) fn man(args: &ManArgs) -> Result<(), Error> {
    let pages = write_pages(&args.dir, Cli::command()).map_err(|failed| Error::Write {
        path: failed.path,
        source: failed.error,
    })?;
    let path = |page: &PathBuf| format!("{}\n", page.display());
    print(&pages.iter().map(path).collect::<String>())
}

fn print(text: &str) -> Result<(), Error> {
    let mut stdout = io::stdout().lock();
    let written = stdout.write_all(text.as_bytes());
    match written.and_then(|()| stdout.flush()) {
        // A reader that closes early (`| head`) is no error.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Error::Write {
            path: Path::new("standard output").to_owned(),
            source: error,
        }),
        _ => Ok(()),
    }
}
