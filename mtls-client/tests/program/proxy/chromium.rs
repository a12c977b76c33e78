//! A browser behind the proxy.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

use super::Running;
use super::web::THANKED;
use crate::lab::{Lab, Whose, has};

const LIE: &str = "<!doctype html><p>hello from the attacker</p>";

/// A page that hangs.
const LONG: Duration = Duration::from_secs(120);

/// Headless Chromium that trusts the server and, as with a rogue CA, the attacker.
struct Browser {
    profile: String,
    trusted: String,
    proxy: SocketAddr,
}

impl Browser {
    fn new(lab: &Lab, name: &str, proxy: SocketAddr) -> Self {
        let spki = |leaf: &mtls_certs::Leaf| {
            let chain = leaf.chain_der();
            let key = mtls_core::CertificateEvidence::new(&chain[0]).spki_sha256;
            STANDARD.encode(unhex(&key.expect("a key")))
        };
        Self {
            profile: lab.path(name),
            trusted: format!("{},{}", spki(&lab.pki.server), spki(&lab.pki.rogue)),
            proxy,
        }
    }

    /// The page after its script has run.
    async fn dom(&self, url: &str) -> String {
        self.dump(url, &["--virtual-time-budget=10000"]).await
    }

    async fn dump(&self, url: &str, when: &[&str]) -> String {
        let _ = std::fs::remove_dir_all(&self.profile);
        let mut chromium = Command::new("chromium");
        chromium
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-quic",
                "--no-first-run",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
                "--disable-dev-shm-usage",
                "--dump-dom",
                "--proxy-bypass-list=<-loopback>",
            ])
            .arg(format!("--user-data-dir={}", self.profile))
            .arg(format!("--proxy-server=http://{}", self.proxy))
            .arg(format!(
                "--ignore-certificate-errors-spki-list={}",
                self.trusted
            ))
            .args(when)
            .arg(url)
            .kill_on_drop(true);
        let output = tokio::time::timeout(LONG, chromium.output()).await;
        let output = output.expect("it hangs").expect("to run");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

