//! The data that an attacker captured.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::secrets::{PAGE_SECRET, REQUEST_SECRET};
use crate::{Result, eventually};

/// How many bytes of each direction an attacker keeps; it counts all.
const KEPT: usize = 64 * 1024;

/// Counts what an attacker read in the clear. Clones count together.
#[derive(Clone, Debug, Default)]
pub struct Captured(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    from_victim: Plaintext,
    from_server: Plaintext,
    connections: AtomicUsize,
    ended: AtomicUsize,
    handshakes: AtomicUsize,
    resumptions: AtomicUsize,
    tickets_offered: AtomicUsize,
}

/// The plaintext of one direction.
#[derive(Debug, Default)]
struct Plaintext {
    total: AtomicUsize,
    bytes: Mutex<Vec<u8>>,
}

impl Captured {
    /// How many application bytes it read from its victims.
    pub fn bytes_from_victim(&self) -> usize {
        self.0.from_victim.total.load(Ordering::SeqCst)
    }

    /// How many application bytes it got from the real server.
    pub fn bytes_from_server(&self) -> usize {
        self.0.from_server.total.load(Ordering::SeqCst)
    }

    /// Did it read the victim's secret?
    pub fn has_request_secret(&self) -> bool {
        self.0.from_victim.contains(REQUEST_SECRET)
    }

    /// Did it read the victim's secret and the server's?
    pub fn has_both_secrets(&self) -> bool {
        self.has_request_secret() && self.0.from_server.contains(PAGE_SECRET)
    }

    /// How many TCP connections victims opened to it.
    pub fn connections(&self) -> usize {
        self.0.connections.load(Ordering::SeqCst)
    }

    /// Waits until all of these are closed: then no more data can arrive.
    ///
    /// # Errors
    /// When one does not end.
    pub async fn wait_until_closed(&self) -> Result {
        let ended = || self.0.ended.load(Ordering::SeqCst);
        eventually("the attacker's connections end", || {
            ended() == self.connections()
        })
        .await
    }

    /// Waits until all of its connections have ended, and forgets them.
    ///
    /// # Errors
    /// When it read an application byte of a victim, or no victim connected to it.
    pub async fn expect_no_plaintext(&self) -> Result {
        self.wait_until_closed().await?;
        let (connections, bytes) = (self.connections(), self.bytes_from_victim());
        self.clear();
        match (connections, bytes) {
            (0, _) => Err("no client connected to the attacker".into()),
            (_, 0) => Ok(()),
            (_, bytes) => Err(format!("the attacker read {bytes} application bytes").into()),
        }
    }

    /// Waits until all of its connections have ended, and forgets them.
    ///
    /// # Errors
    /// When the attacker did not read both secrets.
    pub async fn expect_both_secrets(&self) -> Result {
        self.wait_until_closed().await?;
        let complete = self.has_both_secrets();
        self.clear();
        match complete {
            true => Ok(()),
            false => Err("the attacker did not read both secrets".into()),
        }
    }

    /// How many TLS handshakes with victims it completed.
    pub fn handshakes(&self) -> usize {
        self.0.handshakes.load(Ordering::SeqCst)
    }

    /// How many of these resumed an earlier session: the victim saw no certificate.
    pub fn resumptions(&self) -> usize {
        self.0.resumptions.load(Ordering::SeqCst)
    }

    /// How many ClientHellos offered it a ticket.
    pub fn tickets_offered(&self) -> usize {
        self.0.tickets_offered.load(Ordering::SeqCst)
    }

    /// Forgets everything.
    pub fn clear(&self) {
        let Inner {
            from_victim,
            from_server,
            connections,
            ended,
            handshakes,
            resumptions,
            tickets_offered,
        } = &*self.0;
        for plaintext in [from_victim, from_server] {
            plaintext.total.store(0, Ordering::SeqCst);
            plaintext.lock().clear();
        }
        for count in [connections, ended, handshakes, resumptions, tickets_offered] {
            count.store(0, Ordering::SeqCst);
        }
    }

    pub(crate) fn record_from_victim(&self, bytes: &[u8]) {
        self.0.from_victim.record(bytes);
    }

    pub(crate) fn record_from_server(&self, bytes: &[u8]) {
        self.0.from_server.record(bytes);
    }

    pub(crate) fn count_connection(&self, offers_ticket: bool) {
        self.0.connections.fetch_add(1, Ordering::SeqCst);
        let offered = usize::from(offers_ticket);
        self.0.tickets_offered.fetch_add(offered, Ordering::SeqCst);
    }

    pub(crate) fn count_end(&self) {
        self.0.ended.fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn count_handshake(&self, resumed: bool) {
        self.0.handshakes.fetch_add(1, Ordering::SeqCst);
        let resumed = usize::from(resumed);
        self.0.resumptions.fetch_add(resumed, Ordering::SeqCst);
    }
}

impl Plaintext {
    fn record(&self, bytes: &[u8]) {
        self.total.fetch_add(bytes.len(), Ordering::SeqCst);
        let mut kept = self.lock();
        let room = KEPT.saturating_sub(kept.len()).min(bytes.len());
        kept.extend_from_slice(&bytes[..room]);
    }

    fn contains(&self, secret: &str) -> bool {
        let bytes = self.lock();
        bytes
            .windows(secret.len())
            .any(|window| window == secret.as_bytes())
    }

    fn lock(&self) -> MutexGuard<'_, Vec<u8>> {
        self.bytes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
