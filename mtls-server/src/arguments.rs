//! Parsers of option values, for the settings that are command-line arguments.

use std::time::Duration;

use mtls_core::http_io::HeadLimit;
use mtls_core::known_hosts::MAX_AGE;

const NOT_A_DURATION: &str = "expected a time such as 10s, 250ms or 5m";
/// A day in seconds.
const DAY: u64 = 24 * 3600;
const NOT_AN_AGE: &str = "expected a time such as 180d, 12h or 10m";
/// The limits of `--max-header-size` in bytes.
const HEAD_SIZES: std::ops::RangeInclusive<usize> = 1_024..=262_144;

/// A duration above zero.
pub(crate) fn positive(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err("must be longer than zero".to_owned()),
        duration => Ok(duration),
    }
}

/// `10s`, `250ms`, `5m`, `12h`, or seconds as a plain number.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let unit_ms = match &text[digits.len()..] {
        "ms" => 1,
        "" | "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(NOT_A_DURATION.to_owned()),
    };
    let count: u32 = digits.parse().map_err(|_| NOT_A_DURATION.to_owned())?;
    Ok(Duration::from_millis(u64::from(count) * unit_ms))
}

/// A time to be remembered: `180d`, `12h`, or as [`duration`]; at most two years.
pub(crate) fn max_age(text: &str) -> Result<Duration, String> {
    let age = match text.strip_suffix('d') {
        Some(days) => days
            .parse::<u32>()
            .map(|days| Duration::from_secs(u64::from(days) * DAY))
            .ok(),
        None => duration(text).ok(),
    };
    let age = age.ok_or_else(|| NOT_AN_AGE.to_owned())?;
    match age > MAX_AGE {
        true => Err(format!("must be at most {}d", MAX_AGE.as_secs() / DAY)),
        false => Ok(age),
    }
}

/// A number above zero.
pub(crate) fn count(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("must be at least 1".to_owned()),
        Ok(count) => Ok(count),
        Err(error) => Err(format!("{error}")),
    }
}

/// The limit of a message head in bytes.
pub(crate) fn head_limit(text: &str) -> Result<HeadLimit, String> {
    let size: usize = text.parse().map_err(|error| format!("{error}"))?;
    match HEAD_SIZES.contains(&size) {
        true => Ok(HeadLimit::new(size)),
        false => Err(format!("{size} is not in {HEAD_SIZES:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_to_be_remembered_are_mostly_days() {
        for (text, seconds) in [
            ("180d", 180 * 86_400),
            ("730d", 730 * 86_400),
            ("12h", 43_200),
            ("0s", 0),
        ] {
            assert_eq!(max_age(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for wrong in ["", "d", "731d", "-1d", "1.5d", "1w", "ß"] {
            assert!(max_age(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn durations_have_units() {
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("10s"), Ok(Duration::from_secs(10)));
        assert_eq!(duration("7"), Ok(Duration::from_secs(7)));
        assert_eq!(duration("5m"), Ok(Duration::from_secs(300)));
        assert_eq!(duration("12h"), Ok(Duration::from_secs(43_200)));
        for wrong in ["", "s", "-1s", "1d", "1.5s", "1 s", "99999999999s", "ß"] {
            assert!(duration(wrong).is_err(), "{wrong:?}");
        }
        assert!(positive("0s").is_err());
        assert_eq!(duration("0s"), Ok(Duration::ZERO));
    }
}
