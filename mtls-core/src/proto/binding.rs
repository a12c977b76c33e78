//! The data that both ends compare: associations, contexts and the values of both roles
//! (`docs/protocol.md`, sections 3 and 4).

use core::fmt;
use core::hash::{Hash, Hasher};

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::exporter::tls_exporter;

const ASSOCIATION_LABEL: &[u8] = b"mtls/1 association";
const CONTEXT_LABEL: &[u8] = b"mtls/1 side";
const HELLO_LABEL: &[u8] = b"mtls/1 hello";
const EXPORTER_LABEL: &[u8] = b"EXPERIMENTAL-multipath-tls/1";
const CHANNEL_BINDING_LABEL: &[u8] = b"EXPERIMENTAL-multipath-tls/1 binding";

/// Names one TLS handshake on a side connection: the first 16 bytes of a labelled hash of the
/// `random` of the first ClientHello (`docs/protocol.md`, section 3.1).
///
/// It is not secret: any observer of the primary path can compute it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Association(pub [u8; Self::LEN]);

impl Association {
    /// Length in bytes.
    pub const LEN: usize = 16;

    /// The association of the handshake whose first ClientHello carries this `random`.
    pub fn from_client_random(random: &[u8; 32]) -> Self {
        let digest = Sha256::new()
            .chain_update(ASSOCIATION_LABEL)
            .chain_update(random)
            .finalize();
        let mut association = [0; Self::LEN];
        association.copy_from_slice(&digest[..Self::LEN]);
        Self(association)
    }
}

impl fmt::Display for Association {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Association {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Association({self})")
    }
}

/// The part of the handshake that both ends compare (`docs/protocol.md`, section 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Binding {
    /// The plaintext hello messages, for ends that hold no keys.
    Hello = 0x01,
    /// The TLS 1.3 exporter, for ends that hold the TLS keys: the whole transcript up to the
    /// server's Finished.
    Exporter = 0x02,
}

impl Binding {
    /// The binding with this bit, if the protocol knows one.
    pub fn from_bit(bit: u8) -> Option<Self> {
        match bit {
            0x01 => Some(Self::Hello),
            0x02 => Some(Self::Exporter),
            _ => None,
        }
    }

    /// The word used in verdicts: `hello` or `exporter`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hello => "hello",
            Self::Exporter => "exporter",
        }
    }
}

impl fmt::Display for Binding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A set of [`Binding`]s, as the bit mask that an Open carries.
///
/// Bits that this version does not know are kept and ignored, so that a later client can offer
/// more to an earlier server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Bindings(pub u8);

impl Bindings {
    /// Both bindings of this version: what library ends offer.
    pub const ALL: Self = Self(Binding::Hello as u8 | Binding::Exporter as u8);

    /// Is this binding in the set?
    pub fn contains(self, binding: Binding) -> bool {
        self.0 & binding as u8 != 0
    }

    /// The bindings that are in both sets.
    pub(crate) fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// The strongest binding that is in both sets.
    pub fn strongest_common(self, other: Self) -> Option<Binding> {
        [Binding::Exporter, Binding::Hello]
            .into_iter()
            .find(|&binding| self.contains(binding) && other.contains(binding))
    }
}

impl From<Binding> for Bindings {
    fn from(binding: Binding) -> Self {
        Self(binding as u8)
    }
}

/// A 32-byte nonce, fresh for every Open and every Proof.
pub type Nonce = [u8; 32];

/// `side_context`: what ties a value to one side path, one Open, one Proof and one binding
/// (`docs/protocol.md`, section 4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SideContext([u8; 32]);

impl SideContext {
    /// Hashes the parts; `offered` is the mask exactly as it stood in the Open.
    pub fn new(
        association: &Association,
        nonce_c: &Nonce,
        offered: Bindings,
        nonce_s: &Nonce,
        binding: Binding,
    ) -> Self {
        let digest = Sha256::new()
            .chain_update(CONTEXT_LABEL)
            .chain_update(association.0)
            .chain_update(nonce_c)
            .chain_update([offered.0])
            .chain_update(nonce_s)
            .chain_update([binding as u8])
            .finalize();
        Self(digest.into())
    }

    /// The context with these bytes, from [`as_bytes`](Self::as_bytes).
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes, for a TLS stack's own exporter and for a registry outside this process.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// The sender of a value. The labels are load-bearing: without them an attacker on the side path
/// alone could answer a client with its own value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// The server, in Proof.
    Server,
    /// The client, in Confirm.
    Client,
}

impl Role {
    fn label(self) -> &'static [u8] {
        match self {
            Self::Server => b"mtls/1 server",
            Self::Client => b"mtls/1 client",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Server => "server",
            Self::Client => "client",
        })
    }
}

/// The label of the channel binding that both ends offer to the application for each verified
/// side path (`docs/protocol.md`, section 4.4).
pub fn channel_binding_label() -> &'static [u8] {
    CHANNEL_BINDING_LABEL
}

