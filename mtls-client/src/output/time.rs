//! Points in time for people.

use time::OffsetDateTime;

/// Seconds since 1970-01-01 UTC as `2026-01-31 23:59:59 UTC`.
pub(crate) fn utc(unix_time: u64) -> String {
    let time = i64::try_from(unix_time).ok();
    let time = time.and_then(|time| OffsetDateTime::from_unix_timestamp(time).ok());
    // A file can have any number.
    let Some(time) = time else {
        return format!("{unix_time} s after 1970-01-01 UTC");
    };
    let (hour, minute, second) = time.to_hms();
    format!("{} {hour:02}:{minute:02}:{second:02} UTC", time.date())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_is_a_time() {
        assert_eq!(utc(0), "1970-01-01 00:00:00 UTC");
        assert_eq!(utc(1_796_000_461), "2026-11-30 01:01:01 UTC");
        assert_eq!(
            utc(u64::MAX),
            format!("{} s after 1970-01-01 UTC", u64::MAX)
        );
    }
}
