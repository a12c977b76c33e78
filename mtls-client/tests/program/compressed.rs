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
