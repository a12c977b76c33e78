//! Two real paths through two routers, and a man in the middle in one of them.

use std::net::SocketAddr;

use mtls_core::path::{Independence, Path};
use mtls_core::{Error, Policy};
use mtls_lab::attacker::{Mitm, MitmPlan};
use mtls_lab::netns::{INTERFACES, SERVER, TwoPaths, redirected, unavailable};
use mtls_lab::{PAGE_SECRET, Result, Setup, Victim, World, fetch, request};
use tokio::sync::oneshot;

const PORT: u16 = 443;
const REDIRECTED: u16 = 8443;
const FORGED: &str = "forged";

/// A client that may go by either interface.
fn client(world: &World) -> Result<Victim> {
    let server = SocketAddr::new(SERVER, PORT);
    let [primary, side] = INTERFACES;
    Ok(world
        .victim_of(server)?
        .primary_by(Path::interface(primary)?)
        .side_by(Path::interface(side)?, server))
}

/// The honest page comes over two interfaces.
async fn fetch_verified(client: Victim) -> Result {
    let connector = client
        .connector_with(client.settings(Policy::Require).require_independent(true))?
        .build()?;
    let stream = connector.connect(&client.target()).await?;
    let verdict = stream.verdict();
    assert!(verdict.verified().is_some());
    assert_eq!(verdict.independence(), Independence::DifferentInterface);
    for (path, interface) in verdict.paths.iter().zip(INTERFACES) {
        assert_eq!(path.interface(), Some(interface));
    }
    assert_eq!(fetch(stream).await?, PAGE_SECRET);
    Ok(())
}

/// Plain TLS reads the attacker's page, and every policy that refuses does so. Says how many.
async fn fetch_attacked(client: Victim) -> Result<usize> {
    assert_eq!(client.fetch_plain().await?, FORGED);
    for policy in [Policy::Require, Policy::Prefer] {
        let refused = client.connect(policy).await;
        assert!(
            matches!(refused, Err(Error::Interception(_))),
            "{policy}: {refused:?}"
        );
    }
    Ok(2)
}

#[tokio::test]
async fn man_in_one_of_two_routers_is_detected() -> Result {
    if let Some(reason) = unavailable() {
        println!("skipped: {reason}");
        return Ok(());
    }
    let paths = TwoPaths::new()?;
    let world = World::new()?;
    let rogue = MitmPlan::new(&world, SocketAddr::new(SERVER, PORT), world.rogue_config()?)?;
    let (honest, attacked) = (client(&world)?, client(&world)?);

    let (server_up, server_is_up) = oneshot::channel();
    let (stop_server, server_stops) = oneshot::channel::<()>();
    let server = paths.server.spawn(move || async move {
        let address = SocketAddr::new(SERVER, PORT);
        let server = world.serve_at(address, Setup::new(Policy::Prefer)).await?;
        let _ = server_up.send(());
        let _ = server_stops.await;
        Ok(server.bytes())
    })?;
    server_is_up.await?;
    paths
        .client
        .spawn(|| fetch_verified(honest))?
        .join()
        .await?;

    let (mitm_up, mitm_is_up) = oneshot::channel();
    let (stop_mitm, mitm_stops) = oneshot::channel::<()>();
    let mitm = paths.routers[0].spawn(move || async move {
        let mitm = Mitm::start(redirected(REDIRECTED), rogue.forges(FORGED)).await?;
        let _ = mitm_up.send(());
        let _ = mitm_stops.await;
        mitm.captured().wait_until_closed().await?;
        Ok((
            mitm.captured().connections(),
            mitm.captured().bytes_from_victim(),
        ))
    })?;
    mitm_is_up.await?;
    paths.routers[0].nft(&format!(
        "table ip mitm {{\n\
           chain in {{\n\
             type nat hook prerouting priority dstnat;\n\
             iifname down0 tcp dport {PORT} redirect to :{REDIRECTED}\n\
           }}\n\
         }}\n"
    ))?;
    let refused = paths
        .client
        .spawn(|| fetch_attacked(attacked))?
        .join()
        .await?;
    let _ = stop_mitm.send(());
    let (connections, bytes) = mitm.join().await?;
    assert_eq!(connections, refused + 1);
    assert_eq!(
        bytes,
        request().len(),
        "plain TLS's, and nothing of those who refused"
    );
    let _ = stop_server.send(());
    assert!(server.join().await? > 0);
    Ok(())
}
