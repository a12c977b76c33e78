//! The test vectors that `docs/protocol.md` publishes, computed by the library.

use std::collections::HashMap;

use mtls_core::proto::binding::{
    Association, Binding, Bindings, HelloHash, SideContext, SideSecret,
};

const PAGE: &str = include_str!("../../docs/protocol.md");

type Fields = HashMap<&'static str, Vec<u8>>;

#[test]
fn published_vectors_are_what_the_library_computes() {
    let mut blocks = blocks();
    let common = blocks.remove(0);
    let association = Association::from_client_random(&array(&common, "client_random"));
    assert_eq!(association.0.as_slice(), common["association"]);
    assert_eq!(blocks.len(), 3);
    for block in blocks {
        let (binding, secret) = match block.get("exporter_secret") {
            Some(secret) => (Binding::Exporter, SideSecret::from_exporter_secret(secret)),
            None => {
                let hello = HelloHash(array(&block, "hello_hash"));
                (Binding::Hello, Some(SideSecret::from_hello(&hello)))
            }
        };
        let secret = secret.expect("a length of a suite's hash");
        let context = SideContext::new(
            &association,
            &array(&common, "nonce_c"),
            Bindings(common["bindings"][0]),
            &array(&common, "nonce_s"),
            binding,
        );
        let values = secret.values(&context);
        assert_eq!(secret.as_bytes().as_slice(), block["side_secret"]);
        assert_eq!(context.as_bytes().as_slice(), block["side_context"]);
        assert_eq!(values.server.0.as_slice(), block["server_value"]);
        assert_eq!(values.client.0.as_slice(), block["client_value"]);
    }
}

/// The fields of each paragraph of the page's section.
fn blocks() -> Vec<Fields> {
    let (_, section) = PAGE.split_once("### 4.6 Test vectors").expect("a section");
    let (_, code) = section.split_once("```text\n").expect("a code block");
    let (code, _) = code.split_once("```").expect("its end");
    code.trim().split("\n\n").map(fields).collect()
}

fn fields(block: &'static str) -> Fields {
    let lines = block.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let (name, value) = line.split_once('=').expect("`name = value`");
            (name.trim(), bytes(value.trim()))
        })
        .collect()
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hexadecimal digits"))
        .collect()
}

fn array(fields: &Fields, name: &str) -> [u8; 32] {
    fields[name].as_slice().try_into().expect("32 bytes")
}
