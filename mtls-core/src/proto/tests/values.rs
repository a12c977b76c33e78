//! The test vectors of `docs/protocol.md`, section 4.6, which an implementation of its own computed.

use super::*;

const NONCE_C: Nonce = [0x11; 32];
const NONCE_S: Nonce = [0x22; 32];
const ASSOCIATION: &str = "273e0366b38a87be2a7c5fd43d9066c2";

struct Vector {
    binding: Binding,
    secret: SideSecret,
    side_secret: &'static str,
    side_context: &'static str,
    server_value: &'static str,
    client_value: &'static str,
}

#[test]
fn values_are_those_of_the_specification() {
    let random: [u8; 32] = core::array::from_fn(|index| index as u8);
    let association = Association::from_client_random(&random);
    assert_eq!(association.to_string(), ASSOCIATION);
    for vector in vectors() {
        let binding = vector.binding;
        let context = SideContext::new(&association, &NONCE_C, Bindings::ALL, &NONCE_S, binding);
        assert_eq!(hex(vector.secret.as_bytes()), vector.side_secret);
        assert_eq!(hex(context.as_bytes()), vector.side_context);
        let values = vector.secret.values(&context);
        assert_eq!(hex(&values.server.0), vector.server_value);
        assert_eq!(hex(&values.client.0), vector.client_value);
    }
}

fn vectors() -> [Vector; 3] {
    let exported = |secret: &[u8]| {
        SideSecret::from_exporter_secret(secret).expect("a length of a suite's hash")
    };
    [
        Vector {
            binding: Binding::Hello,
            secret: SideSecret::from_hello(&HelloHash([0x33; 32])),
            side_secret: "a86165834d99e9481cdfebbb2580635b8471719570ec654f33124b1b6058b14e",
            side_context: "9548a4431acde5b106968516563ee51505d22ed412f0fc00cd41e63111424bfd",
            server_value: "f208823c29fb38248d31ea485049c0b17bb9a7991be5bc9df526901d5937947e",
            client_value: "63b342b75361ba9b675a7717a2ab0b6b7d507ace9674283df3de96b518b9dd2a",
        },
        Vector {
            binding: Binding::Exporter,
            secret: exported(&[0x44; 32]),
            side_secret: "00d47f9e82dd04d672c3517242642988f11ae2b490b9ef391b2143c05b2b0b23",
            side_context: "c803cd601b05730108fc1ab30980cedf3fcf5f6e69c528495e6abcd0ac1eaa34",
            server_value: "9ba5aaddde837978ec7186097cac6c5b53186ff1113e4701be0d485079e40b29",
            client_value: "df7e4d4b136bc3f7c50e85d67412e0008803604073877302a6b6df8fabe740de",
        },
        Vector {
            binding: Binding::Exporter,
            secret: exported(&[0x44; 48]),
            side_secret: "a3db8706907e90ab6dd3363b6318030c6562aab30a42c55ceae30e3c6de38881",
            side_context: "c803cd601b05730108fc1ab30980cedf3fcf5f6e69c528495e6abcd0ac1eaa34",
            server_value: "30b7b68410caf95abbcec5fc57915dc69281f6be393bc8821be421b78fcf0c64",
            client_value: "0017e2adb8170d4bcd54f046a491ecde59fe6a7b77f6084bdce5e664a831cfd8",
        },
    ]
}

#[test]
fn an_end_computes_values_only_for_the_bindings_it_has_a_secret_for() {
    let context =
        |binding| SideContext::new(&association(), &NONCE_C, Bindings::ALL, &NONCE_S, binding);
    let relay = SideSecrets::from_hello(&HelloHash([1; 32]));
    assert_eq!(relay.bindings(), Binding::Hello.into());
    let of_relay = |binding| relay.values(binding, &context(binding));
    assert_eq!(of_relay(Binding::Exporter), None);
    let hello = SideSecret::from_hello(&HelloHash([1; 32]));
    let expected = hello.values(&context(Binding::Hello));
    assert_eq!(of_relay(Binding::Hello), Some(expected));

    let with_keys = SideSecrets {
        exporter: Some(SideSecret::new([2; 32])),
        ..relay
    };
    assert_eq!(with_keys.bindings(), Bindings::ALL);
    let expected = SideSecret::new([2; 32]).values(&context(Binding::Exporter));
    let exporter = with_keys.values(Binding::Exporter, &context(Binding::Exporter));
    assert_eq!(exporter, Some(expected));
    assert_eq!(SideSecrets::default().bindings(), Bindings(0));
}

#[test]
fn debug_output_never_shows_a_secret_or_a_value() {
    let secrets = SideSecrets {
        exporter: Some(SideSecret::new([0xab; 32])),
        ..SideSecrets::from_hello(&HelloHash([1; 32]))
    };
    let printed = format!(
        "{:?} {:?}",
        HandshakeKeys::Tls13(secrets),
        Value([0xab; Value::LEN])
    );
    assert!(
        !printed.contains("171") && !printed.contains("ab,"),
        "{printed}"
    );
    assert_eq!(
        printed,
        "Tls13(SideSecrets { exporter: Some(SideSecret(..)), hello: Some(SideSecret(..)) }) \
         Value(..)"
    );
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
