use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use std::sync::{Arc, Mutex};

use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::oneshot;

use super::{dial, listen, name, read, send};
use crate::path::{Dial as _, DialFailure, DialFailureClass, DialStage, Path};

const TYPE_A: [u8; 2] = [0, 1];

/// One question that came in.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Query {
    name: String,
    from: IpAddr,
    tcp: bool,
}

/// A nameserver on 127.0.0.1, over UDP and TCP on one port. By the first label of the name:
/// `missing` does not exist, `six` has no A record, `long` answers over TCP only; every other name
/// is 127.0.0.1 and has no AAAA record.
struct Nameserver {
    address: SocketAddr,
    queries: Arc<Mutex<Vec<Query>>>,
}

impl Nameserver {
    async fn start() -> Self {
        let (listener, address) = listen("127.0.0.1:0").await;
        let socket = UdpSocket::bind(address).await.unwrap();
        let queries = Arc::default();
        tokio::spawn(serve_udp(socket, Arc::clone(&queries)));
        tokio::spawn(serve_tcp(listener, Arc::clone(&queries)));
        Self { address, queries }
    }

    fn queries(&self) -> Vec<Query> {
        self.queries.lock().unwrap().clone()
    }

    fn of(&self, path: Path) -> Path {
        path.nameservers(vec![self.address])
    }
}

async fn serve_udp(socket: UdpSocket, queries: Arc<Mutex<Vec<Query>>>) {
    let mut buffer = [0; 512];
    loop {
        let (len, from) = socket.recv_from(&mut buffer).await.unwrap();
        let reply = answer(&buffer[..len], from, false, &queries);
        socket.send_to(&reply, from).await.unwrap();
    }
}

async fn serve_tcp(listener: TcpListener, queries: Arc<Mutex<Vec<Query>>>) {
    loop {
        let (mut stream, from) = listener.accept().await.unwrap();
        while let Ok(len) = stream.read_u16().await {
            let query = read(&mut stream, len.into()).await;
            let reply = answer(&query, from, true, &queries);
            let len = u16::try_from(reply.len()).unwrap().to_be_bytes();
            send(&mut stream, &[&len[..], &reply].concat()).await;
        }
    }
}

fn answer(query: &[u8], from: SocketAddr, tcp: bool, queries: &Mutex<Vec<Query>>) -> Vec<u8> {
    let end = 12 + query[12..].iter().position(|&b| b == 0).unwrap();
    let mut labels = Vec::new();
    let mut rest = &query[12..end];
    while let [len, after @ ..] = rest {
        let (label, after) = after.split_at(usize::from(*len));
        labels.push(String::from_utf8(label.to_vec()).unwrap().to_lowercase());
        rest = after;
    }
    queries.lock().unwrap().push(Query {
        name: labels.join("."),
        from: from.ip(),
        tcp,
    });
    let question = &query[12..end + 5];
    let is_a = question.ends_with(&[TYPE_A, [0, 1]].concat());
    let (flags, count) = match labels[0].as_str() {
        "missing" => ([0x81, 0x83], 0),
        "long" if !tcp => ([0x83, 0x80], 0),
        "six" => ([0x81, 0x80], u8::from(!is_a)),
        _ => ([0x81, 0x80], u8::from(is_a)),
    };
    let mut reply = query[..2].to_vec();
    reply.extend([flags[0], flags[1], 0, 1, 0, count, 0, 0, 0, 0]);
    reply.extend_from_slice(question);
    if count == 1 {
        let (kind, data) = if is_a {
            (1, &[127, 0, 0, 1][..])
        } else {
            (28, &[0; 16][..])
        };
        let len = u8::try_from(data.len()).unwrap();
        reply.extend([0xc0, 12, 0, kind, 0, 1, 0, 0, 0, 60, 0, len]);
        reply.extend_from_slice(data);
    }
    reply
}

fn from_two() -> Path {
    Path::source([127, 0, 0, 2].into()).unwrap()
}

#[tokio::test]
async fn a_source_path_asks_from_its_source() {
    let server = Nameserver::start().await;
    let (listener, address) = listen("127.0.0.1:0").await;
    let to = format!("some.test:{}", address.port());
    dial(&server.of(from_two()), &to).await.unwrap();
    listener.accept().await.unwrap();
    let expected = Query {
        name: "some.test".into(),
        from: [127, 0, 0, 2].into(),
        tcp: false,
    };
    assert_eq!(server.queries(), [expected]);
}

#[tokio::test]
async fn a_source_path_asks_over_tcp_from_its_source_too() {
    let server = Nameserver::start().await;
    let (_listener, address) = listen("127.0.0.1:0").await;
    dial(
        &server.of(from_two()),
        &format!("long.test:{}", address.port()),
    )
    .await
    .unwrap();
    let queries = server.queries();
    assert!(queries.iter().any(|query| query.tcp), "{queries:?}");
    assert!(
        queries
            .iter()
            .all(|query| query.from == IpAddr::from([127, 0, 0, 2])),
        "{queries:?}"
    );
}

#[tokio::test]
async fn a_direct_path_asks_the_nameservers_that_it_was_given() {
    let server = Nameserver::start().await;
    let (_listener, address) = listen("127.0.0.1:0").await;
    let to = format!("some.test:{}", address.port());
    dial(&server.of(Path::system()), &to).await.unwrap();
    let queries = server.queries();
    assert!(!queries.is_empty());
    assert!(
        queries
            .iter()
            .all(|query| query.from == server.address.ip()),
        "{queries:?}"
    );
}

