//! The web stack over real sockets: hyper's client, axum's server, tower's layer, and gRPC.

mod client;
#[path = "../support/closed_port.rs"]
mod closed_port;
mod grpc;
mod require;
mod server;
mod support;
mod verdict;
