//! Events of an acceptor or a relay, for metrics.

use std::fmt;

use crate::error::Error;
use crate::proto::frame::FrameBody;
use crate::registry::RegisterError;
use crate::verdict::Verdict;

/// An observer of the events of an acceptor, or of a relay in front of a server; set it with
/// [`SideServiceSettings::observer`](crate::SideServiceSettings::observer).
///
/// It is called inline, from many tasks at a time, and must not block.
///
/// ```
/// use std::sync::atomic::{AtomicU64, Ordering};
///
/// use mtls_core::observer::{Event, Observer};
///
/// #[derive(Debug, Default)]
/// struct Confirmations(AtomicU64);
///
/// impl Observer for Confirmations {
///     fn observe(&self, event: &Event<'_>) {
///         if let Event::Confirmed = event {
///             self.0.fetch_add(1, Ordering::Relaxed);
///         }
///     }
/// }
/// ```
pub trait Observer: fmt::Debug + Send + Sync + 'static {
    /// Handles one event.
    fn observe(&self, event: &Event<'_>);
}

/// An event.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// The policy lets a connection pass, with this verdict. Reported once for each connection,
    /// when the verdict is decided: under [`Policy::Prefer`](crate::Policy::Prefer) when the
    /// client's first bytes have arrived, or the connection has ended before. It may become better later.
    /// Its [`times`](Verdict::times) say how long that took.
    Passed(&'a Verdict),
    /// A connection failed, because of the client, the policy or a limit.
    Failed(&'a Error),
    /// A handshake was not registered: it cannot be verified, and after
    /// [`RegisterError::Isolated`] it is refused.
    NotRegistered(RegisterError),
    /// A side connection was accepted.
    SideOpened,
    /// A side connection has ended, or was evicted.
    SideClosed,
    /// A side connection was refused for lack of a slot.
    SideRefused,
    /// A side connection broke, or its client broke the protocol.
    SideFailed(&'a Error),
    /// A frame came on a side connection.
    FrameReceived(&'a FrameBody),
    /// A frame is sent on a side connection.
    FrameSent(&'a FrameBody),
    /// A client's value checked on a side connection.
    Confirmed,
    /// A client's value was wrong on a side connection: an attacker is on one of the paths, or the
    /// client is faulty.
    Disputed,
}
