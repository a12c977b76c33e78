//! The interface to the store that the machines of a fleet share.

use std::fmt;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::mpsc;

use crate::registry::RegistryKey;

/// The number of a machine, different for each machine of a fleet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MachineId(pub u16);

impl fmt::Display for MachineId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A store with an inbox for each machine: Redis, for example.
///
/// A [`FleetRegistry`](super::FleetRegistry) trusts no engine with a verdict. An engine may forget
/// everything, lose messages, or answer from an old copy: verifications then become unavailable or
/// slower, and no client reports an interception. Records and messages are sealed.
///
/// # Requirements
/// - Each operation ends within a bounded time, and fails at once while the engine is not
///   connected.
/// - [`ask`](Self::ask), [`put`](Self::put) and [`replace`](Self::replace) write before they read, so
///   that a read-only replica or a full engine fails instead of answering from an old copy. Each sees
///   what another wrote if that ran before.
/// - [`join`](Self::join) measures times by the clock of the engine alone, and reads the memory after
///   the list, so that the memory shows a loss between the two.
pub trait Engine: fmt::Debug + Send + Sync + 'static {
    /// Connects, and delivers events for `machine` until the receiver is dropped; called once.
    fn start(&self, machine: MachineId, events: mpsc::Sender<EngineEvent>);

    /// Returns true while operations can succeed.
    fn connected(&self) -> bool;

    /// The reason why operations cannot succeed now, if the engine knows it.
    fn problem(&self) -> Option<EngineError> {
        None
    }

    /// Stores a record for `life` unless the handshake has one, and returns the earlier record and
    /// the machines that wait for it.
    fn put(&self, key: RegistryKey, record: Vec<u8>, life: Duration) -> Operation<'_, Put>;

    /// Stores a record for `life` in place of the one that this machine has put before, and returns the
    /// machines that wait for it.
    fn replace(
        &self,
        key: RegistryKey,
        record: Vec<u8>,
        life: Duration,
    ) -> Operation<'_, Vec<MachineId>>;

    /// Lists `machine` as waiting for the handshake for `life`, and returns its record.
    fn ask(
        &self,
        key: RegistryKey,
        machine: MachineId,
        life: Duration,
    ) -> Operation<'_, Option<Vec<u8>>>;

    /// Sends a message to the inbox of one machine (`Some`) or of all machines (`None`). Messages
    /// may be lost.
    fn publish(&self, to: Option<MachineId>, message: Vec<u8>) -> Operation<'_, ()>;

    /// Keeps a message about a handshake for `life`; of more than [`MAX_KEPT`] the latest are
    /// dropped.
    fn keep(&self, key: RegistryKey, message: Vec<u8>, life: Duration) -> Operation<'_, ()>;

    /// The messages that were kept about a handshake, at most [`MAX_KEPT`].
    fn kept(&self, key: RegistryKey) -> Operation<'_, Vec<Vec<u8>>>;

    /// Lists `machine` as a member for `life`, and returns all members.
    fn join(&self, machine: MachineId, beat: Beat, life: Duration) -> Operation<'_, Membership>;

    /// Removes `machine` from the members.
    fn leave(&self, machine: MachineId) -> Operation<'_, ()>;
}

/// An operation of an [`Engine`].
pub type Operation<'a, T> = BoxFuture<'a, Result<T, EngineError>>;

/// The most messages about one handshake that are kept: more than its confirmations.
pub const MAX_KEPT: usize = 32;

/// The content of a machine's heartbeat: a random number for each start of the process, and a
/// counter. A beat that changes is a machine that lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Beat {
    /// Random, and the same until the process ends.
    pub incarnation: u64,
    /// Counts heartbeats.
    pub count: u64,
}

impl Beat {
    /// Length in bytes.
    pub const LEN: usize = 16;

    /// The bytes, for an engine.
    pub fn to_bytes(self) -> [u8; Self::LEN] {
        let value = u128::from(self.incarnation) << 64 | u128::from(self.count);
        value.to_be_bytes()
    }

    /// The beat with these bytes.
    pub fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
        let value = u128::from_be_bytes(bytes);
        Self {
            incarnation: (value >> 64) as u64,
            count: value as u64,
        }
    }
}

/// The result of [`Engine::put`].
#[derive(Clone, Debug, Default)]
pub struct Put {
    /// The record that was there before.
    pub existing: Option<Vec<u8>>,
    /// The machines that wait for the handshake.
    pub waiting: Vec<MachineId>,
}

/// The result of [`Engine::join`].
#[derive(Clone, Debug, Default)]
pub struct Membership {
    /// The machines that joined within their life, with their latest beat.
    pub members: Vec<(MachineId, Beat)>,
    /// The beat that `machine` wrote before.
    pub previous: Option<Beat>,
    /// The time for which the engine has lost nothing.
    pub memory: Duration,
}

/// An event that an engine reports.
#[derive(Clone, Debug)]
pub enum EngineEvent {
    /// The engine is connected, and messages are delivered from now on.
    Connected,
    /// A message for this machine.
    Message(Vec<u8>),
}

/// Reason of an engine's failed operation.
///
/// ```
/// use mtls_core::registry::fleet::EngineError;
///
/// let error = EngineError::new("no answer in time");
/// assert_eq!(error.to_string(), "no answer in time");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineError(String);

impl EngineError {
    /// An error with this cause, in lower case.
    pub fn new(cause: impl Into<String>) -> Self {
        Self(cause.into())
    }

    /// The engine is not connected.
    pub fn disconnected() -> Self {
        Self::new("not connected")
    }
}

impl fmt::Display for EngineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for EngineError {}
