//! What a TLS server is known by: its certificates and keys, and those it asks of clients.

mod client_ca;
mod dev;
mod identity;
mod pem;
mod reload;
mod server_tls;

pub use client_ca::ClientCa;
pub use dev::DevIdentity;
pub use identity::Identity;
pub use server_tls::ServerTls;

pub(crate) use reload::{Cause, Reloaded, Reloader};
pub(crate) use server_tls::{HTTP_2, TlsFiles};
