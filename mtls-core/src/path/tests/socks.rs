use core::net::IpAddr;

use tokio::net::TcpStream;
use tokio::sync::oneshot;

use super::{dial, listen, name, read, refusal, send, serve_one};
use crate::path::{Dial as _, DialFailure, DialFailureClass, DialStage, Path, ProxyRefusal};

const GREETING: [u8; 3] = [5, 1, 0];
const NO_AUTHENTICATION: [u8; 2] = [5, 0];
/// Succeeded, bound to 192.0.2.1:1080.
const SUCCEEDED: [u8; 10] = [5, 0, 0, 1, 192, 0, 2, 1, 4, 56];
/// CONNECT target.test:443.
const REQUEST: &[u8] = b"\x05\x01\x00\x03\x0btarget.test\x01\xbb";

/// Greets, takes the request for `target.test:443`, and answers it with these bytes.
async fn proxy(answer: Vec<u8>) -> Path {
    let (proxy, _task) = serve_one(async move |mut stream| {
        assert_eq!(read(&mut stream, 3).await, GREETING);
        send(&mut stream, &NO_AUTHENTICATION).await;
        assert_eq!(read(&mut stream, REQUEST.len()).await, REQUEST);
        send(&mut stream, &answer).await;
    })
    .await;
    Path::socks5(proxy)
}

#[tokio::test]
async fn the_proxy_is_asked_for_the_name_and_bytes_pass() {
    let (proxy, task) = serve_one(async |mut stream: TcpStream| {
        assert_eq!(read(&mut stream, 3).await, GREETING);
        send(&mut stream, &NO_AUTHENTICATION).await;
        assert_eq!(read(&mut stream, REQUEST.len()).await, REQUEST);
        // The target's first bytes come in the same segment.
        send(&mut stream, &[&SUCCEEDED[..], b"hello"].concat()).await;
        read(&mut stream, 4).await
    })
    .await;
    let mut dialed = dial(&Path::socks5(proxy.clone()), "target.test:443")
        .await
        .unwrap();
    assert_eq!(read(&mut dialed.stream, 5).await, b"hello");
    send(&mut dialed.stream, b"back").await;
    assert_eq!(task.await.unwrap(), b"back");
    assert_eq!(dialed.via.to_string(), format!("socks5h://{proxy}"));
    assert_eq!(dialed.route.proxy, Some(proxy.to_string()));
    assert_eq!(dialed.route.proxy_address, dialed.peer);
    assert_eq!(dialed.peer.map(Into::into), Some(proxy));
    assert!(dialed.stream.nodelay().unwrap());
}

#[tokio::test]
async fn replies_of_every_address_type_are_read_to_their_end() {
    let six = [&[5, 0, 0, 4][..], &[0; 18]].concat();
    let named = [&[5, 0, 0, 3, 255][..], &[b'x'; 257]].concat();
    let empty = vec![5, 0, 0, 3, 0, 0, 0];
    for reply in [six, named, empty] {
        let path = proxy([reply, b"hello".to_vec()].concat()).await;
        let mut dialed = dial(&path, "target.test:443").await.unwrap();
        assert_eq!(read(&mut dialed.stream, 5).await, b"hello");
    }
}

#[tokio::test]
async fn addresses_are_asked_for_as_addresses() {
    for (target, request) in [
        (
            "192.0.2.7:443",
            &b"\x05\x01\x00\x01\xc0\x00\x02\x07\x01\xbb"[..],
        ),
        (
            "[::7]:443",
            b"\x05\x01\x00\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x07\x01\xbb",
        ),
    ] {
        let (proxy, task) = serve_one(async move |mut stream| {
            read(&mut stream, 3).await;
            send(&mut stream, &NO_AUTHENTICATION).await;
            let asked = read(&mut stream, request.len()).await;
            send(&mut stream, &SUCCEEDED).await;
            asked
        })
        .await;
        dial(&Path::socks5(proxy), target).await.unwrap();
        assert_eq!(task.await.unwrap(), request);
    }
}

#[tokio::test]
async fn given_addresses_are_asked_for_one_after_the_other() {
    let (listener, address) = listen("127.0.0.1:0").await;
    let proxy = tokio::spawn(async move {
        let mut asked = Vec::new();
        for code in [5, 0] {
            let (mut stream, _) = listener.accept().await.unwrap();
            read(&mut stream, 3).await;
            send(&mut stream, &NO_AUTHENTICATION).await;
            asked.push(read(&mut stream, 10).await[4..8].to_vec());
            send(&mut stream, &[5, code, 0, 1, 0, 0, 0, 0, 0, 0]).await;
        }
        asked
    });
    let ip = |last| IpAddr::from([192, 0, 2, last]);
    let path = Path::socks5(address.into())
        .resolve(name("target.test"), 443, ip(1))
        .resolve(name("target.test"), 443, ip(2));
    dial(&path, "target.test:443").await.unwrap();
    assert_eq!(proxy.await.unwrap(), [[192, 0, 2, 1], [192, 0, 2, 2]]);
}

