//! The emulated links between namespaces: what they promise, and a verification over a bad one.

use std::net::SocketAddr;
use std::time::Duration;

use mtls_core::Policy;
use mtls_core::path::Path;
use mtls_lab::link::{Link, LinkSettings, TwoLinks};
use mtls_lab::netns::{INTERFACES, SERVER, unavailable};
use mtls_lab::{PAGE_SECRET, Result, Setup, World, eventually, fetch};
use tokio::sync::oneshot;

const PORT: u16 = 443;
const MS: Duration = Duration::from_millis(1);
/// More than any number of retransmissions in a test takes.
const LONG: Duration = Duration::from_secs(60);

fn skipped() -> bool {
    let reason = unavailable();
    if let Some(reason) = &reason {
        println!("skipped: {reason}");
    }
    reason.is_some()
}

#[tokio::test]
async fn a_round_trip_takes_at_least_both_delays_and_each_link_has_its_own() -> Result {
    if skipped() {
        return Ok(());
    }
    let links = TwoLinks::new([Link::symmetric(2 * MS), Link::symmetric(10 * MS)], 1).await?;
    for (index, least) in [(0, 2 * MS), (1, 10 * MS)] {
        let measured = links.measure(index, 5).await?;
        assert!(measured.iter().all(|time| *time >= least), "{measured:?}");
    }
    // A SYN and a reset each, and more of them where the kernel has repeated a SYN that was slow.
    let [up, down] = links.carried(0);
    assert!(up.packets >= 5 && down.packets >= 5, "{up:?} {down:?}");
    links.set(0, Link::symmetric(20 * MS)).await?;
    let measured = links.measure(0, 3).await?;
    assert!(measured.iter().all(|time| *time >= 20 * MS), "{measured:?}");
    eventually("no packet is on its way", || links.travelling() == 0).await
}

#[tokio::test]
async fn a_link_that_loses_everything_carries_nothing() -> Result {
    if skipped() {
        return Ok(());
    }
    let dead = LinkSettings {
        loss: 1.0,
        ..LinkSettings::default()
    };
    let links = TwoLinks::new([Link::both(dead), Link::default()], 1).await?;
    let client = links.client.spawn(|| async {
        let connect = tokio::net::TcpStream::connect((SERVER, PORT));
        Ok(tokio::time::timeout(300 * MS, connect).await.is_err())
    })?;
    assert!(client.join().await?, "no answer at all");
    eventually("the link has lost packets", || links.carried(0)[0].lost > 0).await?;
    let [up, down] = links.carried(0);
    assert_eq!(up.lost, up.packets);
    assert_eq!(down.packets, 0);
    assert!(links.measure(1, 1).await.is_ok());
    Ok(())
}

#[tokio::test]
async fn verification_survives_a_slow_and_lossy_side_path() -> Result {
    if skipped() {
        return Ok(());
    }
    let bad = LinkSettings {
        delay: 15 * MS,
        rate: Some(256_000),
        loss: 0.15,
        queue: 20,
    };
    let links = TwoLinks::new([Link::symmetric(4 * MS), Link::both(bad)], 5).await?;
    let world = World::new()?;
    let server = SocketAddr::new(SERVER, PORT);
    let [primary, side] = INTERFACES;
    let victim = world
        .victim_of(server)?
        .primary_by(Path::interface(primary)?)
        .side_by(Path::interface(side)?.connect_timeout(LONG), server);
    let (up, is_up) = oneshot::channel();
    let (stop, stops) = oneshot::channel::<()>();
    let serving = links.server.spawn(move || async move {
        let server = world.serve_at(server, Setup::new(Policy::Prefer)).await?;
        let _ = up.send(());
        let _ = stops.await;
        Ok(server.bytes())
    })?;
    is_up.await?;
    let client = links.client.spawn(move || async move {
        // Retransmissions take their time; that they are enough is what is shown.
        let connector = victim
            .connector_with(
                victim
                    .settings(Policy::Require)
                    .deadline(LONG)
                    .handshake_timeout(LONG)
                    .side_idle_timeout(Duration::ZERO),
            )?
            .build()?;
        for _ in 0..10 {
            let stream = connector.connect(&victim.target()).await?;
            assert!(stream.verdict().verified().is_some());
            assert_eq!(fetch(stream).await?, PAGE_SECRET);
        }
        Ok(())
    })?;
    client.join().await?;
    let _ = stop.send(());
    serving.join().await?;
    let lost: u64 = links.carried(1).iter().map(|carried| carried.lost).sum();
    assert!(lost > 0, "the link was bad");
    Ok(())
}
