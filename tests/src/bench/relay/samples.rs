//! The samples of a benchmark.

/// The samples of one kind, one for each round.
#[derive(Default)]
pub(super) struct Samples {
    /// Medians, in microseconds.
    pub(super) latency: Vec<f64>,
    /// MiB in a second.
    pub(super) throughput: Vec<f64>,
    /// Questions and answers in a second.
    pub(super) messages: Vec<f64>,
    /// Milliseconds of the relay's thread for each GiB; empty where that is not known.
    pub(super) cpu: Vec<f64>,
}
