//! A run of all programs with their log at its lowest level: none of its secrets is in any output.

mod panic;
mod run;
mod search;
mod watch;

use std::net::SocketAddr;
use std::sync::Arc;

use hyper::Request;
use mtls_core::Policy;
use mtls_lab::attacker::{Mitm, MitmPlan};
use mtls_lab::{HOST, REQUEST_SECRET, Result, Server, Setup, World, fetch, http3};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use run::{Engine, Place, Program};
use search::Secrets;

/// A password in the address of a proxy.
const PROXY_PASSWORD: &str = "the-password-of-the-socks-proxy";
/// The password of HTTP Basic authentication.
const BASIC_PASSWORD: &str = "the-password-of-the-user-of-the-site";
/// A body, which only the server may read.
const BODY: &str = "the-canary-in-the-body-of-a-request";

#[tokio::test(flavor = "multi_thread")]
async fn no_output_of_a_run_has_a_secret_of_it() -> Result {
    let secrets = Secrets::default();
    let world = World::new()?;
    let place = Arc::new(Place::new(&world)?);
    add_files(&secrets, &world);
    let setup = Setup::new(Policy::Prefer).tls(server_config(&secrets, &world)?);
    let server = world.serve_at(([127, 0, 0, 1], 0).into(), setup).await?;
    let site = Site::start(&place, &server).await?;
    for program in site.servers() {
        connections(&secrets, &world, program.address).await?;
    }
    for program in [&site.serve, &site.terminate] {
        http3_connections(&secrets, &world, program.address).await?;
    }
    through_proxy(&secrets, &world, site.proxy.address, server.address()).await?;
    commands(&place, &server, &site.serve).await?;
    interceptions(&secrets, &world, &place, &server).await?;
    watch::changes(&secrets, &world, &place, &server).await?;
    for program in site.servers().chain([&site.proxy]) {
        place.keep_pages(program).await?;
    }
    site.end()?;

    assert!(
        secrets.len() > 2000,
        "only {} parts of secrets",
        secrets.len()
    );
    let outputs = place.outputs()?;
    for (name, output) in &outputs {
        assert_eq!(secrets.found_in(output), [].into(), "{name}");
    }
    assert_complete(&outputs);
    Ok(())
}

/// The keys in files, and what the clients type.
fn add_files(secrets: &Secrets, world: &World) {
    for (name, key) in [
        ("key of the server", world.pki.server.key_pem()),
        ("key of the CA", &world.pki.ca.key_pem()),
        ("key of the rogue CA", &world.pki.rogue_ca.key_pem()),
        ("key of the attacker", world.pki.rogue.key_pem()),
    ] {
        secrets.add(name, &run::scalar(key));
    }
    secrets.add("registry key", &run::REGISTRY_KEY);
    for (name, text) in [
        ("cookie", REQUEST_SECRET),
        ("registry password", run::REGISTRY_PASSWORD),
        ("proxy password", PROXY_PASSWORD),
        ("basic password", BASIC_PASSWORD),
        ("body", BODY),
        ("token of the webhook", watch::TOKEN),
    ] {
        secrets.add(name, text.as_bytes());
    }
}

fn server_config(secrets: &Secrets, world: &World) -> Result<rustls::ServerConfig> {
    let mut config = world.server_config()?;
    config.key_log = Arc::new(secrets.clone());
    Ok(config)
}

fn client_config(secrets: &Secrets, world: &World) -> Result<rustls::ClientConfig> {
    let mut config = world.client_config()?;
    config.key_log = Arc::new(secrets.clone());
    Ok(config)
}

/// The programs under test.
struct Site {
    serve: Program,
    fleet: Option<(Program, Engine)>,
    terminate: Program,
    passthrough: Program,
    proxy: Program,
}

