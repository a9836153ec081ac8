//! What was measured, as it is written to the JSON file: every round's raw figures, nothing derived.

use serde::Serialize;

use super::case::{Case, Path};
use super::format::{number, ratio};
use super::machine::Machine;
use super::memory::Memory;
use super::start::Starts;

/// CPUs used by others from which on the output warns: a tenth of one.
const DISTURBED: f64 = 0.1;

/// A whole run.
#[derive(Serialize)]
pub(super) struct Record {
    pub(super) machine: Machine,
    pub(super) agent_version: String,
    pub(super) rounds: u32,
    pub(super) seconds: u64,
    pub(super) cases: Vec<Measured>,
    pub(super) memory: Option<Memory>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) starts: Option<Starts>,
}

/// The rounds of one case.
#[derive(Serialize)]
pub(super) struct Measured {
    #[serde(serialize_with = "name")]
    pub(super) case: &'static Case,
    pub(super) rounds: Vec<Round>,
}

/// All sides, one right after the other.
#[derive(Serialize)]
pub(super) struct Round {
    pub(super) direct: Sample,
    /// The same without a mesh, beside others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) crowded: Option<Sample>,
    /// What the mesh is compared with besides: the mesh carrying bytes, where what is measured is the mesh reading requests, or
    /// the mesh that is not observed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) beside: Option<Sample>,
    #[serde(flatten)]
    pub(super) through: Through,
}

/// What the case is about, by what it was.
#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Through {
    Mesh(Sample),
    Peer(Sample),
}

/// One measurement.
#[derive(Serialize)]
pub(super) struct Sample {
    /// Requests, connections or bytes.
    pub(super) amount: f64,
    pub(super) seconds: f64,
    pub(super) p50_us: Option<f64>,
    pub(super) p99_us: Option<f64>,
    /// Requests that failed.
    pub(super) errors: u64,
    /// Of a peer's measurement, that of its proxies.
    pub(super) client_agent_cpu_seconds: f64,
    pub(super) server_agent_cpu_seconds: f64,
    /// CPUs that programs outside the run kept busy meanwhile, on average.
    pub(super) cpus_used_by_others: f64,
}

impl Record {
    pub(super) fn new(machine: Machine, agent_version: String, rounds: u32, seconds: u64) -> Self {
        Self { machine, agent_version, rounds, seconds, cases: Vec::new(), memory: None, starts: None }
    }

    pub(super) fn add(&mut self, case: &'static Case, rounds: Vec<Round>) {
        self.cases.push(Measured { case, rounds });
    }

    /// What others did on the machine meanwhile.
    pub(super) fn describe_noise(&self) -> String {
        let rounds = self.cases.iter().flat_map(|measured| &measured.rounds);
        let used: Vec<f64> = rounds.flat_map(Round::samples).map(|sample| sample.cpus_used_by_others).collect();
        let mean = used.iter().sum::<f64>() / used.len().max(1) as f64;
        let worst = used.iter().copied().fold(0.0, f64::max);
        let advice = if worst > DISTURBED { ": figures from a disturbed machine, ratios included" } else { "" };
        format!("Other programs used {mean:.2} CPUs on average while it was measured, {worst:.2} at worst{advice}.")
    }
}

impl Round {
    /// What the case is about.
    pub(super) fn through(&self) -> &Sample {
        match &self.through {
            Through::Mesh(sample) | Through::Peer(sample) => sample,
        }
    }

    /// All measurements.
    pub(super) fn samples(&self) -> impl Iterator<Item = &Sample> {
        [&self.direct].into_iter().chain(&self.crowded).chain(&self.beside).chain([self.through()])
    }

    /// One line of progress.
    pub(super) fn describe(&self, case: &Case) -> String {
        let (unit, size) = case.load.rate_unit();
        let shown = |sample: &Sample| number(sample.rate() / size);
        let errors: u64 = self.samples().map(|sample| sample.errors).sum();
        let errors = if errors == 0 { String::new() } else { format!(", {errors} errors") };
        let what = match self.through {
            Through::Mesh(_) => "mesh",
            Through::Peer(_) => "peer",
        };
        let beside = match case.path {
            Path::Observed(_) => "mesh unobserved",
            Path::Crowded => "mesh alone",
            _ => "mesh as bytes",
        };
        let beside = self.beside.as_ref().map_or(String::new(), |sample| format!(", {beside} {}", shown(sample)));
        if case.path == Path::Crowded {
            return self.describe_crowd();
        }
        let ratio = ratio(self.through().rate() / self.direct.rate());
        format!(
            "direct {}{beside}, {what} {} {unit}, ratio {ratio}{errors}",
            shown(&self.direct),
            shown(self.through())
        )
    }
}

impl Round {
    fn describe_crowd(&self) -> String {
        let p99 = |sample: Option<&Sample>| sample.and_then(|sample| sample.p99_us).unwrap_or(f64::NAN);
        let pair = |alone, beside| {
            format!("{} alone, {} in a crowd, ratio {}", number(alone), number(beside), ratio(beside / alone))
        };
        let direct = pair(p99(Some(&self.direct)), p99(self.crowded.as_ref()));
        let mesh = pair(p99(self.beside.as_ref()), p99(Some(self.through())));
        format!("p99 us: direct {direct}; mesh {mesh}")
    }
}

impl Sample {
    /// CPU seconds of both agents, or both proxies.
    pub(super) fn both_cpu_seconds(&self) -> f64 {
        self.client_agent_cpu_seconds + self.server_agent_cpu_seconds
    }

    /// Amount per second.
    pub(super) fn rate(&self) -> f64 {
        self.amount / self.seconds
    }
}

fn name<S: serde::Serializer>(case: &&'static Case, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(case.name)
}
