//! Hellos put together by hand: one for each place of refusal, and the odd that must pass.

mod crypto;
mod messages;
mod progress;
mod properties;
mod records;

use super::*;

const CLIENT: Role = Role::Client;
const SERVER: Role = Role::Server;

const RETRY_RANDOM: &str = "HelloRetryRequest";

const KEY_SHARE: [u8; 8] = [0, 29, 0, 4, 1, 2, 3, 4];

fn feed(tap: &mut HelloTap, from: Role, bytes: &[u8]) -> Result<(), HelloError> {
    match from {
        Role::Client => tap.client_bytes(bytes),
        Role::Server => tap.server_bytes(bytes),
    }
}

/// A tap that has seen a ClientHello.
fn offered() -> HelloTap {
    let mut tap = HelloTap::new();
    tap.client_bytes(&record(22, &client_hello(&[])))
        .expect("a ClientHello");
    tap
}

/// A tap that has seen a HelloRetryRequest.
fn retried() -> HelloTap {
    let mut tap = offered();
    tap.server_bytes(&record(22, &retry_request()))
        .expect("a HelloRetryRequest");
    tap
}

/// A tap that has seen all.
fn complete() -> HelloTap {
    let mut tap = offered();
    tap.server_bytes(&record(22, &server_hello()))
        .expect("a ServerHello");
    tap
}

fn hash(messages: &[&[u8]]) -> HelloHash {
    HelloHash(Sha256::digest(messages.concat()).into())
}

fn trailing(message: &'static str, field: &'static str) -> HelloError {
    HelloError::TrailingBytes {
        message,
        field,
        trailing: 1,
    }
}

fn record(kind: u8, content: &[u8]) -> Vec<u8> {
    [&[kind, 3, 3], &vector16(content)[..]].concat()
}

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let len = u32::try_from(body.len())
        .expect("a short message")
        .to_be_bytes();
    [&[kind], &len[1..], body].concat()
}

fn client_hello(extensions: &[(u16, &[u8])]) -> Vec<u8> {
    message(1, &client_body(32, 4, 1, extensions))
}

fn client_body(
    session: usize,
    suites: usize,
    compression: usize,
    extensions: &[(u16, &[u8])],
) -> Vec<u8> {
    [
        &[3, 3][..],
        &[7; 32],
        &vector8(&vec![8; session]),
        &vector16(&vec![0x13; suites]),
        &vector8(&vec![0; compression]),
        &vector16(&extension_list(extensions)),
    ]
    .concat()
}

fn server_hello() -> Vec<u8> {
    server_hello_with(&[9; 32], &[(43, &[3, 4]), (51, &KEY_SHARE)])
}

fn retry_request() -> Vec<u8> {
    server_hello_with(&retry_random(), &[(43, &[3, 4]), (51, &[0, 23])])
}

fn retry_random() -> [u8; 32] {
    Sha256::digest(RETRY_RANDOM).into()
}

fn server_hello_with(random: &[u8; 32], extensions: &[(u16, &[u8])]) -> Vec<u8> {
    let extensions = vector16(&extension_list(extensions));
    let body = [
        &[3, 3][..],
        random,
        &vector8(&[8; 32]),
        &[0x13, 1, 0],
        &extensions,
    ]
    .concat();
    message(2, &body)
}

fn sni(name: &[u8]) -> Vec<u8> {
    vector16(&[&[0], &vector16(name)[..]].concat())
}

fn extension_list(extensions: &[(u16, &[u8])]) -> Vec<u8> {
    extensions
        .iter()
        .flat_map(|(kind, data)| [&kind.to_be_bytes()[..], &vector16(data)].concat())
        .collect()
}

fn vector8(content: &[u8]) -> Vec<u8> {
    [
        &[u8::try_from(content.len()).expect("a short vector")],
        content,
    ]
    .concat()
}

fn vector16(content: &[u8]) -> Vec<u8> {
    let len = u16::try_from(content.len()).expect("a short vector");
    [&len.to_be_bytes()[..], content].concat()
}
