//! rustls clients and servers, and their handshakes in memory.

use std::fmt;
use std::sync::{Arc, Mutex};

use mtls_core::proto::binding::Role;
use rustls::crypto::{CryptoProvider, SupportedKxGroup, aws_lc_rs};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{
    CipherSuite, ClientConfig, ClientConnection, KeyLog, RootCertStore, ServerConfig,
    ServerConnection, SupportedProtocolVersion,
};

use crate::capture::Capture;

pub(crate) const NAME: &str = "localhost";

pub(crate) type Groups<'a> = &'a [&'static dyn SupportedKxGroup];

/// A test's choices; the rest is rustls's default.
#[derive(Clone, Copy, Default)]
pub(crate) struct Choice<'a> {
    pub(crate) client_groups: Option<Groups<'a>>,
    pub(crate) server_groups: Option<Groups<'a>>,
    pub(crate) suite: Option<CipherSuite>,
    pub(crate) server_versions: Option<&'a [&'static SupportedProtocolVersion]>,
    pub(crate) early_data: bool,
}

/// Configurations of both ends that fit each other.
pub(crate) struct Ends {
    pub(crate) client: Arc<ClientConfig>,
    pub(crate) server: Arc<ServerConfig>,
    pub(crate) client_secret: Arc<SecretLog>,
    pub(crate) server_secret: Arc<SecretLog>,
}

impl Ends {
    pub(crate) fn new(choice: Choice<'_>) -> Self {
        let certified = rcgen::generate_simple_self_signed([NAME.to_owned()])
            .expect("rcgen mints a certificate");
        let certificate = certified.cert.der().clone();
        let key = PrivatePkcs8KeyDer::from(certified.signing_key.serialize_der());
        let (client_secret, server_secret) = (Arc::default(), Arc::default());
        Self {
            client: client(choice, &certificate, &client_secret),
            server: server(choice, certificate, key.into(), &server_secret),
            client_secret,
            server_secret,
        }
    }

    /// Both ends with a complete handshake.
    pub(crate) fn connect(&self) -> Connected {
        let mut connected = self.open();
        connected.pump();
        connected
    }

    /// Both ends before the first byte.
    pub(crate) fn open(&self) -> Connected {
        let name = NAME.try_into().expect("a DNS name");
        let client = ClientConnection::new(self.client.clone(), name).expect("a client");
        let server = ServerConnection::new(self.server.clone()).expect("a server");
        Connected {
            client,
            server,
            capture: Capture::default(),
        }
    }
}

fn client(
    choice: Choice<'_>,
    certificate: &CertificateDer<'static>,
    secret: &Arc<SecretLog>,
) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).expect("a usable root");
    let mut config =
        ClientConfig::builder_with_provider(provider(choice.client_groups, choice.suite))
            .with_safe_default_protocol_versions()
            .expect("the provider fits the versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
    config.key_log = secret.clone();
    config.enable_early_data = choice.early_data;
    Arc::new(config)
}

fn server(
    choice: Choice<'_>,
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
    secret: &Arc<SecretLog>,
) -> Arc<ServerConfig> {
    let versions = choice.server_versions.unwrap_or(rustls::ALL_VERSIONS);
    let mut config = ServerConfig::builder_with_provider(provider(choice.server_groups, None))
        .with_protocol_versions(versions)
        .expect("the provider fits the versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .expect("the key fits the certificate");
    config.key_log = secret.clone();
    if choice.early_data {
        config.max_early_data_size = 1 << 14;
    }
    Arc::new(config)
}

fn provider(groups: Option<Groups<'_>>, suite: Option<CipherSuite>) -> Arc<CryptoProvider> {
    let mut provider = aws_lc_rs::default_provider();
    if let Some(groups) = groups {
        provider.kx_groups = groups.to_vec();
    }
    if let Some(suite) = suite {
        provider.cipher_suites.retain(|one| one.suite() == suite);
    }
    Arc::new(provider)
}

/// Two ends in memory, and what passed between them.
pub(crate) struct Connected {
    pub(crate) client: ClientConnection,
    pub(crate) server: ServerConnection,
    pub(crate) capture: Capture,
}

impl Connected {
    /// Moves bytes until both ends are silent; tickets too.
    pub(crate) fn pump(&mut self) {
        while self.client.wants_write() || self.server.wants_write() {
            self.client_speaks();
            self.server_speaks();
        }
    }

    pub(crate) fn client_speaks(&mut self) {
        let mut bytes = Vec::new();
        while self.client.wants_write() {
            self.client.write_tls(&mut bytes).expect("memory takes all");
        }
        self.capture.push(Role::Client, &bytes);
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            self.server.read_tls(&mut rest).expect("memory gives all");
            self.server.process_new_packets().expect("an honest client");
        }
    }

    pub(crate) fn server_speaks(&mut self) {
        let mut bytes = Vec::new();
        while self.server.wants_write() {
            self.server.write_tls(&mut bytes).expect("memory takes all");
        }
        self.capture.push(Role::Server, &bytes);
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            self.client.read_tls(&mut rest).expect("memory gives all");
            self.client.process_new_packets().expect("an honest server");
        }
    }
}

/// Keeps the last exporter secret that it received.
#[derive(Default)]
pub(crate) struct SecretLog(Mutex<Option<Vec<u8>>>);

impl SecretLog {
    pub(crate) fn get(&self) -> Option<Vec<u8>> {
        self.0.lock().expect("no test panics with the lock").clone()
    }
}

impl KeyLog for SecretLog {
    fn log(&self, label: &str, _client_random: &[u8], secret: &[u8]) {
        if label == "EXPORTER_SECRET" {
            *self.0.lock().expect("no test panics with the lock") = Some(secret.to_vec());
        }
    }

    fn will_log(&self, label: &str) -> bool {
        label == "EXPORTER_SECRET"
    }
}

impl fmt::Debug for SecretLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretLog(..)")
    }
}
