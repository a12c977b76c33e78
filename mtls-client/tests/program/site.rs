//! A web site behind a multipath listener.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Either, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use mtls_core::smkex::SmkexServer;
use mtls_core::{ListenerLimits, MultipathAcceptor, MultipathListener, Policy, ServerStream};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::lab::{Lab, patient_server, server_config, server_config_for_clients};

pub(crate) const PAGE: &str = "hello from the real server\n";
pub(crate) const BIG: usize = 4 << 20;

/// The versions of HTTP that the site supports.
pub(crate) const BOTH: &[&[u8]] = &[b"h2", b"http/1.1"];
pub(crate) const H1: &[&[u8]] = &[b"http/1.1"];

/// The behaviour of a site.
#[derive(Clone, Copy)]
enum Behaviour {
    Pages,
    /// The same bytes for every request, and then the end.
    Raw(&'static [u8]),
}

impl Lab {
    /// The real server.
    pub(crate) async fn site(&mut self) -> SocketAddr {
        self.site_with(BOTH, Behaviour::Pages).await
    }

    pub(crate) async fn h1_site(&mut self) -> SocketAddr {
        self.site_with(H1, Behaviour::Pages).await
    }

    /// One that answers these bytes over a verified stream.
    pub(crate) async fn raw_site(&mut self, bytes: &'static [u8]) -> SocketAddr {
        self.site_with(H1, Behaviour::Raw(bytes)).await
    }

    /// One that demands a client certificate of the real CA.
    pub(crate) async fn site_for_clients(&mut self) -> SocketAddr {
        let config = server_config_for_clients(&self.pki, BOTH);
        self.serve_at_a_port(config, pages).await
    }

    /// One that acts when the beginning of a request's body is there, and reads on.
    pub(crate) async fn reading_site(
        &mut self,
        act: impl Fn() + Clone + Send + 'static,
    ) -> SocketAddr {
        let config = server_config(&self.pki.server, H1);
        self.serve_at_a_port(config, move |mut stream| {
            let act = act.clone();
            async move {
                let mut bytes = vec![0; 64 << 10];
                let mut read = 0;
                while read < 300_000 {
                    match stream.read(&mut bytes).await {
                        Ok(0) | Err(_) => return,
                        Ok(more) => read += more,
                    }
                }
                act();
                while let Ok(1..) = stream.read(&mut bytes).await {}
            }
        })
        .await
    }

    async fn site_with(&mut self, alpn: &[&[u8]], behaviour: Behaviour) -> SocketAddr {
        let config = server_config(&self.pki.server, alpn);
        match behaviour {
            Behaviour::Pages => self.serve_at_a_port(config, pages).await,
            Behaviour::Raw(bytes) => {
                self.serve_at_a_port(config, move |stream| raw(stream, bytes))
                    .await
            }
        }
    }

    pub(crate) async fn serve_at_a_port<F>(
        &mut self,
        config: Arc<ServerConfig>,
        handle: impl Fn(ServerStream<TcpStream>) -> F + Send + 'static,
    ) -> SocketAddr
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let primary = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = primary.local_addr().expect("an address");
        self.serve(primary, None, config, handle);
        address
    }

    /// TLS on IPv6 and side connections on IPv4, at one port; `None` where there is no IPv6.
    pub(crate) async fn site_of_both_families(&mut self) -> Option<u16> {
        let primary = TcpListener::bind("[::1]:0").await.ok()?;
        let port = primary.local_addr().expect("an address").port();
        let side = TcpListener::bind(("127.0.0.1", port)).await.ok()?;
        let config = server_config(&self.pki.server, BOTH);
        self.serve(primary, Some(side), config, pages);
        Some(port)
    }

    fn serve<F>(
        &mut self,
        primary: TcpListener,
        side: Option<TcpListener>,
        config: Arc<ServerConfig>,
        handle: impl Fn(ServerStream<TcpStream>) -> F + Send + 'static,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        let acceptor = MultipathAcceptor::builder(config, patient_server(Policy::Prefer))
            .build()
            .expect("an acceptor");
        self.attend(acceptor, primary, side, handle);
    }

    /// One without a certificate.
    pub(crate) async fn smkex_site(&mut self) -> SocketAddr {
        let primary = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        self.smkex_site_on(primary)
    }

    /// The same on a listener that is bound; each has a key of its own.
    pub(crate) fn smkex_site_on(&mut self, primary: TcpListener) -> SocketAddr {
        let acceptor = SmkexServer::new(Arc::new(aws_lc_rs::default_provider()))
            .alpn(BOTH)
            .acceptor(patient_server(Policy::Require));
        let acceptor = acceptor.and_then(|builder| builder.build());
        let address = primary.local_addr().expect("an address");
        self.attend(acceptor.expect("an acceptor"), primary, None, pages);
        address
    }

