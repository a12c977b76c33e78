//! The two machines with an attacker between them who delivers, drops, repeats and makes up frames:
//! a client verifies only what its own server holds, and every queue stays within its bound.

#![no_main]

use std::time::{Duration, Instant};

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use mtls_core::proto::binding::{
    Association, Binding, Bindings, HelloHash, SideSecret, SideSecrets, Value,
};
use mtls_core::proto::client::{ClientOutcome, ClientVerifier, Peer, TlsVersion};
use mtls_core::proto::frame::{Frame, FrameBody, RejectCode};
use mtls_core::proto::server::{
    HandshakeKeys, Lookup, RegistrationId, ServerEvent, ServerLimits, ServerVerifier,
};

const EXCHANGES: usize = 4;

#[derive(Arbitrary, Debug)]
struct Run {
    /// Whether both ends hold the same hellos. If not, an attacker is on the primary path.
    same_hellos: bool,
    steps: Vec<Step>,
}

#[derive(Arbitrary, Debug)]
enum Step {
    /// Everything that waits is delivered and answered, as without an attacker.
    Honest,
    ToServer,
    ToClient,
    DropToServer,
    DropToClient,
    RepeatToServer(u8),
    RepeatToClient(u8),
    ForgeToServer(Forged),
    ForgeToClient(Forged),
    TlsComplete {
        older: bool,
    },
    Answer {
        busy: bool,
    },
    Unknown,
    Disconnect {
        reused: bool,
    },
    Link,
    Wait(u16),
}

#[derive(Arbitrary, Debug)]
struct Forged {
    other_handshake: Option<u8>,
    bytes: [u8; 32],
    kind: u8,
    code: u8,
}

struct Stage {
    client: ClientVerifier,
    server: ServerVerifier,
    client_hellos: HelloHash,
    keys: HandshakeKeys,
    now: Instant,
    nonces: u64,
    to_server: Vec<Frame>,
    to_client: Vec<Frame>,
    seen: Vec<Frame>,
    asked: Vec<Association>,
}

fuzz_target!(|run: Run| {
    let server_hellos = HelloHash([if run.same_hellos { 1 } else { 2 }; 32]);
    let mut limits = ServerLimits::default();
    limits.exchanges = EXCHANGES;
    let mut stage = Stage {
        client: ClientVerifier::new(association(0), Bindings::ALL),
        server: ServerVerifier::new(limits),
        client_hellos: HelloHash([1; 32]),
        keys: HandshakeKeys::Tls13(SideSecrets::from_hello(&server_hellos)),
        now: Instant::now(),
        nonces: 0,
        to_server: Vec::new(),
        to_client: Vec::new(),
        seen: Vec::new(),
        asked: Vec::new(),
    };
    let nonce = stage.nonce();
    stage.client.handle_link(nonce);
    stage.collect();
    stage
        .client
        .set_deadline(stage.now + Duration::from_secs(3));
    for step in &run.steps {
        stage.take(step);
        stage.collect();
        assert!(stage.server.exchanges() <= EXCHANGES);
        let verified = matches!(stage.client.outcome(), ClientOutcome::Verified(_));
        assert!(
            !verified || run.same_hellos,
            "a man in the middle was verified"
        );
    }
});

impl Stage {
    fn take(&mut self, step: &Step) {
        match step {
            Step::Honest => {
                self.deliver_to_server();
                self.collect();
                self.answer(false);
                self.collect();
                self.deliver_to_client();
            }
            Step::ToServer => self.deliver_to_server(),
            Step::ToClient => self.deliver_to_client(),
            Step::DropToServer => drop(pop(&mut self.to_server)),
            Step::DropToClient => drop(pop(&mut self.to_client)),
            Step::RepeatToServer(which) => self.repeat(*which, true),
            Step::RepeatToClient(which) => self.repeat(*which, false),
            Step::ForgeToServer(forged) => self.server.handle_frame(&forged.frame(), self.now),
            Step::ForgeToClient(forged) => self.give_client(&forged.frame()),
            Step::TlsComplete { older } => {
                let version = match older {
                    true => TlsVersion::Older,
                    false => TlsVersion::Tls13,
                };
                let nonce = self.nonce();
                self.client.handle_tls_complete(version, nonce);
            }
            Step::Answer { busy } => self.answer(*busy),
            Step::Unknown => self.look_up(&Lookup::Unknown),
            Step::Disconnect { reused } => self.client.handle_disconnected(*reused),
            Step::Link => {
                let nonce = self.nonce();
                self.client.handle_link(nonce);
            }
            Step::Wait(ms) => {
                self.now += Duration::from_millis(u64::from(*ms));
                self.client.handle_timeout(self.now);
                self.server.handle_timeout(self.now);
            }
        }
    }

