//! `--require` and `--exempt` against every spelling of a target, in tunnels that exist.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::Running;
use crate::lab::Lab;

/// A request for a tunnel.
enum TunnelRequest<'a> {
    Connect(&'a str),
    Socks4(Ipv4Addr),
    Socks4a(&'a str),
    Socks5Name(&'a str),
    Socks5Ip(IpAddr),
}

impl TunnelRequest<'_> {
    fn request(&self, port: u16) -> Vec<u8> {
        let port_bytes = port.to_be_bytes();
        let socks5 =
            |kind: u8, address: &[u8]| [&[5, 1, 0, 5, 1, 0, kind], address, &port_bytes].concat();
        match self {
            Self::Connect(host) => {
                format!("CONNECT {host}:{port} HTTP/1.1\r\nHost: x\r\n\r\n").into_bytes()
            }
            Self::Socks4(ip) => [&[4, 1], &port_bytes[..], &ip.octets(), &[0]].concat(),
            Self::Socks4a(name) => {
                let ip = [0, 0, 0, 1];
                [&[4, 1], &port_bytes[..], &ip, &[0], name.as_bytes(), &[0]].concat()
            }
            Self::Socks5Name(name) => {
                let length = u8::try_from(name.len()).expect("a short name");
                socks5(3, &[&[length], name.as_bytes()].concat())
            }
            Self::Socks5Ip(IpAddr::V4(ip)) => socks5(1, &ip.octets()),
            Self::Socks5Ip(IpAddr::V6(ip)) => socks5(4, &ip.octets()),
        }
    }

    /// The length of the replies before the tunnel.
    fn reply_len(&self) -> usize {
        match self {
            Self::Connect(_) => "HTTP/1.1 200 Connection established\r\n\r\n".len(),
            Self::Socks4(_) | Self::Socks4a(_) => 8,
            Self::Socks5Name(_) | Self::Socks5Ip(_) => 12,
        }
    }
}

/// Whether bytes that are not TLS, which no requirement lets pass, come back from the target.
async fn passes(proxy: &Running, ask: &TunnelRequest<'_>, port: u16) -> bool {
    let mut stream = proxy.connect().await;
    let request = ask.request(port);
    stream.write_all(&request).await.expect("to ask");
    let mut answer = vec![0; ask.reply_len()];
    stream.read_exact(&mut answer).await.expect("a tunnel");
    if stream.write_all(b"hello").await.is_err() {
        return false;
    }
    let mut echo = [0; 5];
    match stream.read_exact(&mut echo).await {
        Ok(_) => &echo == b"hello",
        Err(_) => false,
    }
}

async fn echo(mut stream: TcpStream) {
    let (mut read, mut write) = stream.split();
    let _ = tokio::io::copy(&mut read, &mut write).await;
}

async fn echo_at_the_loopback(lab: &mut Lab) -> SocketAddr {
    lab.listen(echo).await
}

/// All that Linux connects to 127.0.0.1.
fn loopback() -> Vec<TunnelRequest<'static>> {
    let mut all = vec![
        TunnelRequest::Socks4(Ipv4Addr::LOCALHOST),
        TunnelRequest::Socks4(Ipv4Addr::UNSPECIFIED),
        TunnelRequest::Socks5Ip(Ipv4Addr::LOCALHOST.into()),
        TunnelRequest::Socks5Ip(Ipv4Addr::LOCALHOST.to_ipv6_mapped().into()),
        TunnelRequest::Socks5Ip(Ipv4Addr::UNSPECIFIED.to_ipv6_mapped().into()),
    ];
    for name in [
        "127.0.0.1",
        "127.0.0.1.",
        "127.1",
        "127.0.1",
        "2130706433",
        "0x7f000001",
        "0X7F.0.0.1",
        "0177.0.0.01",
        "0.0.0.0",
        "[::ffff:127.0.0.1]",
        "[::FFFF:7F00:1]",
        "[0:0:0:0:0:ffff:7f00:0001]",
        "[::ffff:127.0.0.1%lo]",
        "[::ffff:127.0.0.1%25lo]",
        "１２７.0.0.1",
        "127。0。0。1",
        "localhost",
        "LocalHost",
        "ＬＯＣＡＬＨＯＳＴ",
    ] {
        all.extend([
            TunnelRequest::Connect(name),
            TunnelRequest::Socks4a(name),
            TunnelRequest::Socks5Name(name),
        ]);
    }
    all
}

#[tokio::test]
async fn a_requirement_applies_to_every_spelling_of_a_target() {
    let mut lab = Lab::new();
    let port = echo_at_the_loopback(&mut lab).await.port();
    let open = Running::with(&[]).await;
    let with_port = format!("[::ffff:127.0.0.1]:{port}");
    let mut required = Vec::new();
    for rule in ["127.0.0.1", "127.1", "127.*", "[::ffff:7f00:*]", &with_port] {
        required.push((rule, Running::with(&["--require", rule]).await));
    }
    for ask in loopback() {
        let shown = String::from_utf8_lossy(&ask.request(port)).into_owned();
        assert!(
            passes(&open, &ask, port).await,
            "{shown:?} is no way to the target"
        );
        for (rule, proxy) in &required {
            let passes = passes(proxy, &ask, port).await;
            assert!(!passes, "--require {rule} was evaded by {shown:?}");
        }
    }
}

