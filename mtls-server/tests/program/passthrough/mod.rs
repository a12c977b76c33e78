//! `mtls-server passthrough` as a real process, in front of real servers.

mod attack;
mod faithful;
mod life;
mod many;
mod servers;
mod transfer;
mod world;
