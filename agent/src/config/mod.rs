//! `agent.yaml`: text in, [`Config`] out, or every problem of the file at once.
//!
//! The raw form is read once into the resolved form; nothing later reads the environment or the disk for
//! settings. What the defaults need to know about the machine is gathered beforehand in [`Machine`], so that
//! [`Config::parse`] is a pure function. Reading Kubernetes objects is not done here (`objects`).

pub mod authority;
mod ca;
mod conflicts;
mod defaults;
mod footprint;
mod http;
mod kubelet;
mod level;
mod machine;
mod otlp;
mod problem;
mod resolve;
mod resolved;
mod secrets;
mod source;
pub(crate) mod yaml;

pub use footprint::Footprint;
pub use http::HttpLimits;
pub use kubelet::KubeletCgroup;
pub use machine::Machine;
pub(crate) use machine::{cgroup2_mount, check_runs_in, unescape};
pub use otlp::{OtlpConfig, OtlpEndpoint, OtlpHeaders, OtlpProtocol, TracingConfig};
pub(crate) use problem::pointed_at;
pub use problem::{Position, Problem, Problems};
pub use resolved::{
    AdminConfig, CaAddress, CaConfig, CaptureConfig, Config, DnsConfig, EventLog, FastPath, HandoverConfig, JwksConfig,
    KubernetesSource, Limits, LogConfig, LogFormat, MtlsMode, RemoteCaConfig, Source, TlsConfig,
};

#[cfg(test)]
mod tests;
