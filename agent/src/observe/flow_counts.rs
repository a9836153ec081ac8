//! Counting flows that are alike, within a bound: at the agent while somebody records, and at who records.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::Flow;

/// Distinct flows and how many there were of each.
#[derive(Debug)]
pub struct FlowCounts {
    most: usize,
    /// By the flow with no counts of its own.
    counts: HashMap<Flow, Tally>,
    overflow: u64,
}

/// How many there were of a flow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    count: u64,
    open: u64,
}

/// What was recorded since the last take.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TakenFlows {
    /// Distinct flows.
    pub flows: Vec<Flow>,
    /// Connections and requests whose flow was one too many, or is not known.
    pub overflow: u64,
}

impl Tally {
    /// One that ended.
    pub(super) const ENDED: Self = Self { count: 1, open: 0 };
    /// One that is open.
    pub(super) const OPEN: Self = Self { count: 1, open: 1 };
}

impl FlowCounts {
    /// No flows, and room for so many distinct ones; further ones are only counted.
    pub fn bounded(most: usize) -> Self {
        Self { most, counts: HashMap::new(), overflow: 0 }
    }

    /// Counts what has no counts of its own.
    pub(super) fn add(&mut self, flow: &Flow, Tally { count, open }: Tally) {
        let has_room = self.counts.len() < self.most;
        match self.counts.get_mut(flow) {
            Some(known) => *known = Tally { count: known.count + count, open: known.open + open },
            None if has_room => drop(self.counts.insert(flow.clone(), Tally { count, open })),
            None => self.overflow += count,
        }
    }

    /// How many had no room, or are not known.
    pub(super) fn overflow(&self) -> u64 {
        self.overflow
    }

    /// Counts one whose flow is not known.
    pub(super) fn add_unknown(&mut self) {
        self.overflow += 1;
    }

    /// Adds what was counted elsewhere.
    pub fn merge(&mut self, taken: TakenFlows) {
        self.overflow += taken.overflow;
        for flow in taken.flows {
            let tally = Tally { count: flow.count, open: flow.open };
            self.add(&Flow { count: 0, open: 0, ..flow }, tally);
        }
    }

    /// All of them, the most frequent first.
    pub fn into_taken(self) -> TakenFlows {
        let counted = |(flow, Tally { count, open })| Flow { count, open, ..flow };
        let mut flows: Vec<Flow> = self.counts.into_iter().map(counted).collect();
        flows.sort_by_key(|flow| std::cmp::Reverse(flow.count));
        TakenFlows { flows, overflow: self.overflow }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::observe::FlowClient;

    pub(in crate::observe) fn flow(port: u16) -> Flow {
        Flow {
            client: FlowClient::Address([10, 0, 0, 1].into()),
            namespace: String::new(),
            workload: String::new(),
            port,
            request: None,
            count: 0,
            open: 0,
        }
    }

    #[test]
    fn alike_flows_are_one_and_too_many_are_only_counted() {
        let mut all = FlowCounts::bounded(3);
        for (port, tally) in [(1, Tally::ENDED), (2, Tally::OPEN), (1, Tally::OPEN), (3, Tally::ENDED)] {
            all.add(&flow(port), tally);
        }
        all.add(&flow(4), Tally::ENDED);
        all.add_unknown();
        let mut more = FlowCounts::bounded(9);
        [1, 1, 5].into_iter().for_each(|port| more.add(&flow(port), Tally::OPEN));
        all.merge(more.into_taken());
        let taken = all.into_taken();
        let mut counts: Vec<_> = taken.flows.iter().map(|flow| (flow.port, flow.count, flow.open)).collect();
        assert_eq!(counts[0], (1, 4, 3), "the most frequent first");
        counts.sort_unstable();
        assert_eq!((counts, taken.overflow), (vec![(1, 4, 3), (2, 1, 1), (3, 1, 0)], 3));
    }
}
