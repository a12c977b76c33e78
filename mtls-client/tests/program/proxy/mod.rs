//! `mtls-client proxy`, run as a process, with real programs behind it.

mod attack;
mod chromium;
mod curl;
mod intermediary;
mod known_hosts;
mod life;
mod many;
mod page;
mod plain;
mod spellings;
mod web;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use crate::lab::{self, Lab, Run, program};

/// The limit of every wait, which is never reached without a fault.
const LONG: Duration = Duration::from_secs(60);

/// A running proxy.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    pub(crate) child: Child,
    stderr: Arc<Mutex<String>>,
}

/// The protocol between client and proxy.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Way {
    Http,
    Socks,
}

pub(crate) const WAYS: [Way; 2] = [Way::Http, Way::Socks];

impl Running {
    /// Runs it on a port that the system chooses.
    pub(crate) async fn with(arguments: &[&str]) -> Self {
        let mut command = program();
        command
            .args(["proxy", "--listen", "127.0.0.1:0"])
            .args(arguments)
            .stderr(std::process::Stdio::piped());
        let mut child = command.spawn().expect("to run");
        let mut lines = BufReader::new(child.stderr.take().expect("a pipe")).lines();
        let first = tokio::time::timeout(LONG, lines.next_line()).await;
        let first = first.expect("it hangs").expect("a line").expect("a line");
        let address = first
            .split_once("proxy on ")
            .and_then(|(_, rest)| rest.split([',', ' ']).next())
            .unwrap_or_else(|| panic!("no address in `{first}`"));
        let stderr = Arc::new(Mutex::new(format!("{first}\n")));
        let kept = Arc::clone(&stderr);
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                kept.lock().expect("a lock").push_str(&(line + "\n"));
            }
        });
        Self {
            address: address.parse().expect("an address"),
            child,
            stderr,
        }
    }

    pub(crate) fn stderr(&self) -> String {
        self.stderr.lock().expect("a lock").clone()
    }

    /// Waits until standard error has these words.
    pub(crate) async fn says(&self, words: &str) {
        self.says_times(words, 1).await;
    }

    pub(crate) async fn says_times(&self, words: &str, times: usize) {
        let saying = async {
            while self.stderr().matches(words).count() < times {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        if tokio::time::timeout(LONG, saying).await.is_err() {
            panic!("no `{words}` in:\n{}", self.stderr());
        }
    }

    /// Curl through it.
    pub(crate) async fn curl(&self, way: Way, arguments: &[&str]) -> Run {
        let mut curl = curl();
        match way {
            Way::Http => curl.args(["-x", &format!("http://{}", self.address)]),
            Way::Socks => curl.args(["--socks5-hostname", &self.address.to_string()]),
        };
        curl.args(arguments);
        Run::of(curl).await
    }

    /// The connections of the page, once there are so many and all have a verdict.
    pub(crate) async fn connections(&self, count: usize) -> Vec<Value> {
        let asking = async {
            loop {
                let state = self.json("/connections").await;
                let all = state["connections"].as_array().expect("an array").clone();
                let opening = |one: &Value| one["kind"] == "opening";
                if all.len() >= count && !all.iter().any(opening) {
                    return all;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let asked = tokio::time::timeout(LONG, asking).await;
        asked.unwrap_or_else(|_| panic!("no {count} connections:\n{}", self.stderr()))
    }

    /// The ID of the first connection that has certificates of a second one.
    pub(crate) async fn presented(&self) -> Value {
        self.says("A second connection to").await;
        let asking = async {
            loop {
                let seen = self.connections(1).await;
                let mut seen = seen.into_iter();
                if let Some(one) = seen.find(|one| one["presented"].is_object()) {
                    return one["id"].clone();
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let asked = tokio::time::timeout(LONG, asking).await;
        asked.expect("a second connection")
    }

    /// Waits until so many tunnels are open.
    pub(crate) async fn opens(&self, count: usize) {
        let asking = async {
            while self.json("/connections").await["open"] != count {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let asked = tokio::time::timeout(LONG, asking).await;
        asked.unwrap_or_else(|_| panic!("no {count} open tunnels:\n{}", self.stderr()));
    }

    pub(crate) async fn json(&self, path: &str) -> Value {
        let response = self
            .ask(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n"))
            .await;
        let (head, body) = response.split_once("\r\n\r\n").expect("a response");
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        serde_json::from_str(body).expect("JSON")
    }

    /// Sends this head of a request, to which it adds `Connection: close` and the end.
    pub(crate) async fn ask(&self, head: &str) -> String {
        lab::request(self.address, head).await
    }

    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.expect("the proxy")
    }

    /// A tunnel by CONNECT, and the answer's status line.
    pub(crate) async fn tunnel(&self, target: SocketAddr) -> (TcpStream, String) {
        let mut stream = self.connect().await;
        let request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("to ask");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.expect("an answer"));
        }
        let head = String::from_utf8(head).expect("a text");
        let status = head.lines().next().unwrap_or_default().to_owned();
        (stream, status)
    }

    /// Its resident memory, in bytes.
    pub(crate) fn memory(&self) -> usize {
        let id = self.child.id().expect("a process");
        let status = std::fs::read_to_string(format!("/proc/{id}/status")).expect("a status");
        let line = status.lines().find(|line| line.starts_with("VmRSS:"));
        let kilobytes = line.and_then(|line| line.split_whitespace().nth(1));
        1024 * kilobytes
            .and_then(|kb| kb.parse::<usize>().ok())
            .expect("a size")
    }

    pub(crate) fn signal(&self, name: &str) {
        let id = self.child.id().expect("a process").to_string();
        let sent = std::process::Command::new("kill")
            .args(["-s", name, &id])
            .status();
        assert!(sent.expect("to send a signal").success());
    }
}

impl Lab {
    /// A network in which connections to this port end at the attacker, and others nowhere: an
    /// HTTP proxy, so that it can be a primary path.
    pub(crate) async fn hostile_network(&mut self, attacker: SocketAddr, port: u16) -> SocketAddr {
        self.listen(move |mut stream| async move {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                match stream.read_u8().await {
                    Ok(byte) => head.push(byte),
                    Err(_) => return,
                }
            }
            let victim = format!(":{port} HTTP/1.1\r\n");
            if !String::from_utf8_lossy(&head).contains(&victim) {
                return;
            }
            let Ok(mut onward) = TcpStream::connect(attacker).await else {
                return;
            };
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
            let _ = tokio::io::copy_bidirectional(&mut stream, &mut onward).await;
        })
        .await
    }
}

/// curl without the proxy variables of the environment.
pub(crate) fn curl() -> Command {
    let mut curl = Command::new("curl");
    curl.args(["-sS", "--noproxy", ","]).kill_on_drop(true);
    for name in [
        "http_proxy",
        "https_proxy",
        "HTTPS_PROXY",
        "all_proxy",
        "ALL_PROXY",
    ] {
        curl.env_remove(name);
    }
    curl
}