#[tokio::test]
async fn an_exemption_never_overrides_a_requirement_by_its_spelling() {
    let mut lab = Lab::new();
    let port = echo_at_the_loopback(&mut lab).await.port();
    for exempt in [
        "[::ffff:127.0.0.1]",
        "0.0.0.0",
        "0x7f.1",
        "127.0.0.*",
        "[::ffff:*]",
    ] {
        let proxy = Running::with(&["--require", "127.0.0.1", "--exempt", exempt]).await;
        for ask in loopback() {
            let shown = String::from_utf8_lossy(&ask.request(port)).into_owned();
            // A name is exempt at every address; no name is exempt here.
            assert!(
                !passes(&proxy, &ask, port).await,
                "--exempt {exempt}: {shown:?}"
            );
        }
    }
    let proxy = Running::with(&["--policy", "require", "--exempt", "127.1"]).await;
    let mapped = TunnelRequest::Socks5Ip(Ipv4Addr::LOCALHOST.to_ipv6_mapped().into());
    assert!(
        passes(&proxy, &mapped, port).await,
        "it is the same address"
    );
    let localhost = TunnelRequest::Connect("localhost");
    assert!(
        !passes(&proxy, &localhost, port).await,
        "a name is not an address"
    );
}

#[tokio::test]
async fn a_name_that_is_exempt_is_exempt_at_every_address() {
    let mut lab = Lab::new();
    let port = echo_at_the_loopback(&mut lab).await.port();
    let proxy = Running::with(&["--require", "127.0.0.1", "--exempt", "localhost"]).await;
    assert!(passes(&proxy, &TunnelRequest::Connect("LOCALHOST"), port).await);
    assert!(!passes(&proxy, &TunnelRequest::Connect("127.0.0.1"), port).await);
    let shown = proxy.connections(2).await;
    let rules: Vec<_> = shown.iter().map(|one| one["rule"].as_str()).collect();
    assert_eq!(
        rules,
        [Some("--exempt localhost"), Some("--require 127.0.0.1")]
    );
}

#[tokio::test]
async fn a_requirement_for_an_address_applies_to_names_that_resolve_to_it() {
    let mut lab = Lab::new();
    let port = echo_at_the_loopback(&mut lab).await.port();
    let resolve = format!("bücher.test:{port}:127.0.0.1");
    let arguments = ["--resolve", &resolve, "--require", "127.0.0.1"];
    let proxy = Running::with(&arguments).await;
    assert!(!passes(&proxy, &TunnelRequest::Connect("xn--bcher-kva.test"), port).await);
    assert!(!passes(&proxy, &TunnelRequest::Connect("BÜCHER.test."), port).await);
    let shown = proxy.connections(2).await;
    assert!(
        shown.iter().all(|one| one["rule"] == "--require 127.0.0.1"),
        "{shown:?}"
    );
    assert!(
        shown.iter().all(|one| one["policy"] == "require"),
        "{shown:?}"
    );
    let proxy = Running::with(&arguments[..2]).await;
    assert!(passes(&proxy, &TunnelRequest::Connect("BÜCHER.test."), port).await);
}

#[tokio::test]
async fn a_requirement_for_a_name_applies_to_its_international_spellings() {
    let mut lab = Lab::new();
    let port = echo_at_the_loopback(&mut lab).await.port();
    let resolve = format!("xn--bcher-kva.test:{port}:127.0.0.1");
    for rule in ["Bücher.TEST", "xn--bcher-kva.test.", "*.test", "xn--*"] {
        let proxy = Running::with(&["--resolve", &resolve, "--require", rule]).await;
        for name in [
            "bücher.test",
            "BU\u{308}CHER.test",
            "XN--BCHER-KVA.TEST",
            "bücher。test.",
        ] {
            let asks = [
                TunnelRequest::Connect(name),
                TunnelRequest::Socks4a(name),
                TunnelRequest::Socks5Name(name),
            ];
            for ask in asks {
                assert!(!passes(&proxy, &ask, port).await, "{rule} {name}");
            }
        }
    }
}

