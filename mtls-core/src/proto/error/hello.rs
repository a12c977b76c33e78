//! Errors of a hello tap.

use core::fmt;

use crate::proto::binding::Role;

/// Bytes of a primary path whose hellos cannot be bound (`docs/protocol.md`, section 4.3).
///
/// ```
/// use mtls_core::proto::binding::Role;
/// use mtls_core::proto::error::HelloError;
/// use mtls_core::proto::hello::HelloTap;
///
/// let error = HelloTap::new().server_bytes(b"SSH-2.0-OpenSSH").unwrap_err();
/// let kind = b'S';
/// assert_eq!(error, HelloError::UnknownRecordType { from: Role::Server, kind });
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HelloError {
    /// A record type that TLS 1.3 does not have: most likely the peer does not speak TLS.
    UnknownRecordType {
        /// The sender.
        from: Role,
        /// The type.
        kind: u8,
    },
    /// A record version that does not begin with 3: most likely the peer does not speak TLS.
    RecordVersion {
        /// The sender.
        from: Role,
        /// The version.
        version: u16,
    },
    /// A record without content.
    EmptyRecord {
        /// The sender.
        from: Role,
    },
    /// A record longer than RFC 8446, section 5, allows for its type, or an alert or
    /// ChangeCipherSpec that has not its only length.
    RecordLength {
        /// The sender.
        from: Role,
        /// The record type.
        kind: u8,
        /// The announced length, in bytes.
        len: usize,
    },
    /// Another record type inside a handshake message that spans records.
    InterleavedRecord {
        /// The sender.
        from: Role,
        /// The record type.
        kind: u8,
    },
    /// A ChangeCipherSpec whose byte is not 1.
    ChangeCipherSpecValue {
        /// The sender.
        from: Role,
        /// The byte.
        value: u8,
    },
    /// A ChangeCipherSpec before the first ClientHello.
    EarlyChangeCipherSpec {
        /// The sender.
        from: Role,
    },
    /// Application data before the ServerHello, and not early data that the ClientHello offers.
    EarlyApplicationData {
        /// The sender.
        from: Role,
    },
    /// The peer ended the handshake with an alert before the ServerHello.
    Alert {
        /// The sender.
        from: Role,
        /// Its description (RFC 8446, section 6).
        description: u8,
    },
    /// More bytes before the ServerHello than the tap's limit for one direction.
    LimitExceeded {
        /// The sender.
        from: Role,
        /// The limit, in bytes.
        limit: usize,
    },
    /// A handshake message where the other end has to speak.
    OutOfTurn {
        /// The sender.
        from: Role,
        /// The handshake type.
        kind: u8,
    },
    /// The client's handshake message is not a ClientHello.
    NotAClientHello {
        /// The handshake type.
        kind: u8,
    },
    /// The server's handshake message is not a ServerHello.
    NotAServerHello {
        /// The handshake type.
        kind: u8,
    },
    /// A record that continues after a hello.
    BytesAfterHello {
        /// The sender.
        from: Role,
    },
    /// A hello, or a vector in it, that ends before this field does.
    MissingField {
        /// `ClientHello` or `ServerHello`.
        message: &'static str,
        /// The field's name in RFC 8446.
        field: &'static str,
    },
    /// A field of a length that RFC 8446 does not allow.
    FieldLength {
        /// `ClientHello` or `ServerHello`.
        message: &'static str,
        /// The field's name in RFC 8446.
        field: &'static str,
        /// Its length, in bytes.
        len: usize,
    },
    /// A hello, or a vector in it, with bytes after its last field.
    TrailingBytes {
        /// `ClientHello` or `ServerHello`.
        message: &'static str,
        /// The last field before them.
        field: &'static str,
        /// Their number.
        trailing: usize,
    },
    /// An extension that is there twice.
    DuplicateExtension {
        /// `ClientHello` or `ServerHello`.
        message: &'static str,
        /// The extension's type.
        extension: u16,
    },
    /// The server chose another version than TLS 1.3: those hellos do not carry the key exchange.
    /// The tap's association stays readable.
    NotTls13 {
        /// The version that the server selected.
        selected: u16,
    },
    /// A ServerHello without `key_share`: nothing binds the connection's keys to the hellos.
    NoKeyShare,
    /// A second ClientHello with another `random` than the first.
    OtherRandom,
    /// A second ClientHello that offers early data.
    EarlyDataAfterRetry,
    /// A second HelloRetryRequest.
    SecondRetryRequest,
}

