//! `get --compressed`: content codings are undone.

use async_compression::tokio::write::{
    BrotliEncoder, DeflateEncoder, GzipEncoder, ZlibEncoder, ZstdEncoder,
};
use tokio::io::{AsyncWrite, AsyncWriteExt};

use crate::lab::{Lab, Run};

const TEXT: &str = "a text that is there twice, a text that is there twice\n";

macro_rules! coded {
    ($encoder:ident, $bytes:expr) => {{
        let mut encoder = $encoder::new(Vec::new());
        finish(&mut encoder, $bytes).await;
        encoder.into_inner()
    }};
}

async fn finish(encoder: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) {
    encoder.write_all(bytes).await.expect("to encode");
    encoder.shutdown().await.expect("to encode");
}

/// A response with this `Content-Encoding`.
fn response(coding: &str, body: &[u8]) -> &'static [u8] {
    let length = body.len();
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-encoding: {coding}\r\ncontent-length: {length}\r\n\r\n"
    );
    [head.as_bytes(), body].concat().leak()
}

async fn get(lab: &mut Lab, response: &'static [u8], options: &[&str]) -> Run {
    let url = format!("https://{}/", lab.raw_site(response).await);
    lab.get(&[options, &["-s", &url]].concat()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_coding_is_decoded_only_with_compressed() {
    let mut lab = Lab::new();
    let gzip = coded!(GzipEncoder, TEXT.as_bytes());
    let (one, two) = TEXT.as_bytes().split_at(20);
    let members = [coded!(GzipEncoder, one), coded!(GzipEncoder, two)].concat();
    for (coding, body) in [
        ("gzip", gzip.clone()),
        ("X-GZIP", members),
        ("deflate", coded!(ZlibEncoder, TEXT.as_bytes())),
        ("deflate", coded!(DeflateEncoder, TEXT.as_bytes())),
        ("br", coded!(BrotliEncoder, TEXT.as_bytes())),
        ("zstd", coded!(ZstdEncoder, TEXT.as_bytes())),
        ("gzip, identity, br", coded!(BrotliEncoder, &gzip)),
        ("identity", TEXT.into()),
    ] {
        let response = response(coding, &body);
        let options = ["--compressed", "-w", " %{size_download}"];
        let run = get(&mut lab, response, &options).await.exits_with(0);
        // As curl's, the size is the one on the wire.
        assert_eq!(run.stdout, format!("{TEXT} {}", body.len()), "{coding}");
        let file = lab.path("plain");
        get(&mut lab, response, &["-o", &file]).await.exits_with(0);
        assert_eq!(std::fs::read(&file).expect("a file"), body, "{coding}");
    }
    let run = get(&mut lab, response("gzip", b""), &["--compressed"]).await;
    assert_eq!(run.exits_with(0).stdout, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coding_that_cannot_be_decoded_is_61_and_a_partial_body_18() {
    let mut lab = Lab::new();
    let gzip = coded!(GzipEncoder, TEXT.as_bytes());
    for (coding, body) in [
        ("lzma", gzip.clone()),
        ("gzip", TEXT.into()),
        ("gzip", gzip[..gzip.len() - 4].to_vec()),
        ("br, br, br, br, br, br", gzip.clone()),
    ] {
        let run = get(&mut lab, response(coding, &body), &["--compressed"]).await;
        run.exits_with(61)
            .mentions(&["cannot be decompressed", "--compressed"]);
    }
    let whole = response("gzip", &gzip);
    let cut = &whole[..whole.len() - 4];
    get(&mut lab, cut, &["--compressed"]).await.exits_with(18);
}

/// Every coding, with its encoded text.
async fn encoded(text: &[u8]) -> [(&'static str, Vec<u8>); 5] {
    [
        ("gzip", coded!(GzipEncoder, text)),
        ("deflate", coded!(ZlibEncoder, text)),
        ("deflate", coded!(DeflateEncoder, text)),
        ("br", coded!(BrotliEncoder, text)),
        ("zstd", coded!(ZstdEncoder, text)),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_after_the_end_of_a_coding_are_61() {
    let mut lab = Lab::new();
    for (coding, body) in encoded(TEXT.as_bytes()).await {
        for rest in [&b"12345"[..], b"\0\0\0\0\0\0\0\0", &[b'x'; 100_000]] {
            let body = [&body, rest].concat();
            let run = get(&mut lab, response(coding, &body), &["--compressed"]).await;
            let run = run.exits_with(61).mentions(&["cannot be decompressed"]);
            assert_eq!(run.stdout, TEXT, "{coding}");
        }
    }
    // Some servers omit only the header of zlib, and not its checksum.
    let raw = coded!(DeflateEncoder, TEXT.as_bytes());
    let body = [&raw[..], b"1234"].concat();
    let run = get(&mut lab, response("deflate", &body), &["--compressed"]).await;
    assert_eq!(run.exits_with(0).stdout, TEXT);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_decoded_before_an_early_end_is_written_and_the_status_is_18() {
    let mut lab = Lab::new();
    // Longer than what is decoded at a time.
    let text = TEXT.repeat(2_000);
    for (coding, body) in encoded(text.as_bytes()).await {
        let (whole, longer) = (response(coding, &body), [&body[..], b"x"].concat());
        let longer = response(coding, &longer);
        // The coding is complete, and the response is not.
        let cut = &longer[..longer.len() - 1];
        let run = get(&mut lab, cut, &["--compressed"]).await.exits_with(18);
        assert_eq!(run.stdout, text, "{coding}");
        let cut = &whole[..whole.len() - 1];
        let run = get(&mut lab, cut, &["--compressed"]).await.exits_with(18);
        assert!(text.starts_with(&run.stdout), "{coding}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_frame_of_zstandard_is_decoded() {
    let mut lab = Lab::new();
    let (one, two) = TEXT.as_bytes().split_at(20);
    let (one, two) = (coded!(ZstdEncoder, one), coded!(ZstdEncoder, two));
    // RFC 8878, section 3.1.2: to be skipped.
    let other = b"\x50\x2a\x4d\x18\x04\0\0\0abcd";
    for frames in [
        [&one[..], &two].concat(),
        [&other[..], &one, &two].concat(),
        [&one[..], other, &two, other].concat(),
    ] {
        let run = get(&mut lab, response("zstd", &frames), &["--compressed"]).await;
        assert_eq!(run.exits_with(0).stdout, TEXT);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn transfer_codings_are_decoded_without_an_option_and_unknown_ones_are_61() {
    let mut lab = Lab::new();
    let gzip = coded!(GzipEncoder, TEXT.as_bytes());
    let chunk = [
        format!("{:x}\r\n", gzip.len()).as_bytes(),
        &gzip,
        b"\r\n0\r\n\r\n",
    ]
    .concat();
    for (codings, body, exit) in [
        ("gzip, chunked", &chunk, 0),
        ("gzip", &gzip, 0),
        ("lzma, chunked", &chunk, 61),
    ] {
        let head = format!("HTTP/1.1 200 OK\r\ntransfer-encoding: {codings}\r\n\r\n");
        let response = [head.as_bytes(), body].concat().leak();
        let run = get(&mut lab, response, &[]).await.exits_with(exit);
        assert_eq!(run.stdout, if exit == 0 { TEXT } else { "" }, "{codings}");
    }
}
