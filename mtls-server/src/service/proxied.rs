//! Connections through a load balancer that names its client with the PROXY protocol.

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use ipnet::IpNet;
use proxy_header::{ParseConfig, ProxyHeader};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::TcpStream;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, timeout_at};

/// The time for a header. Some load balancers send it with the first bytes of the client.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
/// Connections whose header is being read; a new one evicts the oldest.
const READING: usize = 4_096;
/// The beginning of version 2; version 1 is longer than this too.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
const VERSION_1: &[u8] = b"PROXY ";
/// Version 2 and the command LOCAL: a connection of the balancer's own.
const LOCAL: u8 = 0x20;
/// The longest line of version 1.
const LINE: usize = 107;
/// The longest version 2 after its first 16 bytes: addresses, and a few hundred bytes of further
/// values, such as the load balancer's name for the connection.
const VERSION_2: usize = 4_096;

/// An address, or a network such as `10.0.0.0/8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network(IpNet);

impl Network {
    /// Whether the address is in the network.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address.to_canonical())
    }
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let address = || text.parse::<IpAddr>().map(IpNet::from);
        let network = text.parse().or_else(|_| address());
        let network = network
            .map_err(|_| "expected an address or a network, such as 10.0.0.0/8".to_owned())?;
        Ok(Self(network))
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Connections from load balancers, until their headers are read.
#[derive(Debug)]
pub(super) struct ProxyHeaders {
    from: Vec<Network>,
    reading: JoinSet<Option<(TcpStream, SocketAddr)>>,
    max_reading: usize,
    /// The tasks of `reading`, the oldest first.
    oldest: VecDeque<AbortHandle>,
}

impl ProxyHeaders {
    /// Expects a header on every connection from these networks, and on no other.
    pub(super) fn new(from: &[Network]) -> Self {
        Self {
            from: from.to_vec(),
            reading: JoinSet::new(),
            max_reading: READING,
            oldest: VecDeque::new(),
        }
    }

    pub(super) fn expects(&self, peer: SocketAddr) -> bool {
        self.from.iter().any(|network| network.contains(peer.ip()))
    }

    /// Reads the header of a connection from a balancer. A client behind one that sends the header
    /// late must not keep others from being accepted, so the oldest read is ended if there are too
    /// many.
    pub(super) fn read(&mut self, mut stream: TcpStream, balancer: SocketAddr) {
        self.oldest.retain(|read| !read.is_finished());
        if self.oldest.len() >= self.max_reading
            && let Some(oldest) = self.oldest.pop_front()
        {
            oldest.abort();
        }
        self.oldest.push_back(self.reading.spawn(async move {
            let end = Instant::now() + HEADER_TIMEOUT;
            match client_by(end, &mut stream, balancer).await {
                Ok(client) => Some((stream, client)),
                Err(error) => {
                    log(balancer, &error);
                    None
                }
            }
        }));
    }

    /// The next connection whose header was read, with its client; `Some(None)` after an invalid
    /// header, and `None` while none is being read. Cancel safe.
    pub(super) async fn next(&mut self) -> Option<Option<(TcpStream, SocketAddr)>> {
        let read = self.reading.join_next().await?;
        Some(read.ok().flatten())
    }
}

fn log(balancer: SocketAddr, error: &HeaderError) {
    match error {
        // The check of a balancer whether this server accepts connections, or a client that is
        // silent.
        HeaderError::Empty => tracing::debug!(%balancer, "no byte arrived"),
        error => tracing::warn!(
            "closed a connection from {balancer}: {error}; --accept-proxy expects a PROXY protocol \
             header from this address"
        ),
    }
}

/// The reason why a header cannot be used.
#[derive(Debug)]
enum HeaderError {
    /// No byte arrived before the end of the connection, or in time.
    Empty,
    Io(io::Error),
    TimedOut,
    Missing,
    TooLong(usize),
    Malformed(proxy_header::Error),
}

impl fmt::Display for HeaderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("no byte arrived"),
            Self::Io(error) => write!(f, "it ended within its header: {error}"),
            Self::TimedOut => write!(f, "its header did not arrive within {HEADER_TIMEOUT:?}"),
            Self::Missing => f.write_str("it begins with something else"),
            Self::TooLong(length) => {
                write!(
                    f,
                    "its header has {length} bytes, expected {VERSION_2} at most"
                )
            }
            Self::Malformed(error) => write!(f, "its header is malformed: {error}"),
        }
    }
}

