//! Examples in the help of `completions` and `man`.

pub(super) const COMPLETIONS_EXAMPLES: &str = "\
Examples:
  mtls-client completions bash > ~/.local/share/bash-completion/completions/mtls-client
      install for bash; then start a new shell
  mtls-client completions zsh > \"${fpath[1]}/_mtls-client\"
      install for zsh
  mtls-client completions fish > ~/.config/fish/completions/mtls-client.fish
      install for fish";

pub(super) const MAN_EXAMPLES: &str = "\
Examples:
  mtls-client man ~/.local/share/man/man1
      install the pages for the current user; then `man mtls-client-get`
  mtls-client man pages && man -l pages/mtls-client.1
      write the pages to a directory, and read one";