    fn collect(&mut self) {
        if let Some(check) = self.client.poll_check() {
            let values = SideSecret::from_hello(&self.client_hellos).values(&check.context);
            self.client.handle_values(&values);
        }
        self.to_server
            .extend(std::iter::from_fn(|| self.client.poll_transmit()));
        self.to_client
            .extend(std::iter::from_fn(|| self.server.poll_transmit()));
        while let Some(event) = self.server.poll_event() {
            if let ServerEvent::Lookup { association, .. } = event {
                self.asked.push(association);
            }
        }
    }

    fn deliver_to_server(&mut self) {
        if let Some(frame) = pop(&mut self.to_server) {
            self.seen.push(frame);
            self.server.handle_frame(&frame, self.now);
        }
    }

    fn deliver_to_client(&mut self) {
        if let Some(frame) = pop(&mut self.to_client) {
            self.seen.push(frame);
            self.give_client(&frame);
        }
    }

    fn give_client(&mut self, frame: &Frame) {
        self.client.handle_peer(Peer::Greeted);
        let nonce = self.nonce();
        self.client.handle_frame(frame, nonce);
    }

    fn repeat(&mut self, which: u8, to_server: bool) {
        let Some(frame) = self.seen.get(usize::from(which)).copied() else {
            return;
        };
        match to_server {
            true => self.server.handle_frame(&frame, self.now),
            false => self.give_client(&frame),
        }
    }

    fn answer(&mut self, busy: bool) {
        let keys = self.keys.clone();
        self.look_up(&match busy {
            true => Lookup::Busy,
            false => Lookup::Found {
                registration: RegistrationId(1),
                keys: &keys,
            },
        });
    }

    /// Only the client's own handshake is known here.
    fn look_up(&mut self, lookup: &Lookup<'_>) {
        let Some(asked) = self.asked.pop() else {
            return;
        };
        let lookup = match asked == association(0) {
            true => lookup.clone(),
            false => Lookup::Unknown,
        };
        let nonce = self.nonce();
        self.server.handle_lookup(asked, &lookup, nonce, self.now);
    }

    fn nonce(&mut self) -> [u8; 32] {
        self.nonces += 1;
        let mut nonce = [0; 32];
        nonce[..8].copy_from_slice(&self.nonces.to_be_bytes());
        nonce
    }
}

impl Forged {
    fn frame(&self) -> Frame {
        let code = match self.code % 8 {
            0 => RejectCode::Unknown,
            1 => RejectCode::EarlyWaitExpired,
            2 => RejectCode::Busy,
            3 => RejectCode::RegistryUnavailable,
            4 => RejectCode::NoCommonBinding,
            5 => RejectCode::Malformed,
            6 => RejectCode::WrongValue,
            _ => RejectCode::NotTls13,
        };
        let value = Value(self.bytes);
        Frame {
            association: association(self.other_handshake.unwrap_or(0)),
            body: match self.kind % 5 {
                0 => FrameBody::Open {
                    nonce_c: self.bytes,
                    bindings: Bindings::ALL,
                },
                1 => FrameBody::Proof {
                    nonce_s: self.bytes,
                    binding: Binding::Hello,
                    value,
                },
                2 => FrameBody::Confirm { value },
                3 => FrameBody::Done,
                _ => FrameBody::Reject { code },
            },
        }
    }
}

fn association(which: u8) -> Association {
    Association([which; Association::LEN])
}

fn pop(frames: &mut Vec<Frame>) -> Option<Frame> {
    (!frames.is_empty()).then(|| frames.remove(0))
}
