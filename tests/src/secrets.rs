//! The server's name, and what an attacker is after.

/// The server's name, which every client asks for.
pub const HOST: &str = "server.test";

/// The secret in the server's page.
pub const REQUEST_SECRET: &str = "session=canary-of-the-client";
/// The secret in the client's request.
pub const PAGE_SECRET: &str = "canary-of-the-server";