#[tokio::test]
async fn a_zone_of_a_link_local_address_is_dialed_and_evades_no_requirement() {
    let Some((ip, index, name)) = link_local() else {
        eprintln!("skipped: this host has no link-local address");
        return;
    };
    let listener = TcpListener::bind(SocketAddrV6::new(ip, 0, 0, index)).await;
    let listener = listener.expect("the host's own address");
    let port = listener.local_addr().expect("an address").port();
    let mut lab = Lab::new();
    lab.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(echo(stream));
        }
    });
    let zones = [
        format!("%{name}"),
        format!("%25{name}"),
        format!("%{index}"),
    ];
    let spellings = zones.map(|zone| format!("[{ip}{zone}]"));
    let open = Running::with(&[]).await;
    let rule = format!("[{ip}%{name}]:{port}");
    let required = Running::with(&["--require", &rule, "--exempt", &format!("[{ip}]")]).await;
    let exempt = Running::with(&["--policy", "require", "--exempt", &rule]).await;
    for (at, spelling) in spellings.iter().enumerate() {
        let ask = TunnelRequest::Connect(spelling);
        assert!(passes(&open, &ask, port).await, "{spelling}");
        assert!(!passes(&required, &ask, port).await, "{spelling}");
        let is_name = at < 2;
        assert_eq!(passes(&exempt, &ask, port).await, is_name, "{spelling}");
    }
    let resolve = format!("zoned.test:{port}:{ip}%{name}");
    let resolving = Running::with(&["--resolve", &resolve]).await;
    assert!(passes(&resolving, &TunnelRequest::Connect("zoned.test"), port).await);
}

/// The head of a response to a plain HTTP request for `/path` of this host.
async fn plain_http(proxy: &Running, host: &str, port: u16) -> String {
    let request = format!("GET http://{host}:{port}/path HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n");
    let mut stream = proxy.connect().await;
    stream.write_all(request.as_bytes()).await.expect("to ask");
    let mut response = String::new();
    let reading = stream.read_to_string(&mut response);
    reading.await.expect("a response and the end");
    response
}

#[tokio::test]
async fn a_zone_in_a_plain_http_url_is_dialed_and_not_sent() {
    let Some((ip, index, name)) = link_local() else {
        eprintln!("skipped: this host has no link-local address");
        return;
    };
    let listener = TcpListener::bind(SocketAddrV6::new(ip, 0, 0, index)).await;
    let listener = listener.expect("the host's own address");
    let port = listener.local_addr().expect("an address").port();
    let mut lab = Lab::new();
    lab.spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                match stream.read_u8().await {
                    Ok(byte) => head.push(byte),
                    // A refused tunnel ends without a request.
                    Err(_) => break,
                }
            }
            let length = head.len();
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n");
            let answer = [answer.as_bytes(), &head].concat();
            let _ = stream.write_all(&answer).await;
        }
    });
    let open = Running::with(&[]).await;
    let required = Running::with(&["--require", &format!("[{ip}]")]).await;
    for zone in [
        format!("%{name}"),
        format!("%25{name}"),
        format!("%25{index}"),
    ] {
        let host = format!("[{ip}{zone}]");
        let response = plain_http(&open, &host, port).await;
        assert!(response.starts_with("HTTP/1.1 200 "), "{host}: {response}");
        let (head, echo) = response.split_once("\r\n\r\n").expect("a body");
        assert!(head.contains("connection: close"), "{head}");
        assert!(echo.starts_with("GET /path HTTP/1.1\r\n"), "{echo}");
        assert!(echo.contains(&format!("host: [{ip}]:{port}\r\n")), "{echo}");
        assert!(!echo.contains('%'), "{echo}");
        let refused = plain_http(&required, &host, port).await;
        assert!(refused.starts_with("HTTP/1.1 403 "), "{host}: {refused}");
    }
}

#[tokio::test]
async fn the_proxy_listens_on_an_address_with_a_zone() {
    let Some((ip, index, name)) = link_local() else {
        eprintln!("skipped: this host has no link-local address");
        return;
    };
    let lab = Lab::new();
    let listen = format!("[{ip}%{name}]:0");
    let run = lab.run(["proxy", "--listen", &listen]).await;
    run.exits_with(2).mentions(&["--unsafe-listen"]);
    let proxy = Running::with(&["--unsafe-listen", "--listen", &listen]).await;
    let text = proxy.stderr();
    let (_, rest) = text.split_once(&format!("[{ip}%{index}]:")).expect("it");
    let port = rest.split(' ').next().and_then(|port| port.parse().ok());
    let address = SocketAddrV6::new(ip, port.expect("a port"), 0, index);
    let mut stream = TcpStream::connect(address).await.expect("the proxy");
    stream.write_all(b"\x05\x01\x00").await.expect("to ask");
    let mut reply = [0; 2];
    stream.read_exact(&mut reply).await.expect("a reply");
    assert_eq!(reply, [5, 0]);
}

/// A link-local address of this host, and the interface that has it.
fn link_local() -> Option<(Ipv6Addr, u32, String)> {
    let all = std::fs::read_to_string("/proc/net/if_inet6").ok()?;
    all.lines().find_map(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let [address, index, _, "20", _, name] = fields[..] else {
            return None;
        };
        let ip = Ipv6Addr::from(u128::from_str_radix(address, 16).ok()?);
        let index = u32::from_str_radix(index, 16).ok()?;
        Some((ip, index, name.to_owned()))
    })
}
