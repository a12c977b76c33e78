//! The HTTPS server of multipath TLS (MTLS here is *multipath* TLS, not mutual TLS).
//!
//! The program `mtls-server` is [`run`] on a [`Cli`]. To run the same server inside a program,
//! build [`ServeOptions`], [`Server::bind`] it and [`Server::run`] it:
//!
//! ```no_run
//! use mtls_core::Policy;
//! use mtls_server::{Identity, ServeOptions, Server};
//!
//! # async fn example() -> Result<(), mtls_server::Error> {
//! let identity = Identity::from_files("server.pem".as_ref(), "server.key".as_ref())?;
//! let mut options = ServeOptions::new("public", identity, Policy::Prefer);
//! options.listen = vec![([127, 0, 0, 1], 0).into()];
//! let server = Server::bind(options).await?;
//! println!("serving on https://{}/", server.local_addr());
//! let drained = server.run(async { /* until it is time to stop */ }).await;
//! # let _ = drained;
//! # Ok(())
//! # }
//! ```
//!
//! Every response tells its connection's verdict in the field `Multipath-Verdict`; see
//! [`verdict_field`].

mod cli;
mod connection;
mod dev;
mod error;
mod identity;
mod idle;
mod incoming;
mod options;
mod program;
mod server;
mod verdict_field;

pub use cli::{Cli, Command, ServeArgs};
pub use dev::DevIdentity;
pub use error::Error;
pub use identity::Identity;
pub use options::{Limits, ServeOptions};
pub use program::run;
pub use server::{Drained, Server};
pub use verdict_field::{VERDICT_FIELD, verdict_field};
