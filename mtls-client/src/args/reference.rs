//! What was typed after `completions` and `man`.

use std::path::PathBuf;

use clap::Args;
use clap_complete::Shell;

pub(super) const COMPLETIONS_EXAMPLES: &str = "\
Examples:
  mtls-client completions bash > ~/.local/share/bash-completion/completions/mtls-client
      for bash; begin a new shell afterwards
  mtls-client completions zsh > \"${fpath[1]}/_mtls-client\"
      for zsh
  mtls-client completions fish > ~/.config/fish/completions/mtls-client.fish
      for fish";

pub(super) const MAN_EXAMPLES: &str = "\
Examples:
  mtls-client man ~/.local/share/man/man1
      install the pages for yourself; then `man mtls-client-get`
  mtls-client man pages && man -l pages/mtls-client.1
      write them somewhere, and read one";

#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// The shell that completes
    pub(crate) shell: Shell,
}

#[derive(Debug, Args)]
pub(crate) struct Man {
    /// Where the pages go, one for each command; created if it is not there
    #[arg(value_name = "DIR")]
    pub(crate) dir: PathBuf,
}
