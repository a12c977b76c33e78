//! Arguments of `latency`.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::measure::Setting;

/// The longest round trip; a side path of ten times as much still fits into the deadlines.
const MAX_ROUND_TRIP: Duration = Duration::from_secs(1);
const MAX_RATIO: f64 = 10.0;

/// Measure and plot the time until an application may send: TCP, Noise, TLS, SMKEX, multipath TLS, QUIC.
///
/// Use a release build, on an idle machine, as root (for network namespaces):
/// `cargo run --release -p mtls-lab -- latency --out DIR`. Requires `ip` and `nft`. Without root it
/// measures CPU time on loopback and counts round trips in a simulation.
#[derive(Args, Clone, Debug)]
pub struct LatencyArgs {
    /// Round-trip times of the primary path, such as 0.2ms or 1s, separated by commas
    #[arg(
        long,
        value_name = "LIST",
        default_value = "0.2ms,20ms,100ms",
        value_delimiter = ',',
        value_parser = round_trip
    )]
    pub rtt: Vec<Duration>,
    /// Round-trip times of the side path, as multiples of the primary path's, separated by commas
    #[arg(
        long,
        value_name = "LIST",
        default_value = "1",
        value_delimiter = ',',
        value_parser = ratio
    )]
    pub side_ratio: Vec<f64>,
    /// Number of connections of each series at each setting [default: about 5 s of round trips, but
    /// from 50 to 2,000]
    #[arg(long, value_name = "N")]
    pub samples: Option<NonZeroU32>,
    /// Output directory, created if it does not exist
    #[arg(long, value_name = "DIR", default_value = "latency")]
    pub out: PathBuf,
    /// Seed for the order of connections in each round
    #[arg(long, value_name = "NUMBER", default_value = "1")]
    pub seed: u64,
    /// TrueType font for the charts [default: a font of the system]
    #[arg(long, value_name = "FILE")]
    pub font: Option<PathBuf>,
    /// Measure on loopback even if links can be emulated
    #[arg(long)]
    pub loopback: bool,
}

impl LatencyArgs {
    /// Every round trip with every ratio.
    #[must_use]
    pub fn settings(&self) -> Vec<Setting> {
        let with = |round_trip: Duration| {
            self.side_ratio.iter().map(move |side_ratio| Setting {
                round_trip,
                side_ratio: *side_ratio,
                samples: self.samples(round_trip),
            })
        };
        self.rtt
            .iter()
            .flat_map(|round_trip| with(*round_trip))
            .collect()
    }

    /// The one setting of the loopback.
    #[must_use]
    pub fn loopback_setting(&self) -> Setting {
        Setting {
            round_trip: Duration::ZERO,
            side_ratio: 1.0,
            samples: self.samples(Duration::ZERO),
        }
    }

    fn samples(&self, round_trip: Duration) -> u32 {
        let fit = Duration::from_secs(5).as_micros() / round_trip.as_micros().max(1);
        let default = u32::try_from(fit).unwrap_or(u32::MAX).clamp(50, 2_000);
        self.samples.map_or(default, NonZeroU32::get)
    }
}

fn round_trip(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic() || c == 'µ');
    let unit = match &text[digits.len()..] {
        "us" | "µs" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        _ => return Err("a time has a unit: us, ms or s, as in 0.2ms".to_owned()),
    };
    let number: f64 = digits
        .parse()
        .map_err(|_| "a time is a number and a unit, as in 0.2ms")?;
    let time = Duration::try_from_secs_f64(number * unit).map_err(|error| error.to_string())?;
    match (Duration::from_micros(1)..=MAX_ROUND_TRIP).contains(&time) {
        true => Ok(time),
        false => Err("a round trip is from 1us to 1s".to_owned()),
    }
}

fn ratio(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(ratio) if ratio > 0.0 && ratio <= MAX_RATIO => Ok(ratio),
        _ => Err(format!("a ratio is a number above 0, up to {MAX_RATIO}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_numbers_with_units() {
        assert_eq!(round_trip("0.2ms"), Ok(Duration::from_micros(200)));
        assert_eq!(round_trip("250us"), Ok(Duration::from_micros(250)));
        assert_eq!(round_trip("1s"), Ok(Duration::from_secs(1)));
        for bad in ["", "20", "ms", "-1ms", "0ms", "2s", "1m", "1e9s", "NaNms"] {
            assert!(round_trip(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn ratios_are_above_zero() {
        assert_eq!(ratio("0.5"), Ok(0.5));
        for bad in ["", "0", "-1", "inf", "NaN", "11"] {
            assert!(ratio(bad).is_err(), "{bad}");
        }
    }
}
