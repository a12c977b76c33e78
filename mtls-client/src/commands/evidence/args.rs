//! Options of `evidence`.

use std::path::PathBuf;

use clap::Subcommand;

pub(crate) const EXAMPLES: &str = "\
Examples:
  mtls-client evidence list evidence
      list the cases that --evidence-dir evidence has collected
  mtls-client evidence show evidence/interception-1796000461-3f1c….json
      explain a case in plain words
  mtls-client evidence verify evidence/*.json
      check without a network that no byte has changed, and that the servers' keys made the signatures
  mtls-client evidence export evidence/interception-1796000461-3f1c….json case
      write a case for a reader without this program, who checks the signatures with OpenSSL";

/// The command `evidence`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) action: Action,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Action {
    /// List the cases in a directory, the oldest first
    List {
        /// Directory that --evidence-dir named
        dir: PathBuf,

        /// Write one line of JSON for each case
        #[arg(long)]
        json: bool,
    },
    /// Explain a case in plain words
    Show {
        /// JSON file of the case
        file: PathBuf,
    },
    /// Check cases without a network: digest, certificates and signatures
    ///
    /// Fails with 116 if any byte of a file or of the PEM files beside it has changed, or a
    /// signature is not valid, and with 60 if the only problem is that the certificates do not lead
    /// to a trusted CA.
    Verify {
        /// JSON files of the cases
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,

        #[command(flatten)]
        trust: TrustArgs,
    },
    /// Write a case for a reader without this program, with what OpenSSL needs to check it
    Export {
        /// JSON file of the case
        file: PathBuf,

        /// Directory to create
        dir: PathBuf,
    },
}

/// Trusted CAs.
#[derive(Debug, clap::Args)]
pub(crate) struct TrustArgs {
    /// Trust the CAs in this PEM file instead of Mozilla's list
    #[arg(long, value_name = "FILE")]
    pub(crate) cacert: Option<PathBuf>,

    /// Trust the system's CAs instead of Mozilla's list
    #[arg(long, conflicts_with = "cacert")]
    pub(crate) system_roots: bool,
}