    fn attend<F>(
        &mut self,
        acceptor: MultipathAcceptor,
        primary: TcpListener,
        side: Option<TcpListener>,
        handle: impl Fn(ServerStream<TcpStream>) -> F + Send + 'static,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        let mut listener = MultipathListener::new(acceptor, primary, ListenerLimits::default());
        if let Some(side) = side {
            listener.add_side(side);
        }
        self.spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await;
                connections.spawn(handle(stream));
            }
        });
    }
}

async fn pages(stream: ServerStream<TcpStream>) {
    let Ok(stream) = stream.wait_for_verdict().await else {
        return;
    };
    let (tls, verdict) = stream.into_parts();
    let is_h2 = tls.get_ref().1.alpn_protocol() == Some(b"h2");
    let service = service_fn(move |request: Request<Incoming>| {
        let verdict = verdict.clone();
        async move {
            if request.uri().path() == "/never" {
                std::future::pending::<()>().await;
            }
            Ok::<_, Infallible>(match request.uri().path() {
                "/mirror" => Response::new(Either::Left(request.into_body())),
                "/echo" => Response::new(Either::Right(echo(request).await.into())),
                path if path.starts_with("/to") => {
                    // HTTP/2 servers that leave a body unread reset the stream.
                    let (head, body) = request.into_parts();
                    let _ = body.collect().await;
                    page(
                        &Request::from_parts(head, ()),
                        verdict.get().outcome.as_str(),
                    )
                    .map(Either::Right)
                }
                _ => page(&request, verdict.get().outcome.as_str()).map(Either::Right),
            })
        }
    });
    let io = TokioIo::new(tls);
    let _ = if is_h2 {
        hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            .serve_connection(io, service)
            .await
    } else {
        hyper::server::conn::http1::Builder::new()
            .serve_connection(io, service)
            .await
    };
}

fn page<B>(request: &Request<B>, verdict: &str) -> Response<Full<Bytes>> {
    let path = request.uri().path();
    let text = |text: String| Response::new(Full::new(Bytes::from(text)));
    if let Some(code) = path.strip_prefix("/status/") {
        let mut response = text(format!("status {code}\n"));
        *response.status_mut() = code.parse().expect("a status");
        return response;
    }
    if let Some(code) = path.strip_prefix("/to") {
        let location = request.uri().query().expect("a location");
        let mut response = text("elsewhere\n".into());
        *response.status_mut() = match code.strip_prefix('/') {
            Some(code) => code.parse().expect("a status"),
            None => StatusCode::FOUND,
        };
        let headers = response.headers_mut();
        headers.insert("location", location.parse().expect("a location"));
        return response;
    }
    match path {
        "/" => text(PAGE.into()),
        "/big" => text("x".repeat(BIG)),
        "/empty" => text(String::new()),
        "/verdict" => text(format!("{verdict}\n")),
        "/request" => text(describe(request)),
        _ => {
            let mut response = text("no such page\n".into());
            *response.status_mut() = StatusCode::NOT_FOUND;
            response
        }
    }
}

/// Describes the request: its head, and the length and the start of its body.
async fn echo(request: Request<Incoming>) -> String {
    let mut text = format!("method: {}\n{}", request.method(), describe(&request));
    let (mut length, mut beginning) = (0, Vec::new());
    let mut body = request.into_body();
    while let Some(Ok(frame)) = body.frame().await {
        let data = frame.into_data().unwrap_or_default();
        length += data.len();
        let room = 200 - beginning.len();
        beginning.extend_from_slice(&data[..data.len().min(room)]);
    }
    let beginning = String::from_utf8_lossy(&beginning);
    text += &format!("body: {length} bytes\nbeginning: {beginning}\n");
    text
}

fn describe<B>(request: &Request<B>) -> String {
    let mut lines = vec![format!("version: {:?}", request.version())];
    lines.extend(
        request
            .uri()
            .authority()
            .map(|host| format!("authority: {host}")),
    );
    for (name, value) in request.headers() {
        lines.push(format!(
            "{name}: {}",
            String::from_utf8_lossy(value.as_bytes())
        ));
    }
    lines.join("\n") + "\n"
}

async fn raw(mut stream: ServerStream<TcpStream>, bytes: &'static [u8]) {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => request.push(byte),
            Err(_) => return,
        }
    }
    let _ = stream.write_all(bytes).await;
    let _ = stream.shutdown().await;
}
