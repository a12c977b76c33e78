//! Multipath TCP as the transport of verified connections, in namespaces.

use std::time::Duration;

use mtls_core::path::{Independence, Path, SubflowSource};
use mtls_core::{ClientSettings, SubflowUse};
use mtls_lab::link::{Link, LinkSettings, TwoLinks};
use mtls_lab::mptcp::{self, Direction, Transfer, Transferred};
use mtls_lab::netns::{INTERFACES, Namespace};
use mtls_lab::{Result, World};

const BYTES: usize = 3_000_000;

/// Two links of 20 Mbit/s, so that a transfer takes a while.
async fn links() -> Result<TwoLinks> {
    let settings = LinkSettings {
        delay: Duration::from_millis(2),
        rate: Some(20_000_000),
        ..LinkSettings::default()
    };
    TwoLinks::new([Link::both(settings); 2], 1).await
}

async fn transfer(
    links: &TwoLinks,
    direction: Direction,
    cut_after: Option<usize>,
) -> Result<Transferred> {
    let transfer = Transfer {
        cut_after,
        ..Transfer::new(direction, BYTES, Path::interface(INTERFACES[1])?)
    };
    transfer.run(&World::new()?, links).await
}

#[tokio::test]
async fn a_verified_transfer_uses_both_links() -> Result {
    if mptcp::skipped() {
        return Ok(());
    }
    for direction in [Direction::Download, Direction::Upload] {
        let links = links().await?;
        mptcp::add_subflows(&links)?;
        let done = transfer(&links, direction, None).await?;
        let primary = &done.verdict.paths[0];
        assert!(mptcp::is_multipath(primary.mptcp.as_ref()), "{primary:?}");
        assert_eq!(
            done.verdict.independence(),
            Independence::DifferentInterface
        );
        let least = (BYTES / 5) as u64;
        assert!(
            done.carried.iter().all(|carried| *carried > least),
            "{direction}: {:?}",
            done.carried
        );
    }
    Ok(())
}

#[tokio::test]
async fn a_verified_transfer_continues_when_the_primary_link_is_cut() -> Result {
    if mptcp::skipped() {
        return Ok(());
    }
    for direction in [Direction::Download, Direction::Upload] {
        let links = links().await?;
        mptcp::add_subflows(&links)?;
        // It fails if a byte does not arrive.
        transfer(&links, direction, Some(BYTES / 3)).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_tcp_transfer_ends_when_the_primary_link_is_cut() -> Result {
    if mptcp::skipped() {
        return Ok(());
    }
    let links = links().await?;
    let side = Path::interface(INTERFACES[1])?;
    let transfer = Transfer {
        primary: Path::interface(INTERFACES[0])?,
        cut_after: Some(BYTES / 3),
        patience: Duration::from_secs(5),
        ..Transfer::new(Direction::Download, BYTES, side)
    };
    let ended = transfer.run(&World::new()?, &links).await;
    assert!(ended.is_err(), "TCP has no other path");
    Ok(())
}

/// A subflow that the client adds after the verdict, and the part of the data that it carries.
async fn part_of_joined(tune: fn(ClientSettings) -> ClientSettings) -> Result<f64> {
    let links = links().await?;
    links.client.sysctl("net.mptcp.path_manager=userspace")?;
    links.server.ip("mptcp limits set subflows 2")?;
    let side = Path::interface(INTERFACES[1])?;
    let transfer = Transfer {
        tune,
        ..Transfer::new(Direction::Download, BYTES, side)
    };
    let [first, second] = transfer.run(&World::new()?, &links).await?.carried;
    Ok(second as f64 / (first + second) as f64)
}

fn join(settings: ClientSettings) -> ClientSettings {
    settings.join(SubflowSource::Interface(INTERFACES[1].to_owned()))
}

#[tokio::test]
async fn a_subflow_that_is_added_after_the_verdict_is_used_as_the_settings_say() -> Result {
    if mptcp::skipped() {
        return Ok(());
    }
    let both = part_of_joined(join).await?;
    assert!((0.2..0.8).contains(&both), "both: {both}");
    let preferred = |settings| join(settings).subflow_use(SubflowUse::Preferred);
    let preferred = part_of_joined(preferred).await?;
    assert!(preferred > 0.8, "preferred: {preferred}");
    let backup = |settings| join(settings).subflow_use(SubflowUse::Backup);
    let backup = part_of_joined(backup).await?;
    assert!(backup < 0.2, "backup: {backup}");
    Ok(())
}

/// The exit status and the message of a program where Multipath TCP is disabled.
fn disabled(program: &[&str]) -> Result<(Option<i32>, String)> {
    let namespace = Namespace::new()?;
    namespace.sysctl("net.mptcp.enabled=0")?;
    let lab = env!("CARGO_BIN_EXE_mtls-lab");
    let output = namespace.command(lab).args(program).output()?;
    Ok((output.status.code(), String::from_utf8(output.stderr)?))
}

#[test]
fn programs_name_the_setting_that_disables_multipath_tcp() -> Result {
    if mptcp::skipped() {
        return Ok(());
    }
    let client = ["client", "get", "https://127.0.0.1:9/", "--mptcp", "--side"];
    let folder = tempfile::tempdir()?;
    let folder = folder.path().to_str().ok_or("a path")?;
    let server = ["server", "serve", folder, "--dev", "--mptcp"];
    let relay = ["server", "passthrough", "--target=127.0.0.1:9", "--mptcp"];
    for (program, status) in [
        ([&client[..], &["src:127.0.0.1"]].concat(), 7),
        ([&client[..], &["mptcp:lo"]].concat(), 7),
        ([&server[..], &["--listen=127.0.0.1:0"]].concat(), 1),
        ([&relay[..], &["--listen=127.0.0.1:0"]].concat(), 1),
    ] {
        let (code, message) = disabled(&program)?;
        assert_eq!(code, Some(status), "{message}");
        let sentences = message.lines().filter(|line| line.starts_with("mtls-"));
        let [sentence] = &sentences.collect::<Vec<_>>()[..] else {
            panic!("one sentence: {message}");
        };
        let remedy = "`sysctl -w net.mptcp.enabled=1` in its network namespace";
        assert!(sentence.contains(remedy), "{sentence}");
    }
    Ok(())
}
