//! The scenarios, in the order in which they are played: those that share a ground one after the other.

mod api_flapping;
mod ca_outage;
mod churn;
mod clock_jumps;
mod disk_full;
mod half_open;
mod loss;
mod malformed;
mod partition;
mod stalling_servers;
mod stalls;
mod storm;

use anyhow::Result;

use super::STREAMS;
use super::ground::Kind;
use super::stage::Stage;
use crate::peer::stream::report::StreamReport;

/// Hostile conditions of one kind.
pub struct Scenario {
    /// What it is called on the command line.
    pub name: &'static str,
    /// What it does, in a line.
    pub about: &'static str,
    pub(super) kind: Kind,
    pub(super) run: fn(&mut Stage<'_>) -> Result<()>,
}

/// All of them.
pub const ALL: &[Scenario] = &[
    on_files("loss", "packets between the nodes are lost by chance, 5 to 30 %", loss::run),
    on_files("partition", "nodes do not reach each other for a while, in one direction or both", partition::run),
    on_files("stalls", "peers and applications stop at each step of what they speak", stalls::run),
    on_files("half-open", "a machine vanishes without a word, in the midst of what is under way", half_open::run),
    on_files("churn", "the endpoints of a Service are replaced many times a second", churn::run),
    on_files("storm", "mesh documents, good and bad, are rewritten many times a second", storm::run),
    on_files("malformed", "malformed TLS, HBONE and HTTP at every port of an agent", malformed::run),
    Scenario {
        name: "api-flapping",
        about: "the API server goes, hangs, answers with 500 and 410, and comes back",
        kind: Kind::Api,
        run: api_flapping::run,
    },
    Scenario {
        name: "disk-full",
        about: "the disks with an agent's state and log are full, and then are not",
        kind: Kind::Disk,
        run: disk_full::run,
    },
    Scenario {
        name: "ca-outage",
        about: "the authority is gone for longer than certificates are valid",
        kind: Kind::ShortLived,
        run: ca_outage::run,
    },
    Scenario {
        name: "clock-jumps",
        about: "the agents' clock jumps forward and back, within and beyond what certificates allow",
        kind: Kind::Clock,
        run: clock_jumps::run,
    },
];

const fn on_files(name: &'static str, about: &'static str, run: fn(&mut Stage<'_>) -> Result<()>) -> Scenario {
    Scenario { name, about, kind: Kind::Files, run }
}

/// A few new connections of the client: what became of each.
fn new_connections(stage: &mut Stage<'_>) -> Result<StreamReport> {
    let to = stage.ground.pods.far.at(STREAMS);
    let line = format!("stream-load --to {to} --streams 4 --count 4 --bytes 3000 --silence 8");
    let report = stage.ground.pods.client.ask_held(&line);
    stage.look()?;
    report
}
