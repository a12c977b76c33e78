//! The file store on disk.

use super::*;
use crate::known_hosts::file::FileStore;

/// A directory of one test, which is removed at its end.
pub(super) struct Dir(PathBuf);

impl Dir {
    pub(super) fn new() -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("known-hosts-{}-{number}", process::id());
        let dir = std::env::temp_dir().join(name);
        fs::create_dir(&dir).expect("a directory");
        Self(dir)
    }

    pub(super) fn file(&self) -> PathBuf {
        self.0.join("state").join("hosts.json")
    }

    fn store(&self) -> FileStore {
        FileStore::new(self.file())
    }

    /// Writes the file as a user might.
    fn write(&self, text: &str) {
        fs::create_dir_all(self.0.join("state")).expect("a directory");
        fs::write(self.file(), text).expect("a file");
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

pub(super) async fn support(store: &FileStore, name: &str) -> Option<Support> {
    let entry = store.lookup(&host(name)).await.expect("a readable store");
    entry.map(|entry| entry.support)
}

pub(super) async fn record(store: &FileStore, name: &str, change: Change) {
    store
        .record(&host(name), change)
        .await
        .expect("a writable store");
}

#[tokio::test]
async fn an_entry_is_for_its_host_and_port_alone() {
    let dir = Dir::new();
    let store = dir.store();
    assert_eq!(support(&store, "example.org:443").await, None);
    record(&store, "example.org:443", remember(&greets(), days(10))).await;
    for (name, expected) in [
        ("example.org:443", true),
        ("EXAMPLE.org.:443", true),
        ("example.org:8443", false),
        ("www.example.org:443", false),
        ("org:443", false),
    ] {
        let found = support(&store, name).await;
        assert_eq!(found, expected.then_some(Support::Greets), "{name}");
    }
    // As another process sees it.
    assert_eq!(
        support(&dir.store(), "example.org:443").await,
        Some(Support::Greets)
    );
    let mode = |path: PathBuf| fs::metadata(path).expect("metadata").permissions().mode() & 0o777;
    assert_eq!(mode(dir.file()), 0o600);
    assert_eq!(mode(dir.0.join("state")), 0o700);
    assert!(
        store
            .remove(&host("example.org:443"))
            .expect("a writable store")
    );
    assert_eq!(support(&store, "example.org:443").await, None);
    assert!(
        !store
            .remove(&host("example.org:443"))
            .expect("a writable store")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_writers_lose_no_entry() {
    let dir = Dir::new();
    let mut tasks = Vec::new();
    for writer in 0..8 {
        // Each has a store of its own, as each process has: only the lock on disk is shared.
        let store = dir.store().lock_timeout(Duration::from_secs(60));
        tasks.push(tokio::spawn(async move {
            for number in 0..10 {
                let name = format!("host-{writer}-{number}.test:443");
                record(&store, &name, remember(&greets(), days(10))).await;
            }
        }));
    }
    for task in tasks {
        task.await.expect("a writer");
    }
    assert_eq!(dir.store().list().expect("a readable store").len(), 80);
    let left: Vec<_> = fs::read_dir(dir.0.join("state"))
        .expect("a directory")
        .collect();
    assert_eq!(left.len(), 2, "the file and its lock: {left:?}");
}

#[tokio::test]
async fn a_damaged_file_is_an_error_and_is_never_overwritten() {
    let entry = r#"{"support":"greets","origin":"user","recorded":1,"max_age":2}"#;
    let weakened = entry
        .replace("greets", "neither")
        .replace('}', r#","trust":true}"#);
    let long = format!(
        r#"{{"support":"greets","origin":"user","recorded":1,"max_age":2,"keys":[{}]}}"#,
        vec![format!("\"{}\"", pin(1)); 9].join(",")
    );
    let hosts = |lines: &str| format!(r#"{{"version":1,"hosts":[{lines}]}}"#);
    let line = |host: &str, entry: &str| format!(r#"{{"host":"{host}","entry":{entry}}}"#);
    for text in [
        String::new(),
        "{".to_owned(),
        "[]".to_owned(),
        r#"{"version":2,"hosts":[]}"#.to_owned(),
        r#"{"version":1}"#.to_owned(),
        hosts("{}"),
        hosts(&line("no port", entry)),
        hosts(&line("a.test:443", &entry.replace("greets", "trusted"))),
        hosts(&line("a.test:443", &entry.replace(":2", ":-2"))),
        hosts(&line("a.test:443", &weakened)),
        hosts(&line("a.test:443", &long)),
        hosts(&[line("a.test:443", entry), line("A.test.:443", entry)].join(",")),
        hosts(&line("a.test:443", entry))[..60].to_owned(),
        format!("{}{}", hosts(""), " ".repeat(5 << 20)),
    ] {
        let dir = Dir::new();
        dir.write(&text);
        let store = dir.store();
        let looked_up = store.lookup(&host("b.test:443")).await;
        let error = looked_up
            .map(|_| ())
            .expect_err(&text[..text.len().min(90)]);
        assert!(
            error
                .to_string()
                .contains(&dir.file().display().to_string()),
            "{error}"
        );
        let recorded = store
            .record(&host("b.test:443"), remember(&greets(), days(1)))
            .await;
        assert!(recorded.is_err());
        assert!(store.remove(&host("b.test:443")).is_err());
        assert_eq!(fs::read_to_string(dir.file()).expect("the file"), text);
        assert!(!store.take_notices().is_empty(), "reported");
    }
}

#[tokio::test]
async fn a_file_that_others_can_write_is_refused_with_the_remedy() {
    let dir = Dir::new();
    record(&dir.store(), "a.test:443", remember(&greets(), days(10))).await;
    for mode in [0o620, 0o602, 0o666] {
        fs::set_permissions(dir.file(), fs::Permissions::from_mode(mode)).expect("permissions");
        let error = dir
            .store()
            .lookup(&host("a.test:443"))
            .await
            .expect_err("refused");
        assert!(error.to_string().contains("chmod go-w"), "{error}");
    }
}

#[tokio::test]
async fn a_file_of_another_user_is_refused_with_the_remedy() {
    let dir = Dir::new();
    record(&dir.store(), "a.test:443", remember(&greets(), days(10))).await;
    if std::os::unix::fs::chown(dir.file(), Some(12_345), None).is_err() {
        println!("skipped: only root can give a file away");
        return;
    }
    let looked_up = dir.store().lookup(&host("a.test:443")).await;
    let error = looked_up.map(|_| ()).expect_err("refused");
    assert!(error.to_string().contains("uid 12345"), "{error}");
    assert!(error.to_string().contains("chown"), "{error}");
}

#[tokio::test]
async fn a_full_disk_leaves_the_file_as_it_was_and_is_reported() {
    let dir = Dir::new();
    let store = dir.store();
    record(&store, "a.test:443", remember(&greets(), days(10))).await;
    let before = fs::read(dir.file()).expect("the file");
    // The new file cannot be written: a directory is in its place, which no removal of a file
    // takes away.
    let mut blocked = dir.file().into_os_string();
    blocked.push(".new");
    fs::create_dir(&blocked).expect("a directory");
    let recorded = store
        .record(&host("b.test:443"), remember(&greets(), days(10)))
        .await;
    let error = recorded.expect_err("no file can be written");
    assert!(
        matches!(error.failure, KnownHostsFailure::Write(_)),
        "{error:?}"
    );
    assert!(store.remove(&host("a.test:443")).is_err());
    assert_eq!(fs::read(dir.file()).expect("the file"), before);
    assert_eq!(support(&store, "a.test:443").await, Some(Support::Greets));
    let notices = store.take_notices();
    assert!(
        matches!(&notices[..], [Notice::NotRecorded(host, _)] if host.to_string() == "b.test:443")
    );
}

#[tokio::test]
async fn a_lock_that_is_held_ends_in_an_error_and_not_in_a_wait() {
    let dir = Dir::new();
    let store = dir.store().lock_timeout(Duration::from_millis(20));
    record(&store, "a.test:443", remember(&greets(), days(10))).await;
    let mut lock = dir.file().into_os_string();
    lock.push(".lock");
    let held = fs::File::open(lock).expect("the lock");
    let held = nix::fcntl::Flock::lock(held, nix::fcntl::FlockArg::LockExclusive);
    let held = held.map_err(|(_, errno)| errno).expect("the lock");
    let recorded = store
        .record(&host("b.test:443"), remember(&greets(), days(10)))
        .await;
    assert!(matches!(
        recorded.expect_err("locked").failure,
        KnownHostsFailure::Locked
    ));
    // A reader needs no lock.
    assert_eq!(support(&store, "a.test:443").await, Some(Support::Greets));
    drop(held);
    record(&store, "b.test:443", remember(&greets(), days(10))).await;
}

#[tokio::test]
async fn a_full_store_refuses_entries_and_evicts_none_that_protects_a_host() {
    let dir = Dir::new();
    let store = dir.store().max_hosts(8);
    for number in 0..3 {
        record(&store, &format!("weak-{number}.test:443"), neither()).await;
    }
    let weak = store.list().expect("a readable store").len();
    assert_eq!(weak, 2, "a quarter at most");
    for number in 0..8 {
        let name = format!("host-{number}.test:443");
        record(&store, &name, remember(&greets(), days(10))).await;
    }
    for change in [remember(&greets(), days(10)), neither()] {
        let refused = store.record(&host("more.test:443"), change).await;
        let error = refused.expect_err("full");
        assert!(
            matches!(error.failure, KnownHostsFailure::Full(8)),
            "{error:?}"
        );
    }
    let all = store.list().expect("a readable store");
    assert!(
        all.iter()
            .all(|listed| listed.entry.support == Support::Greets)
    );
    assert_eq!(all.len(), 8);
}

#[tokio::test]
async fn an_export_is_imported_as_a_whole_and_weakens_nothing() {
    let (from, to) = (Dir::new(), Dir::new());
    record(&from.store(), "a.test:443", remember(&greets(), days(10))).await;
    record(&from.store(), "b.test:443", remember(&resumes(), days(20))).await;
    record(&from.store(), "c.test:443", neither()).await;
    let exported = from.store().export().expect("an export");
    assert!(!exported.contains("c.test"), "{exported}");
    record(&to.store(), "b.test:443", remember(&greets(), days(5))).await;
    assert_eq!(to.store().import(&exported).expect("an import"), 2);
    assert_eq!(
        support(&to.store(), "a.test:443").await,
        Some(Support::Greets)
    );
    assert_eq!(
        support(&to.store(), "b.test:443").await,
        Some(Support::Greets)
    );
    // A stronger or longer entry takes nothing away: neither keys nor the user's decision.
    let raw = remember(&with_key(greets(), 1, true), days(5));
    record(&to.store(), "d.test:443", raw).await;
    let field = |verdict: &Verdict| {
        Change::remember(verdict, Remember::by_field(days(30), None))
            .expect("a verified connection")
    };
    record(&from.store(), "d.test:443", field(&greets())).await;
    let longer = from.store().export().expect("an export");
    to.store().import(&longer).expect("an import");
    let kept = to
        .store()
        .lookup(&host("d.test:443"))
        .await
        .expect("a readable store");
    let kept = kept.expect("an entry");
    assert_eq!((kept.raw_key, kept.origin), (Some(pin(1)), Origin::User));
    let before = fs::read(to.file()).expect("the file");
    let damaged = exported.replace("b.test:443", "b.test");
    assert!(to.store().import(&damaged).is_err());
    assert_eq!(fs::read(to.file()).expect("the file"), before);
}

mod clocks {
    use super::*;
    use crate::known_hosts::file::Reading;

    fn reading(wall: u64, boot: &str, since_boot: u64) -> Reading {
        Reading {
            wall,
            boot: boot.to_owned(),
            since_boot,
        }
    }

    /// The file is written at `NOW`, 100 s after a boot.
    async fn written() -> Dir {
        let dir = Dir::new();
        let store = FileStore::with_clocks(dir.file(), || reading(NOW, "one", 100));
        record(&store, "a.test:443", remember(&greets(), days(10))).await;
        dir
    }

    fn forward(store: &FileStore) -> Option<bool> {
        store.take_notices().iter().find_map(|notice| match notice {
            Notice::Clock(jump) => Some(jump.forward),
            _ => None,
        })
    }

    #[tokio::test]
    async fn a_clock_that_jumps_forward_expires_nothing() {
        let dir = written().await;
        let store = FileStore::with_clocks(dir.file(), || reading(NOW + 99 * DAY, "one", 200));
        assert_eq!(support(&store, "a.test:443").await, Some(Support::Greets));
        assert_eq!(forward(&store), Some(true));
        // Nor does it after another entry was written under that clock.
        record(&store, "b.test:443", remember(&greets(), days(10))).await;
        let later = FileStore::with_clocks(dir.file(), || reading(NOW + 99 * DAY, "one", 300));
        assert_eq!(support(&later, "a.test:443").await, Some(Support::Greets));
        // The time since boot does count.
        let in_time = || reading(NOW + 11 * DAY, "one", 100 + 11 * DAY);
        let expired = FileStore::with_clocks(dir.file(), in_time);
        assert_eq!(support(&expired, "a.test:443").await, None);
        assert_eq!(forward(&expired), None);
    }

    #[tokio::test]
    async fn a_clock_that_jumps_back_extends_nothing_that_weakens() {
        let dir = written().await;
        let before = FileStore::with_clocks(dir.file(), || reading(NOW, "one", 100));
        record(&before, "c.test:443", neither()).await;
        for (boot, since_boot) in [("one", 200), ("two", 5)] {
            // A function pointer captures nothing.
            let clocks = match since_boot {
                5 => || reading(NOW - 99 * DAY, "two", 5),
                _ => || reading(NOW - 99 * DAY, "one", 200),
            };
            let store = FileStore::with_clocks(dir.file(), clocks);
            assert_eq!(
                support(&store, "a.test:443").await,
                Some(Support::Greets),
                "{boot}"
            );
            assert_eq!(support(&store, "c.test:443").await, None, "{boot}");
            let notices = store.take_notices();
            assert!(
                notices
                    .iter()
                    .any(|notice| matches!(notice, Notice::Clock(jump) if !jump.forward))
            );
            let future = Notice::FromTheFuture(host("a.test:443"));
            assert!(notices.contains(&future), "{notices:?}");
        }
    }

    #[tokio::test]
    async fn an_entry_that_is_renewed_under_a_clock_that_was_set_back_lasts_as_long_as_before() {
        let dir = written().await;
        let back = FileStore::with_clocks(dir.file(), || reading(NOW - 99 * DAY, "one", 200));
        record(&back, "a.test:443", remember(&greets(), days(10))).await;
        let corrected = FileStore::with_clocks(dir.file(), || reading(NOW + 5 * DAY, "two", 5));
        assert_eq!(
            support(&corrected, "a.test:443").await,
            Some(Support::Greets)
        );
    }

    #[tokio::test]
    async fn after_another_boot_the_systems_clock_counts() {
        let dir = written().await;
        let store = FileStore::with_clocks(dir.file(), || reading(NOW + 11 * DAY, "two", 5));
        assert_eq!(support(&store, "a.test:443").await, None);
        assert_eq!(forward(&store), None);
    }
}
