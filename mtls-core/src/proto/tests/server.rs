//! The server's machine against a client that misbehaves.

use super::*;

#[test]
fn a_wrong_confirm_is_disputed_and_a_strange_one_rejected() {
    let mut pair = Pair::new();
    pair.deliver_to_server();
    pair.found();
    pair.events();
    let confirm = Frame {
        association: association(),
        body: FrameBody::Confirm {
            value: Value([0; 32]),
        },
    };
    pair.server.handle_frame(&confirm, pair.now);
    assert!(matches!(pair.events()[..], [ServerEvent::Disputed(about)]
        if about.registration == REGISTRATION));
    pair.server.handle_frame(&confirm, pair.now);
    assert!(pair.events().is_empty());
    let codes: Vec<_> = std::iter::from_fn(|| pair.server.poll_transmit())
        .filter_map(|frame| match frame.body {
            FrameBody::Reject { code } => Some(code),
            _ => None,
        })
        .collect();
    assert_eq!(codes, [RejectCode::WrongValue, RejectCode::Malformed]);
}

#[test]
fn a_second_open_for_one_handshake_ends_the_first() {
    let mut pair = Pair::new();
    let opened = pair.deliver_to_server();
    pair.server.handle_frame(&opened[0], pair.now);
    assert_eq!(pair.server.exchanges(), 0);
    assert!(pair.events().contains(&ServerEvent::Forget(association())));
    pair.found();
    let frames: Vec<_> = std::iter::from_fn(|| pair.server.poll_transmit()).collect();
    assert!(matches!(
        frames[..],
        [Frame {
            body: FrameBody::Reject {
                code: RejectCode::Malformed
            },
            ..
        }]
    ));
}

#[test]
fn one_side_connection_carries_no_more_than_its_bound() {
    let limits = ServerLimits {
        exchanges: 2,
        ..ServerLimits::default()
    };
    let mut server = ServerVerifier::new(limits);
    let now = Instant::now();
    for random in 0..3_u8 {
        let open = Frame {
            association: Association::from_client_random(&[random; 32]),
            body: FrameBody::Open {
                nonce_c: [0; 32],
                bindings: Bindings::ALL,
            },
        };
        server.handle_frame(&open, now);
    }
    assert_eq!(server.exchanges(), 2);
    assert!(matches!(
        server.poll_transmit(),
        Some(Frame {
            body: FrameBody::Reject {
                code: RejectCode::Busy
            },
            ..
        })
    ));
    server.handle_timeout(now + limits.early_wait);
    assert_eq!(server.exchanges(), 0);
    assert_eq!(server.poll_timeout(), None);
}
