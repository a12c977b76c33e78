//! TLS, logins, and what a machine refuses to use.

use std::sync::Arc;
use std::time::Duration;

use mtls_certs::Pki;
use mtls_core::proto::binding::{Association, Binding, Bindings, SideContext};
use mtls_core::proto::server::{Confirmation, HandshakeKeys, LookupMode, RegistrationId};
use mtls_core::registry::fleet::{FleetRegistry, FleetStatus};
use mtls_core::registry::redis::{RedisEngine, RedisSettings};
use mtls_core::registry::{
    ConfirmedSide, LookupReply, LookupRequester, PendingRegistry, Registration, RegistryKey,
    ServiceId,
};
use rustls::{ClientConfig, RootCertStore};
use tokio::time::{sleep, timeout};

use crate::fleet::{Machine, patient, patient_engine_at, patient_settings, two_patient_machines};
use crate::server::{Server, free_port, start, start_with};

/// The rights that docs/deploy/fleet.md grants.
const RIGHTS: &str = "~mtls:* &mtls:* -@all +set +get +mget +del +sadd +srem +smembers +pexpire \
                      +pttl +rpush +ltrim +lrange +publish +subscribe +info +hello +ping";

async fn grant(server: &Server, user: &str, password: &str) {
    let password = format!(">{password}");
    let mut words = vec!["ACL", "SETUSER", user, "on", &password];
    words.extend(RIGHTS.split_whitespace());
    assert_eq!(server.command(&words).await, "OK");
}

fn start_machine(settings: RedisSettings) -> Machine {
    let engine = RedisEngine::new(settings);
    FleetRegistry::start(vec![engine], patient_settings(1)).expect("settings in order")
}

fn settings(address: &str) -> RedisSettings {
    let address = address.parse().expect("an address");
    patient(RedisSettings::new(address, ServiceId::from_name("shop")))
}

/// The problem of the only engine, once there is one.
async fn problem(machine: &Machine) -> String {
    let problem = async {
        loop {
            if let Some(problem) = &machine.status().engines[0].problem {
                return problem.to_string();
            }
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(30), problem)
        .await
        .expect("a problem")
}

async fn assert_well(machine: &Machine) -> Box<dyn Registration> {
    let ready = timeout(Duration::from_secs(60), machine.ready()).await;
    assert!(ready.is_ok(), "{:?}", machine.status());
    let key = key("shop", 1);
    let entry = machine
        .register(key, HandshakeKeys::Older)
        .await
        .expect("a lease");
    entry.flushed();
    let FleetStatus { engines, .. } = machine.status();
    assert_eq!(engines[0].problem, None);
    assert_eq!(engines[0].errors, 0);
    entry
}

fn key(service: &str, byte: u8) -> RegistryKey {
    RegistryKey {
        service: ServiceId::from_name(service),
        association: Association([byte; 16]),
    }
}

#[tokio::test]
async fn the_documented_rights_are_enough() {
    let Some(server) = start("the_documented_rights_are_enough").await else {
        return;
    };
    grant(&server, "fleet", "s3cret").await;
    let mut settings = settings(&format!("redis://fleet@127.0.0.1:{}", server.port));
    settings.password = Some("s3cret".to_owned().into());
    let machine = start_machine(settings);
    let entry = assert_well(&machine).await;
    // Everything else that a machine does.
    let look_up = machine.look_up(key("shop", 2), LookupMode::Immediate, requester());
    look_up.await;
    let service = ServiceId::from_name("shop");
    machine.confirm(service, confirmed_of_another_machine());
    // After a while a connection that waits reads what is kept for it.
    let waited = timeout(Duration::from_secs(1), entry.confirmed()).await;
    assert!(waited.is_err(), "nothing has confirmed it");
    let kept = server.command(&["KEYS", "mtls:*:c:*"]).await;
    assert_eq!(kept.lines().count(), 1, "{kept}");
    machine.leave().await;
    assert_eq!(
        machine.status().engines[0].errors,
        0,
        "{:?}",
        machine.status()
    );
}

/// A confirmation of a handshake that machine 2 made.
fn confirmed_of_another_machine() -> ConfirmedSide {
    let association = Association([2; 16]);
    let nonce = [0; 32];
    let context = SideContext::new(&association, &nonce, Bindings::ALL, &nonce, Binding::Hello);
    let confirmation = Confirmation {
        association,
        registration: RegistrationId(2 << 112),
        binding: Binding::Hello,
        context,
    };
    ConfirmedSide::new(confirmation, ([192, 0, 2, 1], 443).into())
}

fn requester() -> LookupRequester {
    LookupRequester::new([192, 0, 2, 1].into(), false)
}

#[tokio::test]
async fn a_wrong_password_is_named_and_not_repeated() {
    let Some(server) = start("a_wrong_password_is_named_and_not_repeated").await else {
        return;
    };
    grant(&server, "fleet", "s3cret").await;
    let mut settings = settings(&format!("redis://fleet@127.0.0.1:{}", server.port));
    settings.password = Some("wr0ng".to_owned().into());
    let problem = problem(&start_machine(settings)).await;
    assert!(
        problem.contains("WRONGPASS") || problem.to_lowercase().contains("auth"),
        "{problem}"
    );
    assert!(
        !problem.contains("wr0ng") && !problem.contains("s3cret"),
        "{problem}"
    );
}

#[tokio::test]
async fn a_policy_that_drops_entries_is_refused() {
    let test = "a_policy_that_drops_entries_is_refused";
    let Some(server) = start_with(test, &["--maxmemory-policy", "allkeys-lru"]).await else {
        return;
    };
    let machine = start_machine(settings(&format!("redis://127.0.0.1:{}", server.port)));
    let problem = problem(&machine).await;
    assert!(
        problem.contains("allkeys-lru") && problem.contains("noeviction"),
        "{problem}"
    );
    sleep(patient_settings(1).lease + Duration::from_secs(1)).await;
    assert!(!machine.status().lease);
}

#[tokio::test]
async fn an_engine_is_reached_over_tls_with_a_client_certificate_and_no_other() {
    let test = "an_engine_is_reached_over_tls_with_a_client_certificate_and_no_other";
    let Some(plain) = start(test).await else {
        return;
    };
    let pki = Pki::new(&["127.0.0.1"]).expect("a pki");
    let file = |name: &str, text: &str| {
        let path = plain.directory().join(name);
        std::fs::write(&path, text).expect("a file");
        path.to_str().expect("a path of text").to_owned()
    };
    let port = free_port().to_string();
    let tls = [
        "--tls-port",
        &port,
        "--tls-cert-file",
        &file("cert.pem", pki.server.chain_pem()),
        "--tls-key-file",
        &file("key.pem", pki.server.key_pem()),
        "--tls-ca-cert-file",
        &file("ca.pem", &pki.ca.cert_pem()),
        "--tls-auth-clients",
        "yes",
    ];
    let Some(_server) = start_with(test, &tls).await else {
        return;
    };
    let address = format!("rediss://127.0.0.1:{port}");
    let with = |config: ClientConfig| {
        let mut settings = settings(&address);
        settings.tls = Some(Arc::new(config));
        start_machine(settings)
    };
    assert_well(&with(client(&pki, true, &pki.ca.cert_der()))).await;
    problem(&with(client(&pki, false, &pki.ca.cert_der()))).await;
    let distrusts = problem(&with(client(&pki, true, &pki.rogue_ca.cert_der()))).await;
    assert!(distrusts.contains("certificate"), "{distrusts}");
}

fn client(
    pki: &Pki,
    certificate: bool,
    authority: &rustls::pki_types::CertificateDer<'static>,
) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(authority.clone()).expect("a root");
    let machine = pki.ca.issue_client("machine 1").expect("a certificate");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots);
    match certificate {
        true => builder
            .with_client_auth_cert(machine.chain_der(), machine.key_der())
            .expect("a certificate"),
        false => builder.with_no_client_auth(),
    }
}

