//! What a TLS server is known by: its certificates and keys.

mod dev;
mod identity;

pub use dev::DevIdentity;
pub(crate) use identity::HTTP_2;
pub use identity::Identity;
