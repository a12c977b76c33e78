//! Registries of a server's pending handshakes, which wait for their verification
//! (`docs/protocol.md`, section 3.2).

#[cfg(feature = "registry-test")]
pub mod contract;
#[cfg(feature = "fleet")]
pub mod fleet;
mod memory;
#[cfg(any(test, feature = "__fuzzing"))]
pub(crate) mod model;
#[cfg(feature = "redis")]
pub mod redis;
mod waits;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use sha2::{Digest, Sha256};

use crate::proto::binding::Association;
use crate::proto::server::{Confirmation, HandshakeKeys, LookupMode, RegistrationId};

pub use memory::{MemoryRegistry, MemoryRegistryLimits};

/// One service: a side connection finds only the handshakes of the service that it reached.
///
/// Without that, one tenant's side port would answer for another tenant's handshakes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ServiceId([u8; 8]);

impl ServiceId {
    /// The service with this name; all members of a fleet use the same name.
    pub fn from_name(name: &str) -> Self {
        let digest = Sha256::digest(name.as_bytes());
        let mut id = [0; 8];
        id.copy_from_slice(&digest[..8]);
        Self(id)
    }
}

impl ServiceId {
    /// The service with these bytes, from [`as_bytes`](Self::as_bytes).
    pub fn from_bytes(bytes: [u8; 8]) -> Self {
        Self(bytes)
    }

    /// The bytes, for a registry outside this process.
    pub fn as_bytes(&self) -> &[u8; 8] {
        &self.0
    }
}

impl Default for ServiceId {
    fn default() -> Self {
        Self::from_name("")
    }
}

/// Names one handshake within a registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RegistryKey {
    /// The service that the handshake reached.
    pub service: ServiceId,
    /// The handshake.
    pub association: Association,
}

/// The requester of a lookup. A registry limits the waits of requesters that have confirmed nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LookupRequester {
    /// The address of the side connection's peer.
    pub peer: IpAddr,
    /// Whether this side connection has confirmed a handshake before. Others are evicted first.
    pub confirmed_before: bool,
}

impl LookupRequester {
    /// A side connection from `peer`.
    pub fn new(peer: IpAddr, confirmed_before: bool) -> Self {
        Self {
            peer,
            confirmed_before,
        }
    }
}

/// Stores pending handshakes, and answers the lookups of side connections.
///
/// # Security
/// An implementation must keep handshakes of different services apart, must never answer
/// [`Found`](LookupReply::Found) for a handshake that was not registered, must bound what it
/// keeps, and must keep the keys secret: who has them can answer for the server.
pub trait PendingRegistry: fmt::Debug + Send + Sync + 'static {
    /// Begins the registration of a handshake whose ClientHello has been read and whose keys do not
    /// exist yet. A registry that waits for a store overlaps that wait with the computation of the
    /// server's flight. No look-up finds a reservation.
    ///
    /// Returns at once. By default there is no reservation, and the caller uses
    /// [`register`](Self::register).
    fn reserve(&self, key: RegistryKey) -> Option<Box<dyn Reservation>> {
        let _ = key;
        None
    }

    /// Registers a handshake. The server's flight leaves only after this has completed.
    ///
    /// The caller may drop the future at any time, for example when the handshake times out. An
    /// implementation then leaves at most a tombstone, as for a dropped [`Registration`].
    ///
    /// # Errors
    /// If the handshake is not registered. It continues nevertheless, and cannot be verified;
    /// after [`RegisterError::Isolated`] alone the caller refuses it.
    fn register(
        &self,
        key: RegistryKey,
        keys: HandshakeKeys,
    ) -> BoxFuture<'_, Result<Box<dyn Registration>, RegisterError>>;

    /// Looks a handshake up; with [`LookupMode::UntilFlushed`] waits for it, within the registry's
    /// bounds (`docs/protocol.md`, section 3.3). Dropping the future gives its waiting place up.
    ///
    /// With [`LookupMode::Immediate`] the reply describes the present: a client that receives
    /// [`Unknown`](LookupReply::Unknown) reports an interception.
    fn look_up(
        &self,
        key: RegistryKey,
        mode: LookupMode,
        requester: LookupRequester,
    ) -> BoxFuture<'static, LookupReply>;

    /// Records that the client's value matched on a side connection. Ignored unless the
    /// confirmation names the current registration of the handshake.
    ///
    /// Returns at once: the caller serves all verifications of a side connection in one task. An
    /// implementation that needs I/O spawns a task, and bounds the number of these tasks.
    fn confirm(&self, service: ServiceId, confirmed: ConfirmedSide);

    /// Records that a client's value was wrong on a side connection. Ignored and returning as in
    /// [`confirm`](Self::confirm).
    fn dispute(&self, service: ServiceId, dispute: Confirmation);
}

