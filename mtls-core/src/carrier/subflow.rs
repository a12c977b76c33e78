//! The second subflow of a client's connection.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::path::mptcp::{Obstacle, PathManager, Snapshot, SubflowName, Watch, source_of};
use crate::path::{DialFailure, SubflowSource};
use crate::side::client::settings::SubflowUse;
use crate::verdict::mptcp::MptcpFailure;

/// The first and the longest pause between two samples of the kernel's state of the connection.
const MIN_PAUSE: Duration = Duration::from_millis(1);
const MAX_PAUSE: Duration = Duration::from_millis(50);

/// The time in which a subflow for data must be established.
const MAX_JOIN: Duration = Duration::from_secs(30);

/// `ENOTCONN`: the peer has not acknowledged data yet, which is needed before a join.
const NOT_CONNECTED: i32 = 107;

/// The identifier of the second subflow's address at this end; the first one has 0.
const SECOND: u8 = 2;

/// The growing pauses between samples of the kernel's state. Some of them visit every TCP socket of the
/// network namespace.
pub(super) struct Pause {
    next: Duration,
    /// The growth in quarters.
    growth: u32,
}

impl Pause {
    /// For waits of round trips, which should not last much longer than these: of so many milliseconds,
    /// a fifth at most.
    pub(super) fn precise() -> Self {
        Self {
            next: MIN_PAUSE,
            growth: 5,
        }
    }

    /// For waits that end at once, or with a failure: few samples for a peer that causes them.
    pub(super) fn sparing() -> Self {
        Self {
            next: MIN_PAUSE,
            growth: 8,
        }
    }

    pub(super) async fn wait(&mut self) {
        sleep(self.next).await;
        self.next = (self.next * self.growth / 4).min(MAX_PAUSE);
    }
}

/// A second subflow that is to be added.
pub(crate) struct SecondSubflow {
    manager: PathManager,
    source: SubflowSource,
}

/// The two subflows of a connection.
pub(crate) struct Subflows {
    manager: PathManager,
    watch: Watch,
    first: SubflowName,
    pub(super) second: SubflowName,
    /// The index of the interface of the second one; 0: as routed.
    pub(super) interface: u32,
}

impl SecondSubflow {
    /// Checks that this process can add one.
    pub(crate) fn prepare(source: SubflowSource) -> Result<Self, DialFailure> {
        match PathManager::open() {
            Ok(manager) => Ok(Self { manager, source }),
            Err(Obstacle::NotPermitted) => Err(DialFailure::SubflowNotPermitted),
            Err(Obstacle::KernelManages) => Err(DialFailure::KernelManagesSubflows),
            Err(Obstacle::Other(error)) => Err(DialFailure::Mptcp(Arc::new(error))),
        }
    }

    /// Adds the subflow to the connection between these addresses for its data, in a task of its own.
    pub(crate) fn join_later(self, local: SocketAddr, peer: SocketAddr, subflow_use: SubflowUse) {
        let deadline = Instant::now() + MAX_JOIN;
        tokio::spawn(async move {
            let Ok(mut subflows) = self.join(local, peer, deadline).await else {
                return;
            };
            let second = subflows.second;
            // The kernel knows it by now.
            let _ = subflows.set_backup(second, true, deadline).await;
            if let Err(error) = subflows.apply(subflow_use) {
                tracing::debug!(%error, "the kernel does not set the use of the subflow");
            }
        });
    }

    /// Adds the subflow to the connection between these addresses, and waits until it is
    /// established.
    pub(crate) async fn join(
        mut self,
        local: SocketAddr,
        peer: SocketAddr,
        deadline: Instant,
    ) -> Result<Subflows, MptcpFailure> {
        let source = source_of(&self.source, peer.ip());
        let (ip, interface) = source.map_err(|error| failed("no source address", &error))?;
        let mut watch = Watch::new(Some(local), peer);
        let now = state(&mut watch)?;
        let name = |id, local| SubflowName {
            token: now.token,
            id,
            local,
            peer,
        };
        let second = name(SECOND, SocketAddr::new(ip, 0));
        self.create(second, interface, deadline).await?;
        let mut pause = Pause::precise();
        let second = loop {
            // One that the kernel lists no more was refused.
            let now = state(&mut watch)?;
            let found = now.subflows.iter().skip(1).find(|one| one.local.ip() == ip);
            match found {
                Some(found) if found.is_established => break name(SECOND, found.local),
                Some(_) if Instant::now() < deadline => pause.wait().await,
                _ => return Err(MptcpFailure::JoinFailed),
            }
        };
        Ok(Subflows {
            manager: self.manager,
            watch,
            first: name(0, local),
            second,
            interface,
        })
    }

