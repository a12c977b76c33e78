//! Child processes that do not outlive this one.

use std::ffi::OsStr;
use std::process::Command;

/// A command whose process the kernel kills when the thread that starts it ends, even by SIGKILL.
///
/// Needs `setpriv` of util-linux: the system call between fork and exec would be unsafe code here.
pub fn tied(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    command
}

/// Whether `PATH` has a program of this name.
pub fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}
