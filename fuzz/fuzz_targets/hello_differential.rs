//! Hellos that the tap accepts are what an independent parser reads: the same random, server name, early
//! data, cipher suite and group, and the hash is that of the messages that it finds.

#![no_main]

#[path = "common/pieces.rs"]
mod pieces;

use libfuzzer_sys::fuzz_target;
use mtls_core::proto::binding::Association;
use mtls_core::proto::hello::HelloTap;
use sha2::{Digest, Sha256};
use tls_parser::{
    IResult, TlsClientHelloContents, TlsExtension, TlsMessage, TlsMessageHandshake, TlsRecordType,
    TlsServerHelloContents, parse_tls_client_hello_extension, parse_tls_message_handshake,
    parse_tls_record_header, parse_tls_server_hello_extension,
};

/// `msg_type u8 | length u24`.
const HEADER: usize = 4;
/// The parser reads a ServerHello of another version otherwise, such as one of SSL 3.0 without extensions.
const LEGACY_VERSION: u16 = 0x0303;

fuzz_target!(|data: &[u8]| {
    let mut tap = HelloTap::new();
    let mut sent = [Vec::new(), Vec::new()];
    for (from_client, piece) in pieces::pieces(data) {
        sent[usize::from(from_client)].extend_from_slice(piece);
        let taken = match from_client {
            true => tap.client_bytes(piece),
            false => tap.server_bytes(piece),
        };
        if taken.is_err() {
            break;
        }
    }
    let [server, client] = sent;
    if tap.association().is_some() {
        compare_client(&tap, &client);
    }
    if tap.hello().is_some() {
        compare_server(&tap, &client, &server);
    }
});

fn compare_client(tap: &HelloTap, sent: &[u8]) {
    let message = messages(sent, 1).remove(0);
    let hello = client_hello(&message);
    let random = hello.random.try_into().expect("32 bytes");
    assert_eq!(
        tap.association(),
        Some(Association::from_client_random(random))
    );
    let extensions = extensions(hello.ext, parse_tls_client_hello_extension);
    let early_data = |extension: &TlsExtension| matches!(extension, TlsExtension::EarlyData(_));
    assert_eq!(tap.offers_early_data(), extensions.iter().any(early_data));
    let name = extensions.iter().find_map(|extension| match extension {
        TlsExtension::SNI(names) => names.iter().find(|(kind, _)| kind.0 == 0),
        _ => None,
    });
    let visible = name
        .map(|(_, name)| *name)
        .filter(|name| name.iter().all(u8::is_ascii_graphic));
    assert_eq!(tap.server_name().map(str::as_bytes), visible);
}

fn compare_server(tap: &HelloTap, client: &[u8], server: &[u8]) {
    let negotiated = tap.negotiated().expect("with the hellos");
    let rounds = if negotiated.retried { 2 } else { 1 };
    let (asked, answered) = (messages(client, rounds), messages(server, rounds));
    let mut digest = Sha256::new();
    for (asked, answered) in asked.iter().zip(&answered) {
        digest.update(asked);
        digest.update(answered);
    }
    let hash: [u8; 32] = digest.finalize().into();
    assert_eq!(tap.hello().map(|hello| hello.hello_hash.0), Some(hash));
    let message = &answered[rounds - 1];
    let Some(hello) = server_hello(message) else {
        return;
    };
    assert_eq!(hello.cipher.0, negotiated.cipher_suite);
    let extensions = extensions(hello.ext, parse_tls_server_hello_extension);
    let share = extensions.iter().find_map(|extension| match extension {
        TlsExtension::KeyShare(share) => share.first_chunk(),
        _ => None,
    });
    assert_eq!(
        share.copied().map(u16::from_be_bytes),
        Some(negotiated.group)
    );
    let psk = |extension: &TlsExtension| matches!(extension, TlsExtension::PreSharedKey(_));
    assert_eq!(extensions.iter().any(psk), negotiated.resumed);
}

/// The first handshake messages of one direction, with their headers.
fn messages(mut sent: &[u8], count: usize) -> Vec<Vec<u8>> {
    let mut content = Vec::new();
    let mut messages = Vec::new();
    while messages.len() < count {
        let (rest, header) = parse_tls_record_header(sent).expect("a record");
        // A message can be complete before its record is, which the tap refuses then.
        let (data, rest) = rest.split_at(rest.len().min(header.len.into()));
        sent = rest;
        if header.record_type == TlsRecordType::Handshake {
            content.extend_from_slice(data);
        }
        if let Some([_, a, b, c]) = content.first_chunk::<HEADER>() {
            let length = HEADER + u32::from_be_bytes([0, *a, *b, *c]) as usize;
            if content.len() >= length {
                messages.push(content.drain(..length).collect());
            }
        }
    }
    messages
}

fn client_hello(message: &[u8]) -> TlsClientHelloContents<'_> {
    match parse_tls_message_handshake(message) {
        Ok((_, TlsMessage::Handshake(TlsMessageHandshake::ClientHello(hello)))) => hello,
        other => panic!("expected a ClientHello, parsed {other:?}"),
    }
}

fn server_hello(message: &[u8]) -> Option<TlsServerHelloContents<'_>> {
    let version = message.get(HEADER..)?.first_chunk().copied();
    if version.map(u16::from_be_bytes) != Some(LEGACY_VERSION) {
        return None;
    }
    match parse_tls_message_handshake(message) {
        Ok((_, TlsMessage::Handshake(TlsMessageHandshake::ServerHello(hello)))) => Some(hello),
        other => panic!("expected a ServerHello, parsed {other:?}"),
    }
}

/// The extensions that the parser reads. It also refuses some whose contents mean nothing to the tap.
fn extensions<'a>(
    list: Option<&'a [u8]>,
    parse: impl Fn(&'a [u8]) -> IResult<&'a [u8], TlsExtension<'a>>,
) -> Vec<TlsExtension<'a>> {
    let mut rest = list.unwrap_or_default();
    let mut extensions = Vec::new();
    while let Some(([_, _, high, low], _)) = rest.split_first_chunk::<4>() {
        let length = 4 + usize::from(u16::from_be_bytes([*high, *low]));
        let (extension, after) = rest.split_at(length);
        extensions.extend(parse(extension).ok().map(|(_, extension)| extension));
        rest = after;
    }
    extensions
}
