use core::net::IpAddr;
use core::time::Duration;
use std::io;

use super::{dial, listen, name};
use crate::path::{
    Dial as _, DialFailure, DialFailureClass, DialStage, Independence, Path, PathKind,
};

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// `None`, with the reason printed, where this host does not allow it.
async fn dial_out_of_lo(to: &str) -> Option<super::Dialed<tokio::net::TcpStream>> {
    match dial(&Path::interface("lo").unwrap(), to).await {
        Ok(dialed) => Some(dialed),
        Err(DialFailure::Interface { error, .. })
            if error.kind() == io::ErrorKind::PermissionDenied =>
        {
            println!("skipped: binding to an interface is not permitted here: {error}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test]
async fn a_direct_dial_tells_its_addresses_and_route() {
    let (listener, address) = listen("127.0.0.1:0").await;
    let dialed = dial(&Path::system(), &address.to_string()).await.unwrap();
    let (_, seen) = listener.accept().await.unwrap();
    assert_eq!((dialed.local, dialed.peer), (Some(seen), Some(address)));
    assert_eq!(dialed.via, PathKind::Direct);
    assert_eq!(dialed.route.source, Some(ip("127.0.0.1")));
    assert_eq!(dialed.route.proxy, None);
    assert!(dialed.stream.nodelay().unwrap());
    assert_eq!(dialed.route.interface.as_deref(), Some("lo"));
}

#[tokio::test]
async fn the_peer_sees_the_source_of_the_path() {
    let (listener, address) = listen("127.0.0.1:0").await;
    let path = Path::source("127.0.0.2".parse().unwrap()).unwrap();
    let dialed = dial(&path, &address.to_string()).await.unwrap();
    let (_, seen) = listener.accept().await.unwrap();
    assert_eq!(seen.ip(), ip("127.0.0.2"));
    assert_eq!(dialed.route.source, Some(seen.ip()));
    assert!(dialed.stream.nodelay().unwrap());
}

#[tokio::test]
async fn the_socket_of_an_interface_path_is_bound_to_it() {
    let (_listener, address) = listen("127.0.0.1:0").await;
    let Some(dialed) = dial_out_of_lo(&address.to_string()).await else {
        return;
    };
    assert_eq!(dialed.stream.peer_addr().unwrap(), address);
    let device = socket2::SockRef::from(&dialed.stream).device().unwrap();
    assert_eq!(device.as_deref(), Some(&b"lo"[..]));
    assert_eq!(dialed.route.interface.as_deref(), Some("lo"));
}

#[tokio::test]
async fn loopback_connections_are_compared_by_what_they_are() {
    let (_listener, address) = listen("127.0.0.1:0").await;
    let to = address.to_string();
    let direct = dial(&Path::system(), &to).await.unwrap().route;
    let again = dial(&Path::system(), &to).await.unwrap().route;
    let source = dial(&Path::source("127.0.0.2".parse().unwrap()).unwrap(), &to)
        .await
        .unwrap()
        .route;
    assert_eq!(Independence::between(&direct, &again), Independence::Same);
    assert_eq!(
        Independence::between(&direct, &source),
        Independence::SameInterfaceOtherSource
    );
    if let Some(bound) = dial_out_of_lo(&to).await {
        assert_eq!(
            Independence::between(&direct, &bound.route),
            Independence::Same
        );
    }
}

#[tokio::test]
async fn an_interface_that_does_not_exist_is_named() {
    let (_listener, address) = listen("127.0.0.1:0").await;
    let error = dial(&Path::interface("absent0").unwrap(), &address.to_string())
        .await
        .unwrap_err();
    assert!(
        matches!(&error, DialFailure::Interface { name, .. } if name == "absent0"),
        "{error}"
    );
}

#[tokio::test]
async fn a_source_that_this_host_does_not_have_is_named() {
    let (_listener, address) = listen("127.0.0.1:0").await;
    let path = Path::source("203.0.113.7".parse().unwrap()).unwrap();
    let error = dial(&path, &address.to_string()).await.unwrap_err();
    assert!(
        error
            .to_string()
            .contains("203.0.113.7 is not an address of this host"),
        "{error}"
    );
}

/// An address without a listener, for as long as the socket lives.
fn deaf_port() -> (socket2::Socket, String) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let any = std::net::SocketAddr::new(ip("127.0.0.1"), 0);
    socket.bind(&any.into()).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    (socket, address.to_string())
}

#[tokio::test]
async fn a_refused_connection_names_the_address() {
    let (_socket, to) = deaf_port();
    let error = Path::system().dial(&to.parse().unwrap()).await.unwrap_err();
    assert_eq!(error.class(), DialFailureClass::Connect);
    let said = error.to_string();
    assert!(
        said.contains(&format!(
            "over the path `direct`: could not connect to {to}"
        )),
        "{said}"
    );
}

#[tokio::test]
async fn a_name_can_be_given_addresses_of_its_own() {
    let (listener, address) = listen("127.0.0.1:0").await;
    let path = Path::system().resolve(name("Given.test."), address.port(), address.ip());
    dial(&path, &format!("given.test:{}", address.port()))
        .await
        .unwrap();
    listener.accept().await.unwrap();
}

#[tokio::test]
async fn the_next_address_is_tried_when_one_refuses() {
    let (listener, address) = listen("127.0.0.1:0").await;
    let port = address.port();
    let path = Path::system()
        .resolve(name("two.test"), port, ip("127.0.0.9"))
        .resolve(name("two.test"), port, address.ip());
    let dialed = dial(&path, &format!("two.test:{port}")).await.unwrap();
    assert_eq!(dialed.peer, Some(address));
    listener.accept().await.unwrap();
}

#[tokio::test]
async fn addresses_of_another_family_than_the_source_are_skipped() {
    let (_listener, address) = listen("127.0.0.1:0").await;
    let port = address.port();
    let path = Path::source("127.0.0.2".parse().unwrap())
        .unwrap()
        .resolve(name("both.test"), port, ip("::1"))
        .resolve(name("both.test"), port, address.ip());
    assert_eq!(
        dial(&path, &format!("both.test:{port}"))
            .await
            .unwrap()
            .peer,
        Some(address)
    );
    let path = path.resolve(name("six.test"), port, ip("::1"));
    for to in [format!("six.test:{port}"), format!("[::1]:{port}")] {
        let error = dial(&path, &to).await.unwrap_err();
        assert!(error.to_string().contains("has no IPv4 address"), "{error}");
    }
}

/// A listener whose queue is full: the kernel drops every further SYN.
struct BlackHole {
    address: std::net::SocketAddr,
    _listener: socket2::Socket,
    _fill: Vec<socket2::Socket>,
}

impl BlackHole {
    fn new(on: &str) -> Self {
        let socket =
            || socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        let listener = socket();
        listener
            .bind(&std::net::SocketAddr::new(ip(on), 0).into())
            .unwrap();
        listener.listen(0).unwrap();
        let address = listener.local_addr().unwrap().as_socket().unwrap();
        let fill = (0..4).map(|_| socket()).collect::<Vec<_>>();
        for socket in &fill {
            socket.set_nonblocking(true).unwrap();
            // In progress, and for all but the first it stays so.
            let _ = socket.connect(&address.into());
        }
        Self {
            address,
            _listener: listener,
            _fill: fill,
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_black_hole_is_given_up_when_the_time_is_over() {
    let hole = BlackHole::new("127.0.0.1");
    let path = Path::system().connect_timeout(Duration::from_millis(1500));
    let error = path.dial(&hole.address.into()).await.unwrap_err();
    assert_eq!(error.class(), DialFailureClass::TimedOut);
    assert!(
        matches!(error.reason, DialFailure::TimedOut { stage: DialStage::Connecting, after }
            if after == Duration::from_millis(1500)),
        "{error}"
    );
}

#[tokio::test]
async fn a_black_hole_does_not_keep_the_next_address_from_being_tried() {
    let hole = BlackHole::new("127.0.0.9");
    let port = hole.address.port();
    let (_listener, address) = listen(&format!("127.0.0.1:{port}")).await;
    let path = Path::system()
        .connect_timeout(Duration::from_secs(60))
        .resolve(name("two.test"), port, hole.address.ip())
        .resolve(name("two.test"), port, address.ip());
    let dialed = dial(&path, &format!("two.test:{port}")).await.unwrap();
    assert_eq!(dialed.peer, Some(address));
}

#[tokio::test]
async fn a_time_beyond_the_clock_is_no_panic() {
    let (_listener, address) = listen("127.0.0.1:0").await;
    let path = Path::system().connect_timeout(Duration::MAX);
    dial(&path, &address.to_string()).await.unwrap();
}

#[test]
fn a_dial_can_be_spawned_and_a_path_can_be_an_object() {
    fn spawnable<T: Send + 'static>(_: &T) {}
    let path: std::sync::Arc<dyn super::super::Dial<Stream = tokio::net::TcpStream>> =
        std::sync::Arc::new(Path::system());
    spawnable(&path.dial(&"127.0.0.1:1".parse().unwrap()));
}

#[tokio::test]
async fn a_dial_that_may_open_fast_carries_bytes_as_any_other() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let (listener, address) = listen("127.0.0.1:0").await;
    let path = Path::system().fast_open(true);
    // The first fetches a cookie, where the system gives any.
    for _ in 0..3 {
        let mut dialed = dial(&path, &address.to_string()).await.unwrap();
        assert!(dialed.stream.nodelay().unwrap());
        dialed.stream.write_all(b"first").await.unwrap();
        let (mut accepted, peer) = listener.accept().await.unwrap();
        assert_eq!(dialed.local, Some(peer));
        let mut first = [0; 5];
        accepted.read_exact(&mut first).await.unwrap();
        assert_eq!(&first, b"first");
    }
}

#[tokio::test]
async fn several_addresses_are_tried_though_a_dial_may_open_fast() {
    let (listener, address) = listen("127.0.0.1:0").await;
    // The first one has no listener, and a connection that is not complete cannot win.
    let path = Path::system()
        .fast_open(true)
        .resolve(name("two.test"), address.port(), ip("127.0.0.99"))
        .resolve(name("two.test"), address.port(), ip("127.0.0.1"));
    let to = format!("two.test:{}", address.port());
    let dialed = dial(&path, &to).await.unwrap();
    assert_eq!(dialed.peer, Some(address));
    listener.accept().await.unwrap();
}

/// A link-local address of this host with its zone.
fn link_local() -> Option<String> {
    let all = std::fs::read_to_string("/proc/net/if_inet6").ok()?;
    all.lines().find_map(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let [address, _, _, "20", _, name] = fields[..] else {
            return None;
        };
        let ip = core::net::Ipv6Addr::from(u128::from_str_radix(address, 16).ok()?);
        Some(format!("{ip}%{name}"))
    })
}

#[tokio::test]
async fn a_zone_is_looked_up_for_targets_sources_and_overrides() {
    let Some(zoned) = link_local() else {
        println!("skipped: this host has no link-local address");
        return;
    };
    let address: crate::path::HostAddress = zoned.parse().unwrap();
    let bound = address.socket_address(0).unwrap().to_string();
    let (_listener, at) = listen(&bound).await;
    let to = format!("[{zoned}]:{}", at.port());
    let dialed = dial(&Path::system(), &to).await.unwrap();
    assert_eq!(dialed.peer, Some(at));
    let source: Path = format!("src:{zoned}").parse().unwrap();
    let dialed = dial(&source, &to).await.unwrap();
    assert_eq!(dialed.route.source, Some(at.ip()));
    let named = Path::system().resolve(name("zoned.test"), at.port(), address);
    let dialed = dial(&named, &format!("zoned.test:{}", at.port())).await;
    assert_eq!(dialed.unwrap().peer, Some(at));
}

#[tokio::test]
async fn a_zone_that_no_interface_has_is_an_error_that_names_it() {
    match dial(&Path::system(), "[fe80::1%no-such]:443").await {
        Err(DialFailure::Interface { name, .. }) => assert_eq!(name, "no-such"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_proxy_is_not_asked_for_a_zone_of_this_host() {
    let proxy = Path::socks5("127.0.0.1:9".parse().unwrap());
    let failure = dial(&proxy, "[fe80::1%eth0]:443").await.unwrap_err();
    assert!(
        failure.to_string().contains("use a path without a proxy"),
        "{failure}"
    );
}
