//! The hello tap: what an end or a relay without keys sees of a TLS 1.3 handshake
//! (`docs/protocol.md`, section 4.3).

mod messages;
mod records;

use core::fmt;

use sha2::{Digest, Sha256};

use self::messages::{ClientHello, ServerHello};
use self::records::{Event, Records};
use super::binding::{Association, HelloHash, Role, SideSecret};
use super::error::HelloError;
use super::limits::{MAX_HELLO_BYTES, MAX_WARNING_ALERTS};

const CLIENT_HELLO: u8 = 1;
const SERVER_HELLO: u8 = 2;

/// RFC 8446, section 6.
const WARNING: u8 = 1;
const CLOSE_NOTIFY: u8 = 0;

/// `msg_type u8 | length u24` (RFC 8446, section 4), in bytes.
const HANDSHAKE_HEADER_LEN: usize = 4;

/// Reads the plaintext hellos of one TLS connection while its bytes pass, from the first
/// ClientHello to the ServerHello.
///
/// Feed it with [`client_bytes`](Self::client_bytes) and [`server_bytes`](Self::server_bytes),
/// cut as they come, *before* they are handed on: an answer must not be seen before what it
/// answers. Then ask [`association`](Self::association) and [`hello`](Self::hello). After the
/// ServerHello all bytes pass unread, and nothing of them is stored. The hellos are kept until the
/// tap is dropped.
///
/// The first error is final: every later call that takes bytes returns it again.
///
/// ```
/// use mtls_core::proto::hello::HelloTap;
///
/// let mut tap = HelloTap::new();
/// // A relay taps what it read from the client, then writes it to the server.
/// assert!(tap.client_bytes(b"GET / HTTP/1.1\r\n").is_err());
/// assert_eq!(tap.hello(), None);
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct HelloTap {
    expect: Expect,
    client: Records,
    server: Records,
    /// The messages so far, each with its handshake header, as they stood.
    transcript: Vec<u8>,
    first: Option<ClientHello>,
    negotiated: Option<Negotiated>,
    warnings: Warnings,
    client_hello_end: usize,
    server_hello_end: usize,
}

/// The result of a tap when the ServerHello is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Hello {
    /// Names the handshake on side connections.
    pub association: Association,
    /// The hash that both ends compare.
    pub hello_hash: HelloHash,
}

impl Hello {
    /// The secret of the hello binding.
    pub fn side_secret(&self) -> SideSecret {
        SideSecret::from_hello(&self.hello_hash)
    }
}

/// The parameters that a ServerHello selects. They are not authenticated before the handshake is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Negotiated {
    /// The cipher suite, by its number in the registry of IANA.
    pub cipher_suite: u16,
    /// The key-exchange group, likewise.
    pub group: u16,
    /// Whether the handshake resumes an older session.
    pub resumed: bool,
    /// Whether a HelloRetryRequest preceded.
    pub retried: bool,
}

/// The warning alerts that were skipped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Warnings {
    count: u8,
    last: Option<u8>,
}

/// The message that the handshake needs next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Expect {
    ClientHello,
    ServerHello,
    /// After a HelloRetryRequest.
    SecondClientHello,
    /// After the second ClientHello.
    LastServerHello,
    /// The ServerHello was complete.
    Nothing,
    Refused(HelloError),
}

impl HelloTap {
    /// A tap that reads at most [`MAX_HELLO_BYTES`] of each direction.
    pub fn new() -> Self {
        Self::with_limit(MAX_HELLO_BYTES)
    }

    /// A tap that reads at most so many bytes of each direction, record headers and skipped early
    /// data included, before it gives up with [`HelloError::LimitExceeded`].
    pub fn with_limit(bytes_per_direction: usize) -> Self {
        Self {
            expect: Expect::ClientHello,
            client: Records::new(Role::Client, bytes_per_direction),
            server: Records::new(Role::Server, bytes_per_direction),
            transcript: Vec::new(),
            first: None,
            negotiated: None,
            warnings: Warnings::default(),
            client_hello_end: 0,
            server_hello_end: 0,
        }
    }

    /// Takes bytes that go from the client to the server.
    ///
    /// # Errors
    /// If the handshake cannot be bound by its hellos; then the connection must not count as
    /// verified. See [`HelloError`].
    pub fn client_bytes(&mut self, bytes: &[u8]) -> Result<(), HelloError> {
        self.take(Role::Client, bytes)
    }

