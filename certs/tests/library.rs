//! rustls and webpki accept the library's certificates where they should, and only there.

use std::sync::Arc;
use std::time::Duration;

use mtls_certs::{Authority, Error, KeyAlgorithm, Leaf, Pki};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::{
    CertificateError, ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection,
};
use x509_parser::prelude::{FromDer, ParsedExtension, X509Certificate};

const DAY: u64 = 24 * 60 * 60;

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

fn roots(trusted: &[&Authority]) -> Arc<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for authority in trusted {
        roots.add(authority.cert_der()).expect("a usable root");
    }
    Arc::new(roots)
}

fn verify_server(
    trusted: &[&Authority],
    leaf: &Leaf,
    name: &'static str,
    now: UnixTime,
) -> Result<(), rustls::Error> {
    let chain = leaf.chain_der();
    WebPkiServerVerifier::builder_with_provider(roots(trusted), provider())
        .build()
        .expect("a verifier")
        .verify_server_cert(
            &chain[0],
            &chain[1..],
            &ServerName::try_from(name).expect("a server name"),
            &[],
            now,
        )
        .map(drop)
}

fn days_from_now(days: u64) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(UnixTime::now().as_secs() + days * DAY))
}

#[test]
fn server_is_accepted_for_each_of_its_names_and_no_other() {
    let pki = Pki::new(&["example.test", "*.wild.test", "127.0.0.1", "::1"]).expect("a pki");
    for name in ["example.test", "a.wild.test", "127.0.0.1", "::1"] {
        verify_server(&[&pki.ca], &pki.server, name, UnixTime::now())
            .unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    for name in ["other.test", "wild.test", "127.0.0.2", "::2"] {
        let error = verify_server(&[&pki.ca], &pki.server, name, UnixTime::now())
            .expect_err("another name");
        assert!(
            matches!(
                error,
                rustls::Error::InvalidCertificate(CertificateError::NotValidForNameContext { .. })
            ),
            "{name}: {error:?}"
        );
    }
}

#[test]
fn rogue_is_accepted_only_where_its_ca_is_trusted() {
    let pki = Pki::new(&["localhost"]).expect("a pki");
    let now = UnixTime::now();
    verify_server(&[&pki.ca, &pki.rogue_ca], &pki.server, "localhost", now).expect("the server");
    verify_server(&[&pki.ca, &pki.rogue_ca], &pki.rogue, "localhost", now).expect("the rogue");
    let error = verify_server(&[&pki.ca], &pki.rogue, "localhost", now).expect_err("the rogue");
    assert!(
        matches!(error, rustls::Error::InvalidCertificate(_)),
        "{error:?}"
    );
}

#[test]
fn leaf_is_valid_for_ninety_days() {
    let pki = Pki::new(&["localhost"]).expect("a pki");
    verify_server(&[&pki.ca], &pki.server, "localhost", days_from_now(89)).expect("day 89");
    let error =
        verify_server(&[&pki.ca], &pki.server, "localhost", days_from_now(91)).expect_err("day 91");
    assert!(
        matches!(
            error,
            rustls::Error::InvalidCertificate(CertificateError::ExpiredContext { .. })
        ),
        "{error:?}"
    );
}

#[test]
fn client_leaf_is_accepted_as_a_client_and_not_as_a_server() {
    let ca = Authority::new("clients").expect("a ca");
    let client = ca.issue_client("alice").expect("a client");
    let server = ca.issue(&["localhost"]).expect("a server");
    let verifier = WebPkiClientVerifier::builder_with_provider(roots(&[&ca]), provider())
        .build()
        .expect("a verifier");
    let check = |leaf: &Leaf| {
        let chain = leaf.chain_der();
        verifier.verify_client_cert(&chain[0], &chain[1..], UnixTime::now())
    };
    check(&client).expect("the client");
    check(&server).expect_err("a server as a client");
    verify_server(&[&ca], &client, "alice", UnixTime::now()).expect_err("a client as a server");
}

#[test]
fn rustls_takes_the_key_that_belongs_to_the_chain() {
    for algorithm in [KeyAlgorithm::EcdsaP256, KeyAlgorithm::Ed25519] {
        let pki = Pki::with_algorithm(&["localhost"], algorithm).expect("a pki");
        verify_server(&[&pki.ca], &pki.server, "localhost", UnixTime::now()).expect("the server");
        let config = |chain: &Leaf, key: &Leaf| {
            rustls::ServerConfig::builder_with_provider(provider())
                .with_safe_default_protocol_versions()
                .expect("protocol versions")
                .with_no_client_auth()
                .with_single_cert(chain.chain_der(), key.key_der())
        };
        config(&pki.server, &pki.server).expect("chain and key belong together");
        config(&pki.server, &pki.rogue).expect_err("chain and key do not belong together");
    }
}

#[test]
fn rogue_twin_has_the_same_subject_and_another_key() {
    let ca = Authority::new("Some CA").expect("a ca");
    let twin = ca.rogue_twin().expect("a twin");
    let (real_der, twin_der) = (ca.cert_der(), twin.cert_der());
    let (_, real) = X509Certificate::from_der(&real_der).expect("the ca");
    let (_, rogue) = X509Certificate::from_der(&twin_der).expect("the twin");
    assert_eq!(real.subject().as_raw(), rogue.subject().as_raw());
    assert_eq!(real.issuer().as_raw(), rogue.issuer().as_raw());
    assert_ne!(real.public_key().raw, rogue.public_key().raw);
    assert_ne!(real.raw_serial(), rogue.raw_serial());
}

#[test]
fn leaf_names_the_key_of_its_authority() {
    let ca = Authority::new("Some CA").expect("a ca");
    let chain = ca.issue(&["localhost"]).expect("a leaf").chain_der();
    let (_, leaf) = X509Certificate::from_der(&chain[0]).expect("the leaf");
    let (_, issuer) = X509Certificate::from_der(&chain[1]).expect("the ca");
    let authority_key = leaf
        .extensions()
        .iter()
        .find_map(|e| match e.parsed_extension() {
            ParsedExtension::AuthorityKeyIdentifier(id) => {
                id.key_identifier.as_ref().map(|id| id.0)
            }
            _ => None,
        });
    let subject_key = issuer
        .extensions()
        .iter()
        .find_map(|e| match e.parsed_extension() {
            ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0),
            _ => None,
        });
    assert!(authority_key.is_some());
    assert_eq!(authority_key, subject_key);
}

