//! The tables: workloads of this node, routes, flows between two, open connections. What is in the rows of the first three, from
//! the last seconds.

use std::collections::{BTreeMap, VecDeque};

use super::{
    sums::{Sum, percent},
    traffic::{Direction, Flow, Second},
    unit::Unit,
};

/// Rates are those of so many seconds: one alone jumps, and more hide what has just begun.
const WINDOW: usize = 10;

/// What is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum View {
    #[default]
    Workloads,
    Routes,
    Flows,
    Connections,
}

/// A column of numbers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Column {
    pub(super) title: &'static str,
    pub(super) unit: Unit,
}

/// A column of names, and the room that it is given.
#[derive(Clone, Copy, Debug)]
pub(super) struct NameColumn {
    pub(super) title: &'static str,
    pub(super) room: Room,
}

/// How wide names are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    /// So many letters.
    Letters(u16),
    /// A share of what is there, of which fewer than these letters would say too little.
    AtLeast(u16),
}

/// One row.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Row {
    pub(super) names: Vec<String>,
    /// `None` where there is nothing to say.
    pub(super) numbers: Vec<Option<f64>>,
    /// How many in each second, the oldest first; where nothing ended, bytes.
    pub(super) trend: Vec<u64>,
    /// Whether something of it failed lately.
    pub(super) fails: bool,
}

const fn column(title: &'static str, unit: Unit) -> Column {
    Column { title, unit }
}

const IN: Column = column("IN/S", Unit::PerSecond);
const OUT: Column = column("OUT/S", Unit::PerSecond);
const RATE: Column = column("/S", Unit::PerSecond);
const OPEN: Column = column("OPEN", Unit::Count);
const SHARE: Column = column("SHARE", Unit::Percent);
const FAILED: Column = column("FAIL%", Unit::Percent);
const MEDIAN: Column = column("P50", Unit::Milliseconds);
const SLOWEST: Column = column("P99", Unit::Milliseconds);
const BYTES: Column = column("BYTES", Unit::PerSecond);
const AGE: Column = column("AGE", Unit::Seconds);
const SENT: Column = column("SENT", Unit::Bytes);
const RECEIVED: Column = column("BACK", Unit::Bytes);
const TLS: Column = column("MTLS%", Unit::Percent);

const fn name(title: &'static str, room: Room) -> NameColumn {
    NameColumn { title, room }
}

const WORKLOAD: NameColumn = name("WORKLOAD", Room::AtLeast(23));
const SERVICE: NameColumn = name("SERVICE", Room::AtLeast(13));
const RULE: NameColumn = name("RULE", Room::AtLeast(18));
const FROM: NameColumn = name("FROM", Room::AtLeast(14));
const TO: NameColumn = name("TO", Room::AtLeast(14));
const PROTOCOL: NameColumn = name("PROTO", Room::Letters(6));
const ID: NameColumn = name("ID", Room::Letters(7));

