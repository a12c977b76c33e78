//! `mtls-client paths` on a machine with two real ways: through two routers, or two to one.
//!
//! The program runs as a process in the namespace of the client: this test binary is started
//! there once more, and [`the_program`] is all that it does then.

use std::net::SocketAddr;
use std::process::ExitCode;

use mtls_core::Policy;
use mtls_lab::netns::{INTERFACES, SERVER, TwoPaths, unavailable};
use mtls_lab::{Result, Setup, World};
use serde_json::Value;
use tokio::sync::oneshot;

const PORT: u16 = 443;

/// The arguments of the program; in the environment, since the test harness takes the arguments.
const ARGUMENTS: &str = "MTLS_LAB_CLIENT_ARGUMENTS";

/// Not a test: the program `mtls-client`, in the process that [`Client::run`] starts.
#[test]
#[ignore = "only of use to the other tests here"]
fn the_program() {
    let arguments = std::env::var(ARGUMENTS).expect("only the other tests start this one");
    let arguments = arguments.split_whitespace().map(Into::into);
    let code = mtls_client::run(["mtls-client".into()].into_iter().chain(arguments));
    println!("\nexit {}", exit_status(code));
}

/// `ExitCode` shows its number in this way only.
fn exit_status(code: ExitCode) -> u8 {
    (0..=u8::MAX)
        .find(|&number| ExitCode::from(number) == code)
        .unwrap_or(u8::MAX)
}

/// The output of a run.
struct Said {
    status: u8,
    found: Value,
    errors: String,
}

/// Two paths, and a server at their end.
struct Network {
    paths: TwoPaths,
    stop: oneshot::Sender<()>,
    server: mtls_lab::netns::Inside<()>,
}

impl Network {
    /// `None` where this system makes no namespaces, which is printed.
    async fn new() -> Result<Option<Self>> {
        if let Some(reason) = unavailable() {
            println!("skipped: {reason}");
            return Ok(None);
        }
        let paths = TwoPaths::new()?;
        let world = World::new()?;
        let (up, is_up) = oneshot::channel();
        let (stop, stops) = oneshot::channel::<()>();
        let server = paths.server.spawn(move || async move {
            let address = SocketAddr::new(SERVER, PORT);
            let _server = world.serve_at(address, Setup::new(Policy::Prefer)).await?;
            let _ = up.send(());
            let _ = stops.await;
            Ok(())
        })?;
        is_up.await?;
        Ok(Some(Self {
            paths,
            stop,
            server,
        }))
    }

    /// Runs `paths --json` in the client's namespace.
    async fn paths(&self, arguments: &str) -> Result<Said> {
        let mut command = self.paths.client.command(std::env::current_exe()?);
        command
            .args(["ways::the_program", "--exact", "--ignored", "--nocapture"])
            .env(ARGUMENTS, format!("paths --json {arguments}"));
        let output = tokio::task::spawn_blocking(move || command.output()).await??;
        let (stdout, stderr) = (
            String::from_utf8(output.stdout)?,
            String::from_utf8(output.stderr)?,
        );
        let found = stdout.lines().find(|line| line.starts_with('{'));
        let status = stdout.lines().find_map(|line| line.strip_prefix("exit "));
        Ok(Said {
            status: status.ok_or(format!("no end: {stdout}{stderr}"))?.parse()?,
            found: serde_json::from_str(found.unwrap_or("null"))?,
            errors: stderr,
        })
    }

    async fn end(self) -> Result {
        let _ = self.stop.send(());
        self.server.join().await
    }
}

/// The pair of these two paths.
fn pair<'a>(found: &'a Value, one: &str, other: &str) -> Result<&'a Value> {
    let pairs = found["pairs"].as_array().ok_or("no pairs")?;
    let wanted = serde_json::json!([one, other]);
    let pair = pairs.iter().find(|pair| pair["paths"] == wanted);
    pair.ok_or_else(|| format!("no pair {wanted} in {found}").into())
}

#[tokio::test]
async fn two_interfaces_through_two_routers_are_two_paths() -> Result {
    let Some(network) = Network::new().await? else {
        return Ok(());
    };
    let typed = format!(
        "--require-independent --primary if:{} --side if:{} {SERVER}:{PORT}",
        INTERFACES[0], INTERFACES[1]
    );
    let said = network.paths(&typed).await?;
    assert_eq!(said.status, 0, "{}", said.errors);
    let tried = said.found["paths"].as_array().ok_or("no paths")?;
    for (index, path) in tried.iter().enumerate() {
        assert_eq!(path["interface"], INTERFACES[index]);
        assert_eq!(path["source"], format!("10.{index}.1.2"));
        assert_eq!(path["next_hop"]["gateway"], format!("10.{index}.1.1"));
        assert!(
            path["next_hop"]["mac"].is_string(),
            "heard of by now: {path}"
        );
        assert_eq!(path["side_verifier"], "greets");
        assert!(path["rtt_ms"].as_f64() > Some(0.0));
    }
    let pair = pair(&said.found, "if:path0", "if:path1")?;
    assert_eq!(pair["independence"], "different-interface");
    assert_eq!(pair["really_different"], true, "{pair}");
    network.end().await
}