#[tokio::test]
async fn every_reply_code_is_a_refusal_that_is_spelt_out() {
    for (code, said) in [
        (1, "general failure"),
        (2, "its rules do not allow the target"),
        (3, "network unreachable"),
        (4, "host unreachable"),
        (5, "connection refused"),
        (6, "TTL expired"),
        (7, "command not supported"),
        (8, "address type not supported"),
        (9, "unknown reason"),
        (255, "unknown reason"),
    ] {
        let refusal = refusal(&proxy(vec![5, code, 0, 1, 0, 0, 0, 0, 0, 0]).await).await;
        assert!(
            matches!(refusal, ProxyRefusal::Socks5Reply(got) if got == code),
            "{refusal}"
        );
        assert_eq!(
            refusal.to_string(),
            format!("refused: {said} (SOCKS reply {code})")
        );
    }
}

#[tokio::test]
async fn a_reply_cut_short_at_any_byte_is_refused() {
    for len in 0..SUCCEEDED.len() {
        let refusal = refusal(&proxy(SUCCEEDED[..len].to_vec()).await).await;
        assert!(
            matches!(refusal, ProxyRefusal::Closed),
            "{len} bytes: {refusal}"
        );
    }
}

#[tokio::test]
async fn a_malformed_reply_is_refused() {
    for reply in [[4, 0, 0, 1], [5, 0, 1, 1], [5, 0, 0, 2], [5, 0, 0, 0]] {
        let refusal = refusal(&proxy(reply.to_vec()).await).await;
        assert!(
            matches!(refusal, ProxyRefusal::Malformed(_)),
            "{reply:?}: {refusal}"
        );
    }
}

/// The refusal that a proxy's choice of method leads to.
async fn method(choice: &'static [u8]) -> ProxyRefusal {
    let (proxy, _task) = serve_one(async move |mut stream| {
        read(&mut stream, 3).await;
        send(&mut stream, choice).await;
    })
    .await;
    refusal(&Path::socks5(proxy)).await
}

#[tokio::test]
async fn a_method_that_was_not_offered_is_refused() {
    assert!(matches!(method(&[5, 2]).await, ProxyRefusal::Malformed(_)));
    assert!(matches!(method(b"HT").await, ProxyRefusal::Malformed(_)));
    assert!(matches!(method(&[5]).await, ProxyRefusal::Closed));
    let none = method(&[5, 0xff]).await;
    assert!(
        matches!(
            none,
            ProxyRefusal::NoMethod {
                with_credentials: false
            }
        ),
        "{none}"
    );
    assert!(none.to_string().contains("USER:PASSWORD@"), "{none}");
}

#[tokio::test]
async fn credentials_are_sent_when_the_proxy_asks_for_them() {
    for (status, taken) in [(0, true), (1, false)] {
        let (proxy, task) = serve_one(async move |mut stream| {
            assert_eq!(read(&mut stream, 4).await, [5, 2, 0, 2]);
            send(&mut stream, &[5, 2]).await;
            let sent = read(&mut stream, 11).await;
            send(&mut stream, &[1, status]).await;
            if taken {
                read(&mut stream, REQUEST.len()).await;
                send(&mut stream, &SUCCEEDED).await;
            }
            sent
        })
        .await;
        let path: Path = format!("socks5h://bob:p%40ss%3A@{proxy}").parse().unwrap();
        let result = dial(&path, "target.test:443").await;
        assert_eq!(task.await.unwrap(), b"\x01\x03bob\x05p@ss:"[..]);
        match result {
            Ok(_) => assert!(taken),
            Err(DialFailure::Proxy {
                refusal: ProxyRefusal::Credentials,
                ..
            }) => assert!(!taken),
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test]
async fn a_proxy_that_falls_silent_is_given_up_when_the_time_is_over() {
    let (reached, silent) = oneshot::channel();
    let (proxy, _task) = serve_one(async |mut stream: TcpStream| {
        read(&mut stream, 3).await;
        reached.send(()).unwrap();
        core::future::pending::<()>().await;
    })
    .await;
    let path = Path::socks5(proxy);
    let dialing = tokio::spawn(path.dial(&"target.test:443".parse().unwrap()));
    silent.await.unwrap();
    // From here on nothing but the clock moves.
    tokio::time::pause();
    let error = dialing.await.unwrap().unwrap_err();
    assert_eq!(error.class(), DialFailureClass::TimedOut);
    let stage = DialStage::AwaitingProxy;
    assert!(
        matches!(error.reason, DialFailure::TimedOut { stage: s, .. } if s == stage),
        "{error}"
    );
}
