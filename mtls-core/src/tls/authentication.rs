//! The authentication of the two ends of a connection.

use rustls::{AlertDescription, PeerIncompatible};

use crate::error::{Error, NotSmkex};
use crate::verdict::RAW_PUBLIC_KEY;

/// The authentication of a connection's server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Authentication {
    /// By the server's certificate.
    Certificate,
    /// By the side protocol alone ([`smkex`](crate::smkex)): the server shows a raw public key.
    SideProtocol,
}

impl Authentication {
    /// The server's kind of key, for reports.
    pub(crate) fn server_key(self) -> &'static str {
        match self {
            Self::Certificate => "certificate",
            Self::SideProtocol => RAW_PUBLIC_KEY,
        }
    }

    /// Names a server that does not speak SMKEX, where the handshake failed for that.
    pub(crate) fn client_error(self, error: Error) -> Error {
        match (self, error) {
            (
                Self::SideProtocol,
                Error::Tls(
                    error @ (rustls::Error::PeerIncompatible(
                        PeerIncompatible::IncorrectCertificateTypeExtension,
                    )
                    | rustls::Error::AlertReceived(
                        AlertDescription::HandshakeFailure
                        | AlertDescription::UnsupportedCertificate
                        | AlertDescription::UnsupportedExtension,
                    )),
                ),
            ) => Error::NotSmkex(NotSmkex::Server(error)),
            (_, other) => other,
        }
    }

    /// Names a client that does not speak SMKEX, where the handshake failed for that.
    pub(crate) fn server_error(self, error: Error) -> Error {
        match (self, error) {
            (
                Self::SideProtocol,
                Error::Tls(
                    error @ rustls::Error::PeerIncompatible(
                        PeerIncompatible::IncorrectCertificateTypeExtension,
                    ),
                ),
            ) => Error::NotSmkex(NotSmkex::Client(error)),
            (_, other) => other,
        }
    }
}
