//! `get` and `check` over HTTP/3, beside TCP and without it.

use std::convert::Infallible;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::{Buf, Bytes, BytesMut};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use mtls_core::quic::{QuicAcceptor, QuicListener, QuicListenerLimits};
use mtls_core::{ListenerLimits, MultipathAcceptor, MultipathListener, Policy, ServerStream};
use quinn::crypto::rustls::QuicServerConfig;
use tokio::net::{TcpListener, TcpStream};

use crate::lab::{Lab, closed_port, patient_server, server_config};
use crate::site::{BIG, H1, PAGE};

const OVER_TCP: &str = "a page over TCP\n";

/// A server of HTTP/1.1 over TCP, and of HTTP/3 over the UDP port of another server.
struct Http3Site {
    tcp: SocketAddr,
    udp: SocketAddr,
}

impl Lab {
    /// A server with both ports of the same number.
    async fn http3_site(&mut self) -> SocketAddr {
        let (tcp, udp) = both_ports().await;
        let address = tcp.local_addr().expect("an address");
        self.serve_both(tcp, udp, None, |quic| over_quic(quic, Arc::default()));
        address
    }

    /// The same, where no TLS handshake over TCP ends: however long one over QUIC takes, it wins.
    async fn http3_site_with_slow_tcp(&mut self) -> SocketAddr {
        let (front, udp) = both_ports().await;
        let tcp = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = tcp.local_addr().expect("an address");
        self.serve_both(tcp, udp, None, |quic| over_quic(quic, Arc::default()));
        self.front(front, address, 0)
    }

    /// Relays side connections and so many others. Further connections wait.
    fn front(&mut self, listener: TcpListener, to: SocketAddr, tls: usize) -> SocketAddr {
        let seen = Arc::new(AtomicUsize::new(0));
        self.listen_on(listener, move |mut stream| {
            let seen = Arc::clone(&seen);
            async move {
                let mut first = [0];
                let _ = stream.peek(&mut first).await;
                if first != *b"M" && seen.fetch_add(1, Ordering::SeqCst) >= tls {
                    std::future::pending::<()>().await;
                }
                let mut onward = TcpStream::connect(to).await.expect("the server");
                let _ = tokio::io::copy_bidirectional(&mut stream, &mut onward).await;
            }
        })
    }

    /// The same, with these bytes for each response over QUIC.
    async fn raw_http3_site(&mut self, response: &'static [u8]) -> SocketAddr {
        let (tcp, udp) = both_ports().await;
        let address = tcp.local_addr().expect("an address");
        self.serve_both(tcp, udp, None, move |quic| raw_over_quic(quic, response));
        address
    }

    /// A server whose responses over TCP name another UDP port.
    async fn alternative_site(&mut self) -> Http3Site {
        let tcp = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let udp = UdpSocket::bind("127.0.0.1:0").expect("a port");
        let site = Http3Site {
            tcp: tcp.local_addr().expect("an address"),
            udp: udp.local_addr().expect("an address"),
        };
        let named = Some(site.udp.port());
        self.serve_both(tcp, udp, named, |quic| over_quic(quic, Arc::default()));
        site
    }

    fn serve_both<T: Future<Output = ()> + Send>(
        &mut self,
        tcp: TcpListener,
        udp: UdpSocket,
        named: Option<u16>,
        serve: impl Fn(quinn::Connection) -> T + Copy + Send + 'static,
    ) {
        let config = server_config(&self.pki.server, H1);
        let acceptor = MultipathAcceptor::builder(config, patient_server(Policy::Prefer)).build();
        let acceptor = acceptor.expect("an acceptor");
        let quic = QuicAcceptor::builder(&acceptor).alpn(&[b"h3"]).build();
        let quic = quic.expect("an acceptor");
        let endpoint = quic.endpoint(udp).expect("an endpoint");
        self.spawn(async move {
            let mut sides = MultipathListener::new(acceptor, tcp, ListenerLimits::default());
            let limits = QuicListenerLimits::default();
            let mut listener = QuicListener::new(quic, endpoint, limits);
            loop {
                tokio::select! {
                    (stream, _) = sides.accept() => drop(tokio::spawn(over_tcp(stream, named))),
                    (connection, _) = listener.accept() => drop(tokio::spawn(async move {
                        if let Ok(connection) = connection.wait_for_verdict().await {
                            serve(connection.into_inner()).await;
                        }
                    })),
                }
            }
        });
    }

