//! Exit statuses.

use std::process::ExitCode;

/// The exit statuses of `mtls-client`; those below 110 are curl's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[repr(u8)]
pub enum Exit {
    /// Verified; or unverified, and the policy allows that.
    Success = 0,
    /// A redirect to another scheme than https.
    UnsupportedProtocol = 1,
    /// The command line is wrong.
    Usage = 2,
    /// The host could not be resolved.
    Resolve = 6,
    /// The connection failed.
    Connect = 7,
    /// The HTTP/2 connection failed, or the server ended it with an error.
    Http2 = 16,
    /// The response is incomplete.
    Partial = 18,
    /// The HTTP status was 400 or above, and `--fail` was given.
    HttpStatus = 22,
    /// The output could not be written.
    Write = 23,
    /// The request body could not be read.
    Read = 26,
    /// A time limit was exceeded.
    TimedOut = 28,
    /// TLS failed.
    Tls = 35,
    /// There were too many redirects.
    TooManyRedirects = 47,
    /// The server closed the connection without a response.
    EmptyReply = 52,
    /// The server did not accept the whole request.
    Send = 55,
    /// The response is invalid, or could not be received.
    Receive = 56,
    /// The client certificate or its key cannot be used.
    ClientCertificate = 58,
    /// The certificate is not trusted.
    NotTrusted = 60,
    /// The response has a content coding that is unknown or cannot be decoded.
    ContentCoding = 61,
    /// The request had to be sent again, but its body came from a pipe.
    Rewind = 65,
    /// The file with the trusted CAs cannot be used.
    CaFile = 77,
    /// The server reset the HTTP/2 stream.
    Http2Stream = 92,
    /// The HTTP/3 connection or request failed, or the server ended it with an error.
    Http3 = 95,
    /// No QUIC connection was established.
    QuicConnect = 96,
    /// Interception detected, under every policy.
    Interception = 110,
    /// Not verified: the side endpoint could not be reached, fell silent, closed or refused; or
    /// the paths are not independent.
    Unverified = 111,
    /// Not verified: the server does not support the method.
    NoProtocol = 112,
    /// The connection violates the entry of a known host, or the known hosts cannot be used.
    KnownHost = 113,
    /// Not verified, with a suspicion: the paths may lead to different servers. Under every policy.
    Suspicion = 115,
    /// `evidence`: a file has changed since it was saved, or a signature is not valid.
    Evidence = 116,
}

/// The exit statuses, the worst first: `mtls-client check` of several targets exits with the worst.
const WORST_FIRST: [Exit; 30] = [
    Exit::Interception,
    Exit::Suspicion,
    Exit::Evidence,
    Exit::KnownHost,
    Exit::Usage,
    Exit::CaFile,
    Exit::ClientCertificate,
    Exit::NotTrusted,
    Exit::Tls,
    Exit::Connect,
    Exit::QuicConnect,
    Exit::Resolve,
    Exit::TimedOut,
    Exit::Unverified,
    Exit::NoProtocol,
    Exit::UnsupportedProtocol,
    Exit::TooManyRedirects,
    Exit::Rewind,
    Exit::Send,
    Exit::EmptyReply,
    Exit::Receive,
    Exit::Http2,
    Exit::Http3,
    Exit::Http2Stream,
    Exit::Partial,
    Exit::ContentCoding,
    Exit::HttpStatus,
    Exit::Read,
    Exit::Write,
    Exit::Success,
];

impl Exit {
    /// The number.
    #[must_use]
    pub fn code(self) -> u8 {
        self as u8
    }

    /// The worse of two.
    #[must_use]
    pub fn or_worse(self, other: Self) -> Self {
        WORST_FIRST
            .into_iter()
            .find(|&exit| exit == self || exit == other)
            .unwrap_or(self)
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interception_is_worse_than_everything() {
        for other in WORST_FIRST {
            assert_eq!(Exit::Interception.or_worse(other), Exit::Interception);
            assert_eq!(other.or_worse(Exit::Interception), Exit::Interception);
        }
    }

    #[test]
    fn failures_of_the_primary_path_are_worse_than_a_missing_verification() {
        for primary in [
            Exit::Resolve,
            Exit::Connect,
            Exit::TimedOut,
            Exit::Tls,
            Exit::NotTrusted,
        ] {
            for side in [Exit::Unverified, Exit::NoProtocol, Exit::Success] {
                assert_eq!(side.or_worse(primary), primary);
            }
        }
        assert_eq!(
            Exit::NoProtocol.or_worse(Exit::Unverified),
            Exit::Unverified
        );
    }

    #[test]
    fn every_status_occurs_once_in_the_order() {
        for (place, exit) in WORST_FIRST.into_iter().enumerate() {
            let same = |&other: &Exit| other == exit;
            assert_eq!(WORST_FIRST.iter().position(same), Some(place));
        }
    }
}
