//! Both machines over two streams of bytes, under arbitrary interleavings and arbitrary pieces.

use std::collections::VecDeque;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

const DEADLINE: Duration = Duration::from_secs(3);
/// The hellos of the client.
const CLIENT_HELLOS: u8 = 1;

/// A step of a network without faults: every byte arrives, in order, in pieces of any size.
#[derive(Clone, Debug)]
enum Honest {
    ToServer(usize),
    ToClient(usize),
    /// The server's first flight has left.
    Register,
    /// The client's handshake is complete; the server has registered it before.
    TlsComplete,
    /// The registry answers what it can.
    Answer,
}

/// A step of an attacker, or of a fault.
#[derive(Clone, Debug)]
enum Hostile {
    Honest(Honest),
    /// The side connection ends.
    Disconnect {
        reused: bool,
    },
    Wait(u64),
    /// The registry has no place, or does not answer.
    Turn {
        unavailable: bool,
    },
    BytesToServer(Vec<u8>),
    BytesToClient(Vec<u8>),
    FrameToServer(Forged),
    FrameToClient(Forged),
    /// A frame that was sent before, in either direction.
    Repeat {
        which: usize,
        to_server: bool,
    },
}

/// A frame about the handshake, made without its secrets.
#[derive(Clone, Debug)]
struct Forged {
    kind: u8,
    bytes: [u8; 32],
    code: u16,
}

fn honest() -> impl Strategy<Value = Honest> {
    prop_oneof![
        3 => (1_usize..70).prop_map(Honest::ToServer),
        3 => (1_usize..70).prop_map(Honest::ToClient),
        1 => Just(Honest::Register),
        1 => Just(Honest::TlsComplete),
        2 => Just(Honest::Answer),
    ]
}

/// Of a network that loses connections and time.
fn faulty() -> impl Strategy<Value = Hostile> {
    prop_oneof![
        10 => honest().prop_map(Hostile::Honest),
        1 => any::<bool>().prop_map(|reused| Hostile::Disconnect { reused }),
        1 => (1_u64..2_000).prop_map(Hostile::Wait),
        1 => any::<bool>().prop_map(|unavailable| Hostile::Turn { unavailable }),
    ]
}

fn forged() -> impl Strategy<Value = Forged> {
    (0_u8..5, any::<[u8; 32]>(), 1_u16..9).prop_map(|(kind, bytes, code)| Forged {
        kind,
        bytes,
        code,
    })
}

fn hostile() -> impl Strategy<Value = Hostile> {
    let bytes = || vec(any::<u8>(), 0..40);
    prop_oneof![
        6 => faulty(),
        1 => bytes().prop_map(Hostile::BytesToServer),
        1 => bytes().prop_map(Hostile::BytesToClient),
        2 => forged().prop_map(Hostile::FrameToServer),
        2 => forged().prop_map(Hostile::FrameToClient),
        1 => (any::<usize>(), any::<bool>())
            .prop_map(|(which, to_server)| Hostile::Repeat { which, to_server }),
    ]
}

impl Forged {
    /// Decoded from bytes, as every frame of an attacker's is.
    fn frame(&self) -> Frame {
        let mut bytes = vec![self.kind + 1];
        let fields: Vec<u8> = match self.kind {
            0 => [&self.bytes[..], &[3]].concat(),
            1 => [&self.bytes[..], &[1], &self.bytes].concat(),
            2 => self.bytes.to_vec(),
            3 => Vec::new(),
            _ => self.code.to_be_bytes().to_vec(),
        };
        let len = u16::try_from(16 + fields.len()).expect("a short frame");
        bytes.extend(len.to_be_bytes());
        bytes.extend(association().0);
        bytes.extend(fields);
        let decoded = Frame::decode(&bytes).expect("a frame");
        decoded.expect("a whole frame").0
    }
}

/// Both ends, and the bytes between them.
struct Ends {
    pair: Pair,
    to_server: VecDeque<u8>,
    to_client: VecDeque<u8>,
    server_reader: FrameReader,
    client_reader: FrameReader,
    lookup: Option<LookupMode>,
    registered: bool,
    complete: bool,
    sent: Vec<Frame>,
    confirmed: usize,
    disputed: usize,
    /// The end of the side connection, or its garbage, was reported to the client.
    dead: bool,
}

impl Ends {
    /// Ends of one handshake, or of two, with an attacker between them.
    fn new(server_hellos: u8) -> Self {
        let mut pair = Pair::new();
        pair.keys = hello_keys(server_hellos);
        let mut ends = Self {
            pair,
            to_server: GREETING.into(),
            to_client: GREETING.into(),
            server_reader: FrameReader::new(),
            client_reader: FrameReader::new(),
            lookup: None,
            registered: false,
            complete: false,
            sent: Vec::new(),
            confirmed: 0,
            disputed: 0,
            dead: false,
        };
        ends.collect();
        ends
    }

