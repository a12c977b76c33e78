//! QUIC over one of two real paths: its socket is bound to an interface, or to a source address.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use mtls_core::path::{Independence, Path};
use mtls_core::quic::QuicConnector;
use mtls_core::{Error, Policy, TimedOut};
use mtls_lab::netns::{INTERFACES, SERVER, TwoPaths, unavailable};
use mtls_lab::quic::{ALPN, QuicStream};
use mtls_lab::{PAGE_SECRET, Result, Setup, Victim, World, fetch};
use tokio::sync::oneshot;

const PORT: u16 = 443;
/// The client's address on its second interface, and the router there.
const SOURCE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 1, 1, 2));
const ROUTER: &str = "10.1.1.1";

/// A client whose side connections go by the first interface, where its routes lead.
fn client(world: &World, primary: Path) -> Result<Victim> {
    let server = SocketAddr::new(SERVER, PORT);
    let victim = world.victim_of(server)?.primary_by(primary);
    Ok(victim.side_by(Path::interface(INTERFACES[0])?, server))
}

/// Connects, fetches the page, and gives the local address of the QUIC connection. `limit` is that of
/// the handshake.
async fn fetch_over(client: Victim, limit: Duration) -> Result<Result<IpAddr, Error>> {
    let settings = client.settings(Policy::Require).require_independent(true);
    let settings = settings.handshake_timeout(limit);
    let tcp = client.connector_with(settings)?.build()?;
    let connector = QuicConnector::builder(&tcp).alpn(&[ALPN]).build()?;
    let connection = match connector.connect(&client.target()).await {
        Ok(connection) => connection,
        Err(error) => return Ok(Err(error)),
    };
    let verdict = connection.verdict();
    assert!(verdict.verified().is_some());
    assert_eq!(verdict.independence(), Independence::DifferentInterface);
    let interfaces: Vec<_> = verdict.paths.iter().map(|path| path.interface()).collect();
    assert_eq!(interfaces, [Some(INTERFACES[1]), Some(INTERFACES[0])]);
    let stream = QuicStream::open(connection.into_inner()).await?;
    assert_eq!(fetch(stream).await?, PAGE_SECRET);
    let local = verdict.paths[0].local.ok_or("a local address")?;
    Ok(Ok(local.ip()))
}

/// Two paths, of which the first carries no UDP.
fn paths() -> Result<TwoPaths> {
    let paths = TwoPaths::new()?;
    paths.routers[0].nft(
        "table ip no_udp {\n\
           chain pass {\n\
             type filter hook forward priority 0\n\
             meta l4proto udp drop\n\
           }\n\
         }\n",
    )?;
    // A source address chooses a route only by a rule.
    paths
        .client
        .ip(&format!("rule add from {SOURCE} lookup 101"))?;
    paths.client.ip(&format!(
        "route add {SERVER}/32 via {ROUTER} dev {} table 101",
        INTERFACES[1]
    ))?;
    Ok(paths)
}

#[tokio::test]
async fn the_primary_path_of_quic_takes_its_interface_and_its_source_address() -> Result {
    if let Some(reason) = unavailable() {
        println!("skipped: {reason}");
        return Ok(());
    }
    let (paths, world) = (paths()?, World::new()?);
    let clients = [
        Path::system(),
        Path::interface(INTERFACES[1])?,
        Path::source(SOURCE.into())?,
    ];
    let [by_route, by_interface, by_source] = clients.map(|path| client(&world, path));
    let (up, is_up) = oneshot::channel();
    let (stop, stops) = oneshot::channel::<()>();
    let server = paths.server.spawn(move || async move {
        let address = SocketAddr::new(SERVER, PORT);
        let setup = Setup::new(Policy::Require).quic();
        let server = world.serve_at(address, setup).await?;
        let _ = up.send(());
        let _ = stops.await;
        Ok(server.verdicts())
    })?;
    is_up.await?;
    let by_route = by_route?;
    let unbound = paths
        .client
        .spawn(|| fetch_over(by_route, Duration::from_secs(2)))?;
    let unbound = unbound.join().await?;
    assert!(
        matches!(unbound, Err(Error::TimedOut(TimedOut::Handshake))),
        "the route leads where no UDP passes: {unbound:?}"
    );
    for bound in [by_interface?, by_source?] {
        // No limit that a slow machine reaches.
        let limit = Duration::from_secs(30);
        let bound = paths.client.spawn(move || fetch_over(bound, limit))?;
        let local = bound.join().await??;
        assert_eq!(local, SOURCE);
    }
    let _ = stop.send(());
    let verdicts = server.join().await?;
    assert_eq!(verdicts.len(), 2);
    for verdict in verdicts {
        assert_eq!(verdict.paths[0].peer.map(|peer| peer.ip()), Some(SOURCE));
    }
    Ok(())
}

#[tokio::test]
async fn an_interface_that_does_not_exist_is_named() -> Result {
    let world = World::new()?;
    let server = world.serve(Setup::new(Policy::Require).quic()).await?;
    let victim = world.victim(&server)?.primary_by("if:nowhere0".parse()?);
    let refused = super::quic::connect(&victim, Policy::Require).await?;
    let Err(Error::Dial(error)) = refused else {
        return Err(format!("{refused:?}").into());
    };
    assert!(error.to_string().contains("nowhere0"), "{error}");
    Ok(())
}