#[tokio::test]
async fn an_interface_path_asks_out_of_its_interface() {
    let server = Nameserver::start().await;
    let (_listener, address) = listen("127.0.0.1:0").await;
    let to = format!("some.test:{}", address.port());
    match dial(&server.of(Path::interface("lo").unwrap()), &to).await {
        Ok(dialed) => assert_eq!(dialed.peer, Some(address)),
        // Seen as the nameserver's socket that could not be opened.
        Err(error) if error.to_string().contains("not permitted") => {
            println!("skipped: {error}");
            return;
        }
        Err(error) => panic!("{error}"),
    }
    assert!(!server.queries().is_empty());
}

#[tokio::test]
async fn a_path_of_an_absent_interface_asks_nobody() {
    let server = Nameserver::start().await;
    let path = server.of(Path::interface("absent0").unwrap());
    let error = dial(&path, "some.test:443").await.unwrap_err();
    assert!(error.to_string().contains("absent0"), "{error}");
    assert_eq!(server.queries(), []);
}

#[tokio::test]
async fn a_proxied_path_asks_for_no_name_but_the_proxys() {
    let server = Nameserver::start().await;
    let (listener, address) = listen("127.0.0.1:0").await;
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            read(&mut stream, 3).await;
            send(&mut stream, &[5, 0]).await;
            read(&mut stream, 18).await;
            send(&mut stream, &[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]).await;
        }
    });
    let literal = server.of(Path::socks5(address.into()));
    dial(&literal, "target.test:443").await.unwrap();
    assert_eq!(server.queries(), []);
    let named = format!("proxy.test:{}", address.port()).parse().unwrap();
    dial(&server.of(Path::socks5(named)), "target.test:443")
        .await
        .unwrap();
    let queries = server.queries();
    assert!(!queries.is_empty());
    assert!(
        queries.iter().all(|query| query.name == "proxy.test"),
        "{queries:?}"
    );
}

#[tokio::test]
async fn addresses_given_names_and_localhost_need_no_dns() {
    let server = Nameserver::start().await;
    let (_listener, address) = listen("127.0.0.1:0").await;
    let port = address.port();
    let path = server
        .of(from_two())
        .resolve(name("given.test"), port, address.ip());
    for to in [
        address.to_string(),
        format!("given.test:{port}"),
        format!("localhost:{port}"),
    ] {
        assert_eq!(dial(&path, &to).await.unwrap().peer, Some(address));
    }
    assert_eq!(server.queries(), []);
    // Another port is not what was given. Nobody listens there, but the name is looked up.
    dial(&path, "given.test:1").await.unwrap_err();
    assert_eq!(server.queries().len(), 1);
}

#[tokio::test]
async fn a_name_that_does_not_exist_is_told_with_who_was_asked() {
    let server = Nameserver::start().await;
    let path = server.of(from_two());
    let error = path
        .dial(&"missing.test:443".parse().unwrap())
        .await
        .unwrap_err();
    assert_eq!(error.class(), DialFailureClass::Resolve);
    assert_eq!(
        error.reason.to_string(),
        "could not resolve `missing.test` (asked 127.0.0.1 from 127.0.0.2): no such name"
    );
}

#[tokio::test]
async fn a_name_without_an_address_of_the_sources_family_is_told() {
    let server = Nameserver::start().await;
    let error = dial(&server.of(from_two()), "six.test:443")
        .await
        .unwrap_err();
    assert!(
        matches!(error, DialFailure::NoUsableAddress { .. }),
        "{error}"
    );
    let six = Path::source("::1".parse().unwrap()).unwrap();
    let error = dial(&server.of(six), "six.test:443").await.unwrap_err();
    assert!(
        error.to_string().contains("no nameserver has the family"),
        "{error}"
    );
}

#[tokio::test]
async fn a_silent_nameserver_is_given_up_when_the_time_is_over() {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let path = from_two()
        .nameservers(vec![socket.local_addr().unwrap()])
        .connect_timeout(Duration::from_secs(1));
    let (asked, silent) = oneshot::channel();
    tokio::spawn(async move {
        socket.recv_from(&mut [0; 512]).await.unwrap();
        asked.send(()).unwrap();
        core::future::pending::<()>().await;
    });
    let dialing = tokio::spawn(path.dial(&"some.test:443".parse().unwrap()));
    silent.await.unwrap();
    tokio::time::pause();
    let reason = dialing.await.unwrap().unwrap_err().reason;
    let stage = DialStage::Resolving;
    assert!(
        matches!(reason, DialFailure::TimedOut { stage: s, .. } if s == stage),
        "{reason}"
    );
}

#[tokio::test]
async fn dropping_a_dial_closes_its_connection() {
    let (listener, address) = listen("127.0.0.1:0").await;
    let dialing = tokio::spawn(Path::socks5(address.into()).dial(&"a.test:1".parse().unwrap()));
    let (mut stream, _): (TcpStream, _) = listener.accept().await.unwrap();
    read(&mut stream, 3).await;
    dialing.abort();
    assert_eq!(stream.read(&mut [0; 1]).await.unwrap(), 0);
}