    /// A man in the middle of QUIC alone, with a certificate of the rogue CA. Counts its requests.
    async fn quic_attacker(&mut self) -> (SocketAddr, Arc<AtomicUsize>) {
        let mut config = (*server_config(&self.pki.rogue, H1)).clone();
        config.alpn_protocols = vec![b"h3".to_vec()];
        let config = QuicServerConfig::try_from(config).expect("TLS 1.3");
        let config = quinn::ServerConfig::with_crypto(Arc::new(config));
        let endpoint = quinn::Endpoint::server(config, ([127, 0, 0, 1], 0).into());
        let endpoint = endpoint.expect("a socket");
        let address = endpoint.local_addr().expect("an address");
        let read = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&read);
        self.spawn(async move {
            while let Some(incoming) = endpoint.accept().await {
                let count = Arc::clone(&count);
                tokio::spawn(async move {
                    if let Ok(connection) = incoming.await {
                        over_quic(connection, count).await;
                    }
                });
            }
        });
        (address, read)
    }
}

async fn both_ports() -> (TcpListener, UdpSocket) {
    loop {
        let tcp = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = tcp.local_addr().expect("an address");
        if let Ok(udp) = UdpSocket::bind(address) {
            return (tcp, udp);
        }
    }
}

async fn raw_over_quic(quic: quinn::Connection, response: &[u8]) {
    let mut control = quic.open_uni().await.expect("a stream");
    control
        .write_all(&[0x00, 0x04, 0x00])
        .await
        .expect("to send");
    while let Ok((mut send, mut receive)) = quic.accept_bi().await {
        let _ = receive.read_to_end(1 << 16).await;
        let _ = send.write_all(response).await;
        let _ = send.finish();
    }
}

async fn over_tcp(stream: ServerStream<TcpStream>, named: Option<u16>) {
    let service = service_fn(move |_: Request<Incoming>| async move {
        let mut response = Response::new(Full::new(Bytes::from(OVER_TCP)));
        if let Some(port) = named {
            let value = format!("h3=\":{port}\"; ma=60").parse().expect("a value");
            response.headers_mut().insert("alt-svc", value);
        }
        Ok::<_, Infallible>(response)
    });
    let http = hyper::server::conn::http1::Builder::new();
    let _ = http.serve_connection(TokioIo::new(stream), service).await;
}

async fn over_quic(connection: quinn::Connection, read: Arc<AtomicUsize>) {
    let built = h3::server::Connection::<_, Bytes>::new(h3_quinn::Connection::new(connection));
    let Ok(mut http3) = built.await else { return };
    while let Ok(Some(resolver)) = http3.accept().await {
        let read = Arc::clone(&read);
        tokio::spawn(async move {
            let (request, mut stream) = resolver.resolve_request().await.expect("a request");
            read.fetch_add(1, Ordering::SeqCst);
            let mut body = BytesMut::new();
            while let Some(data) = stream.recv_data().await.expect("a body") {
                body.extend_from_slice(data.chunk());
            }
            let (status, reply) = match request.uri().path() {
                "/" => (200, Bytes::from(PAGE)),
                "/big" => (200, Bytes::from("x".repeat(BIG))),
                "/mirror" => (200, body.freeze()),
                "/length" => (
                    200,
                    Bytes::from(format!("{:?}", request.headers().get("content-length"))),
                ),
                "/reset" => {
                    stream.stop_stream(h3::error::Code::H3_INTERNAL_ERROR);
                    return;
                }
                _ => (404, Bytes::new()),
            };
            let response = Response::builder()
                .status(status)
                .header("x-path", request.uri().path());
            let response = response.body(()).expect("a response");
            stream.send_response(response).await.expect("to send");
            if request.method() != hyper::Method::HEAD {
                stream.send_data(reply).await.expect("to send");
            }
            let _ = stream.finish().await;
        });
    }
}

