//! Several machines behind one address, which share a registry on a real Redis server.
//!
//! Without `redis-server` or `haproxy` on the path the tests are skipped, with a message.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::common::{
    HUNG, Load, REQUIRE, Running, Site, binary, client_config, free_address, get, patient, text,
    verdict_of, with_sockets,
};
use mtls_certs::Pki;
use mtls_core::path::{Endpoint, Path as NetworkPath};
use mtls_core::{ClientSettings, ClientStream, Error, MultipathConnector, Policy};
use rustix::process::Signal;
use tokio::time::sleep;

const KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

/// Another program, ended on drop.
struct Tool(Child);

impl Drop for Tool {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts a program that listens there; `None`, with a message, where it is not installed.
fn start(name: &str, arguments: &[&str], address: SocketAddr) -> Option<Tool> {
    let mut command = Command::new(name);
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    let Ok(child) = command.spawn() else {
        eprintln!("SKIPPED: {name} is not installed");
        return None;
    };
    let tool = Tool(child);
    while TcpStream::connect(address).is_err() {
        std::thread::sleep(Duration::from_millis(20));
    }
    Some(tool)
}

/// A Redis server, empty.
struct Engine {
    address: SocketAddr,
    tool: Option<Tool>,
}

impl Engine {
    fn start(arguments: &[&str]) -> Option<Self> {
        let mut engine = Self {
            address: free_address(),
            tool: None,
        };
        engine.run(arguments).then_some(engine)
    }

    fn run(&mut self, arguments: &[&str]) -> bool {
        let port = self.address.port().to_string();
        let mut all = vec!["--port", &port, "--bind", "127.0.0.1", "--save", ""];
        all.extend(arguments);
        self.tool = start("redis-server", &all, self.address);
        self.tool.is_some()
    }

    fn stop(&mut self) {
        self.tool = None;
    }

    fn url(&self) -> String {
        format!("redis://{}", self.address)
    }
}

fn write_key(site: &Site) -> String {
    let file = site.root.path().join("registry.key");
    fs::write(&file, KEY).expect("to write");
    file.to_str().expect("text").to_owned()
}

/// Options of every machine of a fleet.
fn registry(key: &str, engines: &[&Engine], machine: u16) -> Vec<String> {
    let machine = machine.to_string();
    let mut options: Vec<_> = [
        "--service",
        "shop",
        "--registry-key",
        key,
        "--machine",
        &machine,
    ]
    .map(str::to_owned)
    .into();
    for engine in engines {
        options.extend(["--registry".to_owned(), engine.url()]);
    }
    options
}

fn serve(site: &Site, options: &[String], more: &[&str]) -> Running {
    let mut all: Vec<_> = options.iter().map(String::as_str).collect();
    all.extend(["--status", "127.0.0.1:0"]);
    all.extend(more);
    site.serve(&all)
}

/// Machines 1, 2, …, started at the same time.
fn machines(site: &Site, count: u16, engines: &[&Engine], more: &[&str]) -> Vec<Running> {
    let key = write_key(site);
    std::thread::scope(|scope| {
        let start = |machine| {
            let options = registry(&key, engines, machine);
            scope.spawn(move || serve(site, &options, more))
        };
        let started: Vec<_> = (1..=count).map(start).collect();
        started
            .into_iter()
            .map(|thread| thread.join().expect("a server"))
            .collect()
    })
}

/// HAProxy in TCP mode, round robin.
fn balance(directory: &Path, to: &[SocketAddr]) -> Option<(Tool, SocketAddr)> {
    let address = free_address();
    let mut config = format!(
        "global\n nbthread 1\n\
         defaults\n mode tcp\n timeout connect 5s\n timeout client 60s\n timeout server 60s\n\
         retries 3\n option redispatch\n\
         listen machines\n bind {address}\n balance roundrobin\n"
    );
    for (index, machine) in to.iter().enumerate() {
        config += &format!(" server m{index} {machine} check inter 200ms fall 3\n");
    }
    let file = directory.join("haproxy.cfg");
    fs::write(&file, config).expect("to write");
    let file = file.to_str().expect("text").to_owned();
    Some((start("haproxy", &["-db", "-f", &file], address)?, address))
}

fn page(address: SocketAddr, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).expect("to connect");
    stream.set_read_timeout(Some(HUNG)).expect("a timeout");
    let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("to write");
    let mut response = String::new();
    stream.read_to_string(&mut response).expect("a response");
    let (head, body) = response.split_once("\r\n\r\n").expect("a head");
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    (status.expect("a status"), body.to_owned())
}

