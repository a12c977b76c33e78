//! Examples in the help of `completions` and `man`.

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