impl Site {
    async fn start(place: &Place, server: &Server) -> Result<Self> {
        let (cert, key) = (place.text("pki/server.pem"), place.text("pki/server.key"));
        let tls = [
            "--policy",
            "prefer",
            "--inherit",
            "12h",
            "--cert",
            &cert,
            "--key",
            &key,
        ];
        let www = place.text("www");
        let serve = [&["server", "serve", "--http3", &www], &tls[..]].concat();
        let fleet = match run::engine(place)? {
            Some((engine, process)) => {
                let url = format!("redis://{engine}");
                let (key, password) = (place.text("registry.key"), place.text("registry.password"));
                let registry = ["--registry", &url, "--service", "site", "--machine", "1"];
                let files = ["--registry-key", &key, "--registry-password", &password];
                let arguments = [&serve[..], &registry, &files].concat();
                Some((place.start("fleet", &arguments).await?, process))
            }
            None => None,
        };
        let serve = place.start("serve", &serve).await?;
        let target = format!("https://localhost:{}", server.address().port());
        let ca = place.text("pki/ca.pem");
        let behind = ["--target", &target, "--target-ca", &ca];
        let terminate = [&["server", "terminate", "--http3"], &tls[..], &behind].concat();
        let terminate = place.start("terminate", &terminate).await?;
        let serve_at = serve.address.to_string();
        let passthrough = [
            "server",
            "passthrough",
            "--policy",
            "prefer",
            "--target",
            &serve_at,
        ];
        let passthrough = place.start("passthrough", &passthrough).await?;
        let resolve = format!(
            "{HOST}:{}:{}",
            server.address().port(),
            server.address().ip()
        );
        let proxy = ["client", "proxy", "--side", "direct", "--resolve", &resolve];
        let proxy = place.start("proxy", &proxy).await?;
        Ok(Self {
            serve,
            fleet,
            terminate,
            passthrough,
            proxy,
        })
    }

    fn servers(&self) -> impl Iterator<Item = &Program> {
        let fleet = self.fleet.iter().map(|(program, _)| program);
        [&self.serve, &self.terminate, &self.passthrough]
            .into_iter()
            .chain(fleet)
    }

    fn end(self) -> Result {
        let fleet = self
            .fleet
            .map(|(program, engine)| program.end().map(|()| engine));
        fleet.transpose()?;
        for program in [self.passthrough, self.terminate, self.serve, self.proxy] {
            program.end()?;
        }
        Ok(())
    }
}

/// Connections of every kind to a program, by clients whose keys are known.
async fn connections(secrets: &Secrets, world: &World, address: SocketAddr) -> Result {
    let victim = world.victim_of(address)?;
    let victim = victim
        .side_to(address)
        .with_config(client_config(secrets, world)?);
    // The first one is new, and the others resume, inherit and use its side connection.
    for policy in [Policy::Require, Policy::Prefer, Policy::Observe] {
        let connector = victim.connector(policy)?.build()?;
        for _ in 0..3 {
            fetch(connector.connect(&victim.target()).await?).await?;
        }
    }
    victim.fetch_plain().await?;
    // The page about the verdict, and what goes wrong: a request that is no HTTP.
    for request in [
        "GET /.multipath HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        "\0\r\n\r\n",
    ] {
        let mut stream = victim.connect(Policy::Require).await?;
        stream.write_all(request.as_bytes()).await?;
        stream.flush().await?;
        let mut page = Vec::new();
        let _ = stream.read_to_end(&mut page).await;
    }
    Ok(())
}

/// Requests over HTTP/3, verified and not, by clients whose keys are known.
async fn http3_connections(secrets: &Secrets, world: &World, address: SocketAddr) -> Result {
    let victim = world.victim_of(address)?;
    let victim = victim.with_config(client_config(secrets, world)?);
    let connector = http3::connector(&victim.connector(Policy::Require)?.build()?)?;
    let before = secrets.len();
    let connection = connector.connect(&victim.target()).await?.into_inner();
    let plain = http3::connect_plain(&victim).await?;
    assert!(secrets.len() > before, "the keys of QUIC are not known");
    for connection in [connection, plain] {
        let request = Request::get(format!("https://{HOST}/")).header("cookie", REQUEST_SECRET);
        let response = http3::fetch(connection, request.body(())?).await?;
        assert!(response.status().is_success(), "{response:?}");
    }
    Ok(())
}

/// A program with plain TLS through the proxy.
async fn through_proxy(
    secrets: &Secrets,
    world: &World,
    proxy: SocketAddr,
    server: SocketAddr,
) -> Result {
    let mut tcp = TcpStream::connect(proxy).await?;
    let connect = format!(
        "CONNECT {HOST}:{} HTTP/1.1\r\nHost: {HOST}\r\n\r\n",
        server.port()
    );
    tcp.write_all(connect.as_bytes()).await?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(tcp.read_u8().await?);
    }
    assert!(
        answer.starts_with(b"HTTP/1.1 200"),
        "{}",
        String::from_utf8_lossy(&answer)
    );
    let tls = TlsConnector::from(Arc::new(client_config(secrets, world)?));
    fetch(tls.connect(ServerName::try_from(HOST)?, tcp).await?).await?;
    Ok(())
}

