//! What a node measures of itself, for front ends that tell it to monitoring.

/// Where a node's measurements are.
pub trait Metrics: Send + Sync {
    /// All of them, in Prometheus' text format. May read files: not for a thread that others wait for.
    fn render(&self) -> String;
}

/// A node that measures nothing.
pub(crate) struct NoMetrics;

impl Metrics for NoMetrics {
    fn render(&self) -> String {
        String::new()
    }
}