/// The client that the header names, which must be complete by `end`.
async fn client_by(
    end: Instant,
    stream: &mut TcpStream,
    balancer: SocketAddr,
) -> Result<SocketAddr, HeaderError> {
    match timeout_at(end, stream.readable()).await {
        Ok(Ok(())) => timeout_at(end, client(stream, balancer))
            .await
            .unwrap_or(Err(HeaderError::TimedOut)),
        _ => Err(HeaderError::Empty),
    }
}

/// A stream whose next bytes can be seen before they are read.
trait Peek: AsyncRead + Send + Unpin {
    fn peek(&mut self, bytes: &mut [u8]) -> impl Future<Output = io::Result<usize>> + Send;
}

impl Peek for TcpStream {
    async fn peek(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        TcpStream::peek(self, bytes).await
    }
}

/// Reads the header of a connection, and nothing after it. Returns its client: the balancer itself
/// where the header names no other.
async fn client(stream: &mut impl Peek, balancer: SocketAddr) -> Result<SocketAddr, HeaderError> {
    let mut header = vec![0; SIGNATURE.len()];
    // Checks of balancers may end with a reset.
    let first = stream.read(&mut header).await.unwrap_or(0);
    if first == 0 {
        return Err(HeaderError::Empty);
    }
    fill(stream, &mut header[first..]).await?;
    if header == SIGNATURE {
        read_version_2(stream, &mut header).await?;
        if header.get(SIGNATURE.len()) == Some(&LOCAL) {
            // The rest of the header has no meaning, whatever it is.
            return Ok(balancer);
        }
    } else if header.starts_with(VERSION_1) {
        read_line(stream, &mut header).await?;
        if header.starts_with(b"PROXY TCP") && header.contains(&b'+') {
            // The parser of ports would accept a sign.
            return Err(HeaderError::Malformed(proxy_header::Error::Invalid));
        }
    } else {
        return Err(HeaderError::Missing);
    }
    let parsed = ProxyHeader::parse(&header, ParseConfig::default());
    let (parsed, _) = parsed.map_err(HeaderError::Malformed)?;
    let named = parsed.proxied_address().map(|addresses| addresses.source);
    // A balancer with a socket for both protocols names IPv4 clients by mapped addresses.
    Ok(named.map_or(balancer, |client| {
        SocketAddr::new(client.ip().to_canonical(), client.port())
    }))
}

async fn fill(stream: &mut impl Peek, bytes: &mut [u8]) -> Result<(), HeaderError> {
    let read = stream.read_exact(bytes).await;
    read.map(drop).map_err(HeaderError::Io)
}

async fn read_version_2(stream: &mut impl Peek, header: &mut Vec<u8>) -> Result<(), HeaderError> {
    let mut rest = [0; 4];
    fill(stream, &mut rest).await?;
    header.extend(rest);
    let length = u16::from_be_bytes([rest[2], rest[3]]).into();
    if length > VERSION_2 {
        return Err(HeaderError::TooLong(length));
    }
    let start = header.len();
    header.resize(start + length, 0);
    fill(stream, &mut header[start..]).await
}

/// Reads to the end of the line. Later bytes stay in the socket.
async fn read_line(stream: &mut impl Peek, line: &mut Vec<u8>) -> Result<(), HeaderError> {
    while line.last() != Some(&b'\n') {
        let mut next = [0; LINE];
        let room = LINE.saturating_sub(line.len());
        if room == 0 {
            return Err(HeaderError::Malformed(proxy_header::Error::HeaderTooBig));
        }
        let seen = stream
            .peek(&mut next[..room])
            .await
            .map_err(HeaderError::Io)?;
        let end = next[..seen].iter().position(|byte| *byte == b'\n');
        // Zero bytes: the connection has ended, and the next read reports it.
        let length = end.map_or(seen, |end| end + 1).max(1);
        fill(stream, &mut next[..length]).await?;
        line.extend(&next[..length]);
    }
    Ok(())
}

