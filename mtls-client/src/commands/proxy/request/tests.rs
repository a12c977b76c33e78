use super::*;

const NAME: &[u8] = b"\x05\x01\x00\x03\x0bexample.org\x01\xbb";

/// Passes the bytes in these pieces; returns the replies and the last step.
fn fed<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<u8>, Result<Step, RequestError>) {
    let mut reader = RequestReader::default();
    let mut answered = Vec::new();
    let mut last = Ok(Step::More);
    for piece in pieces {
        last = reader.handle(piece);
        while let Ok(Step::Reply(answer)) = last {
            answered.extend(answer);
            last = reader.proceed();
        }
        if last != Ok(Step::More) {
            break;
        }
    }
    (answered, last)
}

fn tunnel(target: &str, protocol: Protocol, rest: &[u8]) -> Result<Step, RequestError> {
    Ok(Step::Tunnel(Request {
        target: target.parse().expect("an endpoint"),
        protocol,
        rest: rest.to_vec(),
    }))
}

fn connect(head: &str) -> Result<Step, RequestError> {
    fed([head.as_bytes()]).1
}

#[test]
fn connect_is_parsed_at_every_split() {
    let head = b"CONNECT Example.org:443 HTTP/1.1\r\nHost: example.org:443\r\n\
                 Proxy-Connection: keep-alive\r\nUser-Agent: x\r\n\r\n";
    let expected = tunnel("example.org:443", Protocol::Connect, b"");
    for cut in 0..=head.len() {
        let (before, after) = head.split_at(cut);
        assert_eq!(fed([before, after]).1, expected, "{cut}");
    }
    assert_eq!(fed(head.chunks(1)).1, expected);
}

#[test]
fn socks5_is_parsed_at_every_split() {
    for (request, target) in [
        (NAME, "example.org:443"),
        (
            b"\x05\x01\x00\x01\xc0\x00\x02\x01\x20\xfb",
            "192.0.2.1:8443",
        ),
        (
            b"\x05\x01\x00\x04\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01\x01\xbb",
            "[2001:db8::1]:443",
        ),
        (b"\x05\x01\x00\x03\x07[::1%/]\x01\xbb", ""),
        (b"\x05\x01\x00\x03\x05[::1]\x01\xbb", "[::1]:443"),
    ] {
        let all = [b"\x05\x02\x02\x00", request].concat();
        for cut in 0..=all.len() {
            let (before, after) = all.split_at(cut);
            let (answered, last) = fed([before, after]);
            assert_eq!(answered, [5, 0]);
            match target {
                "" => assert!(matches!(last, Err(RequestError::Target(..))), "{last:?}"),
                target => assert_eq!(last, tunnel(target, Protocol::Socks5, b""), "{cut}"),
            }
        }
    }
}

#[test]
fn socks4_is_parsed_at_every_split() {
    for (request, target) in [
        (
            &b"\x04\x01\x20\xfb\xc0\x00\x02\x01\x00"[..],
            "192.0.2.1:8443",
        ),
        (b"\x04\x01\x01\xbb\xc0\x00\x02\x01user\x00", "192.0.2.1:443"),
        (b"\x04\x01\x01\xbb\x00\x00\x00\x00\x00", "0.0.0.0:443"),
        (
            b"\x04\x01\x01\xbb\x00\x00\x00\x01\x00example.org\x00",
            "example.org:443",
        ),
        (
            b"\x04\x01\x01\xbb\x00\x00\x00\xffuser\x00::1\x00",
            "[::1]:443",
        ),
    ] {
        for cut in 0..=request.len() {
            let (before, after) = request.split_at(cut);
            let last = fed([before, after]).1;
            assert_eq!(last, tunnel(target, Protocol::Socks4, b""), "{cut}");
        }
        let (_, last) = fed([&[request, b"\x16\x03"].concat()[..]]);
        assert_eq!(last, tunnel(target, Protocol::Socks4, b"\x16\x03"));
    }
}

