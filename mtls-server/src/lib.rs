//! The HTTPS server of multipath TLS (MTLS here is *multipath* TLS, not mutual TLS).
//!
//! The program `mtls-server` is [`run`] on a [`Cli`]. A program can embed the same server with any
//! tower service, such as an axum `Router`: [`Server::bind`] a [`Site`] and [`Server::run`] it:
//!
//! ```no_run
//! use mtls_core::Policy;
//! use mtls_server::{Files, FilesOptions, HttpLimits, Identity, Server, ServerOptions, Site};
//!
//! # async fn example() -> Result<(), mtls_server::Error> {
//! let identity = Identity::from_files("server.pem".as_ref(), "server.key".as_ref())?;
//! let mut options = ServerOptions::new(identity, Policy::Prefer);
//! options.listen = vec![([127, 0, 0, 1], 0).into()];
//! let files = Files::new("public".as_ref(), FilesOptions::default())?;
//! let site = Site::new(files, &HttpLimits::default());
//! let server = Server::bind(options, site).await?;
//! println!("serving on https://{}/", server.local_addr());
//! let drained = server.run(async { /* until it is time to stop */ }).await;
//! # let _ = drained;
//! # Ok(())
//! # }
//! ```
//!
//! Each response has the verdict on its connection in the field `Multipath-Verdict`
//! ([`mtls_core::tower::VERDICT_FIELD`]). A request carries its connection's addresses and verdict
//! in its extensions ([`mtls_core::tower::MultipathConnectInfo`]).
//!
//! In the source, `cli` has a file for each command, `service` the parts of every long-running
//! command, `tls` certificates and keys, `web` HTTP, and `passthrough` a relay that holds no key.

mod arguments;
mod cli;
mod error;
#[cfg(any(test, feature = "__fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
mod inherited_error;
mod passthrough;
mod printable;
mod registry_error;
mod service;
mod sync;
mod target;
mod text_file;
mod tls;
mod web;

pub use cli::{
    Cli, Command, CommandLineError, ConfigCommand, ConfigError, Failure, IdentityArgs, ListenArgs,
    PassthroughArgs, PolicyArgs, ServeArgs, StatusArgs, TerminateArgs, TlsServerArgs, run,
};
pub use error::Error;
pub use inherited_error::InheritedSocketError;
pub use passthrough::{Passthrough, PassthroughOptions, PassthroughWatch, TunnelLimits, Tunnels};
pub use registry_error::RegistryError;
pub use service::{
    AcceptedConnections, Authentication, Channel, Connection, Drained, InheritedSockets, Limits,
    Network, OpenConnections, Server, ServerOptions, Stopping, TargetHealth,
};
pub use target::{Target, TargetError};
pub use tls::{ClientCa, DevIdentity, Identity, ServerTls, roots_from_file, system_roots};
pub use web::{
    Download, Files, FilesBody, FilesOptions, HttpLimits, RequestBody, Site, Takeover,
    TargetLimits, Terminate, TerminateBody, TerminateOptions,
};
