//! The two machines against one another, and each against a peer that misbehaves.

mod endings;
mod exchange;
mod frames;
mod messages;
mod properties;
mod server;
mod values;

use std::time::{Duration, Instant};

use super::binding::{
    Association, Binding, Bindings, HelloHash, Nonce, SideContext, SideSecret, SideSecrets, Value,
};
use super::client::{
    Check, ClientOutcome, ClientVerifier, InterceptionReason, Peer, SideFailure, TlsVersion,
};
use super::error::{FrameError, SideMisbehaved};
use super::frame::{Frame, FrameBody, FrameReader, GREETING, RejectCode};
use super::server::{
    HandshakeKeys, Lookup, LookupMode, RegistrationId, ServerEvent, ServerLimits, ServerVerifier,
};

const REGISTRATION: RegistrationId = RegistrationId(7);

fn association() -> Association {
    Association::from_client_random(&[9; 32])
}

/// A client, a server, and a link between them that tests can cut.
struct Pair {
    client: ClientVerifier,
    server: ServerVerifier,
    keys: HandshakeKeys,
    now: Instant,
    nonces: u64,
}

fn hello_keys(byte: u8) -> HandshakeKeys {
    HandshakeKeys::Tls13(SideSecrets::from_hello(&HelloHash([byte; 32])))
}

impl Pair {
    fn new() -> Self {
        Self::offering(Bindings::ALL)
    }

    fn offering(bindings: Bindings) -> Self {
        let mut pair = Self {
            client: ClientVerifier::new(association(), bindings),
            server: ServerVerifier::new(ServerLimits::default()),
            keys: hello_keys(1),
            now: Instant::now(),
            nonces: 0,
        };
        let nonce = pair.nonce();
        pair.client.handle_link(nonce);
        pair.client.set_deadline(pair.now + Duration::from_secs(3));
        pair
    }

    fn nonce(&mut self) -> Nonce {
        self.nonces += 1;
        let mut nonce = [0; 32];
        nonce[..8].copy_from_slice(&self.nonces.to_be_bytes());
        nonce
    }

    fn deliver_to_server(&mut self) -> Vec<Frame> {
        let frames: Vec<_> = std::iter::from_fn(|| self.client.poll_transmit()).collect();
        for frame in &frames {
            self.server.handle_frame(frame, self.now);
        }
        frames
    }

    fn deliver_to_client(&mut self) -> Vec<Frame> {
        let frames: Vec<_> = std::iter::from_fn(|| self.server.poll_transmit()).collect();
        self.client.handle_peer(Peer::Greeted);
        for frame in &frames {
            let nonce = self.nonce();
            self.client.handle_frame(frame, nonce);
        }
        frames
    }

    fn events(&mut self) -> Vec<ServerEvent> {
        std::iter::from_fn(|| self.server.poll_event()).collect()
    }

    fn found(&mut self) {
        let keys = self.keys.clone();
        let found = Lookup::Found {
            registration: REGISTRATION,
            keys: &keys,
        };
        self.looked_up(&found);
    }

    fn looked_up(&mut self, lookup: &Lookup<'_>) {
        let nonce = self.nonce();
        self.server
            .handle_lookup(association(), lookup, nonce, self.now);
    }

    fn tls_complete(&mut self) {
        let nonce = self.nonce();
        self.client.handle_tls_complete(TlsVersion::Tls13, nonce);
    }

    /// Answers a check as the client whose hellos hash to `byte`.
    fn check(&mut self, byte: u8) -> Option<Check> {
        let check = self.client.poll_check()?;
        assert_eq!(check.binding, Binding::Hello);
        let values = SideSecret::from_hello(&HelloHash([byte; 32])).values(&check.context);
        self.client.handle_values(&values);
        Some(check)
    }

    fn failure(&self) -> SideFailure {
        match self.client.outcome() {
            ClientOutcome::Failed(failure) => failure,
            other => panic!("expected a failure, got {other:?}"),
        }
    }
}