#[test]
fn bad_socks4_is_rejected_in_its_own_protocol() {
    let long = [&b"\x04\x01\x01\xbb\xc0\x00\x02\x01"[..], &[b'u'; 256]].concat();
    for request in [
        &b"\x04\x02\x01\xbb\xc0\x00\x02\x01\x00"[..],
        b"\x04\x01\x00\x00\xc0\x00\x02\x01\x00",
        b"\x04\x01\x01\xbb\x00\x00\x00\x01\x00\x00",
        b"\x04\x01\x01\xbb\x00\x00\x00\x01\x00a b\x00",
        &long,
    ] {
        let refusal = fed([request]).1.expect_err("refused");
        assert_eq!(refusal.reply(), [0, 91, 0, 0, 0, 0, 0, 0], "{refusal}");
    }
    let almost = fed([&long[..long.len() - 1]]).1;
    assert_eq!(almost, Ok(Step::More));
}

#[test]
fn empty_lines_before_an_http_request_are_ignored() {
    let expected = tunnel("a:1", Protocol::Connect, b"");
    let head = b"\r\n\r\nCONNECT a:1 HTTP/1.1\r\n\r\n";
    for cut in 0..=head.len() {
        let (before, after) = head.split_at(cut);
        assert_eq!(fed([before, after]).1, expected, "{cut}");
    }
    assert_eq!(fed(head.chunks(1)).1, expected);
    let plain = fed([&b"\r\nGET http://a.test/ HTTP/1.1\r\n"[..]]).1;
    assert_eq!(
        plain,
        Ok(Step::Http(b"GET http://a.test/ HTTP/1.1\r\n".to_vec()))
    );
}

#[test]
fn bytes_of_header_fields_above_127_are_opaque() {
    let head = b"CONNECT a:1 HTTP/1.1\r\nUser-Agent: B\xfcro/\xff\x80\r\nx:\r\n\r\n";
    assert_eq!(fed([&head[..]]).1, tunnel("a:1", Protocol::Connect, b""));
    for head in [
        &b"CONNECT a:1 HTTP/1.1\r\nUser-\xc4gent: x\r\n\r\n"[..],
        b"CONNECT \xfc:1 HTTP/1.1\r\n\r\n",
        b"CONNECT a:1 HTTP/1.1\r\nx: \xfc\x7f\r\n\r\n",
    ] {
        let refusal = fed([head]).1.expect_err("refused");
        assert!(refusal.reply().starts_with(b"HTTP/1.1 400 "), "{refusal}");
    }
}

#[test]
fn heads_up_to_the_limit_are_accepted() {
    let field = |length: usize| format!("Proxy-Authorization: {}\r\n", "x".repeat(length));
    let line = "CONNECT a:1 HTTP/1.1\r\n";
    let room = MAX_HEAD - line.len() - field(0).len() - 2;
    let head = |length| format!("{line}{}\r\n", field(length));
    assert_eq!(head(room).len(), 64 * 1024);
    let expected = tunnel("a:1", Protocol::Connect, b"");
    assert_eq!(fed(head(room).as_bytes().chunks(4096)).1, expected);
    let beyond = head(room + 1);
    let refused = fed(beyond.as_bytes().chunks(4096)).1;
    assert_eq!(refused, Err(RequestError::TooLong));
}

#[test]
fn bytes_after_the_request_belong_to_the_tunnel() {
    let (_, last) = fed([&b"CONNECT a:1 HTTP/1.0\r\n\r\n\x16\x03\x01"[..]]);
    assert_eq!(last, tunnel("a:1", Protocol::Connect, b"\x16\x03\x01"));
    let (_, last) = fed([&[b"\x05\x01\x00", NAME, b"\x16\x03\x01"].concat()[..]]);
    assert_eq!(
        last,
        tunnel("example.org:443", Protocol::Socks5, b"\x16\x03\x01")
    );
}

#[test]
fn other_http_requests_keep_all_their_bytes() {
    for request in [
        "GET http://a.test/ HTTP/1.1\r\n",
        "CONNECTION x\r\n",
        "PRI * HTTP/2.0\r\n",
    ] {
        for cut in 1..request.len() {
            let (before, after) = request.as_bytes().split_at(cut);
            let mut reader = RequestReader::default();
            let step = match reader.handle(before) {
                Ok(Step::More) => reader.handle(after),
                other => other,
            };
            let Ok(Step::Http(bytes)) = step else {
                panic!("{step:?}");
            };
            assert!(request.as_bytes().starts_with(&bytes), "{cut}");
            assert!(bytes.len() >= cut);
        }
    }
}

