//! The server's name, and what an attacker is after.

/// The server's name, which every client asks for.
pub const HOST: &str = "server.test";

/// What only the server may read.
pub const REQUEST_SECRET: &str = "session=canary-of-the-client";
/// What only the client may read.
pub const PAGE_SECRET: &str = "canary-of-the-server";
