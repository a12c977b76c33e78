//! A client with a certificate: it never shows it over a side path that does not resume.

use mtls_core::{Policy, ResumptionFailure};

use crate::outcomes::reason;
use crate::tickets::{stateless, without_tickets};
use crate::world::{Site, To, World, ask, builder, plain, refused, target};

#[tokio::test]
async fn a_server_that_demands_a_certificate_is_verified_and_keeps_the_identity() {
    let world = World::new();
    let site = Site::start(stateless(world.demanding(&world.pki.server))).await;
    let to = To::one(site.address);
    let connector = builder(world.client_with_certificate(), Policy::Require, &to, &to);
    let connector = connector.build().expect("a connector");
    let mut stream = connector
        .connect(&target())
        .await
        .expect("a verified stream");
    ask(&mut stream).await.expect("an answer");
    assert!(stream.verdict().verified().is_some());
}

#[tokio::test]
async fn a_side_attacker_does_not_get_the_certificate_of_the_client() {
    let world = World::new();
    let site = Site::start(world.demanding(&world.pki.server)).await;
    for config in [
        world.demanding(&world.pki.rogue),
        without_tickets(world.demanding(&world.pki.rogue)),
    ] {
        let attacker = Site::start(config).await;
        let page = plain(world.client_with_certificate(), attacker.address).await;
        page.expect("plain TLS shows the certificate to this server");
        let shown = |site: &Site| {
            site.served()
                .iter()
                .filter(|s| s.client_certificate)
                .count()
        };
        assert_eq!(shown(&attacker), 1);
        let (primary, side) = (To::one(site.address), To::one(attacker.address));
        let connector = builder(
            world.client_with_certificate(),
            Policy::Require,
            &primary,
            &side,
        );
        let connector = connector.build().expect("a connector");
        let refused = refused(connector.connect(&target()).await.expect_err("an error"));
        let reason = reason(&refused.verdict).expect("a reason of this method");
        assert_eq!(reason, ResumptionFailure::OtherKey);
        assert_ne!(side.dials(), 0);
        assert_eq!(
            primary.dials(),
            1,
            "a session without a certificate is of no use there"
        );
        assert_eq!(shown(&attacker), 1, "no more than plain TLS showed");
    }
}
