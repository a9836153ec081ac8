//! From rounds to the rows of the table: medians, ratios, and whether targets are reached.
//!
//! A ratio is the median of the rounds' ratios, because the two sides of a round were measured right after each other.
//! It is therefore not exactly the quotient of the two medians beside it.

use super::case::{
    Bar, CPU_BESIDE_BYTES, Observer, P99_IN_A_CROWD, P99_WITH_SCRAPES, Path, RATE_BESIDE_BYTES, RATE_WITH_LOG, Server,
};
use super::memory::{Memory, NAME};
use super::record::{Measured, Record, Round, Sample};
use super::start::{self, Starts};

/// One line of the table.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Row {
    pub(super) case: &'static str,
    pub(super) what: String,
    pub(super) direct: Option<f64>,
    pub(super) mesh: f64,
    pub(super) ratio: Option<f64>,
    pub(super) ztunnel: &'static str,
    pub(super) target: Option<Target>,
}

/// What is to be reached.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Target {
    /// The ratio, at least.
    Ratio(f64),
    /// The mesh's figure, at most.
    Value(f64),
    /// The ratio, at most.
    Growth(f64),
}

impl Row {
    /// Whether the target is reached; `None` without a target.
    pub(super) fn reached(&self) -> Option<bool> {
        match self.target? {
            Target::Ratio(least) => Some(self.ratio? >= least),
            Target::Value(most) => Some(self.mesh <= most),
            Target::Growth(most) => Some(self.ratio? <= most),
        }
    }
}

/// All rows, in the order of the measurements.
pub(super) fn of(record: &Record) -> Vec<Row> {
    let mut rows: Vec<Row> = record.cases.iter().flat_map(of_case).collect();
    rows.extend(record.memory.iter().flat_map(of_memory));
    rows.extend(record.starts.iter().flat_map(of_starts));
    rows
}

fn of_case(measured: &Measured) -> Vec<Row> {
    let (case, rounds) = (measured.case, &measured.rounds);
    if case.path == Path::Crowded {
        return of_crowd(measured);
    }
    let (unit, size) = case.load.rate_unit();
    let rate = |sample: &Sample| Some(sample.rate() / size);
    let mut rows = vec![compare(rounds, unit, direct, rate)];
    rows[0].target = case.rate.map(|bar| Target::Ratio(bar.target));
    rows[0].ztunnel = case.rate.map_or("", |bar| bar.ztunnel);
    if let Some(against) = against(case.path) {
        let row = compare(rounds, &format!("{unit}, {against}"), beside, rate);
        let least = match case.path {
            Path::Requests => Some(RATE_BESIDE_BYTES),
            Path::Observed(Observer::AccessLog) => Some(RATE_WITH_LOG),
            _ => None,
        };
        rows.push(Row { target: least.map(Target::Ratio), ..row });
    }
    for (what, of) in [("p50 us", (|s| s.p50_us) as Figure), ("p99 us", |s| s.p99_us)] {
        if rounds.iter().any(|round| of(round.through()).is_some()) {
            rows.push(compare(rounds, what, direct, of));
        }
    }
    if let Path::Observed(observer) = case.path {
        let row = compare(rounds, &format!("p99 us, {}", observer.without()), beside, |sample| sample.p99_us);
        let most = (observer == Observer::Scrapes).then_some(Target::Growth(P99_WITH_SCRAPES));
        rows.push(Row { target: most, ..row });
    }
    rows.extend(cpu(measured));
    if rounds.iter().flat_map(Round::samples).any(|sample| sample.errors > 0) {
        rows.push(compare(rounds, "errors, at the median", direct, |sample| Some(sample.errors as f64)));
    }
    rows.iter_mut().for_each(|row| row.case = case.name);
    rows
}

/// What the column `direct` has in the rows that compare with another way of the mesh: the same carried as bytes, or not observed.
fn against(path: Path) -> Option<&'static str> {
    match path {
        Path::Requests => Some("against L4"),
        Path::Observed(observer) => Some(observer.without()),
        Path::Bytes | Path::Crowded | Path::Peer(_) => None,
    }
}

