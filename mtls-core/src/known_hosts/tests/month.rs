//! Thirty days of simulated time for one file: entries are made, renewed and expire, and the file does
//! not grow.

use std::sync::atomic::AtomicU64;

use super::disk::{Dir, record, support};
use super::*;
use crate::known_hosts::file::{FileStore, Reading};

const DAYS: u64 = 30;
/// The time between two rounds.
const STEP: u64 = 6 * 3600;
/// The time between two boots of the machine.
const UPTIME: u64 = 10 * DAY;
const MAX_HOSTS: usize = 40;
/// Hosts that the client visits in every round.
const REGULAR: usize = 5;

/// The seconds since the beginning.
static TIME: AtomicU64 = AtomicU64::new(0);

fn clocks() -> Reading {
    let time = TIME.load(Ordering::SeqCst);
    Reading {
        wall: NOW + time,
        boot: format!("boot {}", time / UPTIME),
        since_boot: 100_000 + time % UPTIME,
    }
}

fn regular(number: usize) -> String {
    format!("regular-{number}.test:443")
}

/// The host that is visited in one round alone, for two days.
fn visited(round: u64) -> String {
    format!("visited-{round:04}.test:443")
}

/// A host that nothing can verify.
fn weak(round: u64, number: usize) -> String {
    format!("weak-{round:04}-{number}.test:443")
}

/// The visits of one round.
async fn visit(store: &FileStore, round: u64) {
    for number in 0..REGULAR {
        let change = remember(&with_key(greets(), 1, false), days(10));
        record(store, &regular(number), change).await;
    }
    record(store, &visited(round), remember(&greets(), days(2))).await;
    for number in 0..3 {
        record(store, &weak(round, number), neither()).await;
    }
}

/// The entries that count are exactly those whose time is not over.
async fn assert_entries(store: &FileStore, round: u64) {
    for number in 0..REGULAR {
        let found = support(store, &regular(number)).await;
        assert_eq!(found, Some(Support::Greets), "round {round}");
    }
    let life = 2 * DAY / STEP;
    for visit in 0..=round {
        let expected = (round - visit < life).then_some(Support::Greets);
        let found = support(store, &visited(visit)).await;
        assert_eq!(found, expected, "round {round}, visit {visit}");
    }
    for number in 0..3 {
        let found = support(store, &weak(round, number)).await;
        assert_eq!(found, Some(Support::Neither), "round {round}");
        if let Some(before) = round.checked_sub(1) {
            assert_eq!(support(store, &weak(before, number)).await, None);
        }
    }
}

#[tokio::test]
async fn thirty_days_of_visits_do_not_let_the_file_grow() {
    let dir = Dir::new();
    let once = "once.test:443";
    let (mut longest, mut most) = ([0, 0], [0, 0]);
    for round in 0..DAYS * DAY / STEP {
        TIME.store(round * STEP, Ordering::SeqCst);
        // Each round is another process.
        let store = FileStore::with_clocks(dir.file(), clocks).max_hosts(MAX_HOSTS);
        if round == 0 {
            record(&store, once, remember(&greets(), days(20))).await;
        }
        visit(&store, round).await;
        assert_entries(&store, round).await;
        let expected = (round * STEP < 20 * DAY).then_some(Support::Greets);
        assert_eq!(support(&store, once).await, expected, "round {round}");
        let entries = store.list().expect("a readable store");
        assert!(entries.len() <= MAX_HOSTS, "round {round}");
        assert_eq!(store.take_notices(), [], "round {round}");
        let half = usize::from(round * STEP >= DAYS * DAY / 2);
        let length = fs::metadata(dir.file()).expect("the file").len();
        longest[half] = longest[half].max(length);
        most[half] = most[half].max(entries.len());
    }
    // Expired entries stay until others need their place, and then all of them go.
    assert_eq!(most[0], most[1]);
    let [first, second] = longest;
    // The lengths of names and numbers differ by less than an entry.
    let entry = first / MAX_HOSTS as u64;
    assert!(second < first + entry, "{second} bytes after {first}");
}
