use super::frames::{FrameError, Frames};
use super::*;

const LIMIT: u64 = 100;

/// The bytes that pass, however the stream is cut into parts.
fn passed(frames: fn(u64) -> Frames, stream: &[u8]) -> Result<Vec<u8>, FrameError> {
    let all: Vec<_> = (1..=stream.len().max(1))
        .map(|part| {
            let mut frames = frames(LIMIT);
            let mut passed = Vec::new();
            for part in stream.chunks(part) {
                let mut part = Bytes::copy_from_slice(part);
                while part.has_remaining() {
                    passed.extend(frames.next(&mut part)?.unwrap_or_default());
                }
            }
            frames.end().map(|()| passed)
        })
        .collect();
    assert!(all.windows(2).all(|pair| pair[0] == pair[1]), "{all:?}");
    all[0].clone()
}

fn request(stream: &[u8]) -> Result<Vec<u8>, FrameError> {
    passed(Frames::of_request, stream)
}

#[test]
fn frames_pass_unchanged_but_empty_data_and_unknown_ones() {
    let headers = [&[0x01, 3][..], b"abc"].concat();
    let data = [&[0x00, 0x40, 2][..], b"xy"].concat();
    let empty = [0x00, 0];
    let unknown = [&[0x21, 4][..], b"skip"].concat();
    let all = [
        &headers[..],
        &empty,
        &data,
        &unknown,
        &empty,
        &data,
        &headers,
    ]
    .concat();
    let expected = [&headers[..], &data, &data, &headers].concat();
    assert_eq!(request(&all), Ok(expected));
    assert_eq!(request(b""), Ok(Vec::new()));
}

#[test]
fn a_long_frame_is_refused_unless_it_holds_data_or_is_skipped() {
    // 2^40 bytes, announced in eight.
    let long = [0xc0, 0, 1, 0, 0, 0, 0, 0];
    for kind in [0x01, 0x04, 0x05, 0x08, 0x0d] {
        let frame = [&[kind][..], &long].concat();
        assert_eq!(request(&frame), Err(FrameError::TooLong(1 << 40)));
    }
    let whole = [&[0x01, 0x40, 100][..], &[7; 100]].concat();
    assert_eq!(request(&whole), Ok(whole.clone()));
    let data = [&[0x00, 0x43, 0xe8][..], &[7; 1000]].concat();
    assert_eq!(request(&data), Ok(data.clone()));
    let skipped = [&[0x21, 0x43, 0xe8][..], &[7; 1000]].concat();
    assert_eq!(request(&skipped), Ok(Vec::new()));
}

#[test]
fn a_stream_that_ends_within_a_frame_is_an_error() {
    let headers = [&[0x01, 3][..], b"abc"].concat();
    for incomplete in [
        &[0x00, 5][..],
        &[0x00, 5, 1, 2],
        &[0x01, 3, 1],
        &[0x00],
        &[0x40],
        &[0x21, 4, 1],
    ] {
        let stream = [&headers[..], incomplete].concat();
        assert_eq!(
            request(&stream),
            Err(FrameError::Incomplete),
            "{incomplete:?}"
        );
    }
}

#[test]
fn a_frame_of_webtransport_is_refused() {
    assert_eq!(request(&[0x40, 0x41, 0]), Err(FrameError::WebTransport));
}

#[test]
fn frames_of_a_control_stream_are_bounded_and_other_streams_are_not_read() {
    let unidirectional = |stream: &[u8]| passed(Frames::unidirectional, stream);
    let settings = [0x00, 0x04, 0x00, 0x21, 1, 9];
    assert_eq!(unidirectional(&settings), Ok(settings.to_vec()));
    let long = [0x00, 0x04, 0xc0, 0, 1, 0, 0, 0, 0, 0];
    assert_eq!(unidirectional(&long), Err(FrameError::TooLong(1 << 40)));
    let unknown = [0x00, 0x21, 0xc0, 0, 1, 0, 0, 0, 0, 0];
    assert_eq!(unidirectional(&unknown), Err(FrameError::TooLong(1 << 40)));
    let encoder = [0x02, 0xc0, 0, 1, 0, 0, 0, 0, 0];
    assert_eq!(unidirectional(&encoder), Ok(encoder.to_vec()));
}
