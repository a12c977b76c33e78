//! Options of `hosts`.

use clap::Subcommand;
use mtls_core::path::Endpoint;

use crate::args::input_file::InputFile;
use crate::args::known_hosts::KnownHostsFileArgs;
use crate::args::target;

pub(crate) const EXAMPLES: &str = "\
Examples:
  mtls-client get --remember https://example.org/
      remember that this server was verified, so that it must be from then on
  mtls-client hosts list
      list the known hosts
  mtls-client hosts forget example.org
      remove the entry of example.org:443
  mtls-client hosts export > hosts.json; mtls-client hosts import hosts.json
      copy the known hosts to another machine

A host that `greets` must be verified by the side protocol, whatever the policy, until its entry
expires. One that `resumes` must be verified if --method is auto or resumption. `neither` lasts for
minutes, and spares connections under the policy `prefer` an attempt that would fail.";

/// The command `hosts`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: HostsCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum HostsCommand {
    /// List the known hosts
    List {
        /// Write one line of JSON for each host
        #[arg(long)]
        json: bool,

        #[command(flatten)]
        file: KnownHostsFileArgs,
    },
    /// Show the entries of hosts, with their keys
    Show {
        /// HOST, HOST:PORT (default 443) or https URL
        #[arg(required = true, value_name = "HOST", value_parser = target::parse)]
        hosts: Vec<Endpoint>,

        #[command(flatten)]
        file: KnownHostsFileArgs,
    },
    /// Remove the entries of hosts
    Forget {
        /// HOST, HOST:PORT (default 443) or https URL
        #[arg(required = true, value_name = "HOST", value_parser = target::parse)]
        hosts: Vec<Endpoint>,

        #[command(flatten)]
        file: KnownHostsFileArgs,
    },
    /// Write the hosts that greet or resume to standard output, for `import`
    Export {
        #[command(flatten)]
        file: KnownHostsFileArgs,
    },
    /// Add the entries of an exported file
    ///
    /// Import only what you trust: an entry determines where a host's side verifier is, and which
    /// keys are known. A stronger or longer entry of the same host stays.
    Import {
        /// File to read (`-` for standard input)
        #[arg(value_name = "FILE", value_parser = InputFile::parser())]
        from: InputFile,

        #[command(flatten)]
        file: KnownHostsFileArgs,
    },
}
