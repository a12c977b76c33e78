//! The samples of a benchmark.

/// The samples of one kind: one for each round, but for latencies one for each connection.
#[derive(Default)]
pub(super) struct Samples {
    /// Microseconds.
    pub(super) latency: Vec<f64>,
    /// The medians of the batches, in microseconds.
    pub(super) batch_latency: Vec<f64>,
    /// Microseconds for each connection, set up one at a time.
    pub(super) cpu_alone: Vec<f64>,
    /// The same, set up several at a time.
    pub(super) cpu_together: Vec<f64>,
    /// Connections in a second, set up several at a time.
    pub(super) rate: Vec<f64>,
    /// MiB in a second.
    pub(super) throughput: Vec<f64>,
}