async fn until_ready(machine: &Running, expected: &str) {
    let ready = async {
        while page(machine.status_address(), "/readyz").1.trim() != expected {
            sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(HUNG, ready)
        .await
        .unwrap_or_else(|_| panic!("{}", page(machine.status_address(), "/status").1));
}

/// A client without a pool, so that each side connection reaches the next machine.
async fn connect(
    site: &Site,
    address: SocketAddr,
) -> Result<ClientStream<tokio::net::TcpStream>, Error> {
    MultipathConnector::builder(
        site.client_config(),
        patient(Policy::Require).side(NetworkPath::system()),
    )
    .build()
    .expect("a connector")
    .connect(&Endpoint::from(address))
    .await
}

/// Connects so often, and counts the verified. An interception is a false alarm.
async fn verified(site: &Site, address: SocketAddr, count: usize) -> usize {
    let mut verified = 0;
    for _ in 0..count {
        match connect(site, address).await {
            Ok(mut stream) => {
                let response = get(&mut stream, "/sub/file.txt").await;
                assert!(response.ends_with("a file"), "{response}");
                assert!(verdict_of(&response).starts_with("verified"), "{response}");
                verified += 1;
            }
            Err(Error::Interception(evidence)) => panic!("a false alarm: {evidence:?}"),
            Err(error) => eprintln!("not verified: {error}"),
        }
    }
    verified
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_machines_behind_a_round_robin_verify_every_client_and_no_interceptor() {
    let site = Site::new();
    let Some(mut engine) = Engine::start(&[]) else {
        return;
    };
    let mut fleet = machines(&site, 3, &[&engine], &REQUIRE);
    let addresses: Vec<_> = fleet.iter().map(|machine| machine.address).collect();
    let Some((_haproxy, address)) = balance(site.root.path(), &addresses) else {
        return;
    };
    let began = std::time::Instant::now();
    assert_eq!(verified(&site, address, 60).await, 60);
    let status = || page(fleet[0].status_address(), "/status").1;
    while !status().contains("\"machines\": 3") {
        assert!(began.elapsed() < 2 * HUNG, "{}", status());
        sleep(Duration::from_millis(50)).await;
    }
    let metrics = page(fleet[0].status_address(), "/metrics").1;
    for line in [
        "multipath_tls_registry_lease 1",
        "multipath_tls_registry_machines 3",
        "multipath_tls_registry_engine_up{engine=\"1\"} 1",
        "multipath_tls_registry_engine_operation_seconds_count{engine=\"1\"}",
    ] {
        assert!(metrics.contains(line), "{line} is not in {metrics}");
    }

    // The engine forgets everything; the machines do not.
    engine.stop();
    assert!(engine.run(&[]));
    for machine in &fleet {
        until_ready(machine, "ready").await;
    }
    assert_eq!(verified(&site, address, 30).await, 30);

    // One machine is killed; connections to it are the only ones that fail.
    drop(fleet.pop());
    sleep(Duration::from_secs(1)).await;
    assert_eq!(verified(&site, address, 30).await, 30);

    interceptor_is_detected(&site, address).await;
}

/// A server whose CA the client trusts answers the primary path, and the fleet the side path.
async fn interceptor_is_detected(site: &Site, fleet: SocketAddr) {
    let mut rogue = Site::new();
    rogue.pki = Pki::new(&["localhost", "127.0.0.1"]).expect("a pki");
    rogue
        .pki
        .write(&rogue.root.path().join("pki"), true)
        .expect("to write");
    let interceptor = rogue.serve(&["--policy", "observe"]);
    let connect = async || {
        MultipathConnector::builder(
            client_config(&rogue.pki, None),
            ClientSettings::new(Policy::Prefer)
                .side(NetworkPath::system())
                .side_endpoint(Endpoint::from(fleet)),
        )
        .build()
        .expect("a connector")
        .connect(&Endpoint::from(interceptor.address))
        .await
    };
    // As long as a machine that is gone might hold the handshake, the answer is not certain.
    let detected = async {
        loop {
            match connect().await {
                Err(Error::Interception(_)) => return,
                other => eprintln!("not yet certain: {:?}", other.err()),
            }
            sleep(Duration::from_secs(1)).await;
        }
    };
    let long = Duration::from_secs(120);
    tokio::time::timeout(long, detected)
        .await
        .expect("an interception");
    assert_eq!(verified(site, fleet, 10).await, 10);
}

#[test]
fn a_signal_while_a_machine_waits_for_its_engine_is_no_failure() {
    let site = Site::new();
    // It accepts, and does not respond.
    let engine = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("redis://{}", engine.local_addr().expect("an address"));
    let mut options = registry(&write_key(&site), &[], 1);
    options.extend(["--registry".to_owned(), url]);
    options.extend(["--listen".to_owned(), "127.0.0.1:0".to_owned()]);
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let mut command = site.command(&options);
    let server = command.stderr(std::process::Stdio::piped()).spawn();
    let server = server.expect("to start");
    engine.accept().expect("a connection");
    let id = rustix::process::Pid::from_child(&server);
    rustix::process::kill_process(id, rustix::process::Signal::TERM).expect("to signal");
    let output = server.wait_with_output().expect("to end");
    let log = text(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{log}");
    assert!(log.contains("SIGTERM: stopped before it served"), "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_without_its_engine_refuses_handshakes_and_says_so() {
    let site = Site::new();
    let Some(mut engine) = Engine::start(&[]) else {
        return;
    };
    let fleet = machines(&site, 1, &[&engine], &["--policy", "prefer"]);
    let machine = &fleet[0];
    until_ready(machine, "ready").await;
    assert_eq!(verified(&site, machine.address, 1).await, 1);
    engine.stop();
    until_ready(machine, "registry-isolated").await;
    assert_eq!(page(machine.status_address(), "/readyz").0, 503);
    let refused = connect(&site, machine.address).await;
    assert!(
        !matches!(refused, Ok(_) | Err(Error::Interception(_))),
        "{refused:?}"
    );
    assert!(engine.run(&[]));
    until_ready(machine, "ready").await;
    assert_eq!(verified(&site, machine.address, 1).await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_costs_no_client_its_connection() {
    let site = Site::new();
    let Some(engine) = Engine::start(&[]) else {
        return;
    };
    let mut fleet = machines(&site, 2, &[&engine], &REQUIRE);
    let addresses: Vec<_> = fleet.iter().map(|machine| machine.address).collect();
    let Some((_haproxy, address)) = balance(site.root.path(), &addresses) else {
        return;
    };
    assert_eq!(verified(&site, address, 10).await, 10);
    let stopped = fleet.remove(0);
    stopped.signal(Signal::TERM);
    assert!(stopped.wait().0.success());
    assert_eq!(verified(&site, address, 20).await, 20);
    let key = site.root.path().join("registry.key");
    let options = registry(key.to_str().expect("text"), &[&engine], 1);
    let listen = addresses[0].to_string();
    let mut command = binary();
    command
        .arg("serve")
        .arg(site.www())
        .args(["--listen", &listen])
        .args(&options);
    command.arg("--cert").arg(site.pem("server.pem"));
    command.arg("--key").arg(site.pem("server.key"));
    let _again = Running::start(command);
    sleep(Duration::from_secs(1)).await;
    assert_eq!(verified(&site, address, 20).await, 20);
}

/// Each machine's next process, with another number, starts on the same socket before the old one
/// ends.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_machines_restart_one_after_another_under_load_without_a_failed_request() {
    let site = Site::new();
    let Some(engine) = Engine::start(&[]) else {
        return;
    };
    let key = write_key(&site);
    let sockets = [0; 3].map(|_| TcpListener::bind("127.0.0.1:0").expect("a socket"));
    let start = |socket: &TcpListener, machine| {
        let options = registry(&key, &[&engine], machine);
        let options: Vec<_> = options.iter().map(String::as_str).collect();
        let mut command = site.command(&options);
        command.args(REQUIRE);
        Running::start(with_sockets(&command, &[socket], Some("primary")))
    };
    let start_all = |first: u16| {
        std::thread::scope(|scope| {
            let start = |(socket, machine)| scope.spawn(move || start(socket, machine));
            let started: Vec<_> = sockets.iter().zip(first..).map(start).collect();
            let joined = started.into_iter().map(|thread| thread.join());
            joined.collect::<Result<Vec<_>, _>>().expect("servers")
        })
    };
    let mut fleet = start_all(1);
    let addresses: Vec<_> = fleet.iter().map(|machine| machine.address).collect();
    let Some((_haproxy, address)) = balance(site.root.path(), &addresses) else {
        return;
    };
    let settings = patient(Policy::Require).side(NetworkPath::system());
    let load = Load::start(&site, address, &settings);
    for (index, socket) in sockets.iter().enumerate() {
        let number = 11 + u16::try_from(index).expect("a small number");
        let next = tokio::task::block_in_place(|| start(socket, number));
        let old = std::mem::replace(&mut fleet[index], next);
        old.signal(Signal::TERM);
        let (status, log) = tokio::task::block_in_place(|| old.wait());
        assert!(status.success(), "{log:#?}");
        load.goes_on(40).await;
    }
    let served = load.end().await;
    assert!(served.failed.is_empty(), "{served:?}");
    assert_eq!(served.unverified, 0, "{served:?}");
    assert!(served.verified > 100, "{served:?}");
}

/// The passthrough of a machine answers for a server that knows nothing of the protocol.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_passthroughs_share_a_registry() {
    let site = Site::new();
    let Some(engine) = Engine::start(&[]) else {
        return;
    };
    let key = write_key(&site);
    let target = site.serve(&["--policy", "observe"]);
    let start = |machine| {
        let mut command = binary();
        command.args(["passthrough", "--listen", "127.0.0.1:0"]);
        command.args(REQUIRE);
        command.args(["--target", &target.address.to_string()]);
        command.args(registry(&key, &[&engine], machine));
        Running::start_saying(
            command,
            &format!("passing through to {} on ", target.address),
        )
    };
    let (one, other) = std::thread::scope(|scope| {
        let one = scope.spawn(|| start(1));
        let other = start(2);
        (one.join().expect("a passthrough"), other)
    });
    for (primary, side) in [(&one, &other), (&other, &one)] {
        let connected = MultipathConnector::builder(
            site.client_config(),
            patient(Policy::Require)
                .side(NetworkPath::system())
                .side_endpoint(Endpoint::from(side.address)),
        )
        .build()
        .expect("a connector")
        .connect(&Endpoint::from(primary.address))
        .await;
        let stream = connected.expect("a verified stream");
        assert!(stream.verdict().verified().is_some());
    }
}

fn check(site: &Site, table: &str) -> (bool, String) {
    let file = site.root.path().join("config.toml");
    fs::write(&file, table).expect("to write");
    let output = binary()
        .args(["config", "check"])
        .arg(&file)
        .output()
        .expect("to run");
    (
        output.status.success(),
        text(&output.stdout) + &text(&output.stderr),
    )
}

fn table(site: &Site, registry: &str, key: &str) -> String {
    format!(
        "[serve]\ndir = {:?}\ncert = {:?}\nkey = {:?}\nlisten = \"127.0.0.1:0\"\n\
         registry = {registry:?}\nservice = \"shop\"\nregistry-key = {key:?}\nmachine = 1\n",
        site.www(),
        site.pem("server.pem"),
        site.pem("server.key"),
    )
}

#[test]
fn config_check_connects_to_the_registry_and_reports() {
    let site = Site::new();
    let key = write_key(&site);
    let closed = format!("redis://{}", free_address());
    let (fine, log) = check(&site, &table(&site, &closed, &key));
    assert!(
        !fine && log.contains(&closed) && log.contains("refused"),
        "{log}"
    );
    let (fine, log) = check(&site, &table(&site, "redis://a:s3cret@b", &key));
    assert!(
        !fine && log.contains("it holds a password") && !log.contains("s3cret"),
        "{log}"
    );
    let short = site.root.path().join("short.key");
    fs::write(&short, &KEY[1..]).expect("to write");
    let (fine, log) = check(&site, &table(&site, &closed, short.to_str().expect("text")));
    assert!(
        !fine && log.contains("line 1: expected 64 hexadecimal digits"),
        "{log}"
    );
    assert!(!log.contains(&KEY[1..]), "{log}");
    let Some(engine) = Engine::start(&[]) else {
        return;
    };
    let (fine, log) = check(&site, &table(&site, &engine.url(), &key));
    assert!(fine, "{log}");
    let Some(evicting) = Engine::start(&["--maxmemory-policy", "allkeys-lru"]) else {
        return;
    };
    let (fine, log) = check(&site, &table(&site, &evicting.url(), &key));
    assert!(!fine && log.contains("noeviction"), "{log}");
}

#[test]
fn a_registry_without_its_other_options_is_refused() {
    let site = Site::new();
    for missing in ["--service", "--registry-key", "--machine"] {
        let mut command = site.command(&["--registry", "redis://127.0.0.1:1"]);
        for (name, value) in [
            ("--service", "s"),
            ("--registry-key", "k"),
            ("--machine", "1"),
        ] {
            if name != missing {
                command.args([name, value]);
            }
        }
        let output = command.output().expect("to run");
        assert_eq!(output.status.code(), Some(2));
        assert!(
            text(&output.stderr).contains(missing),
            "{}",
            text(&output.stderr)
        );
    }
}