    async fn create(
        &mut self,
        second: SubflowName,
        interface: u32,
        deadline: Instant,
    ) -> Result<(), MptcpFailure> {
        let mut pause = Pause::precise();
        loop {
            match self.manager.create(second, interface) {
                Ok(()) => return Ok(()),
                Err(error)
                    if error.raw_os_error() == Some(NOT_CONNECTED) && Instant::now() < deadline =>
                {
                    pause.wait().await;
                }
                Err(error) => return Err(failed("the kernel adds no subflow", &error)),
            }
        }
    }
}

/// The state of a connection that is Multipath TCP.
fn state(watch: &mut Watch) -> Result<Snapshot, MptcpFailure> {
    let found = watch.read();
    let found = found.map_err(|error| failed("the kernel reports no state", &error))?;
    found
        .filter(|found| !found.fallback)
        .ok_or(MptcpFailure::Fallback)
}

fn failed(what: &str, error: &io::Error) -> MptcpFailure {
    tracing::debug!(%error, "{what}");
    MptcpFailure::JoinFailed
}

impl Subflows {
    /// The ends of the second one.
    pub(super) fn expected(&self) -> (IpAddr, SocketAddr) {
        (self.second.local.ip(), self.second.peer)
    }

    pub(super) fn state(&mut self) -> Result<Snapshot, MptcpFailure> {
        state(&mut self.watch)
    }

    /// Has both ends send over the second one alone from now on. First the `sent` bytes have left over
    /// the first one: those in a queue would use the second.
    pub(super) async fn use_second(
        &mut self,
        sent: u64,
        deadline: Instant,
    ) -> Result<(), MptcpFailure> {
        let mut pause = Pause::precise();
        while !self.state()?.has_sent_on_first(sent) {
            if Instant::now() >= deadline {
                return Err(MptcpFailure::JoinFailed);
            }
            pause.wait().await;
        }
        self.set_backup(self.second, false, deadline).await?;
        self.set_backup(self.first, true, deadline).await
    }

    /// Directs both ends to the second one again: the peer may have lost the request.
    pub(super) fn direct_again(&mut self) {
        for (subflow, backup) in [(self.second, false), (self.first, true)] {
            if let Err(error) = self.manager.set_backup(subflow, backup) {
                tracing::debug!(%error, "the kernel does not direct the subflows again");
            }
        }
    }

    /// Has both ends send over both again, or over the first alone if the exchange has failed. If the
    /// kernel does neither, the data use the second one alone, which is no danger.
    pub(super) fn release(&mut self, failed: bool, subflow_use: SubflowUse) {
        let ended = match failed {
            true => self.manager.destroy(self.second),
            false => Ok(()),
        };
        let released = match failed {
            true => self.manager.set_backup(self.first, false),
            false => self.apply(subflow_use),
        };
        if let Err(error) = released.and(ended) {
            tracing::debug!(%error, "the kernel does not release the subflows");
        }
    }

    /// Sets the use of the second one for data.
    fn apply(&mut self, subflow_use: SubflowUse) -> io::Result<()> {
        let second = subflow_use == SubflowUse::Backup;
        let first = subflow_use == SubflowUse::Preferred;
        // At no time are both backups.
        self.manager.set_backup(self.first, false)?;
        self.manager.set_backup(self.second, second)?;
        match first {
            true => self.manager.set_backup(self.first, true),
            false => Ok(()),
        }
    }

    /// The kernel knows a subflow only when the peer has acknowledged its establishment.
    async fn set_backup(
        &mut self,
        subflow: SubflowName,
        backup: bool,
        deadline: Instant,
    ) -> Result<(), MptcpFailure> {
        let mut pause = Pause::precise();
        loop {
            match self.manager.set_backup(subflow, backup) {
                Ok(()) => return Ok(()),
                Err(error)
                    if error.kind() == io::ErrorKind::InvalidInput && Instant::now() < deadline =>
                {
                    pause.wait().await;
                }
                Err(error) => return Err(failed("the kernel steers no subflow", &error)),
            }
        }
    }
}
