//! Temporary until config has it.
use std::time::Duration;
/// Bounds.
#[derive(Clone, Copy, Debug)]
#[expect(missing_docs, reason = "temporary")]
pub struct HttpLimits {
    pub request_header_timeout: Duration,
    pub idle_timeout: Duration,
    pub max_header_bytes: u32,
    pub max_streams: u32,
    pub replay_bytes: usize,
    pub detection_timeout: Duration,
}
impl Default for HttpLimits {
    fn default() -> Self {
        Self {
            request_header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(90),
            max_header_bytes: 65536,
            max_streams: 100,
            replay_bytes: 65536,
            detection_timeout: Duration::from_millis(100),
        }
    }
}