/// A light pod alone and beside others: in the mesh, and what the machine does to it without one.
fn of_crowd(measured: &Measured) -> Vec<Row> {
    let times: [(&str, Figure); 2] = [("p99 us", |s| s.p99_us), ("p50 us", |s| s.p50_us)];
    let mut rows = Vec::new();
    for (what, of) in times {
        let target = (what == "p99 us").then_some(Target::Growth(P99_IN_A_CROWD));
        let mesh = compare(&measured.rounds, &format!("{what} in a crowd, against alone"), beside, of);
        rows.push(Row { target, ..mesh });
        let crowded = |round: &Round| round.crowded.as_ref().and_then(of);
        let ratios = measured.rounds.iter().filter_map(|round| Some(crowded(round)? / of(&round.direct)?));
        rows.push(Row {
            what: format!("{what} in a crowd, against alone, both without a mesh"),
            direct: Some(median(measured.rounds.iter().filter_map(|round| of(&round.direct)))),
            mesh: median(measured.rounds.iter().filter_map(crowded)),
            ratio: Some(median(ratios)),
            ..Row::default()
        });
    }
    rows.iter_mut().for_each(|row| row.case = measured.case.name);
    rows
}

fn direct(round: &Round) -> Option<&Sample> {
    Some(&round.direct)
}

fn beside(round: &Round) -> Option<&Sample> {
    round.beside.as_ref()
}

fn compare(
    rounds: &[Round],
    what: &str,
    base: impl Fn(&Round) -> Option<&Sample>,
    of: impl Fn(&Sample) -> Option<f64>,
) -> Row {
    let of_base = |round: &Round| base(round).and_then(&of);
    let ratio = median(rounds.iter().filter_map(|round| Some(of(round.through())? / of_base(round)?)));
    Row {
        what: what.to_owned(),
        direct: Some(median(rounds.iter().filter_map(of_base))),
        mesh: median(rounds.iter().filter_map(|round| of(round.through()))),
        ratio: Some(ratio),
        ..Row::default()
    }
}

/// A figure of a measurement, where it has one.
type Figure = fn(&Sample) -> Option<f64>;

/// CPU seconds of somebody during a measurement.
type Used = fn(&Sample) -> f64;

/// CPU per unit of work: of each agent or proxy, and of both together where kinds of proxies are compared.
fn cpu(measured: &Measured) -> Vec<Row> {
    let case = measured.case;
    let (client, server, both) = match case.path {
        Path::Bytes | Path::Crowded | Path::Requests | Path::Observed(_) => {
            ("client's agent", "server's agent", "both agents")
        }
        Path::Peer(_) => ("client's proxy", "server's proxy", "both proxies"),
    };
    let client: (&str, Used) = (client, |sample| sample.client_agent_cpu_seconds);
    let server: (&str, Used) = (server, |sample| sample.server_agent_cpu_seconds);
    let whose = match case.path {
        Path::Bytes if case.server != Server::Far => vec![("one agent", client.1)],
        Path::Bytes | Path::Crowded => vec![client, server],
        Path::Requests | Path::Observed(_) | Path::Peer(_) => vec![client, server, (both, Sample::both_cpu_seconds)],
    };
    whose.into_iter().map(|(whose, used)| one_cpu(measured, whose, used)).collect()
}

fn one_cpu(measured: &Measured, whose: &str, used: Used) -> Row {
    let (unit, scale) = measured.case.load.cpu_unit();
    let each = |sample: &Sample| Some(used(sample) / sample.amount * scale);
    if let Some(against) = against(measured.case.path) {
        let row = compare(&measured.rounds, &format!("{unit}, {whose}, {against}"), beside, each);
        let most = (measured.case.path == Path::Requests).then_some(Target::Growth(CPU_BESIDE_BYTES));
        return Row { target: most, ..row };
    }
    let bar: Option<Bar> = measured.case.cpu;
    Row {
        what: format!("{unit}, {whose}"),
        mesh: median(measured.rounds.iter().filter_map(|round| each(round.through()))),
        ztunnel: bar.map_or("", |bar| bar.ztunnel),
        target: bar.map(|bar| Target::Value(bar.target)),
        ..Row::default()
    }
}

