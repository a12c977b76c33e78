//! Handshakes in memory and verifications, for the benchmarks of this package.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use mtls_core::proto::binding::{Association, Bindings, SideSecret, SideSecrets};
use mtls_core::proto::client::{ClientOutcome, ClientVerifier, Peer, TlsVersion};
use mtls_core::proto::frame::{Frame, FrameBody, FrameReader, GREETING};
use mtls_core::proto::hello::HelloTap;
use mtls_core::proto::server::{
    HandshakeKeys, Lookup, RegistrationId, ServerLimits, ServerVerifier,
};
use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::NoServerSessionStorage;
use rustls::{
    ClientConfig, ClientConnection, ConnectionCommon, KeyLog, RootCertStore, ServerConfig,
    ServerConnection,
};

/// An Open for one of many handshakes.
pub(crate) fn open(number: u8) -> Frame {
    Frame {
        association: Association([number; Association::LEN]),
        body: FrameBody::Open {
            nonce_c: [2; 32],
            bindings: Bindings::ALL,
        },
    }
}

/// Both machines of one verification, and the readers between them.
pub(crate) struct Machines {
    association: Association,
    client: ClientVerifier,
    server: ServerVerifier,
    at_client: FrameReader,
    at_server: FrameReader,
    now: Instant,
}

impl Machines {
    pub(crate) fn new(association: Association) -> Self {
        let now = Instant::now();
        let mut client = ClientVerifier::new(association, Bindings::ALL);
        client.handle_link([5; 32]);
        client.set_deadline(now + Duration::from_secs(3));
        let mut machines = Self {
            association,
            client,
            server: ServerVerifier::new(ServerLimits::default()),
            at_client: FrameReader::new(),
            at_server: FrameReader::new(),
            now,
        };
        machines.send(GREETING.to_vec());
        machines
    }

    fn send(&mut self, mut bytes: Vec<u8>) {
        while let Some(frame) = self.client.poll_transmit() {
            frame.encode(&mut bytes);
        }
        let (server, now) = (&mut self.server, self.now);
        self.at_server
            .read(&bytes, |frame| server.handle_frame(&frame, now))
            .expect("frames");
    }

    /// The server answers the Open.
    pub(crate) fn prove(&mut self, keys: &HandshakeKeys) {
        while self.server.poll_event().is_some() {}
        let found = Lookup::Found {
            registration: RegistrationId(1),
            keys,
        };
        self.server
            .handle_lookup(self.association, &found, [6; 32], self.now);
        let mut bytes = GREETING.to_vec();
        while let Some(frame) = self.server.poll_transmit() {
            frame.encode(&mut bytes);
        }
        let client = &mut self.client;
        client.handle_peer(Peer::Greeted);
        self.at_client
            .read(&bytes, |frame| client.handle_frame(&frame, [7; 32]))
            .expect("frames");
    }

    /// The client has the keys, checks the Proof and confirms.
    pub(crate) fn check(&mut self, secret: &SideSecret) {
        self.client.handle_tls_complete(TlsVersion::Tls13, [8; 32]);
        let check = self.client.poll_check().expect("a Proof to check");
        self.client.handle_values(&secret.values(&check.context));
        assert!(matches!(self.client.outcome(), ClientOutcome::Verified(_)));
        self.send(Vec::new());
    }

    pub(crate) fn confirmed(&mut self) -> bool {
        let event = self.server.poll_event();
        assert!(
            matches!(
                event,
                Some(mtls_core::proto::server::ServerEvent::Confirmed(_))
            ),
            "{event:?}"
        );
        true
    }
}

/// Configurations of both ends, without tickets.
pub(crate) struct Ends {
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
    name: ServerName<'static>,
}

impl Ends {
    /// Both ends with this cryptography and this certificate; clients trust `root`.
    pub(crate) fn new(
        provider: CryptoProvider,
        root: CertificateDer<'static>,
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Self {
        let provider = Arc::new(provider);
        let mut roots = RootCertStore::empty();
        roots.add(root).expect("a root");
        let mut client = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        client.resumption = Resumption::disabled();
        let mut server = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .expect("a certificate");
        server.send_tls13_tickets = 0;
        server.session_storage = Arc::new(NoServerSessionStorage {});
        Self {
            client: Arc::new(client),
            server: Arc::new(server),
            name: "localhost".try_into().expect("a DNS name"),
        }
    }

    pub(crate) fn plain(&self) -> (ClientConnection, ServerConnection) {
        let mut client =
            ClientConnection::new(Arc::clone(&self.client), self.name.clone()).expect("a client");
        let mut server = ServerConnection::new(Arc::clone(&self.server)).expect("a server");
        deliver(&mut server, &output(&mut client));
        deliver(&mut client, &output(&mut server));
        deliver(&mut server, &output(&mut client));
        assert!(!client.is_handshaking() && !server.is_handshaking());
        (client, server)
    }

    /// The same with what both drivers do beside: a copy of the server's configuration, taps, a captured
    /// secret, and the verification.
    pub(crate) fn multipath(&self) -> (ClientConnection, ServerConnection) {
        let capture = Arc::new(Capture::default());
        let mut server_config = ServerConfig::clone(&self.server);
        server_config.key_log = Arc::clone(&capture) as Arc<dyn KeyLog>;
        let mut client =
            ClientConnection::new(Arc::clone(&self.client), self.name.clone()).expect("a client");
        let mut server = ServerConnection::new(Arc::new(server_config)).expect("a server");
        let (mut client_tap, mut server_tap) = (HelloTap::new(), HelloTap::new());

        let hello = output(&mut client);
        client_tap.client_bytes(&hello).expect("a hello");
        server_tap.client_bytes(&hello).expect("a hello");
        let association = client_tap.association().expect("a hello");
        let mut machines = Machines::new(association);
        deliver(&mut server, &hello);
        let flight = output(&mut server);
        server_tap.server_bytes(&flight).expect("a hello");
        let keys = HandshakeKeys::Tls13(SideSecrets {
            exporter: capture.take(),
            hello: server_tap.hello().map(|hello| hello.side_secret()),
        });
        machines.prove(&keys);
        client_tap.server_bytes(&flight).expect("a hello");
        deliver(&mut client, &flight);
        let exported = client
            .export_keying_material([0; SideSecret::LEN], SideSecret::exporter_label(), None)
            .expect("a complete handshake");
        machines.check(&SideSecret::new(exported));
        deliver(&mut server, &output(&mut client));
        assert!(machines.confirmed());
        assert!(!client.is_handshaking() && !server.is_handshaking());
        (client, server)
    }
}

fn output<D>(connection: &mut ConnectionCommon<D>) -> Vec<u8> {
    let mut bytes = Vec::new();
    while connection.wants_write() {
        connection.write_tls(&mut bytes).expect("memory");
    }
    bytes
}

fn deliver<D>(connection: &mut ConnectionCommon<D>, mut bytes: &[u8])
where
    D: rustls::SideData,
{
    while !bytes.is_empty() {
        connection.read_tls(&mut bytes).expect("memory");
        connection.process_new_packets().expect("a good handshake");
    }
}

#[derive(Debug, Default)]
struct Capture(Mutex<Option<SideSecret>>);

impl Capture {
    fn take(&self) -> Option<SideSecret> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl KeyLog for Capture {
    fn log(&self, label: &str, _: &[u8], secret: &[u8]) {
        if label == "EXPORTER_SECRET" {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) =
                SideSecret::from_exporter_secret(secret);
        }
    }
}