#[test]
fn bad_connects_are_refused_with_the_reason() {
    for (head, expected) in [
        ("CONNECT a.test HTTP/1.1\r\n\r\n", "has no port"),
        ("CONNECT a.test:443\r\n\r\n", "first line"),
        ("CONNECT a.test:443 HTTP/1.1 x\r\n\r\n", "first line"),
        (
            "CONNECT a.test:443 HTTP/2.0\r\n\r\n",
            "HTTP/1.0 and HTTP/1.1",
        ),
        ("CONNECT a.test:0 HTTP/1.1\r\n\r\n", "not a port"),
        ("CONNECT ::1:443 HTTP/1.1\r\n\r\n", "brackets"),
        ("CONNECT user@a.test:443 HTTP/1.1\r\n\r\n", "character"),
        ("CONNECT a.test:443 HTTP/1.1\r\nnonsense\r\n\r\n", "colon"),
        ("CONNECT a.test:443 HTTP/1.1\r\n folded: x\r\n\r\n", "name"),
        (
            "CONNECT a.test:443 HTTP/1.1\r\nx: a\nb: c\r\n\r\n",
            "control",
        ),
        (
            "CONNECT a.test:443 HTTP/1.1\r\nContent-Length: 5\r\n\r\n",
            "content",
        ),
        (
            "CONNECT a.test:443 HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n",
            "content",
        ),
    ] {
        let refusal = connect(head).expect_err(head);
        assert!(refusal.to_string().contains(expected), "{head}: {refusal}");
        let answer = String::from_utf8(refusal.reply()).expect("a text");
        assert!(answer.starts_with("HTTP/1.1 400 ") || answer.starts_with("HTTP/1.1 505 "));
        assert!(answer.ends_with(&format!("{refusal}\n")), "{answer}");
    }
    let fine = "CONNECT a.test:443 HTTP/1.1\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(connect(fine), tunnel("a.test:443", Protocol::Connect, b""));
}

#[test]
fn heads_without_an_end_are_refused_at_the_limit() {
    let mut reader = RequestReader::default();
    let mut read = reader
        .handle(b"CONNECT a.test:443 HTTP/1.1\r\nx: ")
        .expect("more");
    let mut count = 0;
    while read == Step::More {
        count += 1;
        assert!(count <= MAX_HEAD);
        read = match reader.handle(&[b'x'; 64]) {
            Ok(step) => step,
            Err(refusal) => {
                assert_eq!(refusal, RequestError::TooLong);
                assert!(refusal.reply().starts_with(b"HTTP/1.1 431 "));
                return;
            }
        };
    }
    panic!("{read:?}");
}

#[test]
fn bad_socks_is_refused_with_its_reply() {
    let after = |request: &[u8]| fed([&[b"\x05\x01\x00", request].concat()[..]]).1;
    for (request, reply) in [
        (&b"\x05\x02\x00\x01\x7f\0\0\x01\0\x50"[..], 7),
        (b"\x05\x03\x00\x01\x7f\0\0\x01\0\x50", 7),
        (b"\x05\x01\x00\x02", 8),
        (b"\x05\x01\x01\x01", 1),
        (b"\x04\x01\x00\x01", 1),
        (b"\x05\x01\x00\x01\x7f\0\0\x01\0\0", 1),
        (b"\x05\x01\x00\x03\x00\x01\xbb", 1),
        (b"\x05\x01\x00\x03\x03a b\x01\xbb", 1),
    ] {
        let refusal = after(request).expect_err("refused");
        assert_eq!(refusal.reply()[..2], [5, reply], "{request:?}: {refusal}");
    }
    let (_, methods) = fed([&b"\x05\x01\x02"[..]]);
    assert_eq!(methods, Err(RequestError::NoMethod));
    assert_eq!(RequestError::NoMethod.reply(), [5, 0xff]);
    assert_eq!(fed([&b"\x05\x00"[..]]).1, Err(RequestError::NoMethod));
}

#[test]
fn other_protocols_are_refused_without_a_reply() {
    for (first, expected) in [
        (&b"\x16\x03\x01"[..], RequestError::Tls),
        (b"\x00", RequestError::Unknown(0)),
        (b"\xff", RequestError::Unknown(0xff)),
        (b"\rCONNECT", RequestError::Unknown(b'\r')),
        (b"\n", RequestError::Unknown(b'\n')),
    ] {
        let (_, last) = fed([first]);
        assert_eq!(last, Err(expected.clone()));
        assert!(expected.reply().is_empty());
    }
}