/// A handshake whose keys do not exist yet, from [`PendingRegistry::reserve`]. Dropping it gives the
/// handshake up; its association may remain taken for a while.
pub trait Reservation: fmt::Debug + Send + 'static {
    /// Registers the handshake, as [`PendingRegistry::register`] does.
    ///
    /// # Errors
    /// As for [`PendingRegistry::register`].
    fn register(
        self: Box<Self>,
        keys: HandshakeKeys,
    ) -> BoxFuture<'static, Result<Box<dyn Registration>, RegisterError>>;
}

/// The primary connection's hold on its entry. Dropping it leaves a tombstone: for a short time
/// the registry goes on answering for the handshake (`docs/protocol.md`, section 3.4).
pub trait Registration: fmt::Debug + Send + Sync + 'static {
    /// The server's first flight has been flushed: Proofs may be sent.
    fn flushed(&self);

    /// The results of the side connections so far.
    fn status(&self) -> SideStatus;

    /// The number of changes of the [status](Self::status) so far. A server reads it for each
    /// response, so it should take no lock.
    fn revision(&self) -> usize;

    /// Completes when the handshake is confirmed; safe to drop and to call again.
    fn confirmed(&self) -> BoxFuture<'_, ()>;
}

/// The results of the side connections for one handshake.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SideStatus {
    /// A side connection has sent an Open for it.
    pub opened: bool,
    /// A side connection has sent a wrong value for it.
    pub disputed: bool,
    /// The confirmations, at most [`MAX_CONFIRMATIONS`].
    pub confirmations: Vec<ConfirmedSide>,
}

impl SideStatus {
    /// The number of changes that led from the empty status to this one.
    pub fn revision(&self) -> usize {
        usize::from(self.opened) + usize::from(self.disputed) + self.confirmations.len()
    }
}

/// A side connection that has confirmed a handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConfirmedSide {
    /// The confirmation.
    pub confirmation: Confirmation,
    /// Its peer's address.
    pub peer: SocketAddr,
}

impl ConfirmedSide {
    /// A confirmation by the side connection from `peer`.
    pub fn new(confirmation: Confirmation, peer: SocketAddr) -> Self {
        Self { confirmation, peer }
    }
}

/// The most confirmations of one handshake that are kept: more side paths than a host has.
pub const MAX_CONFIRMATIONS: usize = 8;

/// A handshake as the registry gives it out.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Found {
    /// The id of the registration.
    pub registration: RegistrationId,
    /// The secrets from which the values are computed.
    pub keys: Arc<HandshakeKeys>,
}

impl Found {
    /// A registration and its keys.
    pub fn new(registration: RegistrationId, keys: Arc<HandshakeKeys>) -> Self {
        Self { registration, keys }
    }
}

/// The result of [`PendingRegistry::look_up`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum LookupReply {
    /// The handshake.
    Found(Found),
    /// No machine of the service has this handshake, or had it within the time of a tombstone.
    ///
    /// The client reports an interception, so this reply needs certainty: every machine that could
    /// hold the handshake has answered. An entry that is missing in a shared store proves nothing:
    /// the store may be empty after a restart, or another machine may not reach it. Without
    /// certainty the reply is [`Unavailable`](Self::Unavailable), or [`Busy`](Self::Busy) where a
    /// bound may have turned the handshake away.
    Unknown,
    /// No waiting place, or evicted from it.
    Busy,
    /// The registry did not answer.
    Unavailable,
}

/// Reason of a handshake that was not registered. It continues unverified, if the policy allows that.
///
/// ```
/// use mtls_core::registry::RegisterError;
///
/// /// Whether an operator must act.
/// fn is_alarming(error: RegisterError) -> bool {
///     matches!(error, RegisterError::Full { .. } | RegisterError::Isolated)
/// }
/// # assert!(is_alarming(RegisterError::Isolated));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RegisterError {
    /// A handshake with the same association is there already.
    Taken,
    /// The registry is full.
    Full {
        /// Its bound.
        limit: usize,
    },
    /// The registry did not answer.
    Unavailable,
    /// This machine has been cut off from its fleet for so long that the other machines may report
    /// its handshakes as unknown. The caller refuses the handshake, whatever its policy is.
    Isolated,
}

impl fmt::Display for RegisterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Taken => f.write_str(
                "another handshake with the same client random is registered: an attacker copied it",
            ),
            Self::Full { limit } => write!(
                f,
                "the registry holds its {limit} handshakes: raise its limit, or look for a flood"
            ),
            Self::Unavailable => f.write_str("the registry did not answer"),
            Self::Isolated => f.write_str(
                "this machine does not reach the shared registry, and clients would take its \
                 handshakes for intercepted; check the registry's engine and the network",
            ),
        }
    }
}

impl std::error::Error for RegisterError {}

/// The default lifetime of a tombstone.
pub(crate) const DEFAULT_TOMBSTONE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests;