    /// Takes bytes that go from the server to the client.
    ///
    /// # Errors
    /// As [`client_bytes`](Self::client_bytes).
    pub fn server_bytes(&mut self, bytes: &[u8]) -> Result<(), HelloError> {
        self.take(Role::Server, bytes)
    }

    /// Takes handshake messages of the client without records: the next bytes of its CRYPTO stream in
    /// QUIC (RFC 9001, section 4). Do not mix them with bytes of records.
    ///
    /// # Errors
    /// As [`client_bytes`](Self::client_bytes).
    pub fn client_crypto(&mut self, bytes: &[u8]) -> Result<(), HelloError> {
        self.client.begin_crypto(bytes.len());
        self.take(Role::Client, bytes)
    }

    /// Takes handshake messages of the server without records.
    ///
    /// # Errors
    /// As [`client_bytes`](Self::client_bytes).
    pub fn server_crypto(&mut self, bytes: &[u8]) -> Result<(), HelloError> {
        self.server.begin_crypto(bytes.len());
        self.take(Role::Server, bytes)
    }

    /// The handshake's name on side connections, as soon as the first ClientHello is complete;
    /// after an error too.
    pub fn association(&self) -> Option<Association> {
        let first = self.first.as_ref()?;
        Some(Association::from_client_random(&first.random))
    }

    /// Returns whether the first ClientHello offers early data. Relays refuse it: an attacker who
    /// issued the ticket could read it (`docs/protocol.md`, section 8).
    ///
    /// `false` while that ClientHello is incomplete.
    pub fn offers_early_data(&self) -> bool {
        self.first.as_ref().is_some_and(|first| first.early_data)
    }

    /// The server name in the first ClientHello, if it has one of visible ASCII characters. It is
    /// what the client wrote, for logs, and no proof of anything.
    pub fn server_name(&self) -> Option<&str> {
        self.first.as_ref()?.server_name.as_deref()
    }

    /// The end of the last complete hello of a direction, in bytes from that direction's start: a
    /// HelloRetryRequest counts as a hello of the server. 0 before the first.
    ///
    /// A relay passes that much of a direction while it holds the rest back.
    pub fn hello_end(&self, from: Role) -> usize {
        match from {
            Role::Client => self.client_hello_end,
            Role::Server => self.server_hello_end,
        }
    }

    /// The description of the last warning alert that the server sent before its ServerHello.
    pub fn warning(&self) -> Option<u8> {
        self.warnings.last
    }

    /// The number of bytes of a direction that the tap has read: all of them until the ServerHello or an
    /// error, and none after that. An error's own bytes are counted.
    pub fn bytes_read(&self, from: Role) -> usize {
        match from {
            Role::Client => self.client.taken(),
            Role::Server => self.server.taken(),
        }
    }

    /// The hellos, when the ServerHello (not a HelloRetryRequest) is complete.
    ///
    /// Each call hashes them.
    pub fn hello(&self) -> Option<Hello> {
        if !self.is_complete() {
            return None;
        }
        let digest = Sha256::digest(&self.transcript);
        Some(Hello {
            association: self.association()?,
            hello_hash: HelloHash(digest.into()),
        })
    }

    /// The parameters that the ServerHello (not a HelloRetryRequest) selects, when it is complete.
    pub fn negotiated(&self) -> Option<Negotiated> {
        self.negotiated
    }

    /// Is the ServerHello (not a HelloRetryRequest) complete?
    pub fn is_complete(&self) -> bool {
        self.expect == Expect::Nothing
    }

    fn take(&mut self, from: Role, bytes: &[u8]) -> Result<(), HelloError> {
        match &self.expect {
            Expect::Nothing => Ok(()),
            Expect::Refused(error) => Err(*error),
            _ => self.read(from, bytes).inspect_err(|&error| {
                self.stop(Expect::Refused(error));
                self.transcript = Vec::new();
            }),
        }
    }

    fn read(&mut self, from: Role, mut bytes: &[u8]) -> Result<(), HelloError> {
        loop {
            let records = match from {
                Role::Client => &mut self.client,
                Role::Server => &mut self.server,
            };
            let Some(event) = records.next(&mut bytes)? else {
                return Ok(());
            };
            self.handle(from, event)?;
            if self.is_complete() {
                return Ok(());
            }
        }
    }

