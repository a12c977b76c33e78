//! A man in the middle of QUIC that shares no code with this project: aioquic, in `aioquic_interceptor.py`.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Stdio};

use mtls_core::proto::client::InterceptionReason;
use mtls_core::{Error, EvidenceReason, Policy};
use mtls_lab::quic::ALPN;
use mtls_lab::{HOST, PAGE_SECRET, REQUEST_SECRET, Result, Setup, World, child};
use tempfile::TempDir;
use tokio::sync::mpsc;

use super::quic::{connect, fetch_plain};

/// The exit status of the script without aioquic.
const MISSING: i32 = 77;

/// The attacker, and the lines that it prints.
struct Interceptor {
    process: Child,
    lines: mpsc::UnboundedReceiver<String>,
    /// aioquic reads its files for each connection.
    _folder: TempDir,
}

impl Interceptor {
    /// `None` where it is not installed.
    async fn start(world: &World, at: SocketAddr, server: SocketAddr) -> Result<Option<Self>> {
        if !["python3", "setpriv"].into_iter().all(child::is_installed) {
            println!("skipped: python3 or setpriv is not installed");
            return Ok(None);
        }
        let folder = tempfile::tempdir()?;
        let file = |name: &str, pem: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, pem).map(|()| path)
        };
        let rogue = &world.pki.rogue;
        let mut process = child::tied("python3")
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/aioquic_interceptor.py"))
            .arg(file("chain.pem", rogue.chain_pem())?)
            .arg(file("key.pem", rogue.key_pem())?)
            .arg(file("ca.pem", &world.pki.ca.cert_pem())?)
            .args([at.to_string(), server.to_string()])
            .args([HOST, std::str::from_utf8(ALPN)?])
            .stdout(Stdio::piped())
            .spawn()?;
        let out = process.stdout.take().ok_or("it is piped")?;
        let (sender, lines) = mpsc::unbounded_channel();
        std::thread::spawn(move || {
            let lines = BufReader::new(out).lines().map_while(Result::ok);
            lines.for_each(|line| drop(sender.send(line)));
        });
        let mut started = Self {
            process,
            lines,
            _folder: folder,
        };
        match started.lines.recv().await.as_deref() {
            Some("listening") => Ok(Some(started)),
            _ if started.process.wait()?.code() == Some(MISSING) => {
                println!("skipped: aioquic is not installed");
                Ok(None)
            }
            other => Err(format!("the attacker did not start: {other:?}").into()),
        }
    }

    /// The application data that it read from its next victim, whose handshake is complete.
    async fn next_victim(&mut self) -> Result<Vec<u8>> {
        let (mut complete, mut read) = (false, String::new());
        loop {
            let line = self.lines.recv().await.ok_or("the attacker has ended")?;
            match line.split_once(' ') {
                Some(("read", hex)) => read.push_str(hex),
                _ if line == "complete" => complete = true,
                _ if line == "closed" && complete => return decode(&read),
                _ => return Err(format!("unexpected: {line}").into()),
            }
        }
    }
}

impl Drop for Interceptor {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn decode(hex: &str) -> Result<Vec<u8>> {
    let pairs = hex.as_bytes().chunks(2);
    let bytes = pairs.map(|pair| Ok(u8::from_str_radix(std::str::from_utf8(pair)?, 16)?));
    bytes.collect()
}

#[tokio::test]
async fn an_independent_man_in_the_middle_fools_plain_quic_and_reads_nothing_under_require()
-> Result {
    let world = World::new()?;
    let server = world.serve(Setup::new(Policy::Observe).quic()).await?;
    let at = world.host(66, &server);
    let Some(mut attacker) = Interceptor::start(&world, at, server.address()).await? else {
        return Ok(());
    };
    let victim = world.victim(&server)?.primary_to(at);
    assert_eq!(fetch_plain(&victim).await?, PAGE_SECRET);
    let request = String::from_utf8(attacker.next_victim().await?)?;
    assert!(request.contains(REQUEST_SECRET), "{request}");
    let before = server.bytes();
    for policy in [Policy::Require, Policy::Prefer] {
        let refused = connect(&victim, policy).await?;
        let Err(Error::Interception(evidence)) = refused else {
            return Err(format!("{policy}: {refused:?}").into());
        };
        let unknown = EvidenceReason::Interception(InterceptionReason::UnknownHandshake);
        assert_eq!(evidence.reason, unknown);
        assert_eq!(attacker.next_victim().await?, b"", "{policy}");
    }
    assert_eq!(server.bytes(), before);
    Ok(())
}
