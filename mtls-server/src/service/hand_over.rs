//! The registry of one process while another process takes its place, without a shared registry.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use mtls_core::proto::server::{Confirmation, HandshakeKeys, LookupMode};
use mtls_core::registry::{
    ConfirmedSide, LookupReply, LookupRequester, MemoryRegistry, PendingRegistry, RegisterError,
    Registration, RegistryKey, ServiceId,
};

/// The time after the start on inherited sockets in which another process may still hold a
/// handshake: the handshake and its tombstone take 10 s each by default.
const PREDECESSOR: Duration = Duration::from_secs(20);

/// A registry in memory that answers [`Unavailable`](LookupReply::Unavailable) in place of
/// [`Unknown`](LookupReply::Unknown) while another process may hold the handshake: a client would
/// report an interception.
#[derive(Clone, Debug)]
pub(crate) struct HandOver {
    registry: Arc<MemoryRegistry>,
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    /// The end of the time in which a predecessor may hold handshakes.
    certain_from: Instant,
    /// The next process may hold handshakes.
    is_ending: AtomicBool,
}

impl HandOver {
    /// The registry of a process that starts now. It may have a predecessor on the same sockets if
    /// they are inherited.
    pub(crate) fn start(has_inherited: bool) -> Self {
        let wait = if has_inherited {
            PREDECESSOR
        } else {
            Duration::ZERO
        };
        let state = State {
            certain_from: Instant::now() + wait,
            is_ending: AtomicBool::new(false),
        };
        Self {
            registry: Arc::default(),
            state: Arc::new(state),
        }
    }

    /// This process accepts no more connections.
    pub(crate) fn end(&self) {
        self.state.is_ending.store(true, Ordering::Relaxed);
    }

    pub(crate) fn memory(&self) -> &MemoryRegistry {
        &self.registry
    }
}

impl State {
    fn is_certain(&self) -> bool {
        !self.is_ending.load(Ordering::Relaxed) && Instant::now() >= self.certain_from
    }
}

impl PendingRegistry for HandOver {
    fn register(
        &self,
        key: RegistryKey,
        keys: HandshakeKeys,
    ) -> BoxFuture<'_, Result<Box<dyn Registration>, RegisterError>> {
        self.registry.register(key, keys)
    }

    fn look_up(
        &self,
        key: RegistryKey,
        mode: LookupMode,
        requester: LookupRequester,
    ) -> BoxFuture<'static, LookupReply> {
        let (found, state) = (
            self.registry.look_up(key, mode, requester),
            Arc::clone(&self.state),
        );
        let checked = found.map(move |reply| match reply {
            LookupReply::Unknown if !state.is_certain() => LookupReply::Unavailable,
            reply => reply,
        });
        checked.boxed()
    }

    fn confirm(&self, service: ServiceId, confirmed: ConfirmedSide) {
        self.registry.confirm(service, confirmed);
    }

    fn dispute(&self, service: ServiceId, dispute: Confirmation) {
        self.registry.dispute(service, dispute);
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use mtls_core::proto::binding::Association;

    use super::*;

    async fn unknown(registry: &HandOver) -> LookupReply {
        let key = RegistryKey {
            service: ServiceId::default(),
            association: Association::from_client_random(&[7; 32]),
        };
        let requester = LookupRequester::new(IpAddr::V4(Ipv4Addr::LOCALHOST), false);
        registry
            .look_up(key, LookupMode::Immediate, requester)
            .await
    }

    #[tokio::test]
    async fn an_unknown_handshake_is_unavailable_while_another_process_may_hold_it() {
        let alone = HandOver::start(false);
        assert!(matches!(unknown(&alone).await, LookupReply::Unknown));
        alone.end();
        assert!(matches!(unknown(&alone).await, LookupReply::Unavailable));
        let successor = HandOver::start(true);
        assert!(matches!(
            unknown(&successor).await,
            LookupReply::Unavailable
        ));
    }
}
