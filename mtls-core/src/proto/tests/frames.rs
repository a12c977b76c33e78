//! Frames and their bytes.

use super::*;

#[test]
fn every_frame_comes_back_from_its_bytes_however_they_are_cut() {
    let bodies = [
        FrameBody::Open {
            nonce_c: [1; 32],
            bindings: Bindings(0xff),
        },
        FrameBody::Proof {
            nonce_s: [2; 32],
            binding: Binding::Exporter,
            value: Value([3; 32]),
        },
        FrameBody::Confirm {
            value: Value([4; 32]),
        },
        FrameBody::Done,
        FrameBody::Reject {
            code: RejectCode::NotTls13,
        },
    ];
    let frames: Vec<_> = bodies
        .into_iter()
        .map(|body| Frame {
            association: association(),
            body,
        })
        .collect();
    let mut bytes = GREETING.to_vec();
    frames.iter().for_each(|frame| frame.encode(&mut bytes));
    for cut in 0..=bytes.len() {
        let mut reader = FrameReader::new();
        let mut read = Vec::new();
        for part in [&bytes[..cut], &bytes[cut..]] {
            reader.read(part, |frame| read.push(frame)).expect("frames");
        }
        assert_eq!(read, frames);
        assert_eq!(reader.finish(), Ok(()));
    }
    let mut reader = FrameReader::new();
    let truncated = &bytes[..bytes.len() - 1];
    reader.read(truncated, |_| {}).expect("frames so far");
    assert_eq!(reader.finish(), Err(FrameError::Truncated { pending: 20 }));
}

#[test]
fn what_is_no_frame_is_refused_by_name() {
    let refused = |bytes: &[u8]| Frame::decode(bytes).expect_err("a refusal");
    assert_eq!(refused(&[0]), FrameError::UnknownType(0));
    assert_eq!(refused(&[6]), FrameError::UnknownType(6));
    assert_eq!(
        refused(&[1, 2, 1]),
        FrameError::TooLong { kind: 1, len: 513 }
    );
    assert_eq!(
        refused(&[4, 0, 1, 0]),
        FrameError::MissingField {
            kind: 4,
            field: "association"
        }
    );
    let mut done = vec![4, 0, 17];
    done.extend([0; 17]);
    assert_eq!(
        refused(&done),
        FrameError::TrailingBytes {
            kind: 4,
            trailing: 1
        }
    );
    let mut proof = vec![2, 0, 81];
    proof.extend([0; 81]);
    proof[3 + 16 + 32] = 3;
    assert_eq!(refused(&proof), FrameError::UnknownBinding(3));
    let mut reject = vec![5, 0, 18];
    reject.extend([0; 16]);
    reject.extend([0, 9]);
    assert_eq!(refused(&reject), FrameError::UnknownCode(9));
    let mut reader = FrameReader::new();
    assert_eq!(
        reader.read(b"HTTP", |_| {}),
        Err(FrameError::NotTheGreeting)
    );
}

#[test]
fn the_longest_body_is_no_longer_than_the_limit() {
    let mut longest = vec![4, 2, 0];
    longest.extend([0; 512]);
    assert_eq!(
        Frame::decode(&longest),
        Err(FrameError::TrailingBytes {
            kind: 4,
            trailing: 512 - 16
        })
    );
}

#[test]
fn a_peer_has_greeted_once_its_whole_greeting_is_here() {
    let mut reader = FrameReader::new();
    for byte in GREETING {
        assert!(!reader.greeted());
        reader.read(&[byte], |_| {}).expect("the greeting");
    }
    assert!(reader.greeted());
}
