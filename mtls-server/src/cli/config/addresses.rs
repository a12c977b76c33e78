//! The check of the addresses of a configuration.

use std::io::ErrorKind;
use std::net::SocketAddr;

use crate::error::Error;
use crate::service::{Transport, listen};

/// The result for the addresses of one command.
#[derive(Debug, Default)]
pub(super) struct AddressCheck {
    pub(super) wrong: Vec<Error>,
    /// Addresses that another program uses, perhaps the server that runs with this configuration, and
    /// addresses that need a privilege that this program does not have.
    pub(super) unchecked: Vec<Error>,
}

/// Binds the addresses of one command, and closes them again. Within a runtime.
pub(super) fn check(addresses: &[(SocketAddr, Transport)]) -> AddressCheck {
    let mut check = AddressCheck::default();
    for (index, &(address, transport)) in addresses.iter().enumerate() {
        let mut before = addresses[..index].iter();
        if let Some((other, _)) = before.find(|(other, _)| overlap(*other, address)) {
            check.wrong.push(Error::SameAddress(*other, address));
        } else if let Err(source) = listen(address, transport) {
            let list = match source.kind() {
                ErrorKind::AddrInUse | ErrorKind::PermissionDenied => &mut check.unchecked,
                _ => &mut check.wrong,
            };
            list.push(Error::Listen { address, source });
        }
    }
    check
}

/// Whether only one of the two can be bound at a time.
fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let includes = |one: SocketAddr, other: SocketAddr| {
        one.ip() == other.ip() || one.ip().is_unspecified() && one.is_ipv4() == other.is_ipv4()
    };
    one.port() == other.port() && one.port() != 0 && (includes(one, other) || includes(other, one))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_overlap_where_one_includes_the_other() {
        for (one, other, expected) in [
            ("127.0.0.1:1", "127.0.0.1:1", true),
            ("0.0.0.0:1", "127.0.0.1:1", true),
            ("[::1]:1", "[::]:1", true),
            ("0.0.0.0:1", "[::]:1", false),
            ("[::]:1", "127.0.0.1:1", false),
            ("127.0.0.1:1", "127.0.0.1:2", false),
            ("127.0.0.1:1", "127.0.0.2:1", false),
            ("127.0.0.1:0", "127.0.0.1:0", false),
        ] {
            let parse = |text: &str| text.parse().expect("an address");
            assert_eq!(overlap(parse(one), parse(other)), expected, "{one} {other}");
        }
    }
}
