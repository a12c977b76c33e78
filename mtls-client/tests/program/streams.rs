//! `get`: bodies are passed on as they come, and never kept.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::lab::{Lab, program};

#[tokio::test(flavor = "multi_thread")]
async fn request_and_response_bodies_flow_at_the_same_time() {
    let mut lab = Lab::new();
    for site in [lab.site().await, lab.h1_site().await] {
        let mut command = program();
        command.args(["get", "-s", "--cacert", &lab.ca(), "-T", "-"]);
        command.arg(format!("https://{site}/mirror"));
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("to run");
        let mut stdin = child.stdin.take().expect("a pipe");
        let mut stdout = child.stdout.take().expect("a pipe");
        for word in ["one", "two", "three, without the end of a line"] {
            stdin.write_all(word.as_bytes()).await.expect("to write");
            let mut back = vec![0; word.len()];
            stdout.read_exact(&mut back).await.expect("the word");
            assert_eq!(back, word.as_bytes());
        }
        drop(stdin);
        let mut rest = Vec::new();
        stdout.read_to_end(&mut rest).await.expect("the end");
        assert_eq!(rest, b"");
        assert_eq!(child.wait().await.expect("an end").code(), Some(0));
    }
}

/// The most memory that a process has used, in KiB (proc_pid_status(5)).
fn peak(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_stays_bounded_for_large_bodies() {
    const SIZE: u64 = 192 << 20;
    const BOUND: u64 = 48 << 10;
    let mut lab = Lab::new();
    let file = lab.path("large");
    std::fs::File::create(&file).unwrap().set_len(SIZE).unwrap();
    for site in [lab.site().await, lab.h1_site().await] {
        let mut command = program();
        command.args(["get", "-s", "--cacert", &lab.ca(), "-T", &file]);
        command.args(["-o", "/dev/null", "-w", "%{size_upload} %{size_download}"]);
        command.arg(format!("https://{site}/mirror"));
        command.stdout(Stdio::piped());
        let mut child = command.spawn().expect("to run");
        let pid = child.id().expect("a process");
        let mut most = 0;
        while child.try_wait().expect("a state").is_none() {
            most = most.max(peak(pid).unwrap_or(0));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let mut output = String::new();
        let mut stdout = child.stdout.take().expect("a pipe");
        stdout.read_to_string(&mut output).await.expect("the facts");
        assert_eq!(output, format!("{SIZE} {SIZE}"));
        if most == 0 {
            println!("skipped in part: there is no /proc to ask for the memory");
        }
        println!("{most} KiB at most");
        assert!(most < BOUND, "{most} KiB");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_before_the_end_of_the_body_is_accepted() {
    let mut lab = Lab::new();
    // It answers when it has read the head, and closes.
    let site = lab
        .raw_site(b"HTTP/1.1 413 Content Too Large\r\ncontent-length: 5\r\n\r\nfull\n")
        .await;
    let file = lab.path("large");
    std::fs::File::create(&file)
        .unwrap()
        .set_len(1 << 30)
        .unwrap();
    let run = lab
        .get(&["-s", "-T", &file, &format!("https://{site}/")])
        .await;
    assert_eq!(run.exits_with(0).stdout, "full\n");
    let closing = lab.raw_site(b"").await;
    let run = lab
        .get(&["-s", "-T", &file, &format!("https://{closing}/")])
        .await;
    // It depends on the network whether the end is read first, or a write fails.
    assert!([52, 55].contains(&run.code), "{}: {}", run.code, run.stderr);
    run.mentions(&[&closing.to_string(), "closed the connection"]);
}
