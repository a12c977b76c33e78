//! `mtls-lab demo`: a man in the middle whom plain TLS trusts and multipath TLS refuses, told
//! step by step and checked at each.

mod stage;

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;
use mtls_core::proto::binding::Binding;
use mtls_core::proto::client::InterceptionReason;
use mtls_core::{Error, Evidence, PathReport, PathRole, Policy, Verdict};
use tokio::runtime::Builder;
use tokio::time::timeout;

use self::stage::Stage;
use crate::attacker::{Mitm, MitmPlan};
use crate::secrets::{PAGE_SECRET, REQUEST_SECRET};
use crate::{HOST, Result, Server, Setup, Victim, World, fetch};

/// More than the whole takes on a slow machine.
const PATIENCE: Duration = Duration::from_secs(60);

const FORGED_PAGE: &str = "Welcome! Please type your password once more.";

/// Show on loopback addresses how multipath TLS detects a man in the middle.
///
/// Runs two certificate authorities, a server and an attacker, all in this process and only on
/// 127.0.0.0/8. The exit status is 0 if every step had the expected result.
#[derive(Args, Clone, Copy, Debug)]
pub struct DemoArgs {}

/// Runs the demo, and reports whether every step had the expected result.
pub fn run(_: &DemoArgs) -> ExitCode {
    let mut stage = Stage::new(anstream::stdout());
    match perform(&mut stage) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if is_broken_pipe(&*error) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = Stage::new(anstream::stderr()).failed(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

fn perform(stage: &mut Stage<impl Write>) -> Result {
    let runtime = Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    runtime.block_on(async {
        timeout(PATIENCE, play(stage))
            .await
            .map_err(|_| "the demo takes too long: is this machine very busy?")?
    })
}

/// Who reads only the first lines has seen enough.
fn is_broken_pipe(error: &(dyn std::error::Error + Send + Sync + 'static)) -> bool {
    error
        .downcast_ref::<io::Error>()
        .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

async fn play(stage: &mut Stage<impl Write>) -> Result {
    let started = Instant::now();
    stage.title("Multipath TLS: who is at the other end?")?;
    let scene = set_the_stage(stage).await?;
    fetch_honestly(stage, &scene).await?;
    let mitm = enter_the_attacker(stage, &scene).await?;
    fool_plain_tls(stage, &scene, &mitm).await?;
    let evidence = find_him_out(stage, &scene, &mitm).await?;
    show_evidence(stage, &scene, &evidence)?;
    stage.curtain(started.elapsed())?;
    Ok(())
}

struct Scene {
    world: World,
    server: Server,
    victim: Victim,
}

async fn set_the_stage(stage: &mut Stage<impl Write>) -> Result<Scene> {
    stage.step("A server, and a client who trusts two authorities")?;
    let world = World::new()?;
    let server = world.serve(Setup::new(Policy::Prefer)).await?;
    let victim = world
        .victim(&server)?
        .side_from(world.ip(2), server.address());
    stage.fact("server", &format!("https://{HOST} at {}", server.address()))?;
    stage.fact("trusted", "an honest certificate authority")?;
    stage.fact("trusted", "a rogue one, with the very same name")?;
    stage.say("Browsers trust more than a hundred authorities. Each can vouch for any server.")?;
    Ok(Scene {
        world,
        server,
        victim,
    })
}

async fn fetch_honestly(stage: &mut Stage<impl Write>, scene: &Scene) -> Result {
    stage.step("Nobody in between: the client fetches a page over two paths")?;
    stage.picture(&[
        "client ════ primary path: TLS 1.3 ════════════════▶ server",
        "     └───── side path: \"same handshake?\" ─────────▶",
    ])?;
    let stream = scene.victim.connect(Policy::Require).await?;
    let verdict = stream.verdict();
    check(
        verdict.binding() == Some(Binding::Exporter),
        "the honest connection was not verified",
    )?;
    let body = fetch(stream).await?;
    check(body == PAGE_SECRET, "the server's page did not arrive")?;
    stage.good("verdict", "verified: both ends saw the same TLS handshake")?;
    for path in &verdict.paths {
        stage.fact(role(path.role), &route(path))?;
    }
    stage.fact("TLS", &tls(&verdict))?;
    stage.fact("paths", &verdict.independence.to_string())?;
    stage.fact("page", &format!("\"{body}\""))?;
    stage
        .say("Real use takes two networks (Wi-Fi and mobile, say); one machine has to do here.")?;
    Ok(())
}

async fn enter_the_attacker(stage: &mut Stage<impl Write>, scene: &Scene) -> Result<Mitm> {
    stage.step("An attacker takes his place on the primary path")?;
    stage.picture(&[
        "client ════ TLS ═══▶ attacker ════ TLS ═══════════▶ server",
        "     └───── side path ─────────────────────────────▶",
    ])?;
    let plan = MitmPlan::rogue_ca(&scene.world, &scene.server)?.forges(FORGED_PAGE);
    let mitm = Mitm::start(scene.world.host(66, &scene.server), plan).await?;
    stage.fact("attacker", &format!("at {}", mitm.address()))?;
    stage.fact(
        "has",
        &format!("a certificate for {HOST} from the rogue authority"),
    )?;
    Ok(mitm)
}

async fn fool_plain_tls(stage: &mut Stage<impl Write>, scene: &Scene, mitm: &Mitm) -> Result {
    stage.step("Plain TLS accepts him")?;
    let body = scene
        .victim
        .clone()
        .primary_to(mitm.address())
        .fetch_plain()
        .await?;
    check(body == FORGED_PAGE, "plain TLS did not read his page")?;
    check(
        mitm.loot().has_request_secret(),
        "the attacker did not read the request",
    )?;
    stage.bad("certificate", "accepted: an authority vouches for it")?;
    stage.bad("client reads", &format!("\"{body}\""))?;
    stage.bad(
        "he reads",
        &format!("the client's cookie \"{REQUEST_SECRET}\""),
    )?;
    mitm.loot().is_complete().await?;
    stage.bad("he reads", &format!("the server's page \"{PAGE_SECRET}\""))?;
    Ok(())
}

async fn find_him_out(
    stage: &mut Stage<impl Write>,
    scene: &Scene,
    mitm: &Mitm,
) -> Result<Box<Evidence>> {
    stage.step("Multipath TLS asks the server over the side path, and refuses")?;
    let before = scene.server.bytes();
    let victim = scene.victim.clone().primary_to(mitm.address());
    let evidence = match victim.connect(Policy::Require).await {
        Err(Error::Interception(evidence)) => evidence,
        Err(other) => return Err(format!("expected an interception, got: {other}").into()),
        Ok(_) => return Err("expected an interception, got a stream".into()),
    };
    check(
        evidence.reason == InterceptionReason::UnknownHandshake,
        "the interception has another reason than expected",
    )?;
    mitm.loot().is_empty_handed().await?;
    check(
        scene.server.bytes() == before,
        "the server got something from the attacker",
    )?;
    stage.good("verdict", &format!("intercepted: {}", evidence.reason))?;
    stage.good("he reads", "nothing: 0 bytes of the application were sent")?;
    Ok(evidence)
}

fn show_evidence(stage: &mut Stage<impl Write>, scene: &Scene, evidence: &Evidence) -> Result {
    stage.step("The evidence, for somebody who can act on it")?;
    let leaf = evidence.chain.first().ok_or("the evidence has no chain")?;
    check(
        evidence.chain_pem() == scene.world.pki.rogue.chain_pem().replace("\r\n", "\n"),
        "the evidence shows another certificate",
    )?;
    let unknown = || "(unreadable)".to_owned();
    stage.fact("asked for", &evidence.target)?;
    for path in &evidence.connection.paths {
        stage.fact(role(path.role), &route(path))?;
    }
    stage.fact("presented", &leaf.subject.clone().unwrap_or_else(unknown))?;
    stage.fact("issuer", &leaf.issuer.clone().unwrap_or_else(unknown))?;
    stage.fact("SHA-256", &leaf.sha256)?;
    stage.fact("key", &leaf.spki_sha256.clone().unwrap_or_else(unknown))?;
    stage.fact("handshake", &evidence.association)?;
    stage.say("The program `mtls-client` keeps this as JSON and PEM with `--evidence-dir`.")?;
    Ok(())
}

fn check(holds: bool, otherwise: &str) -> Result {
    match holds {
        true => Ok(()),
        false => Err(otherwise.into()),
    }
}

fn role(role: PathRole) -> &'static str {
    match role {
        PathRole::Primary => "primary path",
        PathRole::Side => "side path",
    }
}

fn route(path: &PathReport) -> String {
    let shown = |address: Option<std::net::SocketAddr>| {
        address.map_or_else(|| "?".to_owned(), |address| address.to_string())
    };
    let interface = path.interface.as_deref().unwrap_or("?");
    let (local, peer) = (shown(path.local), shown(path.peer));
    format!("{local} → {peer}, by interface {interface}")
}

fn tls(verdict: &Verdict) -> String {
    let fields = [
        &verdict.tls.version,
        &verdict.tls.cipher_suite,
        &verdict.tls.key_exchange,
    ];
    let known: Vec<_> = fields.into_iter().flatten().map(String::as_str).collect();
    known.join(", ")
}
