//! Durations on the command line.

use std::time::Duration;

const NOT_A_DURATION: &str = "expected a time such as 10s, 250ms or 5m";

/// A duration above zero.
pub(super) fn positive(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err("must be longer than zero".to_owned()),
        duration => Ok(duration),
    }
}

/// `10s`, `250ms`, `5m`, or seconds as a plain number.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let unit_ms = match &text[digits.len()..] {
        "ms" => 1,
        "" | "s" => 1_000,
        "m" => 60_000,
        _ => return Err(NOT_A_DURATION.to_owned()),
    };
    let count: u32 = digits.parse().map_err(|_| NOT_A_DURATION.to_owned())?;
    Ok(Duration::from_millis(u64::from(count) * unit_ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units() {
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("10s"), Ok(Duration::from_secs(10)));
        assert_eq!(duration("7"), Ok(Duration::from_secs(7)));
        assert_eq!(duration("5m"), Ok(Duration::from_secs(300)));
        for wrong in ["", "s", "-1s", "1h", "1.5s", "1 s", "99999999999s", "ß"] {
            assert!(duration(wrong).is_err(), "{wrong:?}");
        }
        assert!(positive("0s").is_err());
        assert_eq!(duration("0s"), Ok(Duration::ZERO));
    }
}
