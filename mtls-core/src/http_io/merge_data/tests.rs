use super::*;
use tokio::io::AsyncReadExt;

const HEADERS: u8 = 1;
const PADDED: u8 = 8;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a short frame");
    let mut frame = length.to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// Gives the bytes in pieces of this length.
struct Pieces<'a>(&'a [u8], usize);

impl AsyncRead for Pieces<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let (piece, rest) = self
            .0
            .split_at(self.1.min(self.0.len()).min(buf.remaining()));
        buf.put_slice(piece);
        self.0 = rest;
        Poll::Ready(Ok(()))
    }
}

async fn merged(frames: &[Vec<u8>], piece: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    let all = frames.concat();
    let mut stream = MergeData::client(Pieces(&all, piece));
    stream.read_to_end(&mut bytes).await.expect("no error");
    bytes
}

#[tokio::test]
async fn short_frames_of_a_stream_become_one_wherever_the_input_is_cut() {
    let frames = [
        frame(HEADERS, 4, 1, b"fields"),
        frame(DATA, 0, 1, b"one "),
        frame(DATA, 0, 1, b""),
        frame(DATA, 0, 1, b"two "),
        frame(DATA, END_STREAM, 1, b"three"),
    ];
    let expected = [
        frame(HEADERS, 4, 1, b"fields"),
        frame(DATA, END_STREAM, 1, b"one two three"),
    ];
    for piece in 1..=frames.concat().len() {
        assert_eq!(merged(&frames, piece).await, expected.concat(), "{piece}");
    }
}

#[tokio::test]
async fn frames_keep_their_order_and_their_stream() {
    let frames = [
        frame(DATA, 0, 1, b"a"),
        frame(DATA, 0, 3, b"b"),
        frame(DATA, 0, 1, &[b'c'; SHORT]),
        frame(DATA, 0, 1, b"d"),
        frame(HEADERS, 5, 1, b"trailers"),
        frame(DATA, END_STREAM, 3, b""),
        frame(DATA, 0, 3, b"after the end"),
    ];
    assert_eq!(merged(&frames, 7).await, frames.concat());
}

#[tokio::test]
async fn a_merged_frame_is_never_too_long() {
    let frames = vec![frame(DATA, 0, 1, &[b'x'; 1000]); 17];
    let expected = [
        frame(DATA, 0, 1, &[b'x'; 16_000]),
        frame(DATA, 0, 1, &[b'x'; 1000]),
    ];
    assert_eq!(merged(&frames, usize::MAX).await, expected.concat());
}

#[tokio::test]
async fn an_empty_frame_that_ends_a_stream_or_has_padding_is_not_dropped() {
    let frames = [
        frame(DATA, PADDED, 1, &[3, 0, 0, 0]),
        frame(DATA, END_STREAM, 1, b""),
    ];
    assert_eq!(merged(&frames, usize::MAX).await, frames.concat());
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_empty_frames_reaches_the_limit_of_the_library() {
    let all = vec![frame(DATA, 0, 1, b""); EMPTY_BURST as usize + 7];
    assert_eq!(merged(&all, usize::MAX).await.len(), 7 * FRAME_HEAD);
}

#[tokio::test(start_paused = true)]
async fn empty_frames_are_dropped_again_as_time_passes() {
    let mut empties = Empties::new();
    while empties.spend() {}
    tokio::time::advance(Duration::from_secs(2)).await;
    let dropped = (0..).take_while(|_| empties.spend()).count();
    assert_eq!(dropped, 2 * EMPTY_PER_SECOND as usize);
}

#[tokio::test]
async fn a_client_s_preface_passes_and_what_is_cut_short_stays_so() {
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    let cut = frame(DATA, 0, 1, b"cut")[..5].to_vec();
    let frames = [
        preface,
        frame(DATA, 0, 1, b"a"),
        frame(DATA, 0, 1, b"b"),
        cut.clone(),
    ];
    let all = frames.concat();
    let mut bytes = Vec::new();
    let mut stream = MergeData::server(Pieces(&all, usize::MAX));
    stream.read_to_end(&mut bytes).await.expect("no error");
    let expected = [frames[0].clone(), frame(DATA, 0, 1, b"ab"), cut];
    assert_eq!(bytes, expected.concat());
}

#[tokio::test]
async fn other_protocols_pass_unchanged() {
    let bytes = frame(DATA, 0, 1, b"");
    let mut passed = Vec::new();
    let mut stream = MergeData::unchanged(&bytes[..]);
    stream.read_to_end(&mut passed).await.expect("no error");
    assert_eq!(passed, bytes);
}
