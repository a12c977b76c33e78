//! The participants, and the symbols that represent the bytes of TLS.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use mtls_core::proto::binding::{
    Association, Binding, HelloHash, Nonce, SideContext, SideSecret, SideSecrets, Values,
};
use mtls_core::proto::client::TlsVersion;
use mtls_core::proto::server::HandshakeKeys;
use sha2::{Digest, Sha256};

use super::Mutant;

/// One of the two attackers. Each has its own knowledge unless they talk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Attacker {
    /// The one who may sit on the primary path.
    Primary,
    /// The one who may sit on the side paths.
    Side,
}

impl Attacker {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Primary, Self::Side];

    /// The other one.
    pub fn other(self) -> Self {
        match self {
            Self::Primary => Self::Side,
            Self::Side => Self::Primary,
        }
    }
}

/// The owner of a key share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Holder {
    /// The honest client or the honest server.
    Honest,
    /// An attacker.
    Attacker(Attacker),
}

/// The `random` of a ClientHello, by who chose it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Random {
    /// The honest client.
    Client,
    /// An attacker.
    Of(Attacker),
}

impl Random {
    /// All that there are.
    pub const ALL: [Self; 3] = [
        Self::Client,
        Self::Of(Attacker::Primary),
        Self::Of(Attacker::Side),
    ];

    fn byte(self) -> u8 {
        match self {
            Self::Client => 1,
            Self::Of(Attacker::Primary) => 2,
            Self::Of(Attacker::Side) => 3,
        }
    }

    /// The real association of a hello with this random.
    pub fn association(self) -> Association {
        static CACHE: OnceLock<[Association; 3]> = OnceLock::new();
        CACHE.get_or_init(|| {
            Self::ALL.map(|random| Association::from_client_random(&[random.byte(); 32]))
        })[usize::from(self.byte() - 1)]
    }
}

/// The `random` of a ServerHello.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ServerRandom {
    /// The server's own, in its n-th handshake. An attacker can copy it.
    Server(u8),
    /// An attacker's.
    Attacker,
}

/// A TLS handshake, as the two ends of it see it: everything that the real transcript fixes.
///
/// Two handshakes with different ends have different transcripts, since the key shares differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Transcript {
    /// The client's random.
    pub random: Random,
    /// The server's random.
    pub server_random: ServerRandom,
    /// The owner of the key share in the ClientHello.
    pub client: Holder,
    /// The owner of the key share in the ServerHello.
    pub server: Holder,
    /// The negotiated version.
    pub version: TlsVersion,
}

impl Transcript {
    /// Does this attacker hold the handshake's keys?
    pub fn held_by(&self, attacker: Attacker) -> bool {
        let holder = Holder::Attacker(attacker);
        self.client == holder || self.server == holder
    }

    /// Does any attacker hold the keys?
    pub fn is_held(&self) -> bool {
        Attacker::ALL.iter().any(|attacker| self.held_by(*attacker))
    }

    /// The keys that a server registers for this handshake.
    pub fn keys(&self, mutant: Option<Mutant>) -> HandshakeKeys {
        match self.version {
            TlsVersion::Older => HandshakeKeys::Older,
            TlsVersion::Tls13 => HandshakeKeys::Tls13(self.secrets(mutant)),
        }
    }

    /// The values of both roles, computed by the library from this handshake.
    pub fn values(
        &self,
        binding: Binding,
        context: &SideContext,
        mutant: Option<Mutant>,
    ) -> Values {
        let secrets = self.secrets(mutant);
        let mut values = secrets
            .values(binding, context)
            .expect("both secrets are there");
        if mutant == Some(Mutant::UnlabelledRoles) {
            values.server = values.client;
        }
        values
    }

    fn secrets(&self, mutant: Option<Mutant>) -> SideSecrets {
        SideSecrets {
            exporter: Some(SideSecret::new(self.digest(b"exporter", mutant))),
            ..SideSecrets::from_hello(&HelloHash(self.digest(b"hello", mutant)))
        }
    }

    fn digest(&self, label: &[u8], mutant: Option<Mutant>) -> [u8; 32] {
        let server_random = match self.server_random {
            ServerRandom::Server(nth) => nth,
            ServerRandom::Attacker => 0xff,
        };
        let holder = |holder| match holder {
            Holder::Honest => 0,
            Holder::Attacker(Attacker::Primary) => 1,
            Holder::Attacker(Attacker::Side) => 2,
        };
        let digest = Sha256::new()
            .chain_update(label)
            .chain_update([self.random.byte(), server_random]);
        match mutant {
            Some(Mutant::RandomsOnly) => digest.finalize().into(),
            _ => digest
                .chain_update([
                    holder(self.client),
                    holder(self.server),
                    u8::from(self.version == TlsVersion::Tls13),
                ])
                .finalize()
                .into(),
        }
    }
}

/// The nonce of a client's Open: the n-th of one side path.
pub fn client_nonce(side: usize, nth: u8) -> Nonce {
    nonce(1, side, nth)
}

/// The nonce of a server's Proof: the n-th of one side connection.
pub fn server_nonce(connection: usize, nth: u8) -> Nonce {
    nonce(2, connection, nth)
}

/// The one nonce that attackers choose for themselves.
pub fn attacker_nonce() -> Nonce {
    nonce(3, 0, 0)
}

fn nonce(kind: u8, who: usize, nth: u8) -> Nonce {
    let mut nonce = [0; 32];
    nonce[0] = kind;
    nonce[1] = u8::try_from(who).expect("a handful of connections");
    nonce[2] = nth;
    nonce
}

/// The moment at which everything happens: time is abstract here, and timeouts are steps.
pub fn epoch() -> Instant {
    static EPOCH: OnceLock<Instant> = OnceLock::new();
    *EPOCH.get_or_init(Instant::now)
}

/// The client's deadline, after [`epoch`].
pub const DEADLINE: Duration = Duration::from_secs(3);