    fn handle(&mut self, from: Role, event: Event) -> Result<(), HelloError> {
        match event {
            Event::MessageStart { kind } => self.check_turn(from, kind),
            Event::Message {
                message,
                record_ends,
            } => {
                self.handle_message(from, &message)?;
                // The other end's turn or other keys follow each hello, so its record ends with it
                // (RFC 8446, section 5.1).
                match record_ends {
                    true => Ok(()),
                    false => Err(HelloError::BytesAfterHello { from }),
                }
            }
            Event::Alert { level, description }
                if self.may_skip_alert(from, level, description) =>
            {
                self.warnings.count += 1;
                self.warnings.last = Some(description);
                Ok(())
            }
            Event::Alert { description, .. } => Err(HelloError::Alert { from, description }),
            Event::ChangeCipherSpec if self.first.is_none() => {
                Err(HelloError::EarlyChangeCipherSpec { from })
            }
            // Middlebox compatibility mode (RFC 8446, sections 5 and D.4).
            Event::ChangeCipherSpec => Ok(()),
            Event::ApplicationData if from == Role::Client && self.offers_early_data() => Ok(()),
            Event::ApplicationData => Err(HelloError::EarlyApplicationData { from }),
        }
    }

    /// Servers of TLS 1.2 may warn, as of a name that they do not know (RFC 6066, section 3), and
    /// go on. A skipped alert is in no transcript and changes no key. A HelloRetryRequest is TLS
    /// 1.3, in which only `close_notify` and `user_canceled` are no errors.
    fn may_skip_alert(&self, from: Role, level: u8, description: u8) -> bool {
        (from, self.expect) == (Role::Server, Expect::ServerHello)
            && level == WARNING
            && description != CLOSE_NOTIFY
            && self.warnings.count < MAX_WARNING_ALERTS
    }

    fn check_turn(&self, from: Role, kind: u8) -> Result<(), HelloError> {
        match (&self.expect, from) {
            (Expect::ClientHello | Expect::SecondClientHello, Role::Client) => match kind {
                CLIENT_HELLO => Ok(()),
                _ => Err(HelloError::NotAClientHello { kind }),
            },
            (Expect::ServerHello | Expect::LastServerHello, Role::Server) => match kind {
                SERVER_HELLO => Ok(()),
                _ => Err(HelloError::NotAServerHello { kind }),
            },
            _ => Err(HelloError::OutOfTurn { from, kind }),
        }
    }

    /// Takes a message that has passed [`check_turn`](Self::check_turn).
    fn handle_message(&mut self, from: Role, message: &[u8]) -> Result<(), HelloError> {
        self.transcript.extend_from_slice(message);
        let body = &message[HANDSHAKE_HEADER_LEN..];
        match from {
            Role::Client => {
                self.handle_client_hello(ClientHello::parse(body)?)?;
                self.client_hello_end = self.client.taken();
            }
            Role::Server => {
                self.handle_server_hello(ServerHello::parse(body)?)?;
                self.server_hello_end = self.server.taken();
            }
        }
        Ok(())
    }

    fn handle_client_hello(&mut self, hello: ClientHello) -> Result<(), HelloError> {
        self.expect = match &self.first {
            None => {
                self.first = Some(hello);
                Expect::ServerHello
            }
            Some(first) if first.random != hello.random => return Err(HelloError::OtherRandom),
            // RFC 8446, section 4.1.2: the second ClientHello leaves the extension out.
            Some(_) if hello.early_data => return Err(HelloError::EarlyDataAfterRetry),
            Some(_) => Expect::LastServerHello,
        };
        Ok(())
    }

    fn handle_server_hello(&mut self, hello: ServerHello) -> Result<(), HelloError> {
        match hello {
            ServerHello::RetryRequest if self.expect == Expect::LastServerHello => {
                return Err(HelloError::SecondRetryRequest);
            }
            ServerHello::RetryRequest => self.expect = Expect::SecondClientHello,
            ServerHello::Final(selected) => {
                self.negotiated = Some(Negotiated {
                    retried: self.expect == Expect::LastServerHello,
                    ..selected
                });
                self.stop(Expect::Nothing);
            }
        }
        Ok(())
    }

    /// Frees the buffers of both directions for good.
    fn stop(&mut self, end: Expect) {
        self.expect = end;
        self.client.clear();
        self.server.clear();
    }
}

impl Default for HelloTap {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for HelloTap {
    /// Prints no bytes of the connection.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HelloTap")
            .field("expect", &self.expect)
            .field("association", &self.association())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
