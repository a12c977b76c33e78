//! Frames come back from their bytes however these are cut, and every frame has one encoding.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mtls_core::proto::frame::{Frame, FrameReader, GREETING};

fuzz_target!(|stream: &[u8]| {
    let (whole, frames) = read(std::iter::once(stream));
    let (cut, same_frames) = read(stream.chunks(1));
    assert_eq!(whole, cut);
    assert_eq!(frames, same_frames);
    if whole.is_ok() && !stream.is_empty() {
        let mut encoded = GREETING.to_vec();
        for frame in &frames {
            frame.encode(&mut encoded);
        }
        // The rest is the beginning of an incomplete frame.
        assert!(stream.starts_with(&encoded) || encoded.starts_with(&stream));
    }
});

fn read<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (Result<(), String>, Vec<Frame>) {
    let mut reader = FrameReader::new();
    let mut frames = Vec::new();
    for piece in pieces {
        let taken = reader.read(piece, |frame| frames.push(frame));
        if let Err(error) = taken {
            return (Err(error.to_string()), frames);
        }
    }
    (Ok(()), frames)
}
