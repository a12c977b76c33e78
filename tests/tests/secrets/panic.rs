//! A panic in a process that holds secrets of every kind: its message prints every type of the library
//! that holds one, and its backtrace is a full one.
//!
//! No input is known that makes a program panic, so this process is a test.

use std::fmt::Debug;
use std::path::Path as FilePath;
use std::process::{Command, Stdio};
use std::sync::Arc;

use mtls_core::path::Path;
use mtls_core::proto::binding::SideSecret;
use mtls_core::quic::QuicConnector;
use mtls_core::registry::ServiceId;
use mtls_core::registry::fleet::{FleetKeys, FleetSettings, MachineId};
use mtls_core::registry::redis::RedisSettings;
use mtls_core::smkex::{SmkexClient, SmkexServer};
use mtls_core::{ClientSettings, MultipathAcceptor, Policy};
use mtls_lab::quic::ALPN;
use mtls_lab::{Result, Setup, World, child, fetch};

use super::run::{REGISTRY_KEY, REGISTRY_PASSWORD};
use super::search::Secrets;
use super::{PROXY_PASSWORD, add_files, client_config, server_config};

/// Names the file for the secrets, in the process that panics.
const FILE: &str = "MTLS_LAB_PANIC";
const TEST: &str = "secrets::panic::the_output_of_a_panic_has_no_secret";

#[tokio::test(flavor = "multi_thread")]
async fn the_output_of_a_panic_has_no_secret() -> Result {
    if let Some(file) = std::env::var_os(FILE) {
        return panic_with_everything(FilePath::new(&file)).await;
    }
    if !child::is_installed("setpriv") {
        eprintln!("SKIPPED: setpriv is not installed");
        return Ok(());
    }
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("secrets");
    let output = this_test(&file)?.output()?;
    assert!(!output.status.success());
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    for part in [
        "panicked at",
        "MultipathConnector",
        "MultipathAcceptor",
        "MultipathStream",
        "QuicConnection",
        "SideSecret(..)",
        "FleetKeys(..)",
        "stack backtrace",
        "panic_with",
    ] {
        assert!(text.contains(part), "no {part:?}: {text}");
    }
    let secrets = Secrets::default();
    secrets.read(&file)?;
    assert!(secrets.len() > 500, "only {} parts", secrets.len());
    for output in [output.stderr, output.stdout] {
        assert_eq!(secrets.found_in(&output), [].into());
    }
    Ok(())
}

/// This test in a process of its own, which writes its secrets to a file, and panics.
fn this_test(file: &FilePath) -> Result<Command> {
    let mut command = child::tied(std::env::current_exe()?);
    command.args([TEST, "--exact", "--nocapture"]);
    command.env(FILE, file).env("RUST_BACKTRACE", "full");
    command.stdin(Stdio::null());
    Ok(command)
}

/// Both ends of connections over TLS and QUIC, in the middle of them, and what they are made of.
async fn panic_with_everything(file: &FilePath) -> Result {
    let secrets = Secrets::default();
    let world = World::new()?;
    add_files(&secrets, &world);
    let tls = server_config(&secrets, &world)?;
    let setup = Setup::new(Policy::Require).tls(tls.clone()).quic();
    let server = world.serve(setup).await?;
    let victim = world.victim(&server)?;
    let victim = victim.with_config(client_config(&secrets, &world)?);
    let settings = victim.settings(Policy::Require);
    let connector = victim.connector(Policy::Require)?.tickets(4).build()?;
    fetch(connector.connect(&victim.target()).await?).await?;
    let resumed = connector.connect(&victim.target()).await?;
    let plain = victim.connect_plain().await?;
    let over_quic = QuicConnector::builder(&connector).alpn(&[ALPN]).build()?;
    let quic = over_quic.connect(&victim.target()).await?;
    let acceptor = MultipathAcceptor::builder(Arc::new(tls), Policy::Require).build()?;
    let (verdict, others) = (resumed.verdict_handle(), holders(&secrets)?);
    let ends: [&dyn Debug; 7] = [
        &server, &acceptor, &victim, &settings, &connector, &over_quic, &world,
    ];
    let connections: [&dyn Debug; 4] = [&resumed, &plain, &quic, &verdict];
    secrets.write(file)?;
    panic_with(&ends, &connections, &others)
}

/// No `async fn`: with debug information its name is not in a backtrace.
fn panic_with(ends: &[&dyn Debug], connections: &[&dyn Debug], others: &[Box<dyn Debug>]) -> ! {
    panic!("{ends:#?} {connections:#?} {others:#?}");
}

/// Further types of the library that hold a secret.
fn holders(secrets: &Secrets) -> Result<Vec<Box<dyn Debug>>> {
    let side = SideSecret::new(std::array::from_fn(|byte| {
        (byte as u8).wrapping_mul(37) ^ 0x5a
    }));
    secrets.add("side secret", side.as_bytes());
    let mut redis = RedisSettings::new("redis://me@127.0.0.1".parse()?, ServiceId::default());
    redis.password = Some(REGISTRY_PASSWORD.to_owned().into());
    let keys = FleetKeys::new(&REGISTRY_KEY);
    let fleet = FleetSettings::new(MachineId(1), keys.clone());
    let path: Path = format!("socks5h://me:{PROXY_PASSWORD}@127.0.0.1:1").parse()?;
    let settings = ClientSettings::new(Policy::Require).side(path.clone());
    let provider = Arc::new(mtls_lab::provider());
    Ok(vec![
        Box::new(side),
        Box::new(redis),
        Box::new(keys),
        Box::new(fleet),
        Box::new(path),
        Box::new(settings),
        Box::new(SmkexServer::new(Arc::clone(&provider))),
        Box::new(SmkexClient::new(provider)),
    ])
}
