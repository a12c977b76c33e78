//! The command `completions`.

use clap::CommandFactory;
use clap_complete::{Shell, generate};

use crate::args::Cli;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::messages;

/// Writes what a shell completes by to standard output.
pub(crate) fn completions(shell: Shell) -> Exit {
    let mut command = Cli::command();
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    generate(shell, &mut command, name, &mut script);
    // For bash, clap_complete 4.6 gives the cases of a program with a dash in its name other names
    // than it looks for.
    let script = String::from_utf8_lossy(&script).replace("mtls__subcmd__client", "mtls__client");
    match messages::print(&script) {
        Ok(()) => Exit::Success,
        Err(error) => {
            let message = format!("could not write to standard output: {error}.");
            messages::error(&Failure::new(Exit::Write, "write-error", message));
            Exit::Write
        }
    }
}
