//! What can be said of this machine's network on other systems than Linux: nothing.

use std::collections::HashSet;
use std::io;
use std::net::IpAddr;

use super::machine::{Hop, Interface, Neighbours};

/// There is none.
pub(super) enum Kernel {}

impl Kernel {
    pub(super) fn open() -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(super) fn interfaces(&mut self) -> io::Result<Vec<Interface>> {
        match *self {}
    }

    pub(super) fn leading_to(&mut self, _: IpAddr) -> io::Result<HashSet<u32>> {
        match *self {}
    }

    pub(super) fn neighbours(&mut self) -> io::Result<Neighbours> {
        match *self {}
    }

    pub(super) fn hop(&mut self, _: IpAddr, _: Option<IpAddr>, _: Option<u32>) -> io::Result<Hop> {
        match *self {}
    }
}
