//! What people and monitoring ask the daemon beside the ng protocol.

/// Answers command lines and requests for metrics. Called on threads that may wait.
pub trait Console: Send + Sync + 'static {
    /// The output of one command line, without the line end that it was typed with.
    fn cli(&self, line: &str) -> String;

    /// All metrics as Prometheus text.
    fn metrics(&self) -> String;
}
