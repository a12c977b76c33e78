//! `mtls-client watch` while an attacker comes and goes, with everything that it writes.

use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use mtls_lab::attacker::{Mitm, MitmPlan};
use mtls_lab::{HOST, Result, Server, Tasks, World, eventually};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

use super::run::Place;
use super::search::Secrets;

/// The token in the address of a webhook.
pub(super) const TOKEN: &str = "the-token-in-the-address-of-a-webhook";
/// The name of the output with the bodies of the webhook.
const WEBHOOK: &str = "watch.webhook";
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(10);

/// Verified, intercepted, and verified again; the pages are kept.
pub(super) async fn changes(
    secrets: &Secrets,
    world: &World,
    place: &Arc<Place>,
    server: &Server,
) -> Result {
    let mut identity = world.rogue_config()?;
    identity.key_log = Arc::new(secrets.clone());
    let plan = MitmPlan::new(world, server.address(), identity)?;
    let mitm = Mitm::start(world.host(68, server), plan).await?;
    let attacked = Arc::new(AtomicBool::new(false));
    let tasks = Arc::new(Tasks::default());
    let network = network(&tasks, [server.address(), mitm.address()], &attacked).await?;
    let hook = receiver(&tasks, place).await?;
    let (network, real) = (network.to_string(), server.address().to_string());
    let port = network.rsplit(':').next().ok_or("no port")?;
    let (target, resolve) = (format!("{HOST}:{port}"), format!("{HOST}:{port}:127.0.0.1"));
    let cas = both_cas(place)?;
    let (state, evidence) = (
        place.text("outputs/watch.state"),
        place.text("outputs/watched"),
    );
    let hook = format!("http://{hook}/hook?token={TOKEN}");
    let watch = ["client", "watch", "-vv", "--json", "--every", "1s"];
    let paths = ["--resolve", &resolve, "--side-endpoint", &real];
    let trust = ["--cacert", &cas];
    let files = [
        "--state",
        &state,
        "--evidence-dir",
        &evidence,
        "--webhook",
        &hook,
    ];
    let arguments = [&watch[..], &paths, &trust, &files, &[&target]].concat();
    let program = place.start_watch(&arguments).await?;
    for (number, is_attacked) in (1..).zip([false, true, false]) {
        attacked.store(is_attacked, Ordering::Relaxed);
        let delivered = eventually("the change is delivered", || {
            place.output(WEBHOOK).matches("\"event\"").count() >= number
        });
        let delivered = delivered.await;
        delivered.map_err(|error| format!("{error}: {}", place.output("watch.stdout")))?;
        place.keep_pages(&program).await?;
    }
    program.end()
}

/// A file with the certificates of the authority and of the rogue one.
fn both_cas(place: &Place) -> Result<String> {
    let names = ["pki/ca.pem", "pki/rogue-ca.pem"];
    let [ca, rogue] = names.map(|name| fs::read_to_string(place.path(name)));
    let both = place.path("pki/both.pem");
    fs::write(&both, ca? + &rogue?)?;
    Ok(both.display().to_string())
}

/// A path to the first address, which leads to the second one while it is attacked.
async fn network(
    tasks: &Arc<Tasks>,
    [real, attacker]: [SocketAddr; 2],
    attacked: &Arc<AtomicBool>,
) -> Result<SocketAddr> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let address = listener.local_addr()?;
    let (attacked, connections) = (Arc::clone(attacked), Arc::clone(tasks));
    tasks.spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            let to = match attacked.load(Ordering::Relaxed) {
                true => attacker,
                false => real,
            };
            connections.spawn(async move {
                if let Ok(mut far) = TcpStream::connect(to).await {
                    let _ = copy_bidirectional(&mut near, &mut far).await;
                }
            });
        }
    });
    Ok(address)
}

/// A receiver of webhooks, which keeps their bodies with the other outputs.
async fn receiver(tasks: &Tasks, place: &Arc<Place>) -> Result<SocketAddr> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let address = listener.local_addr()?;
    let place = Arc::clone(place);
    tasks.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // A request that is cut is sent again.
            let _ = receive(stream, &place).await;
        }
    });
    Ok(address)
}

async fn receive(mut stream: TcpStream, place: &Place) -> Result {
    let mut request = Vec::new();
    while !request.ends_with(b"}") {
        let mut bytes = [0; 4096];
        let read = tokio::time::timeout(PATIENCE, stream.read(&mut bytes)).await??;
        if read == 0 {
            return Err("the request is cut".into());
        }
        request.extend_from_slice(&bytes[..read]);
    }
    let text = String::from_utf8(request)?;
    let (head, body) = text.split_once("\r\n\r\n").ok_or("no head")?;
    // The token is for the receiver, and for no other output.
    assert!(head.contains(TOKEN), "{head}");
    place.add_output(WEBHOOK, body.as_bytes())?;
    Ok(stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await?)
}
