//! First requests of clients: arbitrary bytes, in pieces of any size.

use super::*;

/// The protocol and the target, or the refusal, are the same in one piece and in many.
pub(crate) fn fuzz(data: &[u8]) {
    let whole = conclusion(data, data.len().max(1));
    assert_eq!(conclusion(data, 1), whole);
    assert_eq!(conclusion(data, 3), whole);
}

#[derive(Debug, PartialEq, Eq)]
enum Conclusion {
    Incomplete,
    Http,
    Tunnel(Endpoint, Protocol),
    Refused(RequestError),
}

/// With the replies before it.
fn conclusion(data: &[u8], piece: usize) -> (Vec<u8>, Conclusion) {
    let mut reader = RequestReader::default();
    let mut replies = Vec::new();
    for (index, bytes) in data.chunks(piece).enumerate() {
        let mut step = reader.handle(bytes);
        while let Ok(Step::Reply(reply)) = step {
            replies.extend(reply);
            step = reader.proceed();
        }
        assert!(reader.received.len() <= MAX_HEAD + piece);
        let conclusion = match step {
            Ok(Step::Reply(_)) | Ok(Step::More) => continue,
            Ok(Step::Http(received)) => {
                let seen = &data[..data.len().min((index + 1) * piece)];
                assert!(seen.ends_with(&received));
                Conclusion::Http
            }
            Ok(Step::Tunnel(request)) => {
                let seen = &data[..data.len().min((index + 1) * piece)];
                assert!(seen.ends_with(&request.rest));
                Conclusion::Tunnel(request.target, request.protocol)
            }
            Err(error) => {
                let _ = error.reply();
                Conclusion::Refused(error)
            }
        };
        return (replies, conclusion);
    }
    (replies, Conclusion::Incomplete)
}
