//! The options of HTTP/3.

/// The use of HTTP/3.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
#[command(next_help_heading = "Request options")]
pub(crate) struct Http3Args {
    /// Try HTTP/3 over QUIC first, and TCP too if that takes 200 ms or fails
    ///
    /// Each connection is verified. The side path is TCP. --primary must not be a proxy. A port for
    /// HTTP/3 in the Alt-Svc field of a verified response is used for later requests of this run.
    #[arg(long, conflicts_with = "http3_only")]
    pub(crate) http3: bool,

    /// Use HTTP/3 over QUIC and nothing else
    #[arg(long)]
    pub(crate) http3_only: bool,
}
