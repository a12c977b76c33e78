//! The limit of a message head.

/// The fewest bytes of a field in HTTP/1.1: a name of one byte, a colon, CR and LF.
const SMALLEST_FIELD: usize = 4;
/// The maximum number of fields, as in curl. The header map of the crate `http` panics above 24,576, and
/// hyper's parser allocates and initialises memory for the maximum at each attempt to parse a head.
const MAX_FIELDS: usize = 5_000;
/// HTTP/2 adds this to the length of every field (RFC 9113, section 6.5.2).
const HTTP_2_FIELD: usize = 32;

/// The limit of a message head in bytes, the same for HTTP/1.1 and HTTP/2.
///
/// The bytes are those of HTTP/1.1: the start line, and `name: value` with its line end for every
/// field. The number of fields is limited to 5,000.
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

    /// The maximum number of fields.
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

    /// Whether the fields of a message fit. Pseudo-header fields count as bytes, and not as fields.
    pub fn allows<'a>(self, fields: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> bool {
        let (mut length, mut count) = (0, 0);
        for (name, value) in fields {
            length += name.len() + value.len() + SMALLEST_FIELD;
            count += usize::from(!name.starts_with(':'));
        }
        length <= self.0 && count <= self.fields()
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

    #[test]
    fn one_field_above_the_limit_is_refused() {
        let limit = HeadLimit::RESPONSE;
        let fields = |count| std::iter::repeat_n(("a", &b""[..]), count);
        assert!(limit.allows(fields(MAX_FIELDS).chain([(":path", &b"/"[..])])));
        assert!(!limit.allows(fields(MAX_FIELDS + 1)));
    }
}