/// The commands of the client, to a server whose keys are known.
async fn commands(place: &Place, server: &Server, serve: &Program) -> Result {
    let (ip, port) = (server.address().ip(), server.address().port());
    let (url, target) = (format!("https://{HOST}:{port}/"), format!("{HOST}:{port}"));
    let upload = format!("https://localhost:{}/", serve.address.port());
    let (resolve, ca) = (format!("{HOST}:{port}:{ip}"), place.text("pki/ca.pem"));
    let (cert, key) = (place.text("pki/server.pem"), place.text("pki/server.key"));
    let cookie = format!("Cookie: {REQUEST_SECRET}");
    let user = format!("me:{BASIC_PASSWORD}");
    let socks = format!("socks5h://me:{PROXY_PASSWORD}@127.0.0.1:1");
    let to = ["-vv", "--cacert", &ca, "--resolve", &resolve];
    let page = place.text("page");
    let get = ["client", "get", "-o", &page, "-H", &cookie, "-u", &user];
    let get = [&get[..], &to].concat();
    let others = |name| [&["client", name], &to[..]].concat();
    let check = others("check");
    let runs: [(&str, &[&str], &[&str], i32); 9] = [
        ("get", &get, &[&url], 0),
        ("get-body", &get, &["--data", BODY, &upload], 0),
        (
            "get-http3",
            &get,
            &["--http3-only", "--data", BODY, &upload],
            0,
        ),
        (
            "get-identity",
            &get,
            &["--cert", &cert, "--key", &key, &url],
            0,
        ),
        ("get-socks", &get, &["--side", &socks, &url], 111),
        ("get-primary-socks", &get, &["--primary", &socks, &url], 7),
        ("check", &check, &[&target], 0),
        ("check-json", &check, &["--json", &target], 0),
        ("connect", &others("connect"), &[&target], 56),
    ];
    for (name, command, more, status) in runs {
        let ended = place.run(name, &[command, more].concat()).await?;
        assert_eq!(ended, Some(status), "{name}: {}", place.error(name));
    }
    Ok(())
}

/// A man in the middle, whose keys are known too; the evidence is saved.
async fn interceptions(secrets: &Secrets, world: &World, place: &Place, server: &Server) -> Result {
    let mut identity = world.rogue_config()?;
    identity.key_log = Arc::new(secrets.clone());
    let plan = MitmPlan::new(world, server.address(), identity)?;
    let attacker = Mitm::start(world.host(66, server), plan).await?;
    let (at, port) = (attacker.address(), server.address().port());
    let resolve = format!("{HOST}:{port}:{}", at.ip());
    let (real, url) = (
        server.address().to_string(),
        format!("https://{HOST}:{port}/"),
    );
    let (ca, rogue) = (place.text("pki/ca.pem"), place.text("pki/rogue-ca.pem"));
    let evidence = place.text("outputs/evidence");
    let cookie = format!("Cookie: {REQUEST_SECRET}");
    let page = place.text("page");
    for policy in ["require", "observe"] {
        let name = format!("intercepted-{policy}");
        let arguments = [
            "client",
            "get",
            "-vv",
            "--policy",
            policy,
            "-o",
            &page,
            "-H",
            &cookie,
            "--cacert",
            &ca,
            "--cacert",
            &rogue,
            "--resolve",
            &resolve,
            "--side-endpoint",
            &real,
            "--evidence-dir",
            &evidence,
            &url,
        ];
        assert_eq!(
            place.run(&name, &arguments).await?,
            Some(110),
            "{}",
            place.error(&name)
        );
    }
    Ok(())
}

/// The search has read what it should have.
fn assert_complete(outputs: &[(String, Vec<u8>)]) {
    let texts: Vec<(&str, String)> = outputs
        .iter()
        .map(|(name, output)| (name.as_str(), String::from_utf8_lossy(output).into_owned()))
        .collect();
    for (file, part) in [
        ("serve.stderr", "DEBUG"),
        ("terminate.stderr", "DEBUG"),
        ("passthrough.stderr", "DEBUG"),
        ("proxy.stderr", "DEBUG"),
        ("get.stderr", "client hello ready"),
        ("serve.page.metrics", "multipath_tls_"),
        ("passthrough.page.status", "{"),
        ("get-http3.stderr", "multipath_quic_connect"),
        ("watch.stderr", "DEBUG"),
        ("watch.stdout", "intercepted"),
        ("watch.state", "intercepted"),
        ("watch.webhook", "intercepted"),
        ("watch.page.targets", "intercepted"),
        ("watch.page.metrics", "multipath_tls_watch_"),
        ("intercepted-require.stderr", "INTERCEPTION DETECTED"),
        (".json", "\"schema\""),
    ] {
        let found = texts
            .iter()
            .any(|(name, text)| name.ends_with(file) && text.contains(part));
        assert!(
            found,
            "no output {file} with {part:?}: {:?}",
            texts
                .iter()
                .map(|(name, text)| (name, text.len()))
                .collect::<Vec<_>>()
        );
    }
}
