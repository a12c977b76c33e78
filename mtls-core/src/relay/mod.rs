//! Relays that hold no keys: [`ClientRelay`] in front of any TLS client, [`ServerRelay`] in front
//! of any TLS 1.3 server. Both speak the hello binding (`docs/protocol.md`, section 4.3), so each
//! interoperates with the other and with the library's own ends.
//!
//! A relay reads the plaintext hellos while they pass, holds back what the policy says, and is a
//! plain relay from then on. It never sees a key, a certificate or an application byte.

mod client;
mod exchange;
mod listener;
mod monitor;
mod passage;
mod pump;
mod server;
mod socket;
mod tunnel;

pub use client::{ClientRelay, ClientRelayBuilder};
pub use listener::{RelayListener, TunnelObserver};
pub use monitor::{TunnelBytes, TunnelEnd, TunnelMonitor, TunnelReport, TunnelStage};
pub use passage::ServerTunnel;
pub use server::{RelayAccepted, ServerRelay, ServerRelayBuilder};
pub use tunnel::{PolicyByName, Tunnel};
