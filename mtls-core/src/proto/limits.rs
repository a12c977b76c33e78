//! The bounds that the protocol itself sets. Those of an endpoint are settings of its connector
//! or acceptor.

/// The longest body of a frame, in bytes (`docs/protocol.md`, section 5.1).
pub const MAX_FRAME_BODY: usize = 512;

/// The most bytes of each direction that a hello tap reads, by default.
pub const MAX_HELLO_BYTES: usize = 64 * 1024;

/// The most warning alerts of a server that a hello tap skips before the ServerHello
/// (`docs/protocol.md`, section 4.3). TLS libraries take as many.
pub const MAX_WARNING_ALERTS: u8 = 4;