#[tokio::test]
async fn fleets_on_one_engine_do_not_see_each_other() {
    let Some(server) = start("fleets_on_one_engine_do_not_see_each_other").await else {
        return;
    };
    let servers = [&server];
    let ([shop, _other_shop], [bank, _other_bank]) = tokio::join!(
        two_patient_machines("shop", &servers),
        two_patient_machines("bank", &servers)
    );
    assert_eq!((shop.status().members, bank.status().members), (2, 2));
    let key = key("shared", 1);
    let entry = shop
        .register(key, HandshakeKeys::Older)
        .await
        .expect("a lease");
    entry.flushed();
    let reply = bank.look_up(key, LookupMode::Immediate, requester()).await;
    assert!(matches!(reply, LookupReply::Unknown), "{reply:?}");
    assert_eq!((shop.status().not_sealed, bank.status().not_sealed), (0, 0));
}

#[tokio::test]
async fn the_engine_keeps_no_record_for_long() {
    let test = "the_engine_keeps_no_record_for_long";
    let Some(server) = start(test).await else {
        return;
    };
    let mut settings = patient_settings(1);
    settings.record_life = Duration::from_secs(10);
    let engines = vec![patient_engine_at(server.port, "shop")];
    let machine = FleetRegistry::start(engines, settings).expect("settings in order");
    machine.ready().await;
    let _entry = machine
        .register(key("shop", 1), HandshakeKeys::Older)
        .await
        .expect("a lease");
    let keys = server.command(&["KEYS", "mtls:*:e:*"]).await;
    assert_eq!(keys.lines().count(), 1, "{keys}");
    let ttl = server.command(&["PTTL", keys.trim()]).await;
    assert!(ttl.parse::<u32>().is_ok_and(|ttl| ttl <= 10_000), "{ttl}");
    while !server.command(&["KEYS", "mtls:*:e:*"]).await.is_empty() {
        sleep(Duration::from_millis(200)).await;
    }
    // The machine itself still answers.
    let reply = machine
        .look_up(key("shop", 1), LookupMode::Immediate, requester())
        .await;
    assert!(matches!(reply, LookupReply::Found(_)), "{reply:?}");
}
