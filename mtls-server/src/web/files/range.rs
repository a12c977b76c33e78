//! The byte range that a request asks for (RFC 9110, section 14).

use hyper::header::{HeaderMap, HeaderValue, RANGE};

/// One range of bytes. Positions above 2^64 - 1 count as that number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ByteRange {
    /// The first and the last position.
    Between(u64, u64),
    /// So many bytes at the end.
    Last(u64),
}

impl ByteRange {
    /// Parses the field `Range`. `None` where the field is absent or ignored: another unit, more
    /// than one range, or no valid one (section 14.2).
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let field = only(headers.get_all(RANGE).iter())?;
        let (unit, set) = field.to_str().ok()?.split_once('=')?;
        if !unit.eq_ignore_ascii_case("bytes") {
            return None;
        }
        let parts = set.split(',').map(|part| part.trim_matches([' ', '\t']));
        let (first, last) = only(parts.filter(|part| !part.is_empty()))?.split_once('-')?;
        match (first, last) {
            ("", length) => Some(Self::Last(number(length)?)),
            (first, "") => Some(Self::Between(number(first)?, u64::MAX)),
            (first, last) => {
                let (first, last) = (number(first)?, number(last)?);
                (first <= last).then_some(Self::Between(first, last))
            }
        }
    }

    /// The value of `Range` for this range of a file of `length` bytes, as the file service reads
    /// it: inside the file, or behind its end where nothing of it is.
    pub(super) fn within(self, length: u64) -> Option<HeaderValue> {
        let (first, last) = match self {
            Self::Between(first, last) => (first.min(length), last),
            Self::Last(count) => (length - count.min(length), u64::MAX),
        };
        let value = match first < length {
            true => format!("bytes={first}-{}", last.min(length - 1)),
            false => format!("bytes={length}-"),
        };
        HeaderValue::try_from(value).ok()
    }
}

/// The only item; `None` where there are none or more.
fn only<T>(mut items: impl Iterator<Item = T>) -> Option<T> {
    let item = items.next()?;
    items.next().is_none().then_some(item)
}

fn number(digits: &str) -> Option<u64> {
    let valid = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    // Only a number that is too large fails.
    valid.then(|| digits.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(field: &'static str) -> Option<ByteRange> {
        let mut headers = HeaderMap::new();
        headers.insert(RANGE, HeaderValue::from_static(field));
        ByteRange::of(&headers)
    }

    #[test]
    fn ranges_are_read_as_the_grammar_allows_them() {
        const HUGE: u64 = u64::MAX;
        for (field, range) in [
            ("bytes=0-4", ByteRange::Between(0, 4)),
            ("Bytes=0-4", ByteRange::Between(0, 4)),
            ("BYTES=007-009", ByteRange::Between(7, 9)),
            ("bytes=5-", ByteRange::Between(5, HUGE)),
            ("bytes=-5", ByteRange::Last(5)),
            ("bytes=-0", ByteRange::Last(0)),
            ("bytes= 0-4\t, ", ByteRange::Between(0, 4)),
            ("bytes=,,0-4,", ByteRange::Between(0, 4)),
            ("bytes=0-99999999999999999999", ByteRange::Between(0, HUGE)),
            ("bytes=-99999999999999999999", ByteRange::Last(HUGE)),
            (
                "bytes=99999999999999999999-",
                ByteRange::Between(HUGE, HUGE),
            ),
        ] {
            assert_eq!(parsed(field), Some(range), "{field}");
        }
    }

    #[test]
    fn what_is_no_single_byte_range_is_ignored() {
        for field in [
            "items=0-5",
            "bytes",
            "bytes=",
            "bytes=-",
            "bytes=,",
            "bytes=a-b",
            "bytes=0x1-2",
            "bytes=+1-2",
            "bytes=1--2",
            "bytes=5-4",
            "bytes=0-1,3-4",
            "bytes 0-4",
            "bytes=0-4 5",
            "bytes =0-4",
            "=0-4",
            "",
        ] {
            assert_eq!(parsed(field), None, "{field}");
        }
        let mut twice = HeaderMap::new();
        twice.append(RANGE, HeaderValue::from_static("bytes=0-1"));
        twice.append(RANGE, HeaderValue::from_static("bytes=0-1"));
        assert_eq!(ByteRange::of(&twice), None);
    }

    #[test]
    fn a_range_is_cut_to_the_file() {
        for (range, length, value) in [
            (ByteRange::Between(0, u64::MAX), 100, "bytes=0-99"),
            (ByteRange::Between(99, 99), 100, "bytes=99-99"),
            (ByteRange::Between(100, 200), 100, "bytes=100-"),
            (ByteRange::Between(u64::MAX, u64::MAX), 100, "bytes=100-"),
            (ByteRange::Last(500), 100, "bytes=0-99"),
            (ByteRange::Last(1), 100, "bytes=99-99"),
            (ByteRange::Last(0), 100, "bytes=100-"),
        ] {
            let expected = HeaderValue::from_static(value);
            assert_eq!(range.within(length), Some(expected), "{range:?}");
        }
    }
}
