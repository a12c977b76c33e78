//! Relays that hold no keys: [`ClientRelay`] in front of any TLS client, [`ServerRelay`] in front
//! of any TLS 1.3 server. Both speak the hello binding (`docs/protocol.md`, section 4.3), so each
//! interoperates with the other and with the library's own ends.
//!
//! A relay reads the plaintext hellos while they pass, holds back what the policy says, and is a
//! plain relay from then on. It never sees a key, a certificate or an application byte.
//!
//! On Linux it relays bulk data within the kernel (`splice(2)`). A write to a closed connection then
//! raises SIGPIPE, which the Rust runtime has ignored since before `main`: a program that restores
//! its default action would be ended by it, and should set `max_pipes(0)`.

mod accept;
mod client;
mod exchange;
mod finished;
mod first;
mod listener;
mod monitor;
mod pump;
mod server;
mod server_tunnel;
mod socket;
mod tunnel;

pub use accept::RelayAccepted;
pub use client::{ClientRelay, ClientRelayBuilder};
pub use listener::RelayListener;
pub use monitor::{TunnelBytes, TunnelEnd, TunnelMonitor, TunnelReport, TunnelStage};
pub use server::{ClientAddresses, ServerRelay, ServerRelayBuilder};
pub use server_tunnel::ServerTunnel;
pub use tunnel::{PolicyByName, Tunnel};
