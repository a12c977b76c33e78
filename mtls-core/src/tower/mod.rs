//! A tower layer that demands verified connections, at servers and at clients. Feature `tower`.

mod explanation;
mod require;

pub use explanation::NotVerified;
pub use require::{
    OnClient, OnServer, RequireVerified, RequireVerifiedClient, RequireVerifiedServer,
};
