//! Honest connections with a side exchange inside, of which one packet is late or lost: the kernels may send
//! bytes again, on another subflow, and no attacker is reported.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use mtls_core::{Inside, Policy};
use mtls_lab::link::segment::{PRIO, change, pass};
use mtls_lab::link::{Attack, Sent, TwoLinks};
use mtls_lab::mptcp::{self, ServerHost, links_for_exchange};
use mtls_lab::netns::spawn_here;
use mtls_lab::{Result, Setup, Victim, World};

/// Longer than the kernel waits before it sends bytes again on another subflow.
const LATE: Duration = Duration::from_millis(450);

/// The change of one packet.
#[derive(Clone, Copy, Debug)]
enum Mishap {
    Late,
    Lost,
}

impl Mishap {
    /// Happens to the packet with this number of a direction; counts the packets.
    fn happen(self, number: usize, count: &Arc<AtomicUsize>) -> Attack {
        let count = Arc::clone(count);
        Box::new(
            move |packet| match (self, count.fetch_add(1, Ordering::SeqCst) == number) {
                (_, false) => vec![Sent::On(packet)],
                (Self::Late, true) => vec![Sent::Late(packet, LATE)],
                (Self::Lost, true) => Vec::new(),
            },
        )
    }
}

async fn connect(links: &TwoLinks, client: &Victim) -> Result<Option<Inside>> {
    let client = client.clone();
    let connecting = links.client.spawn(move || async move {
        let stream = client.connect(Policy::Require).await?;
        let verdict = stream.verdict();
        assert!(verdict.verified().is_some());
        Ok(verdict.paths[1].inside)
    })?;
    connecting.join().await
}

/// Connects once for each packet of a direction of a link, which is late or lost.
async fn each_packet(mishap: Mishap, link: usize, is_up: bool) -> Result {
    let links = links_for_exchange("userspace").await?;
    let world = Arc::new(World::new()?);
    let client = ServerHost::client(&world)?;
    let setup = Setup::new(Policy::Prefer).mptcp();
    let server = ServerHost::start(&links, &world, setup).await?;
    for number in 0.. {
        let count = Arc::new(AtomicUsize::new(0));
        let attack = mishap.happen(number, &count);
        let attacks = if is_up {
            [attack, pass()]
        } else {
            [pass(), attack]
        };
        links.attack(link, attacks);
        let connected = connect(&links, &client).await;
        let inside = connected.map_err(|error| format!("packet {number}, {mishap:?}: {error}"))?;
        let known = [Some(Inside::SecondSubflow), Some(Inside::RepeatedAfterLoss)];
        assert!(
            known.contains(&inside),
            "packet {number}, {mishap:?}: {inside:?}"
        );
        if count.load(Ordering::SeqCst) <= number {
            assert!(number > 0, "no packet took this direction");
            break;
        }
    }
    server.stop().await?;
    Ok(())
}

async fn every_packet(mishap: Mishap) -> Result {
    if mptcp::skipped() {
        return Ok(());
    }
    let directions = [(0, true), (0, false), (1, true), (1, false)];
    // Commands that configure namespaces block their thread.
    let running =
        directions.map(|(link, is_up)| spawn_here(move || each_packet(mishap, link, is_up)));
    for one in running {
        one.join().await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_late_packet_never_becomes_a_path_mismatch() -> Result {
    every_packet(Mishap::Late).await
}

#[tokio::test]
async fn a_lost_packet_never_becomes_a_path_mismatch() -> Result {
    every_packet(Mishap::Lost).await
}

#[tokio::test]
async fn a_lost_mp_prio_is_repeated() -> Result {
    if mptcp::skipped() {
        return Ok(());
    }
    // A stall is a loss too, so there are some tries: no stall keeps the exchange on the second subflow.
    const TRIES: usize = 5;
    for link in [0, 1] {
        let mut inside = None;
        for _ in 0..TRIES {
            inside = without_first_prio(link).await?;
            if inside != Some(Inside::RepeatedAfterLoss) {
                break;
            }
        }
        assert_eq!(inside, Some(Inside::SecondSubflow), "link {link}");
    }
    Ok(())
}

/// Connects over links of which one loses the first MP_PRIO.
async fn without_first_prio(link: usize) -> Result<Option<Inside>> {
    let links = links_for_exchange("userspace").await?;
    let lost = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&lost);
    let lose_first = change(move |segment| {
        let is_prio = segment.mptcp(PRIO).is_some();
        let is_first = is_prio && count.fetch_add(1, Ordering::SeqCst) == 0;
        (!is_first).then_some(segment)
    });
    links.attack(link, [lose_first, pass()]);
    let world = Arc::new(World::new()?);
    let client = ServerHost::client(&world)?;
    let setup = Setup::new(Policy::Prefer).mptcp();
    let server = ServerHost::start(&links, &world, setup).await?;
    let inside = connect(&links, &client).await?;
    assert!(lost.load(Ordering::SeqCst) > 1, "link {link}");
    server.stop().await?;
    Ok(inside)
}
