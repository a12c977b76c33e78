//! The fields that give the length of a body.

use hyper::header::{CONTENT_LENGTH, HeaderMap, HeaderValue, TRANSFER_ENCODING};

/// The fields contradict each other, or name a coding that the HTTP library does not decode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::web) struct Ambiguous;

/// Whether the fields name `chunked` and no other transfer coding; `None` for no transfer coding. The
/// HTTP library decodes nothing else (RFC 9112, section 6.1).
pub(in crate::web) fn is_chunked(fields: &HeaderMap) -> Option<bool> {
    let mut codings = fields.get_all(TRANSFER_ENCODING).iter();
    let coding = codings.next()?;
    Some(codings.next().is_none() && coding.as_bytes().eq_ignore_ascii_case(b"chunked"))
}

/// Reduces the fields of a target's response to one length at most, which the client gets.
///
/// A body with another transfer coding than `chunked` would reach the client encoded (RFC 9112, section
/// 6.1), and a length beside it, or several, would cut it for a client that believes them (section 6.3).
pub(in crate::web) fn normalize(fields: &mut HeaderMap) -> Result<(), Ambiguous> {
    match is_chunked(fields) {
        None => {
            if let Some(length) = length(fields)? {
                fields.insert(CONTENT_LENGTH, HeaderValue::from(length));
            }
        }
        Some(true) => {
            fields.remove(CONTENT_LENGTH);
        }
        Some(false) => return Err(Ambiguous),
    }
    Ok(())
}

/// The length in all fields, which may repeat it (RFC 9110, section 8.6).
fn length(fields: &HeaderMap) -> Result<Option<u64>, Ambiguous> {
    let mut found = None;
    for field in fields.get_all(CONTENT_LENGTH) {
        for text in field.to_str().map_err(|_| Ambiguous)?.split(',') {
            let length = number(text.trim_matches([' ', '\t'])).ok_or(Ambiguous)?;
            if found.is_some_and(|found| found != length) {
                return Err(Ambiguous);
            }
            found = Some(length);
        }
    }
    Ok(found)
}

/// Digits alone, without a sign.
pub(in crate::web) fn number(digits: &str) -> Option<u64> {
    let valid = digits.bytes().all(|byte| byte.is_ascii_digit());
    valid.then(|| digits.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normalized(
        coding: &[&'static str],
        lengths: &[&'static str],
    ) -> Result<Vec<String>, Ambiguous> {
        let mut fields = HeaderMap::new();
        for (name, values) in [(TRANSFER_ENCODING, coding), (CONTENT_LENGTH, lengths)] {
            for value in values {
                fields.append(&name, HeaderValue::from_static(value));
            }
        }
        normalize(&mut fields)?;
        let lengths = fields.get_all(CONTENT_LENGTH).iter();
        Ok(lengths.map(|length| format!("{length:?}")).collect())
    }

    #[test]
    fn a_response_has_one_length_at_most() {
        for (coding, lengths, expected) in [
            (&[][..], &[][..], &[][..]),
            (&[], &["0"], &["\"0\""]),
            (&[], &["2", "2"], &["\"2\""]),
            (&[], &["2, 2", "002"], &["\"2\""]),
            (&["chunked"], &[], &[]),
            (&["CHUNKED"], &["7"], &[]),
        ] {
            let found = normalized(coding, lengths);
            assert_eq!(
                found.as_deref(),
                Ok(&expected.iter().map(ToString::to_string).collect::<Vec<_>>()[..])
            );
        }
    }

    #[test]
    fn a_response_of_ambiguous_length_is_refused() {
        for (coding, lengths) in [
            (&["gzip, chunked"][..], &[][..]),
            (&["chunked", "chunked"], &[]),
            (&["identity"], &["2"]),
            (&["xchunked"], &[]),
            (&[], &["2", "3"]),
            (&[], &["2, 3"]),
            (&[], &["2,"]),
            (&[], &[""]),
            (&[], &["-1"]),
            (&[], &["+2"]),
            (&[], &["0x2"]),
            (&[], &["99999999999999999999"]),
        ] {
            assert_eq!(
                normalized(coding, lengths),
                Err(Ambiguous),
                "{coding:?} {lengths:?}"
            );
        }
    }
}