    /// Moves what both machines have to say onto the streams.
    fn collect(&mut self) {
        self.pair.check(CLIENT_HELLOS);
        while let Some(frame) = self.pair.client.poll_transmit() {
            self.send(frame, true);
        }
        while let Some(frame) = self.pair.server.poll_transmit() {
            self.send(frame, false);
        }
        for event in self.pair.events() {
            match event {
                ServerEvent::Lookup { mode, .. } => self.lookup = Some(mode),
                ServerEvent::CancelLookup(_) => self.lookup = None,
                ServerEvent::Confirmed(_) => self.confirmed += 1,
                ServerEvent::Disputed(_) => self.disputed += 1,
            }
        }
        let limit = ServerLimits::default().exchanges;
        assert!(self.pair.server.exchanges() <= limit);
    }

    fn send(&mut self, frame: Frame, to_server: bool) {
        let mut bytes = Vec::new();
        frame.encode(&mut bytes);
        self.sent.push(frame);
        match to_server {
            true => self.to_server.extend(bytes),
            false => self.to_client.extend(bytes),
        }
    }

    fn honest(&mut self, step: &Honest) {
        match *step {
            Honest::ToServer(bytes) => self.deliver_to_server(bytes),
            Honest::ToClient(bytes) => self.deliver_to_client(bytes),
            Honest::Register => self.registered = true,
            Honest::TlsComplete => {
                self.registered = true;
                self.complete = true;
                self.pair.tls_complete();
            }
            Honest::Answer => self.answer(),
        }
        self.collect();
    }

    fn hostile(&mut self, step: &Hostile) {
        match step {
            Hostile::Honest(step) => self.honest(step),
            Hostile::Disconnect { reused } => self.disconnect(*reused),
            Hostile::Wait(millis) => self.wait(Duration::from_millis(*millis)),
            Hostile::Turn { unavailable } => {
                if self.lookup.take().is_some() {
                    self.pair.looked_up(match unavailable {
                        true => &Lookup::Unavailable,
                        false => &Lookup::Busy,
                    });
                }
            }
            Hostile::BytesToServer(bytes) => self.to_server.extend(bytes),
            Hostile::BytesToClient(bytes) => self.to_client.extend(bytes),
            Hostile::FrameToServer(forged) => {
                self.pair
                    .server
                    .handle_frame(&forged.frame(), self.pair.now);
            }
            Hostile::FrameToClient(forged) => {
                let nonce = self.pair.nonce();
                self.pair.client.handle_frame(&forged.frame(), nonce);
            }
            Hostile::Repeat { which, to_server } => {
                if let Some(frame) = self.sent.get(which % self.sent.len().max(1)).copied() {
                    self.send(frame, *to_server);
                }
            }
        }
        self.collect();
    }

    fn deliver_to_server(&mut self, bytes: usize) {
        let piece = take(&mut self.to_server, bytes);
        let (server, now) = (&mut self.pair.server, self.pair.now);
        let each = |frame: Frame| server.handle_frame(&frame, now);
        if self.server_reader.read(&piece, each).is_err() {
            self.disconnect(false);
        }
    }

    fn deliver_to_client(&mut self, bytes: usize) {
        let piece = take(&mut self.to_client, bytes);
        let mut frames = Vec::new();
        let read = self.client_reader.read(&piece, |frame| frames.push(frame));
        if self.client_reader.greeted() {
            self.pair.client.handle_peer(Peer::Greeted);
        }
        for frame in frames {
            let nonce = self.pair.nonce();
            self.pair.client.handle_frame(&frame, nonce);
            self.pair.check(CLIENT_HELLOS);
        }
        if read.is_err() && !self.dead {
            self.dead = true;
            self.pair.client.handle_garbage();
        }
    }

    /// The answer of a registry: nothing before the registration. An Open waits for it.
    fn answer(&mut self) {
        match self.lookup {
            Some(LookupMode::UntilFlushed) if !self.registered => {}
            Some(LookupMode::Immediate) if !self.registered => {
                self.lookup = None;
                self.pair.looked_up(&Lookup::Unknown);
            }
            Some(_) => {
                self.lookup = None;
                self.pair.found();
            }
            None => {}
        }
    }