fn unhex(text: &str) -> Vec<u8> {
    let pairs = text.as_bytes().chunks(2);
    let byte = |pair| u8::from_str_radix(std::str::from_utf8(pair).expect("hex"), 16);
    pairs.map(|pair| byte(pair).expect("hex")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_with_many_parts_and_a_web_socket_is_verified() {
    if !has("chromium") {
        return;
    }
    let mut lab = Lab::new();
    let url = format!("https://localhost:{}/", lab.web().await.port());
    let socket = format!(
        "https://localhost:{}/with-socket",
        lab.h1_web().await.port()
    );
    let proxy = Running::with(&["--require", "localhost"]).await;
    let browser = Browser::new(&lab, "profile", proxy.address);
    let dom = browser.dom(&url).await;
    assert!(dom.contains("the real page"), "{dom}");
    assert!(dom.contains("all 24 loaded"), "{dom}\n{}", proxy.stderr());
    // As it is when it has loaded.
    let dom = browser.dump(&socket, &[]).await;
    assert!(
        dom.contains("echo: over the socket"),
        "{dom}\n{}",
        proxy.stderr()
    );
    let seen = proxy.connections(3).await;
    let ours: Vec<_> = seen
        .iter()
        .filter(|one| one["rule"] == "--require localhost")
        .collect();
    assert!(ours.len() >= 3, "{seen:?}");
    let fine = |kind: &str| matches!(kind, "verified" | "unused");
    assert!(
        ours.iter()
            .all(|one| one["kind"].as_str().is_some_and(fine)),
        "{ours:?}"
    );
    assert!(ours.iter().any(|one| one["kind"] == "verified"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_alone_shows_the_attackers_page_and_through_the_proxy_sends_the_attacker_nothing()
{
    if !has("chromium") {
        return;
    }
    let mut lab = Lab::new();
    let real = lab.web().await.port();
    let url = format!("https://localhost:{real}/");
    let (attacker, read) = lab.plain_tls(Whose::Rogue, LIE).await;
    let network = lab.hostile_network(attacker, real).await;
    let alone = Browser::new(&lab, "alone", network).dom(&url).await;
    assert!(alone.contains("hello from the attacker"), "{alone}");
    assert!(read.load(Ordering::Relaxed) > 0);

    // Another one, so that nothing that was sent before can arrive late.
    let (attacker, read) = lab.plain_tls(Whose::Rogue, LIE).await;
    let network = format!("http://{}", lab.hostile_network(attacker, real).await);
    let proxy = Running::with(&["--primary", &network, "--side", "direct"]).await;
    let behind = Browser::new(&lab, "behind", proxy.address).dom(&url).await;
    assert!(!behind.contains("hello from the attacker"), "{behind}");
    assert!(!behind.contains("the real page"), "{behind}");
    assert_eq!(
        read.load(Ordering::Relaxed),
        0,
        "bytes that the attacker has read"
    );
    proxy.says("INTERCEPTION DETECTED: localhost").await;
    let seen = proxy.connections(1).await;
    let ours = seen.iter().filter(|one| one["server_name"] == "localhost");
    let kinds: Vec<_> = ours.map(|one| &one["kind"]).collect();
    assert!(
        !kinds.is_empty() && kinds.iter().all(|kind| *kind == "intercepted"),
        "{kinds:?}"
    );
    let id = proxy.presented().await;
    let page = format!("http://{}/#{id}", proxy.address);
    let dom = Browser::new(&lab, "page", proxy.address).dom(&page).await;
    assert!(
        dom.contains("Certificate received over a second connection"),
        "{dom}"
    );
    assert!(!dom.contains("the proxy does not respond"), "{dom}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_of_the_proxy_lists_connections_in_a_browser() {
    if !has("chromium") || !has("curl") {
        return;
    }
    let mut lab = Lab::new();
    let url = format!("https://localhost:{}/", lab.web().await.port());
    let proxy = Running::with(&[]).await;
    let typed = ["--cacert", &lab.ca(), &url];
    proxy.curl(super::Way::Http, &typed).await.exits_with(0);
    let browser = Browser::new(&lab, "profile", proxy.address);
    for page in [
        format!("http://{}/", proxy.address),
        format!("http://multipath.localhost:{}/", proxy.address.port()),
        "http://multipath.localhost/".to_owned(),
    ] {
        let dom = browser.dom(&page).await;
        assert!(dom.contains(r#"<li class="verified">"#), "{page}: {dom}");
        assert!(dom.contains("verified over a second path"), "{page}: {dom}");
    }
}

/// The least of a WebSocket server (RFC 6455): echoes one short text message.
pub(super) fn web_socket(request: Request<Incoming>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    let Some(key) = request.headers().get("sec-websocket-key") else {
        *response.status_mut() = StatusCode::BAD_REQUEST;
        return response;
    };
    let accepted = [key.as_bytes(), b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"].concat();
    let accepted = STANDARD.encode(sha1(&accepted));
    tokio::spawn(async move {
        let Ok(upgraded) = hyper::upgrade::on(request).await else {
            return;
        };
        let mut io = TokioIo::new(upgraded);
        let mut head = [0; 6];
        if io.read_exact(&mut head).await.is_err() {
            return;
        }
        let length = usize::from(head[1] & 0x7f);
        let mut text = vec![0; length];
        if io.read_exact(&mut text).await.is_err() {
            return;
        }
        for (index, byte) in text.iter_mut().enumerate() {
            *byte ^= head[2 + index % 4];
        }
        let answer = [&[0x81, head[1] & 0x7f][..], &text].concat();
        if io.write_all(&answer).await.is_ok() && io.read_u8().await.is_ok() {
            THANKED.notify_one();
        }
    });
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    for (name, value) in [
        ("connection", "upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-accept", &accepted),
    ] {
        response
            .headers_mut()
            .insert(name, value.parse().expect("a value"));
    }
    response
}

/// FIPS 180-4: all that a WebSocket's handshake needs it for is to be itself.
fn sha1(message: &[u8]) -> [u8; 20] {
    let mut state = [
        0x6745_2301_u32,
        0xefcd_ab89,
        0x98ba_dcfe,
        0x1032_5476,
        0xc3d2_e1f0,
    ];
    let mut padded = message.to_vec();
    padded.push(0x80);
    padded.resize(padded.len().next_multiple_of(64), 0);
    if message.len() % 64 > 55 {
        padded.resize(padded.len() + 64, 0);
    }
    let end = padded.len() - 8;
    padded[end..].copy_from_slice(&(8 * message.len() as u64).to_be_bytes());
    for block in padded.chunks(64) {
        let mut words = [0_u32; 80];
        for (word, bytes) in words.iter_mut().zip(block.chunks(4)) {
            *word = u32::from_be_bytes(bytes.try_into().expect("four bytes"));
        }
        for t in 16..80 {
            words[t] = (words[t - 3] ^ words[t - 8] ^ words[t - 14] ^ words[t - 16]).rotate_left(1);
        }
        let [mut a, mut b, mut c, mut d, mut e] = state;
        for (t, word) in words.iter().enumerate() {
            let (f, k) = match t / 20 {
                0 => ((b & c) | (!b & d), 0x5a82_7999),
                1 => (b ^ c ^ d, 0x6ed9_eba1),
                2 => ((b & c) | (b & d) | (c & d), 0x8f1b_bcdc),
                _ => (b ^ c ^ d, 0xca62_c1d6_u32),
            };
            let next = [a.rotate_left(5), f, e, k, *word];
            let next = next.into_iter().fold(0_u32, u32::wrapping_add);
            (e, d, c, b, a) = (d, c, b.rotate_left(30), a, next);
        }
        for (sum, part) in state.iter_mut().zip([a, b, c, d, e]) {
            *sum = sum.wrapping_add(part);
        }
    }
    let mut digest = [0; 20];
    for (bytes, word) in digest.chunks_mut(4).zip(state) {
        bytes.copy_from_slice(&word.to_be_bytes());
    }
    digest
}

#[test]
fn sha1_matches_its_test_vector() {
    let hex = |digest: [u8; 20]| digest.map(|byte| format!("{byte:02x}")).concat();
    assert_eq!(
        hex(sha1(b"abc")),
        "a9993e364706816aba3e25717850c26c9cd0d89d"
    );
    assert_eq!(hex(sha1(b"")), "da39a3ee5e6b4b0d3255bfef95601890afd80709");
}