impl View {
    pub(super) const ALL: [Self; 4] = [Self::Workloads, Self::Routes, Self::Flows, Self::Connections];

    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Workloads => "Workloads",
            Self::Routes => "Routes",
            Self::Flows => "Flows",
            Self::Connections => "Connections",
        }
    }

    pub(super) fn names(self) -> &'static [NameColumn] {
        match self {
            Self::Workloads => &[WORKLOAD],
            Self::Routes => &[SERVICE, RULE, TO],
            Self::Flows => &[FROM, TO, PROTOCOL],
            Self::Connections => &[ID, FROM, TO, PROTOCOL],
        }
    }

    /// The more important the further to the left: on a narrow screen the others are left out.
    pub(super) fn numbers(self) -> &'static [Column] {
        match self {
            Self::Workloads => &[IN, OUT, OPEN, FAILED, MEDIAN, SLOWEST, BYTES, TLS],
            Self::Routes => &[RATE, SHARE, FAILED, SLOWEST, OPEN, MEDIAN],
            Self::Flows => &[RATE, OPEN, FAILED, SLOWEST, BYTES, TLS, MEDIAN],
            Self::Connections => &[AGE, SENT, RECEIVED],
        }
    }

    /// The rows, in no order yet.
    pub(super) fn rows(self, seconds: &VecDeque<Second>, of: &dyn Fn(&Flow) -> bool) -> Vec<Row> {
        let window = seconds.iter().rev().take(WINDOW);
        let length = window.clone().map(|second| second.milliseconds).sum::<u64>() as f64 / 1_000.0;
        let mut groups: BTreeMap<Vec<String>, Group> = BTreeMap::new();
        for (age, second) in seconds.iter().rev().enumerate() {
            for flow in second.flows.iter().filter(|flow| of(flow)) {
                for (names, role) in self.groups(flow) {
                    let group = groups.entry(names).or_default();
                    group.add(role, flow, age, seconds.len());
                }
            }
        }
        let mut by_first: BTreeMap<String, u64> = BTreeMap::new();
        for (names, group) in &groups {
            *by_first.entry(names[0].clone()).or_default() += group.own.count + group.own.open;
        }
        let row = |(names, group): (Vec<String>, Group)| {
            let numbers = self.row_numbers(&group, by_first[&names[0]], length);
            let fails = group.told().failed_percent() > 0.0;
            Row { names, numbers, trend: group.trend(), fails }
        };
        groups.into_iter().map(row).collect()
    }

    /// The rows that a flow is counted in.
    fn groups(self, flow: &Flow) -> Vec<(Vec<String>, Role)> {
        match (self, flow.direction) {
            // The pod of this node is the client of what goes out, and the server of what comes in.
            (Self::Workloads, Direction::Outbound) => vec![(vec![flow.source.to_string()], Role::Other)],
            (Self::Workloads, Direction::Inbound) => vec![(vec![flow.to()], Role::Own)],
            (Self::Routes, Direction::Outbound) => {
                let service = flow.service().to_owned();
                vec![(vec![service, flow.route.clone().unwrap_or_else(|| "-".to_owned()), flow.to()], Role::Own)]
            }
            (Self::Routes, Direction::Inbound) => Vec::new(),
            (Self::Connections, _) => Vec::new(),
            // Between two pods of this node both sides tell: it is counted by the client's.
            (Self::Flows, direction) => {
                let role = if direction == Direction::Outbound { Role::Own } else { Role::Other };
                vec![(vec![flow.source.to_string(), flow.to(), flow.protocol.clone()], role)]
            }
        }
    }

    fn row_numbers(self, group: &Group, of_service: u64, seconds: f64) -> Vec<Option<f64>> {
        let rate = |count: u64| Some(if seconds > 0.0 { count as f64 / seconds } else { 0.0 });
        let (Group { own, other, .. }, told) = (group, group.told());
        let open = Some((own.open + other.open) as f64);
        let (failed, tls) = (Some(told.failed_percent()), told.mutual_tls_percent());
        let (median, slowest) = (told.quantile(0.5), told.quantile(0.99));
        match self {
            Self::Workloads => {
                let bytes = rate(own.bytes + other.bytes);
                vec![rate(own.count), rate(other.count), open, failed, median, slowest, bytes, tls]
            }
            Self::Routes => {
                let share = Some(percent(own.count + own.open, of_service));
                vec![rate(own.count), share, failed, slowest, open, median]
            }
            Self::Flows => {
                let open = Some(told.open as f64);
                vec![rate(told.count), open, failed, slowest, rate(told.bytes), tls, median]
            }
            Self::Connections => Vec::new(),
        }
    }
}

#[derive(Debug, Default)]
struct Group {
    own: Sum,
    /// What a workload asks of others.
    other: Sum,
    /// Of each second: what ended, and bytes.
    counts: Vec<u64>,
    bytes: Vec<u64>,
}

#[derive(Clone, Copy)]
enum Role {
    Own,
    Other,
}

impl Group {
    /// Adds a flow of the second that is so many seconds old, of so many.
    fn add(&mut self, role: Role, flow: &Flow, age: usize, seconds: usize) {
        for (trend, number) in [(&mut self.counts, flow.count), (&mut self.bytes, flow.sent + flow.received)] {
            trend.resize(seconds, 0);
            trend[seconds - 1 - age] += number;
        }
        if age < WINDOW {
            self.of(role).add(flow);
        }
        if age == 0 {
            self.of(role).hold(flow);
        }
    }

    /// What a workload answers tells of it; what it asks, where it answers nothing.
    fn told(&self) -> &Sum {
        if self.own.is_any() { &self.own } else { &self.other }
    }

    fn trend(self) -> Vec<u64> {
        if self.counts.iter().any(|count| *count > 0) { self.counts } else { self.bytes }
    }

    fn of(&mut self, role: Role) -> &mut Sum {
        match role {
            Role::Own => &mut self.own,
            Role::Other => &mut self.other,
        }
    }
}