fn of_memory(memory: &Memory) -> Vec<Row> {
    let Memory { held, storm, quiet_seconds, .. } = memory;
    let mut rows = Vec::new();
    for (at, whose) in ["client's agent", "server's agent"].into_iter().enumerate() {
        let row = |what: String, mesh: f64, target| Row { case: NAME, what, mesh, target, ..Row::default() };
        let grown = memory.after_storm[at] as f64 / memory.idle[at] as f64;
        rows.push(row(format!("MB idle, {whose}"), memory.idle[at] as f64 / 1e6, Some(Target::Value(18.0))));
        rows.push(row(format!("MB of that, no pages of files, {whose}"), memory.idle_anonymous[at] as f64 / 1e6, None));
        let each = memory.per_connection()[at] / 1e3;
        rows.push(row(format!("KB per open connection of {held}, {whose}"), each, Some(Target::Value(6.0))));
        rows.push(row(format!("MB after closing them, {whose}"), memory.closed[at] as f64 / 1e6, None));
        let what = format!("MB {quiet_seconds} s after {storm} connections, to idle, {whose}");
        let after = row(what, memory.after_storm[at] as f64 / 1e6, Some(Target::Growth(1.15)));
        rows.push(Row { ratio: Some(grown), ..after });
    }
    rows
}

fn of_starts(starts: &Starts) -> Vec<Row> {
    let row = |what: &str, mesh: f64, target| Row {
        case: start::NAME,
        what: what.to_owned(),
        mesh,
        target,
        ..Row::default()
    };
    let worst = |times: &[f64]| times.iter().copied().fold(0.0, f64::max);
    let Starts { from_start_ms, from_kill_ms, enrolment_ms } = starts;
    let within = |most| Some(Target::Value(most));
    vec![
        row("ms from an agent's start to the first connection", median(from_start_ms.iter().copied()), within(150.0)),
        row("ms from its start, at worst", worst(from_start_ms), None),
        row("ms from the SIGKILL of the one before, at worst", worst(from_kill_ms), within(1000.0)),
        row("ms from a pod's label to its first connection", median(enrolment_ms.iter().copied()), within(20.0)),
        row("ms from its label, at worst", worst(enrolment_ms), None),
    ]
}

/// The middle, or the mean of the two in the middle; 0 of nothing.
fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.filter(|value| value.is_finite()).collect();
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => 0.0,
        n if n % 2 == 1 => values[n / 2],
        n => f64::midpoint(values[n / 2 - 1], values[n / 2]),
    }
}

#[cfg(test)]
mod tests {
    use super::super::case::ALL;
    use super::super::record::Through;
    use super::*;

    fn sample(amount: f64, cpu: f64) -> Sample {
        Sample {
            amount,
            seconds: 2.0,
            p50_us: Some(1e6 / amount),
            p99_us: None,
            errors: 0,
            client_agent_cpu_seconds: cpu,
            server_agent_cpu_seconds: cpu / 2.0,
            cpus_used_by_others: 0.0,
        }
    }

    #[test]
    fn the_ratio_is_the_median_of_the_rounds_and_targets_are_judged() {
        // A slow minute of the machine halves both sides of the second round.
        let pairs = [(100_000.0, 60_000.0), (50_000.0, 31_000.0), (100_000.0, 20_000.0)];
        let rounds = pairs.map(|(direct, mesh)| Round {
            direct: sample(direct, 0.0),
            crowded: None,
            beside: None,
            through: Through::Mesh(sample(mesh, 0.9)),
        });
        let rows = of_case(&Measured { case: &ALL[0], rounds: rounds.into() });
        let whats: Vec<&str> = rows.iter().map(|row| row.what.as_str()).collect();
        let cpu = "CPU s per 100,000 requests";
        assert_eq!(
            whats,
            ["requests/s", "p50 us", &format!("{cpu}, client's agent"), &format!("{cpu}, server's agent")]
        );
        assert_eq!((rows[0].direct, rows[0].mesh, rows[0].ratio), (Some(50_000.0), 15_500.0, Some(0.6)));
        assert_eq!(rows[0].reached(), Some(true), "0.60 is enough");
        assert_eq!(rows[1].reached(), None);
        assert_eq!((rows[2].reached(), rows[3].reached()), (Some(false), Some(true)), "2.9 and 1.45 of 2.0");
    }

