//! The header of the PROXY protocol, version 2 (haproxy.org, `proxy-protocol.txt`, section 2.2).

use std::net::{IpAddr, SocketAddr};

use mtls_core::relay::ClientAddresses;

const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// Version 2, command LOCAL: the connection is the sender's own.
const LOCAL: u8 = 0x20;
/// Version 2, command PROXY.
const PROXY: u8 = 0x21;
const UNSPEC: u8 = 0x00;
const TCP_OVER_IPV4: u8 = 0x11;
const TCP_OVER_IPV6: u8 = 0x21;

/// The header with the address of a client.
pub(super) fn header(client: ClientAddresses) -> Vec<u8> {
    match client.local {
        Some(local) => encode(client.peer, local),
        None => head(PROXY, UNSPEC, &[]),
    }
}

/// The header of a connection without a client, such as a health check.
pub(super) fn local_header() -> Vec<u8> {
    head(LOCAL, UNSPEC, &[])
}

fn encode(from: SocketAddr, to: SocketAddr) -> Vec<u8> {
    let mut body = Vec::with_capacity(36);
    let family = match (from.ip().to_canonical(), to.ip().to_canonical()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            body.extend(from.octets());
            body.extend(to.octets());
            TCP_OVER_IPV4
        }
        (from, to) => {
            body.extend(as_ipv6(from));
            body.extend(as_ipv6(to));
            TCP_OVER_IPV6
        }
    };
    body.extend(from.port().to_be_bytes());
    body.extend(to.port().to_be_bytes());
    head(PROXY, family, &body)
}

fn head(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
    let mut header = SIGNATURE.to_vec();
    header.extend([command, family]);
    // 36 bytes at the most.
    header.extend((body.len() as u16).to_be_bytes());
    header.extend(body);
    header
}

fn as_ipv6(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(from: &str, to: &str) -> Vec<u8> {
        encode(
            from.parse().expect("an address"),
            to.parse().expect("an address"),
        )
    }

    #[test]
    fn header_of_ipv4_has_the_addresses_and_ports_in_order() {
        let header = of("192.0.2.1:1000", "198.51.100.2:443");
        assert_eq!(header[..12], SIGNATURE);
        assert_eq!(header[12..16], [0x21, 0x11, 0, 12]);
        assert_eq!(header[16..24], [192, 0, 2, 1, 198, 51, 100, 2]);
        assert_eq!(header[24..], [0x03, 0xe8, 0x01, 0xbb]);
    }

    #[test]
    fn header_of_ipv6_takes_mapped_addresses_too() {
        let header = of("[2001:db8::1]:1", "192.0.2.1:2");
        assert_eq!(header[12..16], [0x21, 0x21, 0, 36]);
        assert_eq!(header[16..20], [0x20, 0x01, 0x0d, 0xb8]);
        assert_eq!(header[42..48], [0xff, 0xff, 192, 0, 2, 1]);
        assert_eq!(header.len(), 16 + 36);
        assert_eq!(
            of("[::ffff:192.0.2.1]:1", "[::ffff:192.0.2.2]:2").len(),
            16 + 12
        );
    }

    #[test]
    fn header_of_a_health_check_names_nobody() {
        assert_eq!(local_header()[12..], [0x20, 0, 0, 0]);
    }
}
