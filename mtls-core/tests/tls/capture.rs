//! The bytes of one connection, in the order in which they passed.

use mtls_core::proto::binding::{HelloHash, Role};
use mtls_core::proto::error::HelloError;
use mtls_core::proto::hello::{Hello, HelloTap};
use sha2::{Digest, Sha256};

/// Bytes that passed in one piece.
#[derive(Clone)]
pub(crate) struct Chunk {
    pub(crate) from: Role,
    pub(crate) bytes: Vec<u8>,
}

#[derive(Clone, Default)]
pub(crate) struct Capture {
    pub(crate) chunks: Vec<Chunk>,
}

impl Capture {
    /// Adds bytes; a turn of one end is one chunk, however it came.
    pub(crate) fn push(&mut self, from: Role, bytes: &[u8]) {
        match self.chunks.last_mut() {
            Some(last) if last.from == from => last.bytes.extend_from_slice(bytes),
            _ => self.chunks.push(Chunk {
                from,
                bytes: bytes.to_vec(),
            }),
        }
    }

    /// Feeds a new tap with all of it, in pieces of at most so many bytes.
    pub(crate) fn tap(&self, piece: usize) -> Result<HelloTap, HelloError> {
        let mut tap = HelloTap::new();
        for Chunk { from, bytes } in &self.chunks {
            for piece in bytes.chunks(piece) {
                feed(&mut tap, *from, piece)?;
            }
        }
        Ok(tap)
    }

    pub(crate) fn hello(&self) -> Hello {
        let tap = self.tap(usize::MAX).expect("an honest handshake");
        tap.hello().expect("the capture has all hellos")
    }

    /// The hellos, straightforwardly: whole records in order, each with one message.
    pub(crate) fn messages(&self) -> Vec<Message> {
        let mut messages = Vec::new();
        for (chunk, Chunk { from, bytes }) in self.chunks.iter().enumerate() {
            let mut offset = 0;
            while offset < bytes.len() {
                let len = usize::from(u16::from_be_bytes([bytes[offset + 3], bytes[offset + 4]]));
                let content = &bytes[offset + 5..][..len];
                if bytes[offset] == 22 {
                    messages.push(Message {
                        from: *from,
                        chunk,
                        offset: offset + 5,
                        bytes: content.to_vec(),
                    });
                    let is_last = content[0] == 2 && content[6..38] != *retry_request_random();
                    if is_last {
                        return messages;
                    }
                }
                offset += 5 + len;
            }
        }
        panic!("the capture has no ServerHello");
    }

    /// The hash of section 4.3, without the tap.
    pub(crate) fn reference_hash(&self) -> HelloHash {
        let messages = self.messages();
        let bytes: Vec<u8> = messages.into_iter().flat_map(|m| m.bytes).collect();
        HelloHash(Sha256::digest(bytes).into())
    }
}

/// One hello, with its place in the capture.
pub(crate) struct Message {
    pub(crate) from: Role,
    pub(crate) chunk: usize,
    pub(crate) offset: usize,
    pub(crate) bytes: Vec<u8>,
}

pub(crate) fn feed(tap: &mut HelloTap, from: Role, bytes: &[u8]) -> Result<(), HelloError> {
    match from {
        Role::Client => tap.client_bytes(bytes),
        Role::Server => tap.server_bytes(bytes),
    }
}

/// RFC 8446, section 4.1.3.
fn retry_request_random() -> Box<[u8]> {
    Sha256::digest("HelloRetryRequest").to_vec().into()
}
