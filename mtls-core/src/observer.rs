//! Word of what happens at a server, for those who count it.

use std::fmt;

use crate::error::Error;
use crate::proto::frame::FrameBody;
use crate::registry::RegisterError;
use crate::verdict::Verdict;

/// Is told what happens at an acceptor, or at a relay in front of a server: give it to the
/// builder's `observer`.
///
/// It is called in line, from many tasks at a time, and must not block.
pub trait Observer: fmt::Debug + Send + Sync + 'static {
    /// Takes note of one event.
    fn observe(&self, event: &Event<'_>);
}

/// What has happened.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// The policy lets a connection pass, with this verdict. Reported once for each connection,
    /// when the verdict is decided: under [`Policy::Prefer`](crate::Policy::Prefer) when the
    /// client's first bytes have arrived, or the connection has ended before. It may become better later.
    /// Its [`times`](Verdict::times) say how long that took.
    Passed(&'a Verdict),
    /// A connection came to nothing, by the client's fault, the policy or a bound.
    Failed(&'a Error),
    /// A handshake goes on without a registration, and cannot be verified.
    NotRegistered(RegisterError),
    /// A side connection has come.
    SideOpened,
    /// A side connection has ended, or was evicted.
    SideClosed,
    /// There was no place for a side connection.
    SideRefused,
    /// A side connection broke, or its client broke the protocol.
    SideFailed(&'a Error),
    /// A frame came on a side connection.
    FrameReceived(&'a FrameBody),
    /// A frame is sent on a side connection.
    FrameSent(&'a FrameBody),
    /// A client's value checked on a side connection.
    Confirmed,
    /// A client's value was wrong on a side connection: somebody is in one of the paths, or plays.
    Disputed,
}
