//! Durations on the command line.

use std::time::Duration;

/// The longest duration that an option accepts.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// Parses `3s`, `500ms`, `1.5s`, `2m`, and `2.5` (seconds, as in curl).
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let seconds_per_unit = match &text[digits.len()..] {
        "ms" => 0.001,
        "s" | "" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        unit => return Err(format!("`{unit}` is not a unit; write ms, s, m or h")),
    };
    let is_number = digits.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let number: f64 = match digits.parse() {
        Ok(number) if is_number => number,
        _ => return Err("expected a number and a unit, such as `3s` or `500ms`".into()),
    };
    let duration = Duration::try_from_secs_f64(number * seconds_per_unit).unwrap_or(Duration::MAX);
    if duration < Duration::from_millis(1) {
        return Err("must be at least 1ms".into());
    }
    if duration > LONGEST {
        return Err("must be at most 24h".into());
    }
    Ok(duration)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_parsed() {
        for (text, milliseconds) in [
            ("3s", 3000),
            ("500ms", 500),
            ("1.5s", 1500),
            ("2m", 120_000),
            ("24h", 86_400_000),
            ("2.5", 2500),
            ("1ms", 1),
        ] {
            assert_eq!(
                parse(text),
                Ok(Duration::from_millis(milliseconds)),
                "{text}"
            );
        }
    }

    #[test]
    fn other_texts_are_refused_with_the_remedy() {
        for (text, expected) in [
            ("", "such as"),
            ("s", "such as"),
            ("-1s", "such as"),
            ("1e3s", "such as"),
            ("1..2s", "such as"),
            ("inf", "not a unit"),
            ("3 s", "such as"),
            ("3d", "not a unit"),
            ("3S", "not a unit"),
            ("0", "at least 1ms"),
            ("0.5ms", "at least 1ms"),
            ("25h", "at most 24h"),
            ("99999999999999999999999h", "at most 24h"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
