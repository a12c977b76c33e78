//! The bound of a message head.

/// The fewest bytes of a field in HTTP/1.1: a name of one byte, a colon, CR and LF.
const SMALLEST_FIELD: usize = 4;
/// More fields than this do not fit into the header map of the crate `http`, which panics.
const MAX_FIELDS: usize = 20_000;
/// What HTTP/2 adds to the length of every field (RFC 9113, section 6.5.2).
const HTTP_2_FIELD: usize = 32;

/// The bound of a message head in bytes, the same for HTTP/1.1 and HTTP/2.
///
/// The bytes are those of HTTP/1.1: the start line, and `name: value` with its line end for every
/// field. There is no separate limit for the number of fields up to 20,000, which is the most that
/// the HTTP library holds.
///
/// ```
/// use mtls_core::http_io::HeadLimit;
///
/// let limit = HeadLimit::new(20);
/// assert!(limit.allows([("a", &b"0123456789"[..])]));
/// assert!(!limit.allows([("a", &b"0123456789"[..]), ("b", &b"0123456789"[..])]));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadLimit(usize);

impl HeadLimit {
    /// For requests: 32 KiB, as nginx allows by default.
    pub const REQUEST: Self = Self(32 * 1024);
    /// For responses: 300 KiB, as curl allows.
    pub const RESPONSE: Self = Self(300 * 1024);

    /// A limit of this many bytes.
    pub const fn new(bytes: usize) -> Self {
        Self(bytes)
    }

    /// The limit in bytes.
    pub const fn bytes(self) -> usize {
        self.0
    }

    /// The most fields that fit.
    pub fn fields(self) -> usize {
        (self.0 / SMALLEST_FIELD).min(MAX_FIELDS)
    }

    /// The value for `SETTINGS_MAX_HEADER_LIST_SIZE` (RFC 9113, section 6.5.2), which counts 32
    /// bytes more for every field: no head within the limit exceeds it. [`allows`](Self::allows)
    /// refuses the others.
    pub fn list_size(self) -> u32 {
        let size = self.0 + self.fields() * HTTP_2_FIELD;
        u32::try_from(size).unwrap_or(u32::MAX)
    }

    /// Whether the fields of a message fit, pseudo-header fields included.
    pub fn allows<'a>(self, fields: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> bool {
        let length = |(name, value): (&str, &[u8])| name.len() + value.len() + SMALLEST_FIELD;
        fields.into_iter().map(length).sum::<usize>() <= self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_within_the_limit_never_exceeds_the_list_size() {
        for limit in [
            HeadLimit::REQUEST,
            HeadLimit::RESPONSE,
            HeadLimit::new(1024),
        ] {
            for value in [&b""[..], b"0123456789", &[b'x'; 500]] {
                let field = ("a", value);
                let fits = (limit.bytes() / (value.len() + 5)).min(MAX_FIELDS);
                assert!(limit.allows(std::iter::repeat_n(field, fits)));
                let list = fits * (1 + value.len() + HTTP_2_FIELD);
                assert!(list <= limit.list_size() as usize, "{limit:?}: {list}");
            }
        }
    }

    #[test]
    fn one_byte_above_the_limit_is_refused() {
        let limit = HeadLimit::new(100);
        assert!(limit.allows([("name", &[b'x'; 92][..])]));
        assert!(!limit.allows([("name", &[b'x'; 93][..])]));
    }
}