#[cfg(any(test, feature = "__fuzzing"))]
pub(super) mod fuzzing;

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    /// The client of a connection with these bytes, and the bytes after its header.
    async fn read(bytes: &[u8]) -> (Result<SocketAddr, HeaderError>, Vec<u8>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let to = listener.local_addr().expect("an address");
        let mut balancer = TcpStream::connect(to).await.expect("to connect");
        let (mut stream, _) = listener.accept().await.expect("a connection");
        balancer.write_all(bytes).await.expect("to write");
        drop(balancer);
        let client = client(&mut stream, address("127.0.0.1:9")).await;
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest).await;
        (client, rest)
    }

    const V2: [u8; 28] =
        *b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x01\xc6\x33\x64\x02\x03\xe8\x01\xbb";

    #[tokio::test]
    async fn both_versions_name_the_client_and_leave_the_bytes_after_the_header() {
        let named = "192.0.2.1:1000";
        for (header, expected) in [
            (&V2[..], named),
            (b"PROXY TCP4 192.0.2.1 198.51.100.2 1000 443\r\n", named),
            (
                b"PROXY TCP6 2001:db8::1 2001:db8::2 1000 443\r\n",
                "[2001:db8::1]:1000",
            ),
            (
                b"PROXY TCP6 ::ffff:192.0.2.1 ::ffff:198.51.100.2 1000 443\r\n",
                named,
            ),
            (b"PROXY UNKNOWN\r\n", "127.0.0.1:9"),
            (b"PROXY UNKNOWN a+b\r\n", "127.0.0.1:9"),
            (b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0", "127.0.0.1:9"),
            (b"\r\n\r\n\0\r\nQUIT\n\x20\xff\0\x02\xff\xff", "127.0.0.1:9"),
        ] {
            let (client, rest) = read(&[header, b"\x16\x03\x01\n"].concat()).await;
            assert_eq!(client.expect("a client"), address(expected));
            assert_eq!(rest, b"\x16\x03\x01\n", "{}", header.escape_ascii());
        }
    }

    #[tokio::test]
    async fn an_invalid_header_is_refused_with_the_reason() {
        let mut long = V2.to_vec();
        long[14..16].copy_from_slice(&u16::MAX.to_be_bytes());
        let line = [b"PROXY TCP4 ".to_vec(), vec![b'1'; 200]].concat();
        for (bytes, reason) in [
            (&b""[..], "no byte arrived"),
            (b"PROXY TCP4 192.0.2.1", "within its header"),
            (
                b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03\0\0\0\0",
                "something else",
            ),
            (
                b"PROXY TCP4 192.0.2.1 198.51.100.2 port 443\r\n",
                "malformed",
            ),
            (
                b"PROXY TCP4 192.0.2.1 198.51.100.2 +1000 443\r\n",
                "malformed",
            ),
            (&V2[..20], "within its header"),
            (&long, "65535 bytes"),
            (&line, "malformed"),
        ] {
            let error = read(bytes).await.0.expect_err("no client").to_string();
            assert!(error.contains(reason), "{error}");
        }
    }

    #[tokio::test]
    async fn connections_without_a_header_do_not_block_later_ones() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let to = listener.local_addr().expect("an address");
        let mut headers = ProxyHeaders {
            max_reading: 2,
            ..ProxyHeaders::new(&[])
        };
        let mut balancers = Vec::new();
        for _ in 0..3 {
            balancers.push(TcpStream::connect(to).await.expect("to connect"));
            let (stream, peer) = listener.accept().await.expect("a connection");
            headers.read(stream, peer);
        }
        let ended = balancers[0].read(&mut [0]).await;
        assert_eq!(ended.unwrap_or(0), 0, "the oldest is evicted");
        balancers[2].write_all(&V2).await.expect("to write");
        let named = loop {
            if let Some((_, client)) = headers.next().await.expect("a read") {
                break client;
            }
        };
        assert_eq!(named, address("192.0.2.1:1000"));
    }

    #[tokio::test]
    async fn a_check_that_ends_with_a_reset_is_no_malformed_header() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let to = listener.local_addr().expect("an address");
        let check = TcpStream::connect(to).await.expect("to connect");
        let (mut stream, peer) = listener.accept().await.expect("a connection");
        check.set_zero_linger().expect("an option");
        drop(check);
        let error = client(&mut stream, peer).await.expect_err("no client");
        assert!(matches!(error, HeaderError::Empty), "{error}");
    }

    #[test]
    fn networks_contain_addresses_of_their_family() {
        for (network, inside, expected) in [
            ("10.0.0.0/8", "10.1.2.3", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("10.0.0.7", "10.0.0.7", true),
            ("10.0.0.7", "10.0.0.8", false),
            ("10.0.0.7", "::ffff:10.0.0.7", true),
            ("2001:db8::/32", "2001:db8:1::1", true),
            ("::/0", "10.0.0.7", false),
        ] {
            let parsed: Network = network.parse().expect("a network");
            let address = inside.parse().expect("an address");
            assert_eq!(parsed.contains(address), expected, "{network} {inside}");
        }
        for wrong in ["", "10.0.0.0/33", "host", "10.0.0.0/"] {
            assert!(wrong.parse::<Network>().is_err(), "{wrong:?}");
        }
    }
}