#[tokio::test]
async fn the_second_path_is_found_without_being_named() -> Result {
    let Some(network) = Network::new().await? else {
        return Ok(());
    };
    let said = network.paths(&format!("{SERVER}:{PORT}")).await?;
    assert_eq!(said.status, 0, "{}", said.errors);
    let tried = said.found["paths"].as_array().ok_or("no paths")?;
    let specs: Vec<_> = tried
        .iter()
        .map(|path| (&path["role"], &path["path"]))
        .collect();
    assert_eq!(
        specs,
        [
            (&"primary".into(), &"direct".into()),
            (&"candidate".into(), &"if:path1".into())
        ]
    );
    assert_eq!(
        said.found["suggestion"],
        format!("mtls-client check --side if:path1 --require-independent {SERVER}:{PORT}")
    );

    // An interface that is down is listed, and no way.
    network.paths.client.ip("link set path1 down")?;
    let said = network
        .paths(&format!("--require-independent {SERVER}:{PORT}"))
        .await?;
    assert_eq!(said.status, 111, "{}", said.errors);
    let interfaces = said.found["interfaces"].as_array().ok_or("no interfaces")?;
    let down = interfaces.iter().find(|one| one["name"] == "path1");
    assert_eq!(down.ok_or("not listed")?["state"], "down");
    assert_eq!(said.found["suggestion"], Value::Null);
    network.end().await
}

#[tokio::test]
async fn the_ways_out_are_known_from_the_routes_alone() -> Result {
    let Some(network) = Network::new().await? else {
        return Ok(());
    };
    let client = &network.paths.client;
    client.ip("route add default via 10.0.1.1 dev path0 metric 100")?;
    client.ip("route add default via 10.1.1.1 dev path1 metric 200")?;
    let said = network.paths("").await?;
    assert_eq!(said.status, 0, "{}", said.errors);
    let interfaces = said.found["interfaces"].as_array().ok_or("no interfaces")?;
    for (index, name) in INTERFACES.into_iter().enumerate() {
        let interface = interfaces.iter().find(|one| one["name"] == name);
        let interface = interface.ok_or("not listed")?;
        assert_eq!(interface["kind"], "veth");
        assert_eq!(interface["state"], "up");
        assert_eq!(interface["addresses"][0], format!("10.{index}.1.2/24"));
        let route = &interface["default_routes"][0];
        assert_eq!(route["gateway"], format!("10.{index}.1.1"));
        assert_eq!(route["metric"], 100 * (index + 1));
    }
    let candidates = said.found["candidates"].as_array().ok_or("no candidates")?;
    let specs: Vec<_> = candidates.iter().map(|way| &way["path"]).collect();
    assert_eq!(specs, ["direct", "if:path1"]);
    let pair = pair(&said.found, "direct", "if:path1")?;
    assert_eq!(pair["really_different"], true, "{pair}");
    network.end().await
}

#[tokio::test]
async fn two_interfaces_to_one_router_are_one_path() -> Result {
    let Some(network) = Network::new().await? else {
        return Ok(());
    };
    let (client, router) = (&network.paths.client, &network.paths.routers[0]);
    // A second network of the same router, as its Wi-Fi is beside its sockets.
    client.link_to("wifi", router, "wifi")?;
    let mac = "02:00:00:00:00:07";
    for name in ["down0", "wifi"] {
        router.ip(&format!("link set {name} address {mac}"))?;
    }
    router.ip("addr add 10.7.1.1/24 dev wifi")?;
    client.ip("addr add 10.7.1.2/24 dev wifi")?;
    router.ip("link set wifi up")?;
    client.ip("link set wifi up")?;
    client.ip(&format!(
        "route add {SERVER}/32 via 10.7.1.1 dev wifi metric 300"
    ))?;
    network
        .paths
        .server
        .ip("route add 10.7.1.0/24 via 10.0.2.1 dev path0")?;

    let typed = format!("--require-independent --side if:wifi {SERVER}:{PORT}");
    let said = network.paths(&typed).await?;
    assert_eq!(said.status, 111, "{}", said.errors);
    let pair = pair(&said.found, "direct", "if:wifi")?;
    assert_eq!(pair["independence"], "different-interface");
    assert_eq!(pair["really_different"], false, "{pair}");
    assert!(
        pair["why"].as_str().ok_or("no words")?.contains(mac),
        "{pair}"
    );
    // Of those that are found, the other one is suggested.
    let said = network.paths(&format!("{SERVER}:{PORT}")).await?;
    let suggestion = said.found["suggestion"].as_str().ok_or("none")?;
    assert!(suggestion.contains("--side if:path1"), "{suggestion}");
    network.end().await
}

#[tokio::test]
async fn a_second_address_is_no_second_path() -> Result {
    let Some(network) = Network::new().await? else {
        return Ok(());
    };
    let client = &network.paths.client;
    client.ip("addr add 10.0.1.3/24 dev path0")?;
    let typed = format!("--require-independent --side src:10.0.1.3 {SERVER}:{PORT}");
    let said = network.paths(&typed).await?;
    assert_eq!(said.status, 111, "{}", said.errors);
    let pair = pair(&said.found, "direct", "src:10.0.1.3")?;
    assert_eq!(pair["independence"], "same-interface-other-source");
    assert_eq!(pair["really_different"], false);
    network.end().await
}

#[tokio::test]
async fn an_address_whose_packets_leave_by_another_interface_is_pointed_out() -> Result {
    let Some(network) = Network::new().await? else {
        return Ok(());
    };
    let client = &network.paths.client;
    // The answers come in by the other interface.
    for name in ["all", "path0", "path1"] {
        let mut command = client.command("sysctl");
        command.args(["-qw", &format!("net.ipv4.conf.{name}.rp_filter=0")]);
        assert!(command.status()?.success());
    }
    let said = network
        .paths(&format!("--side src:10.1.1.2 {SERVER}:{PORT}"))
        .await?;
    let side = &said.found["paths"][1];
    assert_eq!(side["interface"], "path0", "{side} {}", said.errors);
    let note = side["note"].as_str().ok_or("no note")?;
    assert!(note.contains("if:path1"), "{note}");
    assert_eq!(said.found["pairs"][0]["really_different"], false);
    network.end().await
}
