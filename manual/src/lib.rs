//! Manual pages and shell completions of the programs of multipath TLS (not mutual TLS), from their
//! [`clap`] commands.

mod page;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::{Args, Command};

pub use clap_complete::Shell;

/// Arguments of a command `completions`.
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// Shell to generate completions for
    pub shell: Shell,
}

/// Arguments of a command `man`.
#[derive(Debug, Args)]
pub struct ManArgs {
    /// Directory for the pages, one for each command; created if it does not exist
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
}

/// A file or directory that could not be written.
#[derive(Debug)]
pub struct NotWritten {
    /// Its place.
    pub path: PathBuf,
    /// The reason that the system gives.
    pub error: io::Error,
}

/// The script by which a shell completes a program's commands and options.
#[must_use]
pub fn completions(shell: Shell, mut program: Command) -> String {
    let name = program.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut program, &name, &mut script);
    // For bash, clap_complete 4.6 gives the cases of a program with a dash in its name other names
    // than it looks for.
    let (wrong, right) = (name.replace('-', "__subcmd__"), name.replace('-', "__"));
    String::from_utf8_lossy(&script).replace(&wrong, &right)
}

/// Writes the manual pages of a program and its commands into a directory, which is created if it
/// does not exist. Returns the paths of the pages, `mtls-client.1` first.
///
/// # Errors
/// The first path that cannot be written.
pub fn write_pages(dir: &Path, program: Command) -> Result<Vec<PathBuf>, NotWritten> {
    fs::create_dir_all(dir).map_err(|error| NotWritten::new(dir, error))?;
    let mut program = program.disable_help_subcommand(true);
    program.build();
    let version = program.get_version().unwrap_or_default();
    let source = format!("{} {version}", program.get_name());
    let commands = with_subcommands(&program);
    let names: Vec<_> = commands.iter().map(|it| page::page_name(it)).collect();
    let mut paths = Vec::with_capacity(commands.len());
    for (command, name) in commands.iter().zip(&names) {
        let path = dir.join(format!("{name}.1"));
        page::render(command, &names, &source)
            .and_then(|page| fs::write(&path, page))
            .map_err(|error| NotWritten::new(&path, error))?;
        paths.push(path);
    }
    Ok(paths)
}

fn with_subcommands(command: &Command) -> Vec<&Command> {
    let visible = command.get_subcommands().filter(|sub| !sub.is_hide_set());
    let below = visible.flat_map(with_subcommands);
    std::iter::once(command).chain(below).collect()
}

impl NotWritten {
    fn new(path: &Path, error: io::Error) -> Self {
        let path = path.to_owned();
        Self { path, error }
    }
}