#[test]
fn serial_numbers_differ_and_are_long() {
    let ca = Authority::new("Some CA").expect("a ca");
    let serial = || {
        let chain = ca.issue(&["localhost"]).expect("a leaf").chain_der();
        let (_, leaf) = X509Certificate::from_der(&chain[0]).expect("the leaf");
        leaf.raw_serial().to_vec()
    };
    let (one, other) = (serial(), serial());
    assert_ne!(one, other);
    // 159 bits: a shorter one than 16 octets comes once in 2^31 runs.
    assert!(one.len() >= 16 && one.len() <= 20, "{} octets", one.len());
}

#[test]
fn bad_names_are_refused() {
    let ca = Authority::new("Some CA").expect("a ca");
    assert!(matches!(
        ca.issue(&["localhost:443"]),
        Err(Error::InvalidHostName(_))
    ));
    assert!(matches!(ca.issue(&[""; 0]), Err(Error::NoHostNames)));
    for name in ["", &"x".repeat(65)] {
        assert!(matches!(
            ca.issue_client(name),
            Err(Error::InvalidCommonName { .. })
        ));
        assert!(matches!(
            Authority::new(name),
            Err(Error::InvalidCommonName { .. })
        ));
    }
}

#[test]
fn server_name_too_long_for_a_common_name_is_issued_all_the_same() {
    let name: &'static str =
        "a-label-of-forty-characters-in-all-here1.another-long-label.example.test";
    assert!(name.len() > 64);
    let ca = Authority::new("Some CA").expect("a ca");
    let leaf = ca.issue(&[name]).expect("a leaf");
    verify_server(&[&ca], &leaf, name, UnixTime::now()).expect("the long name");
}

#[test]
fn debug_output_holds_no_key() {
    let pki = Pki::new(&["localhost"]).expect("a pki");
    let shown = format!("{pki:?}");
    let key_line = pki.server.key_pem().lines().nth(1).expect("a line");
    assert!(
        !shown.contains(key_line) && !shown.contains("PRIVATE"),
        "{shown}"
    );
    assert_eq!(format!("{:?}", pki.server), "Leaf { certificates: 2, .. }");
}

/// Whether a handshake between these in memory succeeds for `localhost`.
fn connects(client: ClientConfig, server: ServerConfig) -> Result<(), rustls::Error> {
    let name = ServerName::try_from("localhost").expect("a server name");
    let mut client = ClientConnection::new(Arc::new(client), name)?;
    let mut server = ServerConnection::new(Arc::new(server))?;
    while client.is_handshaking() || server.is_handshaking() {
        let mut bytes = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut bytes).expect("memory");
        }
        server.read_tls(&mut &bytes[..]).expect("memory");
        server.process_new_packets()?;
        bytes.clear();
        while server.wants_write() {
            server.write_tls(&mut bytes).expect("memory");
        }
        client.read_tls(&mut &bytes[..]).expect("memory");
        client.process_new_packets()?;
    }
    Ok(())
}

#[test]
fn configurations_trust_the_rogue_authority_only_where_they_say_so() {
    let pki = Pki::new(&["localhost"]).expect("a pki");
    let server = || pki.server_config(provider()).expect("a configuration");
    let rogue = || pki.rogue_config(provider()).expect("a configuration");
    let both = || pki.client_config(provider()).expect("a configuration");
    let real = || pki.ca.client_config(provider()).expect("a configuration");
    connects(both(), server()).expect("the server");
    connects(both(), rogue()).expect("a man in the middle with a trusted authority");
    connects(real(), server()).expect("the server");
    connects(real(), rogue()).expect_err("an authority that the client does not trust");
}
