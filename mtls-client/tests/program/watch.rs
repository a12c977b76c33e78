//! `watch`: changes of verdicts, notifications, metrics, the page, and restarts.

use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, ChildStderr, ChildStdout};
use tokio::time::{sleep, timeout};

use crate::lab::{Lab, Whose, program, request};

/// The limit of every wait, which is never reached without a fault.
const LONG: Duration = Duration::from_secs(60);
const LIE: &str = "hello from the attacker\n";

/// A running `watch --json`.
struct Watching {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    stderr: Lines<BufReader<ChildStderr>>,
}

impl Watching {
    fn start(arguments: &[&str]) -> Self {
        let mut command = program();
        command
            .args(["watch", "--json", "--every", "1s"])
            .args(arguments);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("to run");
        let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let stderr = BufReader::new(child.stderr.take().expect("a pipe")).lines();
        Self {
            child,
            lines,
            stderr,
        }
    }

    async fn change(&mut self) -> Value {
        let line = timeout(LONG, self.lines.next_line()).await;
        let line = line.expect("it hangs").expect("a line").expect("a line");
        serde_json::from_str(&line).expect("JSON")
    }

    /// The verdicts before and after the next change.
    async fn verdicts(&mut self) -> [Option<String>; 2] {
        let change = self.change().await;
        let of = |end: &str| change[end]["verdict"].as_str().map(str::to_owned);
        [of("from"), of("to")]
    }

    /// The address of the page.
    async fn page(&mut self) -> SocketAddr {
        loop {
            let line = timeout(LONG, self.stderr.next_line()).await;
            let line = line.expect("it hangs").expect("a line").expect("a line");
            if let Some((_, url)) = line.split_once("metrics on http://") {
                return url.trim_end_matches('/').parse().expect("an address");
            }
        }
    }

    /// Ends it by SIGTERM.
    async fn stop(mut self) {
        let id = self.child.id().expect("a process").to_string();
        let killed = std::process::Command::new("kill")
            .args(["-TERM", &id])
            .status();
        assert!(killed.expect("kill").success());
        let ended = timeout(LONG, self.child.wait()).await;
        assert_eq!(ended.expect("it hangs").expect("an end").code(), Some(0));
    }
}

/// A network path to the real server, which an attacker can take over.
async fn network(
    lab: &mut Lab,
    real: SocketAddr,
    attacker: SocketAddr,
) -> (SocketAddr, Arc<AtomicBool>) {
    let attacked = Arc::new(AtomicBool::new(false));
    let switch = Arc::clone(&attacked);
    let address = lab
        .listen(move |mut stream| {
            let to = match switch.load(Ordering::Relaxed) {
                true => attacker,
                false => real,
            };
            async move {
                let mut onward = TcpStream::connect(to).await.expect("the server");
                let _ = tokio::io::copy_bidirectional(&mut stream, &mut onward).await;
            }
        })
        .await;
    (address, attacked)
}

/// A receiver of webhooks at this address, and the events that it has taken.
async fn receiver(lab: &mut Lab, address: SocketAddr) -> Arc<Mutex<Vec<Value>>> {
    let events = Arc::new(Mutex::new(Vec::new()));
    let taken = Arc::clone(&events);
    let listener = TcpListener::bind(address).await.expect("the port");
    lab.spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let Some((head, body)) = posted(&mut stream).await else {
                continue;
            };
            assert!(head.starts_with("POST /hook?key=1 HTTP/1.1\r\n"), "{head}");
            taken.lock().expect("a lock").push(body);
            let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await;
        }
    });
    events
}

/// The head and the body of a request; `None` if it ends early.
async fn posted(stream: &mut TcpStream) -> Option<(String, Value)> {
    let mut request = Vec::new();
    loop {
        stream
            .read_buf(&mut request)
            .await
            .ok()
            .filter(|&n| n > 0)?;
        let text = String::from_utf8_lossy(&request);
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        if let Ok(body) = serde_json::from_str(body) {
            return Some((head.to_owned(), body));
        }
    }
}

/// One that was not acknowledged in time is sent once more.
fn numbers(events: &Mutex<Vec<Value>>) -> Vec<Value> {
    let events = events.lock().expect("a lock");
    let mut numbers: Vec<_> = events.iter().map(|one| one["event"].clone()).collect();
    numbers.dedup();
    numbers
}