impl fmt::Display for HelloError {
    #[expect(
        clippy::too_many_lines,
        reason = "a flat match: one sentence a variant"
    )]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::UnknownRecordType { from, kind } => {
                write!(
                    f,
                    "expected a TLS record from the {from}, got type {kind}; check that it speaks TLS"
                )
            }
            Self::RecordVersion { from, version } => write!(
                f,
                "expected a TLS record from the {from}, got version {version:#06x}; check that it speaks TLS"
            ),
            Self::EmptyRecord { from } => write!(f, "the {from} sent an empty TLS record"),
            Self::RecordLength { from, kind, len } => write!(
                f,
                "the {from} sent a TLS record of type {kind} with {len} bytes, which is not allowed"
            ),
            Self::InterleavedRecord { from, kind } => {
                write!(
                    f,
                    "the {from} sent a TLS record of type {kind} inside a handshake message"
                )
            }
            Self::ChangeCipherSpecValue { from, value } => {
                write!(
                    f,
                    "expected 1 in the ChangeCipherSpec of the {from}, got {value}"
                )
            }
            Self::EarlyChangeCipherSpec { from } => {
                write!(
                    f,
                    "the {from} sent a ChangeCipherSpec before the ClientHello"
                )
            }
            Self::EarlyApplicationData { from } => {
                write!(f, "the {from} sent application data before the ServerHello")
            }
            Self::Alert { from, description } => {
                write!(
                    f,
                    "the {from} ended the TLS handshake with alert {description}"
                )
            }
            Self::LimitExceeded { from, limit } => write!(
                f,
                "the {from} sent more than {limit} bytes before the ServerHello; \
                 raise the tap's limit if the {from} is honest"
            ),
            Self::OutOfTurn { from, kind } => {
                write!(
                    f,
                    "the {from} sent a handshake message of type {kind} out of turn"
                )
            }
            Self::NotAClientHello { kind } => write!(
                f,
                "expected a ClientHello from the client, got a handshake message of type {kind}"
            ),
            Self::NotAServerHello { kind } => write!(
                f,
                "expected a ServerHello from the server, got a handshake message of type {kind}"
            ),
            Self::BytesAfterHello { from } => {
                write!(
                    f,
                    "the {from} sent bytes after its hello in the same TLS record"
                )
            }
            Self::MissingField { message, field } => {
                write!(f, "a {message} ends before its field `{field}`")
            }
            Self::FieldLength {
                message,
                field,
                len,
            } => write!(
                f,
                "a {message} has a field `{field}` of {len} bytes, which is not allowed"
            ),
            Self::TrailingBytes {
                message,
                field,
                trailing,
            } => write!(
                f,
                "a {message} has {trailing} bytes after its last field `{field}`"
            ),
            Self::DuplicateExtension { message, extension } => {
                write!(f, "a {message} has extension {extension} twice")
            }
            Self::NotTls13 { selected } => write!(
                f,
                "expected the server to select TLS 1.3, got version {selected:#06x}; \
                 enable TLS 1.3 at both ends"
            ),
            Self::NoKeyShare => f.write_str(
                "the ServerHello has no `key_share`; \
                 disable key exchange by pre-shared key alone at both ends",
            ),
            Self::OtherRandom => {
                f.write_str("the second ClientHello has another `random` than the first")
            }
            Self::EarlyDataAfterRetry => {
                f.write_str("the second ClientHello offers early data, which only the first may")
            }
            Self::SecondRetryRequest => {
                f.write_str("the server sent a second HelloRetryRequest, at most one is allowed")
            }
        }
    }
}

impl core::error::Error for HelloError {}
