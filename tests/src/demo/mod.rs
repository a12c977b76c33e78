//! `mtls-lab demo`: a man in the middle that plain TLS trusts and multipath TLS refuses, shown
//! step by step, with a check at each.

mod step_printer;

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;
use mtls_core::proto::binding::Binding;
use mtls_core::proto::client::InterceptionReason;
use mtls_core::{Error, Evidence, EvidenceReason, PathReport, PathRole, Policy, Verdict};
use tokio::runtime::Builder;
use tokio::time::timeout;

use self::step_printer::StepPrinter;
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
    let mut printer = StepPrinter::new(anstream::stdout());
    match run_in_runtime(&mut printer) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if is_broken_pipe(&*error) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = StepPrinter::new(anstream::stderr()).failed(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

fn run_in_runtime(printer: &mut StepPrinter<impl Write>) -> Result {
    let runtime = Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    runtime.block_on(async {
        timeout(PATIENCE, run_steps(printer))
            .await
            .map_err(|_| "the demo takes too long: is this machine very busy?")?
    })
}

/// Whether the reader of standard output has closed it, which is no error.
fn is_broken_pipe(error: &(dyn std::error::Error + Send + Sync + 'static)) -> bool {
    error
        .downcast_ref::<io::Error>()
        .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

async fn run_steps(printer: &mut StepPrinter<impl Write>) -> Result {
    let started = Instant::now();
    printer.title("Multipath TLS: who is at the other end?")?;
    let setting = start_server_and_client(printer).await?;
    fetch_without_attacker(printer, &setting).await?;
    let mitm = start_attacker(printer, &setting).await?;
    intercept_plain_tls(printer, &setting, &mitm).await?;
    let evidence = detect_interception(printer, &setting, &mitm).await?;
    show_evidence(printer, &setting, &evidence)?;
    printer.success(started.elapsed())?;
    Ok(())
}

struct Setting {
    world: World,
    server: Server,
    victim: Victim,
}

async fn start_server_and_client(printer: &mut StepPrinter<impl Write>) -> Result<Setting> {
    printer.step("A server, and a client that trusts two authorities")?;
    let world = World::new()?;
    let server = world.serve(Setup::new(Policy::Prefer)).await?;
    let victim = world
        .victim(&server)?
        .side_from(world.ip(2), server.address());
    printer.fact("server", &format!("https://{HOST} at {}", server.address()))?;
    printer.fact("trusted", "an honest certificate authority")?;
    printer.fact("trusted", "a rogue one, with the very same name")?;
    printer
        .note("Browsers trust more than a hundred authorities. Each can vouch for any server.")?;
    Ok(Setting {
        world,
        server,
        victim,
    })
}

async fn fetch_without_attacker(
    printer: &mut StepPrinter<impl Write>,
    setting: &Setting,
) -> Result {
    printer.step("No attacker: the client fetches a page over two paths")?;
    printer.picture(&[
        "client ════ primary path: TLS 1.3 ════════════════▶ server",
        "     └───── side path: verification ───────────────▶",
    ])?;
    let stream = setting.victim.connect(Policy::Require).await?;
    let verdict = stream.verdict();
    check(
        verdict.binding() == Some(Binding::Exporter),
        "the honest connection was not verified",
    )?;
    let body = fetch(stream).await?;
    check(body == PAGE_SECRET, "the server's page did not arrive")?;
    printer.good("verdict", "verified: both ends saw the same TLS handshake")?;
    for path in &verdict.paths {
        printer.fact(role(path.role), &route(path))?;
    }
    printer.fact("TLS", &tls(&verdict))?;
    printer.fact("paths", &verdict.independence().to_string())?;
    printer.fact("page", &format!("\"{body}\""))?;
    printer.note(
        "Real use needs two networks, such as Wi-Fi and mobile; the demo runs on one machine.",
    )?;
    Ok(())
}

async fn start_attacker(printer: &mut StepPrinter<impl Write>, setting: &Setting) -> Result<Mitm> {
    printer.step("An attacker on the primary path")?;
    printer.picture(&[
        "client ════ TLS ═══▶ attacker ════ TLS ═══════════▶ server",
        "     └───── side path ─────────────────────────────▶",
    ])?;
    let plan = MitmPlan::rogue_ca(&setting.world, &setting.server)?.forges(FORGED_PAGE);
    let mitm = Mitm::start(setting.world.host(66, &setting.server), plan).await?;
    printer.fact("attacker", &format!("at {}", mitm.address()))?;
    printer.fact(
        "has",
        &format!("a certificate for {HOST} from the rogue authority"),
    )?;
    Ok(mitm)
}

async fn intercept_plain_tls(
    printer: &mut StepPrinter<impl Write>,
    setting: &Setting,
    mitm: &Mitm,
) -> Result {
    printer.step("Plain TLS accepts the attacker")?;
    let body = setting
        .victim
        .clone()
        .primary_to(mitm.address())
        .fetch_plain()
        .await?;
    check(
        body == FORGED_PAGE,
        "plain TLS did not read the attacker's page",
    )?;
    check(
        mitm.captured().has_request_secret(),
        "the attacker did not read the request",
    )?;
    printer.bad("certificate", "accepted: an authority vouches for it")?;
    printer.bad("client reads", &format!("\"{body}\""))?;
    printer.bad(
        "attacker",
        &format!("reads the client's cookie \"{REQUEST_SECRET}\""),
    )?;
    mitm.captured().expect_both_secrets().await?;
    printer.bad(
        "attacker",
        &format!("reads the server's page \"{PAGE_SECRET}\""),
    )?;
    Ok(())
}

async fn detect_interception(
    printer: &mut StepPrinter<impl Write>,
    setting: &Setting,
    mitm: &Mitm,
) -> Result<Box<Evidence>> {
    printer.step("Multipath TLS verifies over the side path, and refuses")?;
    let before = setting.server.bytes();
    let victim = setting.victim.clone().primary_to(mitm.address());
    let evidence = match victim.connect(Policy::Require).await {
        Err(Error::Interception(evidence)) => evidence,
        Err(other) => return Err(format!("expected an interception, got: {other}").into()),
        Ok(_) => return Err("expected an interception, got a stream".into()),
    };
    check(
        evidence.reason == EvidenceReason::Interception(InterceptionReason::UnknownHandshake),
        "the interception has another reason than expected",
    )?;
    mitm.captured().expect_no_plaintext().await?;
    check(
        setting.server.bytes() == before,
        "the server received data from the attacker",
    )?;
    printer.good("verdict", &format!("intercepted: {}", evidence.reason))?;
    printer.good(
        "attacker",
        "reads nothing: 0 bytes of the application were sent",
    )?;
    Ok(evidence)
}

fn show_evidence(
    printer: &mut StepPrinter<impl Write>,
    setting: &Setting,
    evidence: &Evidence,
) -> Result {
    printer.step("The evidence of the interception")?;
    let leaf = evidence.chain.first().ok_or("the evidence has no chain")?;
    check(
        evidence.chain_pem() == setting.world.pki.rogue.chain_pem().replace("\r\n", "\n"),
        "the evidence shows another certificate",
    )?;
    let unknown = || "(unreadable)".to_owned();
    printer.fact("target", &evidence.target)?;
    for path in &evidence.connection.paths {
        printer.fact(role(path.role), &route(path))?;
    }
    printer.fact("presented", &leaf.subject.clone().unwrap_or_else(unknown))?;
    printer.fact("issuer", &leaf.issuer.clone().unwrap_or_else(unknown))?;
    printer.fact("SHA-256", &leaf.sha256)?;
    printer.fact("key", &leaf.spki_sha256.clone().unwrap_or_else(unknown))?;
    printer.fact("handshake", &evidence.association)?;
    printer.note("The program `mtls-client` keeps this as JSON and PEM with `--evidence-dir`.")?;
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
    let interface = path.interface().unwrap_or("?");
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
