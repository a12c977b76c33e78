use core::net::{IpAddr, Ipv6Addr, SocketAddr};
use core::time::Duration;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::oneshot;

use super::{StoppedClock, dial, listen, name, read, send};
use crate::path::query::RESOLUTION_DELAY;
use crate::path::{
    Dial as _, DialFailure, DialFailureClass, DialStage, Nameserver as Named, Path, ResolvedBy,
};

const TYPE_A: [u8; 2] = [0, 1];

/// One question that came in.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Query {
    name: String,
    from: IpAddr,
    tcp: bool,
}

/// A nameserver on 127.0.0.1, over UDP and TCP on one port. By the first label of the name:
/// `missing` does not exist, `six` has no A record, `long` answers over TCP only; `failing` is an
/// error; `silent-six`, `failing-six` and `missing-six` are so for AAAA alone; `late` is ::1, and
/// 127.0.0.1 after a while; every other name is 127.0.0.1 and has no AAAA record.
struct Nameserver {
    address: SocketAddr,
    queries: Arc<Mutex<Vec<Query>>>,
}

impl Nameserver {
    async fn start() -> Self {
        let (listener, address) = listen("127.0.0.1:0").await;
        let socket = Arc::new(UdpSocket::bind(address).await.unwrap());
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

async fn serve_udp(socket: Arc<UdpSocket>, queries: Arc<Mutex<Vec<Query>>>) {
    let mut buffer = [0; 512];
    loop {
        let (len, from) = socket.recv_from(&mut buffer).await.unwrap();
        let reply = answer(&buffer[..len], from, false, &queries);
        match &*queries.lock().unwrap().last().unwrap().name {
            "silent-six.test" if reply[7] == 0 => continue,
            "late.test" if reply.ends_with(&[127, 0, 0, 1]) => {
                let socket = Arc::clone(&socket);
                tokio::spawn(async move {
                    tokio::time::sleep(RESOLUTION_DELAY * 4).await;
                    socket.send_to(&reply, from).await.unwrap();
                });
                continue;
            }
            _ => {}
        }
        socket.try_send_to(&reply, from).unwrap();
    }
}

async fn serve_tcp(listener: TcpListener, queries: Arc<Mutex<Vec<Query>>>) {
    loop {
        let (stream, from) = listener.accept().await.unwrap();
        serve_stream(stream, from, &queries).await;
    }
}

/// Messages with their length before them (RFC 1035, section 4.2.2).
async fn serve_stream<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    from: SocketAddr,
    queries: &Mutex<Vec<Query>>,
) {
    while let Ok(len) = stream.read_u16().await {
        let mut query = vec![0; len.into()];
        stream.read_exact(&mut query).await.unwrap();
        let reply = answer(&query, from, true, queries);
        let len = u16::try_from(reply.len()).unwrap().to_be_bytes();
        let message = [&len[..], &reply].concat();
        stream.write_all(&message).await.unwrap();
        stream.flush().await.unwrap();
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
        "late" => ([0x81, 0x80], 1),
        "failing" => ([0x81, 0x82], 0),
        "failing-six" if !is_a => ([0x81, 0x82], 0),
        "missing-six" if !is_a => ([0x81, 0x83], 0),
        _ => ([0x81, 0x80], u8::from(is_a)),
    };
    let mut reply = query[..2].to_vec();
    reply.extend([flags[0], flags[1], 0, 1, 0, count, 0, 0, 0, 0]);
    reply.extend_from_slice(question);
    if count == 1 {
        let (kind, data) = if is_a {
            (1, &[127, 0, 0, 1][..])
        } else {
            (28, &Ipv6Addr::LOCALHOST.octets()[..])
        };
        let len = u8::try_from(data.len()).unwrap();
        reply.extend([0xc0, 12, 0, kind, 0, 1, 0, 0, 0, 60, 0, len]);
        reply.extend_from_slice(data);
    }
    reply
}

fn from_two() -> Path {
    Path::source("127.0.0.2".parse().unwrap()).unwrap()
}

#[tokio::test]
async fn a_source_path_asks_from_its_source() {
    let _clock = StoppedClock::new();
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
    let _clock = StoppedClock::new();
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
    let server: SocketAddr = "192.0.2.53:53".parse().unwrap();
    let path = Path::interface("absent0").unwrap().nameservers([server]);
    let error = dial(&path, "some.test:443").await.unwrap_err();
    // No socket was opened, so nothing was waited for.
    assert!(matches!(error, DialFailure::Resolve { .. }), "{error}");
    assert!(error.to_string().contains("absent0"), "{error}");
}

#[tokio::test]
async fn a_proxied_path_asks_for_no_name_but_the_proxys() {
    let _clock = StoppedClock::new();
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
    let _clock = StoppedClock::new();
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
    // The override is for another port. This one has no listener, but the name is looked up.
    dial(&path, "given.test:1").await.unwrap_err();
    assert_eq!(server.queries().len(), 1);
}

#[tokio::test]
async fn a_name_that_does_not_exist_is_told_with_who_was_asked() {
    let _clock = StoppedClock::new();
    let server = Nameserver::start().await;
    let path = server.of(from_two());
    let error = path
        .dial(&"missing.test:443".parse().unwrap())
        .await
        .unwrap_err();
    assert_eq!(error.class(), DialFailureClass::Resolve);
    let expected = format!(
        "could not resolve `missing.test` (asked {} from 127.0.0.2): no such name",
        server.address
    );
    assert_eq!(error.reason.to_string(), expected);
}

#[tokio::test]
async fn a_name_without_an_address_of_the_sources_family_is_told() {
    let _clock = StoppedClock::new();
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
async fn a_dropped_or_failed_aaaa_query_does_not_keep_the_a_record_from_use() {
    let server = Nameserver::start().await;
    let (_listener, address) = listen("127.0.0.1:0").await;
    for label in ["silent-six", "failing-six", "missing-six"] {
        let to = format!("{label}.test:{}", address.port());
        let dialed = dial(&server.of(Path::system()), &to).await.unwrap();
        assert_eq!(dialed.peer, Some(address), "{label}");
        let by = ResolvedBy::Nameserver(server.address.into());
        assert_eq!(dialed.resolver, Some(by), "{label}");
    }
}

#[tokio::test]
async fn an_address_that_comes_late_is_tried_where_the_first_ones_fail() {
    let server = Nameserver::start().await;
    let (_listener, address) = listen("127.0.0.1:0").await;
    let to = format!("late.test:{}", address.port());
    let dialed = dial(&server.of(Path::system()), &to).await.unwrap();
    assert_eq!(dialed.peer, Some(address));
}

#[tokio::test]
async fn a_nameserver_that_is_silent_or_fails_is_followed_by_the_next() {
    let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let (failing, server) = (Nameserver::start().await, Nameserver::start().await);
    let (_listener, address) = listen("127.0.0.1:0").await;
    let to = format!("some.test:{}", address.port());
    let path = from_two().nameservers([silent.local_addr().unwrap(), server.address]);
    let dialed = dial(&path, &to).await.unwrap();
    let by = ResolvedBy::Nameserver(server.address.into());
    assert_eq!(dialed.resolver, Some(by));
    let path = from_two().nameservers([failing.address, server.address]);
    let error = dial(&path, "failing.test:1").await.unwrap_err();
    assert!(matches!(error, DialFailure::Resolve { .. }), "{error}");
    assert!(
        server
            .queries()
            .iter()
            .any(|query| query.name == "failing.test")
    );
}

#[tokio::test]
async fn that_there_is_no_such_name_is_for_the_first_nameserver_to_say() {
    let _clock = StoppedClock::new();
    let (first, second) = (Nameserver::start().await, Nameserver::start().await);
    let path = from_two().nameservers([first.address, second.address]);
    let error = dial(&path, "missing.test:443").await.unwrap_err();
    assert!(error.to_string().ends_with("no such name"), "{error}");
    assert_eq!(second.queries(), []);
}

#[tokio::test]
async fn a_dial_tells_the_source_of_the_addresses() {
    let (_listener, address) = listen("127.0.0.1:0").await;
    let port = address.port();
    let path = Path::system().resolve(name("given.test"), port, address.ip());
    for (host, by) in [
        ("127.0.0.1", None),
        ("given.test", Some(ResolvedBy::Override)),
        ("localhost", Some(ResolvedBy::System)),
    ] {
        let dialed = dial(&path, &format!("{host}:{port}")).await.unwrap();
        assert_eq!(dialed.resolver, by, "{host}");
    }
    let dialed = dial(&from_two(), &format!("localhost:{port}"))
        .await
        .unwrap();
    assert_eq!(dialed.resolver, Some(ResolvedBy::Hosts));
}

#[cfg(feature = "encrypted-dns")]
#[tokio::test]
async fn nameservers_by_tls_and_https_are_asked_once_their_certificate_is_verified() {
    let pki = mtls_certs::Pki::new(&["127.0.0.1", "dns.test"]).unwrap();
    let queries = Arc::default();
    let tls = encrypted::by_tls(&pki, Arc::clone(&queries)).await.port();
    let https = encrypted::by_https(&pki, Arc::clone(&queries)).await.port();
    let (_listener, address) = listen("127.0.0.1:0").await;
    let to = format!("some.test:{}", address.port());
    for server in [
        format!("tls://127.0.0.1:{tls}"),
        format!("tls://dns.test:{tls}"),
        format!("https://127.0.0.1:{https}/dns-query"),
        format!("https://dns.test:{https}/dns-query"),
    ] {
        let server: Named = server.parse().unwrap();
        let path = [tls, https].into_iter().fold(from_two(), |path, port| {
            path.resolve(name("dns.test"), port, IpAddr::from([127, 0, 0, 1]))
        });
        let path = path.nameservers([server.clone()]);
        let trusting = |ca| path.clone().nameserver_tls(encrypted::trusting(ca));
        let dialed = dial(&trusting(&pki.ca), &to).await.unwrap();
        assert_eq!(
            dialed.resolver,
            Some(ResolvedBy::Nameserver(server.clone()))
        );
        let asked = core::mem::take(&mut *queries.lock().unwrap());
        assert_eq!(asked[0].from, IpAddr::from([127, 0, 0, 2]), "{server}");
        let error = dial(&trusting(&pki.rogue_ca), &to).await.unwrap_err();
        assert!(
            matches!(error, DialFailure::Resolve { .. }),
            "{server}: {error}"
        );
        assert_eq!(*queries.lock().unwrap(), [], "{server}");
        let error = dial(&path, &to).await.unwrap_err();
        assert!(error.to_string().contains("nameserver_tls"), "{error}");
    }
}

/// Servers of DNS over TLS and over HTTPS.
#[cfg(feature = "encrypted-dns")]
mod encrypted {
    use core::convert::Infallible;

    use http_body_util::{BodyExt as _, Full};
    use hyper::body::{Bytes, Incoming};
    use hyper::{Request, Response};
    use hyper_util::rt::{TokioExecutor, TokioIo};
    use mtls_certs::{Authority, Pki};
    use rustls::ClientConfig;
    use rustls::crypto::aws_lc_rs;
    use tokio_rustls::TlsAcceptor;
    use tokio_rustls::server::TlsStream;

    use super::*;

    type Queries = Arc<Mutex<Vec<Query>>>;

    pub(super) async fn by_tls(pki: &Pki, queries: Queries) -> SocketAddr {
        serve(pki, move |stream, from| {
            let queries = Arc::clone(&queries);
            async move { serve_stream(stream, from, &queries).await }
        })
        .await
    }

    pub(super) async fn by_https(pki: &Pki, queries: Queries) -> SocketAddr {
        serve(pki, move |stream, from| {
            let queries = Arc::clone(&queries);
            let service = hyper::service::service_fn(move |request: Request<Incoming>| {
                let queries = Arc::clone(&queries);
                async move {
                    assert_eq!(request.uri().path(), "/dns-query");
                    let query = request.into_body().collect().await.unwrap().to_bytes();
                    let reply = answer(&query, from, true, &queries);
                    let mut response = Response::new(Full::new(Bytes::from(reply)));
                    let media_type = "application/dns-message".parse().unwrap();
                    response.headers_mut().insert("content-type", media_type);
                    Ok::<_, Infallible>(response)
                }
            });
            async move {
                let server = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                let _ = server
                    .http2_only()
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            }
        })
        .await
    }

    async fn serve<F>(
        pki: &Pki,
        handle: impl Fn(TlsStream<TcpStream>, SocketAddr) -> F + Send + 'static,
    ) -> SocketAddr
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let mut config = pki.server_config(aws_lc_rs::default_provider()).unwrap();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let (listener, address) = listen("127.0.0.1:0").await;
        tokio::spawn(async move {
            loop {
                let (stream, from) = listener.accept().await.unwrap();
                if let Ok(stream) = acceptor.accept(stream).await {
                    tokio::spawn(handle(stream, from));
                }
            }
        });
        address
    }

    pub(super) fn trusting(ca: &Authority) -> Arc<ClientConfig> {
        Arc::new(ca.client_config(aws_lc_rs::default_provider()).unwrap())
    }
}

#[test]
fn nameservers_of_every_form_are_understood() {
    for (text, shown) in [
        ("192.0.2.1", "192.0.2.1"),
        ("192.0.2.1:53", "192.0.2.1"),
        ("192.0.2.1:5353", "192.0.2.1:5353"),
        ("2001:db8::1", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("[2001:db8::1]:54", "[2001:db8::1]:54"),
        ("tls://192.0.2.1/", "tls://192.0.2.1"),
        ("tls://DNS.test:853", "tls://dns.test"),
        ("tls://[2001:db8::1]:8853", "tls://[2001:db8::1]:8853"),
        ("https://dns.test", "https://dns.test/dns-query"),
        ("https://192.0.2.1:8443/a/b", "https://192.0.2.1:8443/a/b"),
    ] {
        let server: Named = text
            .parse()
            .unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(server.to_string(), shown);
        assert_eq!(shown.parse().as_ref(), Ok(&server), "{shown}");
    }
}

#[test]
fn other_nameservers_are_refused_without_what_may_be_secret() {
    for text in [
        "",
        "secret",
        "secret.test:53",
        "0.0.0.0",
        "192.0.2.1:0",
        "udp://192.0.2.1",
        "tls://",
        "tls://a:secret@192.0.2.1",
        "https://a:secret@dns.test/dns-query",
        "https://192.0.2.1/secret?dns",
        "https://192.0.2.1/secret{?dns}",
        "https://192.0.2.1/sec ret",
    ] {
        let error = text.parse::<Named>().unwrap_err().to_string();
        assert!(!error.contains("secret"), "{text}: {error}");
    }
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
