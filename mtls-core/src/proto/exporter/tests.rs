use super::*;

/// RFC 8448, section 3: "derive secret "tls13 exp master"".
#[test]
fn expand_label_gives_the_exporter_secret_of_rfc_8448() {
    let master = hex("18df06843d13a08bf2a449844c5f8a478001bc4d4c627984d5a41da8d0402919");
    let transcript = hex("9608102a0f1ccc6db6250b7b7e417b1a000eaada3daae4777a7686c9ff83df13");
    let mut secret = [0; 32];
    expand_label::<Sha256>(&master, b"exp master", &transcript, &mut secret);
    assert_eq!(
        secret.as_slice(),
        hex("fe22f881176eda18eb8f44529e6792c50c9a3f89452f68d8ae311b4309d3cf50")
    );
}

#[test]
fn secrets_of_other_lengths_are_refused() {
    for len in 0..100 {
        let mut out = [0; 32];
        let exported = tls_exporter(&vec![1; len], b"label", b"", &mut out);
        assert_eq!(exported.is_some(), len == 32 || len == 48, "{len} bytes");
        assert_eq!(out != [0; 32], exported.is_some(), "{len} bytes");
    }
}

#[test]
fn label_context_secret_and_hash_all_change_the_value() {
    let export = |secret: &[u8], label: &[u8], context: &[u8]| {
        let mut out = [0; 32];
        tls_exporter(secret, label, context, &mut out).expect("a length of a suite's hash");
        out
    };
    let values = [
        export(&[1; 32], b"label", b""),
        export(&[2; 32], b"label", b""),
        export(&[1; 48], b"label", b""),
        export(&[1; 32], b"other", b""),
        export(&[1; 32], b"label", b"context"),
    ];
    for (i, value) in values.iter().enumerate() {
        assert!(!values[..i].contains(value), "value {i} repeats");
    }
}

fn hex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|i| u8::from_str_radix(&text[i..i + 2], 16).expect("hexadecimal digits"))
        .collect()
}
