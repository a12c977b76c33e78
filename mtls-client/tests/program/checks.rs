//! `check` of many targets.

use std::io::{ErrorKind, Read};
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::sync::Barrier;

use crate::lab::{Lab, PATIENCE, Run, Whose, closed_port, program};

/// The targets of the rows of a table.
fn rows(table: &str) -> Vec<(&str, &str)> {
    let rows = table.lines().skip(1).take_while(|line| !line.is_empty());
    rows.map(|row| {
        let mut cells = row.split_whitespace();
        let verdict = cells.next().expect("a verdict");
        (verdict, cells.next().expect("a target"))
    })
    .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn several_targets_give_a_table_in_their_order() {
    let mut lab = Lab::new();
    let site = lab.site().await.to_string();
    let (plain, _) = lab.plain_tls(Whose::Server, "").await;
    // The first one takes longest.
    let (silent, plain) = (lab.silent().await.to_string(), plain.to_string());
    let closed = closed_port().await.to_string();
    let targets = [&*silent, &site, &plain, &closed, &site];
    let typed = [&["--deadline", PATIENCE], &targets[..]].concat();
    let run = lab.check(&typed).await.exits_with(7);
    let expected = [
        ("ERROR", silent.as_str()),
        ("VERIFIED", &site),
        ("UNVERIFIED", &plain),
        ("ERROR", &closed),
        ("VERIFIED", &site),
    ];
    assert_eq!(rows(&run.stdout), expected, "{}", run.stdout);
    let lines: Vec<_> = run.stdout.lines().collect();
    let columns: Vec<_> = lines[0].match_indices("TIME").collect();
    assert_eq!(columns.len(), 1);
    let end = columns[0].0 + "TIME".len();
    for row in &lines[1..6] {
        let time = row[..end].rsplit("  ").next().expect("a time");
        assert!(time == "-" || time.ends_with(" ms"), "{row}");
    }
    for words in [
        "timed-out",
        "no-greeting",
        "could-not-connect",
        "exporter, paths not independent",
    ] {
        assert!(run.stdout.contains(words), "{}", run.stdout);
    }
    let summary = "5 targets: 2 verified, 1 unverified, 2 without a connection";
    assert_eq!(lines.last(), Some(&summary));
    // Each failure in full, and the warning that they share once.
    let run = run.mentions(&[&silent, &plain, &closed, "--side-endpoint", "2 targets: "]);
    assert_eq!(run.stderr.matches("warning").count(), 1, "{}", run.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_of_json_are_in_the_order_of_the_targets() {
    let mut lab = Lab::new();
    let site = lab.site().await.to_string();
    let (silent, closed) = (
        lab.silent().await.to_string(),
        closed_port().await.to_string(),
    );
    let targets = [silent, closed, site];
    let [a, b, c] = &targets;
    let typed = ["--json", "--deadline", PATIENCE, a, b, c];
    let run = lab.check(&typed).await.exits_with(7);
    let output: Vec<_> = run
        .json()
        .iter()
        .map(|line| line["target"].as_str().expect("a target").to_owned())
        .collect();
    assert_eq!(output, targets);
}

#[tokio::test(flavor = "multi_thread")]
async fn verbose_reports_more() {
    let mut lab = Lab::new();
    let site = lab.site().await.to_string();
    let run = lab.check(&["-v", &site, &site]).await.exits_with(0);
    assert_eq!(run.stdout.matches("  side 1").count(), 2, "{}", run.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_limits_the_number_of_parallel_checks() {
    let mut lab = Lab::new();
    let (open, most) = (
        Arc::<Mutex<Vec<_>>>::default(),
        Arc::new(AtomicUsize::new(0)),
    );
    // No connection ends before three are open, so each check waits for two others.
    let three = Arc::new(Barrier::new(3));
    let mut targets = Vec::new();
    for _ in 0..9 {
        let (open, most) = (Arc::clone(&open), Arc::clone(&most));
        let three = Arc::clone(&three);
        let target = lab
            .listen(move |mut stream| {
                let (open, most) = (Arc::clone(&open), Arc::clone(&most));
                let three = Arc::clone(&three);
                async move {
                    // The first byte of a TLS record: a primary path.
                    if stream.read_u8().await.ok() != Some(0x16) {
                        return;
                    }
                    count(&mut open.lock().expect("no panic"), stream, &most);
                    if three.wait().await.is_leader() {
                        // One too many would have come by then.
                        tokio::time::sleep(Duration::from_millis(500)).await;
                        open.lock().expect("no panic").clear();
                    }
                }
            })
            .await;
        targets.push(target.to_string());
    }
    let targets: Vec<_> = targets.iter().map(String::as_str).collect();
    let run = lab
        .check(&[&["-s", "--jobs", "3"], &targets[..]].concat())
        .await;
    assert_eq!(rows(&run.exits_with(35).stdout).len(), 9);
    assert_eq!(most.load(Ordering::SeqCst), 3, "at a time");
}

/// Adds a connection, and counts those that are open now.
fn count(open: &mut Vec<TcpStream>, stream: tokio::net::TcpStream, most: &AtomicUsize) {
    open.push(stream.into_std().expect("a socket"));
    open.retain(is_open);
    most.fetch_max(open.len(), Ordering::SeqCst);
}

/// Whether the client has not closed the connection. The kernel knows it when the client opens its
/// next connection; a task that waits for the end may find out later.
fn is_open(mut stream: &TcpStream) -> bool {
    let mut bytes = [0; 1024];
    loop {
        match stream.read(&mut bytes) {
            Ok(1..) => {}
            Ok(0) => return false,
            Err(error) => return error.kind() == ErrorKind::WouldBlock,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn targets_come_from_files_and_standard_input() {
    let mut lab = Lab::new();
    let site = lab.site().await;
    let file = lab.path("targets");
    let text = format!("# all of them\n\n{site}  # the first\r\n  https://{site}/page#part\n");
    std::fs::write(&file, &text).expect("to write");
    let name = site.to_string();
    let run = lab.check(&["-i", &file, &name]).await.exits_with(0);
    assert_eq!(rows(&run.stdout), [("VERIFIED", name.as_str()); 3]);
    let mut command = program();
    command.args(["check", "--cacert", &lab.ca(), "-s", "-i", "-"]);
    let run = Run::with_input(command, text.into_bytes()).await;
    assert_eq!(rows(&run.exits_with(0).stdout).len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_in_a_file_is_reported_with_its_line() {
    let lab = Lab::new();
    let (file, missing) = (lab.path("targets"), lab.path("missing"));
    for (text, expected) in [
        ("a.test\n\nb.test:0\n", "line 3: `b.test:0`: "),
        ("http://a.test/", "line 1: `http://a.test/`: only https"),
        ("# nothing\n", "no target; write HOST"),
    ] {
        std::fs::write(&file, text).expect("to write");
        let run = lab.check(&["-i", &file]).await.exits_with(2);
        run.mentions(&["--input", &format!("`{file}`"), expected]);
    }
    std::fs::write(&file, b"a.test\n\xff\n").expect("to write");
    lab.check(&["-i", &file])
        .await
        .exits_with(2)
        .mentions(&["UTF-8"]);
    lab.check(&["-i", &missing])
        .await
        .exits_with(2)
        .mentions(&[&missing, "No such file"]);
    lab.check(&[]).await.exits_with(2).mentions(&["TARGET"]);
    for jobs in ["0", "257", "many"] {
        let run = lab.check(&["--jobs", jobs, "a.test"]).await;
        run.exits_with(2).mentions(&["--jobs"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interception_among_many_targets_is_reported_at_once_and_the_evidence_saved() {
    let mut lab = Lab::new();
    let real = lab.site().await.to_string();
    let (attacker, _) = lab.plain_tls(Whose::Rogue, "the attacker's page\n").await;
    let silent = lab.silent().await.to_string();
    let (attacker, cas, dir) = (attacker.to_string(), lab.both_cas(), lab.path("evidence"));
    let typed = [
        "check",
        "--cacert",
        &cas,
        "--side-endpoint",
        &real,
        "--deadline",
        PATIENCE,
        "--evidence-dir",
        &dir,
        &attacker,
        &silent,
        &real,
    ];
    let run = lab.run(typed).await.exits_with(110);
    let run = run.mentions(&["INTERCEPTION DETECTED", "Evidence saved"]);
    assert_eq!(rows(&run.stdout)[0], ("INTERCEPTED", attacker.as_str()));
    assert!(run.stdout.contains("1 INTERCEPTED"), "{}", run.stdout);
    let alarm = run.stderr.find("INTERCEPTION DETECTED");
    let other = run.stderr.find("timed out").or(run.stderr.find("deadline"));
    assert!(alarm < other, "{}", run.stderr);
    assert_eq!(run.stderr.matches("INTERCEPTION").count(), 1);
    assert_eq!(std::fs::read_dir(&dir).expect("the evidence").count(), 2);
}