    #[test]
    fn requests_are_judged_against_the_same_as_bytes() {
        let case = ALL.iter().find(|case| case.path == Path::Requests).unwrap_or(&ALL[0]);
        let through = Through::Mesh(sample(30_000.0, 0.6));
        let round =
            Round { direct: sample(100_000.0, 0.0), crowded: None, beside: Some(sample(50_000.0, 0.5)), through };
        let rows = of_case(&Measured { case, rounds: vec![round] });
        let judged: Vec<_> = rows.iter().map(|row| (row.what.as_str(), row.direct, row.reached())).collect();
        let cpu = "CPU s per 100,000 requests";
        assert_eq!(
            judged,
            [
                ("requests/s", Some(50_000.0), None),
                ("requests/s, against L4", Some(25_000.0), Some(false)),
                ("p50 us", Some(10.0), None),
                (&*format!("{cpu}, client's agent, against L4"), Some(1.0), Some(false)),
                (&*format!("{cpu}, server's agent, against L4"), Some(0.5), Some(false)),
                (&*format!("{cpu}, both agents, against L4"), Some(1.5), Some(false)),
            ],
            "0.6 is less than 0.7, and twice the CPU more than 1.6 times"
        );
    }

    #[test]
    fn what_is_observed_is_judged_against_the_same_that_is_not() {
        for (observer, expected) in
            [(Observer::AccessLog, [Some(true), None]), (Observer::Scrapes, [None, Some(false)])]
        {
            let case = ALL.iter().find(|case| case.path == Path::Observed(observer)).unwrap_or(&ALL[0]);
            let timed = |amount, p99| Sample { p99_us: Some(p99), ..sample(amount, 0.5) };
            let (beside, through) = (Some(timed(50_000.0, 100.0)), Through::Mesh(timed(48_000.0, 106.0)));
            let direct = timed(1e5, 9.0);
            let rows = of_case(&Measured { case, rounds: vec![Round { direct, crowded: None, beside, through }] });
            let judged = |what: &str| rows.iter().find(|row| row.what == format!("{what}, {}", observer.without()));
            let reached = ["requests/s", "p99 us"].map(|what| judged(what).and_then(Row::reached));
            assert_eq!(reached, expected, "{rows:?}");
        }
    }

    #[test]
    fn a_crowd_is_judged_by_what_it_does_to_a_light_pod_in_the_mesh() {
        let case = ALL.iter().find(|case| case.path == Path::Crowded).unwrap_or(&ALL[0]);
        let timed = |p99| Sample { p99_us: Some(p99), ..sample(1000.0, 0.5) };
        let round = Round {
            direct: timed(100.0),
            crowded: Some(timed(150.0)),
            beside: Some(timed(300.0)),
            through: Through::Mesh(timed(630.0)),
        };
        let rows = of_case(&Measured { case, rounds: vec![round] });
        let judged = rows.iter().take(2).map(|row| (row.direct, row.mesh, row.ratio, row.reached()));
        let expected = [(Some(300.0), 630.0, Some(2.1), Some(false)), (Some(100.0), 150.0, Some(1.5), None)];
        assert_eq!(judged.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn peers_have_no_target_and_tell_their_proxies_together_too() {
        let case = ALL.iter().find(|case| matches!(case.path, Path::Peer(_))).unwrap_or(&ALL[0]);
        let round = Round {
            direct: sample(100_000.0, 0.0),
            crowded: None,
            beside: None,
            through: Through::Peer(sample(50_000.0, 1.0)),
        };
        let rows = of_case(&Measured { case, rounds: vec![round] });
        assert!(rows.iter().all(|row| row.reached().is_none()), "{rows:?}");
        let both = rows.last().map(|row| (row.what.as_str(), row.mesh));
        assert_eq!(both, Some(("CPU s per 100,000 requests, both proxies", 3.0)));
    }

    #[test]
    fn medians_of_odd_and_even_counts() {
        assert_eq!(median([3.0, 1.0, 2.0].into_iter()), 2.0);
        assert_eq!(median([4.0, 1.0, 2.0, 3.0].into_iter()), 2.5);
        assert_eq!(median([f64::NAN].into_iter()), 0.0);
    }
}