const FORMAT: &str = "%{http_version} %{verdict} %{http_code}\\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_page_is_fetched_over_http_3_and_verified() {
    let mut lab = Lab::new();
    let site = lab.http3_site_with_slow_tcp().await;
    let url = format!("https://{site}/");
    for option in ["--http3", "--http3-only"] {
        let run = lab
            .run(["get", option, "--cacert", &lab.ca(), "-w", FORMAT, &url])
            .await;
        let run = run.exits_with(0);
        assert_eq!(run.stdout, format!("{PAGE}3 verified 200\n"), "{option}");
    }
    let run = lab
        .run(["get", "--http3", "-i", "--cacert", &lab.ca(), &url])
        .await;
    let run = run.exits_with(0);
    assert!(run.stdout.starts_with("HTTP/3 200 \r\n"), "{}", run.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_travel_both_ways_over_http_3() {
    let mut lab = Lab::new();
    let site = lab.http3_site().await;
    let url = |path: &str| format!("https://{site}{path}");
    let (ca, upload, output) = (lab.ca(), lab.path("upload"), lab.path("output"));
    std::fs::write(&upload, vec![b'u'; 3 << 20]).expect("to write");
    let mirror = url("/mirror");
    lab.run([
        "get",
        "--http3-only",
        "--cacert",
        &ca,
        "-T",
        &upload,
        "-o",
        &output,
        &mirror,
    ])
    .await
    .exits_with(0);
    let same = std::fs::read(&upload).expect("to read") == std::fs::read(&output).expect("to read");
    assert!(same);
    lab.run([
        "get",
        "--http3-only",
        "--cacert",
        &ca,
        "-o",
        &output,
        &url("/big"),
    ])
    .await
    .exits_with(0);
    assert_eq!(std::fs::read(&output).expect("to read").len(), BIG);
    let run = lab
        .run([
            "get",
            "--http3-only",
            "--cacert",
            &ca,
            "-d",
            "four",
            &url("/length"),
        ])
        .await;
    assert_eq!(run.exits_with(0).stdout, "Some(\"4\")");
    let run = lab
        .run(["get", "--http3-only", "--cacert", &ca, "-I", &url("/big")])
        .await;
    assert!(run.exits_with(0).stdout.starts_with("HTTP/3 200"));
    lab.run([
        "get",
        "--http3-only",
        "--cacert",
        &ca,
        "-f",
        &url("/nowhere"),
    ])
    .await
    .exits_with(22);
    lab.run(["get", "--http3-only", "--cacert", &ca, &url("/reset")])
        .await
        .exits_with(95)
        .mentions(&["no complete response"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_http_3_server_tcp_wins_the_race_unless_http_3_is_the_only_choice() {
    let mut lab = Lab::new();
    let site = lab.h1_site().await;
    let (ca, url) = (lab.ca(), format!("https://{site}/"));
    let run = lab
        .run(["get", "--http3", "--cacert", &ca, "-w", FORMAT, &url])
        .await;
    assert_eq!(
        run.exits_with(0).stdout,
        format!("{PAGE}1.1 verified 200\n")
    );
    let only = [
        "get",
        "--http3-only",
        "--deadline",
        "500ms",
        "--cacert",
        &ca,
        &url,
    ];
    lab.run(only).await.exits_with(28);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_man_in_the_middle_of_quic_is_an_interception_and_no_reason_to_fall_back() {
    let mut lab = Lab::new();
    let real = lab.http3_site().await.to_string();
    let (attacker, read) = lab.quic_attacker().await;
    let (cas, url) = (lab.both_cas(), format!("https://{attacker}/"));
    for option in ["--http3", "--http3-only"] {
        let typed = [
            "get",
            option,
            "--cacert",
            &cas,
            "--side-endpoint",
            &real,
            &url,
        ];
        let run = lab.run(typed).await;
        let run = run
            .exits_with(110)
            .mentions(&["INTERCEPTION DETECTED", "Multipath TLS test CA"]);
        assert_eq!(run.stdout, "");
    }
    assert_eq!(
        read.load(Ordering::SeqCst),
        0,
        "requests that the attacker has read"
    );
    // Nothing but the verification detects them.
    let plain = [
        "get",
        "--http3-only",
        "--policy",
        "observe",
        "--cacert",
        &cas,
        &url,
    ];
    let run = lab.run(plain).await;
    assert!(run.stdout.contains(PAGE), "{}", run.stdout);
    assert_eq!(read.load(Ordering::SeqCst), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn alt_svc_of_a_verified_response_names_the_port_of_later_requests() {
    let mut lab = Lab::new();
    let site = lab.alternative_site().await;
    let (ca, url) = (lab.ca(), format!("https://{}/", site.tcp));
    // A busy machine could make TCP win the race of the second request.
    let front = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let front = lab.front(front, site.tcp, 1);
    let front = format!("https://{front}/");
    let typed = ["get", "--http3", "--cacert", &ca, "-w", FORMAT];
    let run = lab.run([&typed[..], &[&front, &front]].concat()).await;
    let expected = format!("{OVER_TCP}1.1 verified 200\n{PAGE}3 verified 200\n");
    assert_eq!(run.exits_with(0).stdout, expected);
    assert_ne!(site.tcp.port(), site.udp.port());

    // The side path leads nowhere: the response is not verified, and so is its field.
    let nowhere = closed_port().await.to_string();
    let typed = [
        "get", "--http3", "--policy", "prefer", "--cacert", &ca, "-w", FORMAT,
    ];
    let run = lab
        .run([&typed[..], &["--side-endpoint", &nowhere, &url, &url]].concat())
        .await;
    let expected = format!("{OVER_TCP}1.1 unverified 200\n").repeat(2);
    assert_eq!(run.exits_with(0).stdout, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn check_verifies_quic_connections() {
    let mut lab = Lab::new();
    let site = lab.http3_site().await.to_string();
    let run = lab
        .run([
            "check",
            "--http3-only",
            "--json",
            "--cacert",
            &lab.ca(),
            &site,
        ])
        .await;
    let run = run.exits_with(0);
    let verdict: serde_json::Value = serde_json::from_str(&run.stdout).expect("JSON");
    assert_eq!(verdict["verdict"], "verified");
    assert_eq!(verdict["tls"]["transport"], "quic");
    assert_eq!(verdict["tls"]["alpn"], "h3");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_as_the_primary_path_is_refused() {
    let lab = Lab::new();
    let proxy = "socks5h://127.0.0.1:9";
    lab.run(["get", "--http3", "--primary", proxy, "https://localhost/"])
        .await
        .exits_with(2)
        .mentions(&["--http3", proxy, "UDP"]);
}

/// HEADERS of a response with status 200 (RFC 9204, appendix A, index 25).
const OK: [u8; 5] = [0x01, 3, 0, 0, 0xd9];

#[tokio::test(flavor = "multi_thread")]
async fn a_body_over_http_3_is_whole_or_an_error() {
    const WHOLE: &[u8] = &[0x01, 3, 0, 0, 0xd9, 0, 2, b'a', b'b', 0, 0, 0, 1, b'c'];
    const CUT: &[u8] = &[0x01, 3, 0, 0, 0xd9, 0, 5, b'a', b'b'];
    assert!(WHOLE.starts_with(&OK) && CUT.starts_with(&OK));
    let mut lab = Lab::new();
    let ca = lab.ca();
    let site = lab.raw_http3_site(WHOLE).await;
    let url = format!("https://{site}/");
    let run = lab.run(["get", "--http3-only", "--cacert", &ca, &url]);
    assert_eq!(
        run.await.exits_with(0).stdout,
        "abc",
        "an empty frame ends nothing"
    );
    let site = lab.raw_http3_site(CUT).await;
    let url = format!("https://{site}/");
    let run = lab.run(["get", "--http3-only", "--cacert", &ca, &url]);
    run.await.exits_with(95);
}
