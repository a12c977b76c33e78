//! Texts and tokens: what logs, verdicts and metrics show.

use super::*;
use crate::proto::binding::{Role, channel_binding_label};
use crate::proto::error::HelloError;

const CODES: [(u16, RejectCode, &str); 8] = [
    (1, RejectCode::Unknown, "unknown"),
    (2, RejectCode::EarlyWaitExpired, "early-wait-expired"),
    (3, RejectCode::Busy, "busy"),
    (4, RejectCode::RegistryUnavailable, "registry-unavailable"),
    (5, RejectCode::NoCommonBinding, "no-common-binding"),
    (6, RejectCode::Malformed, "malformed"),
    (7, RejectCode::WrongValue, "wrong-value"),
    (8, RejectCode::NotTls13, "not-tls13"),
];

#[test]
fn each_reject_code_has_its_number_and_its_token() {
    for (number, code, token) in CODES {
        let frame = Frame {
            association: association(),
            body: FrameBody::Reject { code },
        };
        let mut bytes = Vec::new();
        frame.encode(&mut bytes);
        assert_eq!(bytes[bytes.len() - 2..], number.to_be_bytes());
        assert_eq!(Frame::decode(&bytes), Ok(Some((frame, bytes.len()))));
        assert_eq!(code.as_str(), token);
        assert_eq!(
            SideFailure::Rejected(code).as_str(),
            format!("rejected-{token}")
        );
    }
}

#[test]
fn tokens_are_those_of_the_guide() {
    let interceptions = [
        (InterceptionReason::WrongValue, "wrong-value"),
        (InterceptionReason::UnknownHandshake, "unknown-handshake"),
        (InterceptionReason::Downgrade, "downgrade"),
    ];
    for (reason, token) in interceptions {
        assert_eq!(reason.as_str(), token);
        assert_eq!(SideFailure::Interception(reason).as_str(), token);
    }
    for (failure, token) in [
        (SideFailure::Unreachable, "side-unreachable"),
        (SideFailure::NoGreeting, "no-greeting"),
        (SideFailure::Silent, "side-silent"),
        (SideFailure::Closed, "side-closed"),
        (
            SideFailure::Misbehaved(SideMisbehaved::SecondProof),
            "side-misbehaved",
        ),
    ] {
        assert_eq!(failure.as_str(), token);
    }
    let (value, nonce) = (Value([0; 32]), [0; 32]);
    let (bindings, binding) = (Bindings::ALL, Binding::Hello);
    for (body, token) in [
        (
            FrameBody::Open {
                nonce_c: nonce,
                bindings,
            },
            "open",
        ),
        (
            FrameBody::Proof {
                nonce_s: nonce,
                binding,
                value,
            },
            "proof",
        ),
        (FrameBody::Confirm { value }, "confirm"),
        (FrameBody::Done, "done"),
        (
            FrameBody::Reject {
                code: RejectCode::Busy,
            },
            "reject",
        ),
    ] {
        assert_eq!(body.as_str(), token);
    }
    for (error, token) in [
        (FrameError::NotTheGreeting, "not-the-greeting"),
        (FrameError::UnknownType(0), "unknown-type"),
        (FrameError::TooLong { kind: 1, len: 513 }, "too-long"),
        (
            FrameError::MissingField {
                kind: 1,
                field: "value",
            },
            "missing-field",
        ),
        (
            FrameError::TrailingBytes {
                kind: 1,
                trailing: 1,
            },
            "trailing-bytes",
        ),
        (FrameError::UnknownBinding(3), "unknown-binding"),
        (FrameError::UnknownCode(9), "unknown-code"),
        (FrameError::Truncated { pending: 1 }, "truncated"),
    ] {
        assert_eq!(error.as_str(), token);
    }
}

#[test]
fn bindings_have_their_bits_and_words() {
    for (bit, binding, word) in [
        (1, Binding::Hello, "hello"),
        (2, Binding::Exporter, "exporter"),
    ] {
        assert_eq!(Binding::from_bit(bit), Some(binding));
        assert_eq!(binding.as_str(), word);
        assert_eq!(binding.to_string(), word);
        assert_eq!(
            Bindings::from(binding).strongest_common(Bindings::ALL),
            Some(binding)
        );
    }
    for bit in [0, 3, 4] {
        assert_eq!(Binding::from_bit(bit), None);
    }
    let (hello, exporter) = (Binding::Hello.into(), Bindings::from(Binding::Exporter));
    assert_eq!(exporter.strongest_common(hello), None);
    assert_eq!(
        Bindings::ALL.strongest_common(Bindings::ALL),
        Some(Binding::Exporter)
    );
}

#[test]
fn labels_are_those_of_the_specification() {
    assert_eq!(
        SideSecret::exporter_label(),
        b"EXPERIMENTAL-multipath-tls/1"
    );
    assert_eq!(
        channel_binding_label(),
        b"EXPERIMENTAL-multipath-tls/1 binding"
    );
    assert_eq!(
        [Role::Server, Role::Client].map(|role| role.to_string()),
        ["server", "client"]
    );
}

#[test]
fn errors_say_what_was_expected_and_what_came() {
    assert_eq!(
        FrameError::UnknownType(9).to_string(),
        "expected a frame type from 1 to 5, got 9"
    );
    let from = Role::Server;
    assert_eq!(
        HelloError::Alert {
            from,
            description: 40
        }
        .to_string(),
        "the server ended the TLS handshake with alert 40"
    );
    let what = SideMisbehaved::BindingNotOffered;
    assert_eq!(what.to_string(), "a binding that was not offered");
    for (failure, text) in [
        (
            SideFailure::Misbehaved(what),
            "a binding that was not offered",
        ),
        (SideFailure::Rejected(RejectCode::Busy), "it is busy"),
        (
            SideFailure::Interception(InterceptionReason::UnknownHandshake),
            "the server never saw this TLS handshake",
        ),
        (SideFailure::Silent, "fell silent"),
    ] {
        assert!(failure.to_string().ends_with(text), "{failure}");
    }
}