    /// The connection ends, and with it the server's machine; another one where the client wants it.
    fn disconnect(&mut self, reused: bool) {
        self.pair.client.handle_disconnected(reused);
        self.pair.server = ServerVerifier::new(ServerLimits::default());
        self.lookup = None;
        self.to_server = GREETING.into();
        self.to_client = GREETING.into();
        self.server_reader = FrameReader::new();
        self.client_reader = FrameReader::new();
        self.dead = false;
        if self.pair.client.wants_connection() {
            let nonce = self.pair.nonce();
            self.pair.client.handle_link(nonce);
        }
    }

    fn wait(&mut self, time: Duration) {
        self.pair.now += time;
        self.pair.client.handle_timeout(self.pair.now);
        self.pair.server.handle_timeout(self.pair.now);
    }

    /// Completes the handshake and delivers all that waits.
    fn drain(&mut self) {
        self.honest(&Honest::TlsComplete);
        // Each round of an exchange is one of these, and reopening is limited.
        for _ in 0..32 {
            self.honest(&Honest::ToServer(usize::MAX));
            self.honest(&Honest::Answer);
            self.honest(&Honest::ToClient(usize::MAX));
        }
        assert!(self.to_server.is_empty() && self.to_client.is_empty());
    }
}

fn take(bytes: &mut VecDeque<u8>, count: usize) -> Vec<u8> {
    let count = count.min(bytes.len());
    bytes.drain(..count).collect()
}

fn is_verified(ends: &Ends) -> bool {
    matches!(ends.pair.client.outcome(), ClientOutcome::Verified(_))
}

fn is_intercepted(ends: &Ends) -> bool {
    matches!(
        ends.pair.client.outcome(),
        ClientOutcome::Failed(SideFailure::Interception(_))
    )
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn honest_ends_verify_in_every_order_and_in_pieces_of_every_size(
        steps in vec(honest(), 0..60),
    ) {
        let mut ends = Ends::new(CLIENT_HELLOS);
        for step in &steps {
            ends.honest(step);
        }
        ends.drain();
        prop_assert!(is_verified(&ends), "{:?}", ends.pair.client.outcome());
        prop_assert_eq!((ends.confirmed, ends.disputed), (1, 0));
        prop_assert_eq!(ends.pair.server.exchanges(), 0);
        let rejects = |frame: &&Frame| matches!(frame.body, FrameBody::Reject { .. });
        prop_assert_eq!(ends.sent.iter().find(rejects), None);
    }

    #[test]
    fn faults_alone_are_never_taken_for_an_attack_and_end_at_the_deadline(
        steps in vec(faulty(), 0..60),
    ) {
        let mut ends = Ends::new(CLIENT_HELLOS);
        for step in &steps {
            ends.hostile(step);
            prop_assert!(!is_intercepted(&ends), "{:?}", ends.pair.client.outcome());
            prop_assert_eq!(ends.disputed, 0);
        }
        ends.wait(DEADLINE);
        prop_assert_ne!(ends.pair.client.outcome(), ClientOutcome::Pending);
        prop_assert!(ends.confirmed == 0 || is_verified(&ends));
    }

    #[test]
    fn no_interleaving_verifies_a_man_in_the_middle(
        steps in vec(hostile(), 0..60),
    ) {
        let mut ends = Ends::new(CLIENT_HELLOS + 1);
        for step in &steps {
            ends.hostile(step);
            prop_assert!(!is_verified(&ends));
            prop_assert_eq!(ends.confirmed, 0);
        }
        ends.wait(DEADLINE);
        prop_assert!(matches!(ends.pair.client.outcome(), ClientOutcome::Failed(_)));
    }

    #[test]
    fn a_man_in_the_middle_who_lets_the_side_path_work_is_noticed(
        steps in vec(honest(), 0..60),
        copies_random in any::<bool>(),
    ) {
        let mut ends = Ends::new(CLIENT_HELLOS + 1);
        if !copies_random {
            // The server never registers the client's association.
            for step in steps.iter().filter(|step| !matches!(step, Honest::Register)) {
                ends.honest(step);
                ends.registered = false;
            }
            ends.pair.tls_complete();
            ends.collect();
            for _ in 0..32 {
                ends.honest(&Honest::ToServer(usize::MAX));
                ends.honest(&Honest::Answer);
                ends.honest(&Honest::ToClient(usize::MAX));
            }
            let unknown = SideFailure::Interception(InterceptionReason::UnknownHandshake);
            prop_assert_eq!(ends.pair.failure(), unknown);
        } else {
            for step in &steps {
                ends.honest(step);
            }
            ends.drain();
            let wrong = SideFailure::Interception(InterceptionReason::WrongValue);
            prop_assert_eq!(ends.pair.failure(), wrong);
        }
        prop_assert_eq!(ends.confirmed, 0);
    }
}