/// The value that one role sends for one side path. Compared in constant time.
#[derive(Clone, Copy)]
pub struct Value(pub [u8; Self::LEN]);

impl Value {
    /// Length in bytes.
    pub const LEN: usize = 32;
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for Value {}

impl Hash for Value {
    /// Not on the wire's path: a model checker tells states apart by it.
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl fmt::Debug for Value {
    /// Values are not printed: before it is sent, one is as good as the proof itself.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Value(..)")
    }
}

/// SHA-256 over the handshake messages from the first ClientHello to the ServerHello inclusive,
/// each with its 4-byte header (`docs/protocol.md`, section 4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct HelloHash(pub [u8; 32]);

/// `side_secret`: the 32 bytes from which the values of one handshake and one binding are computed,
/// for every side path (`docs/protocol.md`, section 4.2).
///
/// It answers the side protocol and nothing else: neither the TLS keys nor any other exported value
/// can be computed from it. Zeroized on drop; not printable.
#[derive(Clone)]
pub struct SideSecret(Zeroizing<[u8; Self::LEN]>);

impl SideSecret {
    /// Length in bytes.
    pub const LEN: usize = 32;

    /// The label under which a TLS stack exports the secret of the exporter binding: 32 bytes, with
    /// an empty context (RFC 8446, section 7.5).
    pub fn exporter_label() -> &'static [u8] {
        EXPORTER_LABEL
    }

    /// Takes a secret that a TLS stack exported under [`exporter_label`](Self::exporter_label), or
    /// one that [`as_bytes`](Self::as_bytes) gave out.
    pub fn new(secret: [u8; Self::LEN]) -> Self {
        Self(Zeroizing::new(secret))
    }

    /// Exports the secret of the exporter binding from `exporter_secret`, for ends whose TLS stack
    /// does not export yet: a server with its first flight. The length of `exporter_secret` tells
    /// the hash of the cipher suite, SHA-256 (32 bytes) or SHA-384 (48 bytes).
    ///
    /// `None` for any other length.
    pub fn from_exporter_secret(exporter_secret: &[u8]) -> Option<Self> {
        let mut secret = Self::new([0; Self::LEN]);
        tls_exporter(exporter_secret, EXPORTER_LABEL, &[], &mut *secret.0)?;
        Some(secret)
    }

    /// The secret of the hello binding.
    pub fn from_hello(hello: &HelloHash) -> Self {
        let digest = Sha256::new()
            .chain_update(HELLO_LABEL)
            .chain_update(hello.0)
            .finalize();
        Self::new(digest.into())
    }

    /// The bytes, for a registry outside of this process.
    pub fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }

    /// The values of both roles for one side path.
    pub fn values(&self, context: &SideContext) -> Values {
        let keyed =
            Hmac::<Sha256>::new_from_slice(&*self.0).expect("HMAC takes keys of every length");
        let value = |role: Role| {
            let mac = keyed
                .clone()
                .chain_update(role.label())
                .chain_update(context.as_bytes());
            Value(mac.finalize().into_bytes().into())
        };
        Values {
            server: value(Role::Server),
            client: value(Role::Client),
        }
    }
}

impl fmt::Debug for SideSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SideSecret(..)")
    }
}

/// The side secrets that one end holds of a TLS 1.3 handshake, one for each binding that it can
/// compute.
#[derive(Clone, Debug, Default)]
pub struct SideSecrets {
    /// For the exporter binding; `None` at a relay, which holds no TLS keys.
    pub exporter: Option<SideSecret>,
    /// For the hello binding; `None` where the hellos could not be read.
    pub hello: Option<SideSecret>,
}

impl SideSecrets {
    /// The secrets of an end that holds no TLS keys.
    pub fn from_hello(hello: &HelloHash) -> Self {
        Self {
            exporter: None,
            hello: Some(SideSecret::from_hello(hello)),
        }
    }

    /// The secret of one binding.
    pub fn get(&self, binding: Binding) -> Option<&SideSecret> {
        match binding {
            Binding::Hello => self.hello.as_ref(),
            Binding::Exporter => self.exporter.as_ref(),
        }
    }

    /// The bindings that this end can compute.
    pub fn bindings(&self) -> Bindings {
        let bits = [Binding::Hello, Binding::Exporter]
            .into_iter()
            .filter(|binding| self.get(*binding).is_some())
            .fold(0, |bits, binding| bits | binding as u8);
        Bindings(bits)
    }

    /// The values of both roles for one side path; `None` where this end lacks the secret.
    pub fn values(&self, binding: Binding, context: &SideContext) -> Option<Values> {
        Some(self.get(binding)?.values(context))
    }
}

/// The values of both roles for one side path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Values {
    /// Sent by the server in Proof.
    pub server: Value,
    /// Sent by the client in Confirm.
    pub client: Value,
}