async fn until(what: &str, done: impl AsyncFn() -> bool) {
    let waiting = async {
        while !done().await {
            sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(timeout(LONG, waiting).await.is_ok(), "{what}");
}

async fn get(address: SocketAddr, path: &str, host: &str) -> String {
    request(address, &format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_are_reported_notified_in_order_and_survive_a_restart() {
    let mut lab = Lab::new();
    let real = lab.site().await;
    let (attacker, read) = lab.plain_tls(Whose::Rogue, LIE).await;
    let (target, attacked) = network(&mut lab, real, attacker).await;
    let down = crate::lab::closed_port().await;
    let (target, side, hook) = (
        target.to_string(),
        real.to_string(),
        format!("http://{down}/hook?key=1"),
    );
    let (cas, state, dir) = (lab.both_cas(), lab.path("state.json"), lab.path("evidence"));
    let log = lab.path("log");
    let exec = format!("echo \"$WATCH_EVENT $WATCH_FROM $WATCH_TO $(cat | wc -l)\" >> {log}");
    let files = [
        "--state",
        &state,
        "--evidence-dir",
        &dir,
        "--exec",
        &exec,
        "--webhook",
        &hook,
    ];
    let arguments = ["--cacert", &cas, "--side-endpoint", &side];
    let arguments = [&arguments[..], &files, &[&target]].concat();
    let mut watching = Watching::start(&arguments);
    assert_eq!(watching.verdicts().await, [None, Some("verified".into())]);
    attacked.store(true, Ordering::Relaxed);
    let words = |words: [&str; 2]| words.map(|word| Some(word.to_owned()));
    assert_eq!(
        watching.verdicts().await,
        words(["verified", "intercepted"])
    );
    attacked.store(false, Ordering::Relaxed);
    assert_eq!(
        watching.verdicts().await,
        words(["intercepted", "verified"])
    );
    assert_eq!(
        read.load(Ordering::Relaxed),
        0,
        "bytes that the attacker has read"
    );
    let expected = "1  verified 1\n2 verified intercepted 1\n3 intercepted verified 1\n";
    let logged = async || std::fs::read_to_string(&log).unwrap_or_default() == expected;
    until("three commands", logged).await;
    watching.stop().await;
    // The webhook was down all the time; its notifications are delivered after the restart.
    let events = receiver(&mut lab, down).await;
    attacked.store(true, Ordering::Relaxed);
    let mut watching = Watching::start(&arguments);
    assert_eq!(
        watching.verdicts().await,
        words(["verified", "intercepted"]),
        "not new"
    );
    until("four events", async || numbers(&events).len() == 4).await;
    assert_eq!(numbers(&events), [1, 2, 3, 4]);
    watching.stop().await;
    let run = lab
        .run(["evidence", "list", "--json", &dir])
        .await
        .exits_with(0);
    assert_eq!(run.json().len(), 2, "one case for each change");
}

#[tokio::test(flavor = "multi_thread")]
async fn targets_that_cannot_be_reached_do_not_delay_the_others() {
    let mut lab = Lab::new();
    let site = lab.site().await.to_string();
    let black_hole = lab.black_hole().await.to_string();
    let silent = lab.silent().await.to_string();
    let ca = lab.ca();
    let limits = [
        "--cacert",
        &ca,
        "--jobs",
        "3",
        "--connect-timeout",
        "1h",
        "--max-time",
        "1h",
    ];
    let mut watching = Watching::start(
        &[
            &limits[..],
            &[&black_hole, &silent, &site, "--metrics", "127.0.0.1:0"],
        ]
        .concat(),
    );
    let change = watching.change().await;
    assert_eq!(change["target"], site.as_str());
    let page = watching.page().await;
    let checked = async || {
        let text = get(page, "/metrics", "localhost").await;
        let line = format!("multipath_tls_watch_checks{{target=\"{site}\"}} ");
        let count = text
            .lines()
            .find_map(|found| found.strip_prefix(&line)?.parse::<u32>().ok());
        count.expect("a metric") >= 3
    };
    until("three checks", checked).await;
    watching.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_and_the_metrics_show_each_target() {
    let mut lab = Lab::new();
    let site = lab.site().await.to_string();
    let closed = crate::lab::closed_port().await.to_string();
    let typed = [
        "--cacert",
        &lab.ca(),
        "--metrics",
        "127.0.0.1:0",
        &site,
        &closed,
    ];
    let mut watching = Watching::start(&typed);
    let page = watching.page().await;
    watching.change().await;
    watching.change().await;
    let metrics = get(page, "/metrics", "127.0.0.1").await;
    for line in [
        format!("multipath_tls_watch_verdict{{target=\"{site}\",verdict=\"verified\"}} 1"),
        format!("multipath_tls_watch_verdict{{target=\"{site}\",verdict=\"intercepted\"}} 0"),
        format!("multipath_tls_watch_verdict{{target=\"{closed}\",verdict=\"error\"}} 1"),
        format!("multipath_tls_watch_duration_seconds{{target=\"{site}\",step=\"verdict\"}} "),
        format!("multipath_tls_watch_certificate_expiry_timestamp_seconds{{target=\"{site}\"}} "),
        format!("multipath_tls_watch_age_seconds{{target=\"{site}\"}} "),
    ] {
        assert!(metrics.contains(&line), "{line}:\n{metrics}");
    }
    let targets = get(page, "/targets", "localhost").await;
    let (_, json) = targets.split_once("\r\n\r\n").expect("a response");
    let json: Value = serde_json::from_str(json).expect("JSON");
    assert_eq!(json["targets"].as_array().map(Vec::len), Some(2));
    for (path, part) in [
        ("/", "<title>Multipath TLS watch</title>"),
        ("/style.css", ".strip"),
        ("/script.js", "use strict"),
        ("/icon.svg", "<svg"),
    ] {
        let response = get(page, path, "localhost").await;
        assert!(response.starts_with("HTTP/1.1 200 OK"), "{path}");
        assert!(response.contains(part), "{path}");
        assert!(response.contains("default-src 'none'"), "{path}");
    }
    // DNS rebinding.
    let response = get(page, "/targets", "attacker.test").await;
    assert!(response.starts_with("HTTP/1.1 421 "), "{response}");
    watching.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_state_is_kept_aside_and_reported() {
    let mut lab = Lab::new();
    let site = lab.site().await.to_string();
    let state = lab.path("state.json");
    std::fs::write(&state, "{").expect("to write");
    let mut watching = Watching::start(&["--cacert", &lab.ca(), "--state", &state, &site]);
    assert_eq!(watching.verdicts().await, [None, Some("verified".into())]);
    let warning = watching
        .stderr
        .next_line()
        .await
        .expect("a line")
        .expect("a line");
    assert!(warning.contains("state.json.damaged"), "{warning}");
    watching.stop().await;
    assert_eq!(
        std::fs::read_to_string(format!("{state}.damaged")).expect("a file"),
        "{"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_that_is_no_regular_file_is_refused_and_stays() {
    let lab = Lab::new();
    let fifo = lab.path("fifo");
    let made = tokio::process::Command::new("mkfifo")
        .arg(&fifo)
        .status()
        .await;
    assert!(made.expect("mkfifo").success());
    let run = lab.run(["watch", "--state", &fifo, "a.test"]).await;
    run.exits_with(2).mentions(&["--state", "regular file"]);
    let metadata = std::fs::metadata(&fifo).expect("it is there");
    assert!(!metadata.is_file());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_largest_numbers_of_a_state_are_no_failure() {
    let mut lab = Lab::new();
    let site = lab.site().await.to_string();
    let state = lab.path("state.json");
    let most = u64::MAX;
    let text = format!(
        r#"{{"schema":1,"next_event":{most},"targets":{{"{site}":{{"current":null,"since":{most},
            "checks":{most},"history":[]}}}},"pending":{{}}}}"#
    );
    std::fs::write(&state, text).expect("to write");
    let mut watching = Watching::start(&["--cacert", &lab.ca(), "--state", &state, &site]);
    assert_eq!(watching.verdicts().await, [None, Some("verified".into())]);
    watching.stop().await;
    assert!(!std::path::Path::new(&format!("{state}.damaged")).exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn options_that_cannot_work_are_refused() {
    let lab = Lab::new();
    for (arguments, words) in [
        (
            &["--metrics", "0.0.0.0:0", "a.test"][..],
            ["--metrics", "--unsafe-metrics"],
        ),
        (&["--every", "10ms", "a.test"], ["--every", "at least 1s"]),
        (
            &["--webhook", "ftp://a.test/", "a.test"],
            ["--webhook", "http or https"],
        ),
        (
            &["--state", "/dev/null/no", "a.test"],
            ["--state", "os error"],
        ),
        // A file that cannot be read is not damaged, and stays.
        (&["--state", "/", "a.test"], ["--state", "could not read"]),
        (
            &["--inherit", "1h", "a.test"],
            ["--inherit", "full handshake"],
        ),
        (
            &["--method", "resumption", "--prefetch", "a.test"],
            ["--prefetch", "full handshake"],
        ),
    ] {
        let run = lab.run([&["watch"], arguments].concat()).await;
        run.exits_with(2).mentions(&words);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_manager_is_notified() {
    let mut lab = Lab::new();
    let site = lab.site().await.to_string();
    let path = lab.path("notify");
    let socket = tokio::net::UnixDatagram::bind(&path).expect("a socket");
    let mut command = program();
    command
        .args(["watch", "--cacert", &lab.ca(), &site])
        .stdout(Stdio::null());
    command
        .env("NOTIFY_SOCKET", &path)
        .env("WATCHDOG_USEC", "20000");
    let mut child = command.spawn().expect("to run");
    let mut states = Vec::new();
    for _ in 0..3 {
        let mut state = [0; 64];
        let read = timeout(LONG, socket.recv(&mut state))
            .await
            .expect("it hangs")
            .expect("a state");
        states.push(String::from_utf8_lossy(&state[..read]).into_owned());
    }
    assert_eq!(states, ["READY=1", "WATCHDOG=1", "WATCHDOG=1"]);
    child.start_kill().expect("to end");
}
