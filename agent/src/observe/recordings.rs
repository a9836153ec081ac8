//! Recordings of flows: who asked which workload for what, counted while somebody records.
//!
//! Data threads add what ends to them; without a recording that costs one load. A recording
//! that nobody asks for ends by itself.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use super::{
    access_log::{RequestStory, Story},
    flow::Flow,
    flow_counts::{FlowCounts, TakenFlows, Tally},
    metrics::{Metrics, WatchLoss, Watching},
};

/// Recordings at one time.
const MOST_RECORDINGS: usize = 4;

/// Distinct flows between two takes, about 400 bytes each; further ones are only counted.
const MOST_FLOWS: usize = 10_000;

/// A recording that was not asked for so long has been given up.
const GIVEN_UP: Duration = Duration::from_secs(60);

/// All recordings. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(super) struct Recordings(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    is_any: AtomicBool,
    all: Mutex<Vec<Recording>>,
    /// What had no room in a recording, since the start.
    lost: AtomicU64,
}

#[derive(Debug)]
struct Recording {
    id: u64,
    asked: Instant,
    flows: FlowCounts,
}

impl Recordings {
    /// Sees to it that there is a recording of this id; whether there may be.
    pub(super) fn begin(&self, id: u64, now: Instant) -> bool {
        let mut all = self.0.all.lock();
        all.retain(|recording| now < recording.asked + GIVEN_UP);
        if let Some(known) = all.iter_mut().find(|recording| recording.id == id) {
            known.asked = now;
        } else if all.len() < MOST_RECORDINGS {
            all.push(Recording { id, asked: now, flows: no_flows() });
        } else {
            return false;
        }
        self.0.is_any.store(true, Relaxed);
        true
    }

    /// What a recording has since the last time.
    pub(super) fn take(&self, id: u64, now: Instant) -> TakenFlows {
        let mut all = self.0.all.lock();
        let Some(recording) = all.iter_mut().find(|recording| recording.id == id) else { return TakenFlows::default() };
        recording.asked = now;
        let flows = std::mem::replace(&mut recording.flows, no_flows());
        drop(all);
        flows.into_taken()
    }

    /// Ends a recording, with what it has since the last time.
    pub(super) fn end(&self, id: u64) -> TakenFlows {
        let mut all = self.0.all.lock();
        let place = all.iter().position(|recording| recording.id == id);
        let ended = place.map(|place| all.swap_remove(place));
        self.0.is_any.store(!all.is_empty(), Relaxed);
        drop(all);
        ended.map(|recording| recording.flows.into_taken()).unwrap_or_default()
    }

    /// Whether anybody records.
    pub(super) fn is_any(&self) -> bool {
        self.0.is_any.load(Relaxed)
    }

    /// For a scrape: how many there are, and what had no room in them.
    pub(super) fn tell(&self, metrics: &Metrics, now: Instant) {
        let all = self.0.all.lock();
        let count = all.iter().filter(|recording| now < recording.asked + GIVEN_UP).count();
        metrics.set_watchers(Watching::Recordings, count);
        metrics.set_watch_lost(WatchLoss::Recorded, self.0.lost.load(Relaxed));
    }

    /// Adds what ended.
    pub(super) fn add(&self, story: &Story, now: Instant) {
        if self.is_any() {
            let request = story.request.as_deref().map(RequestStory::as_flow);
            self.add_flow(Flow::of(&story.start, story.server.as_ref(), request), now);
        }
    }

    fn add_flow(&self, flow: Option<Flow>, now: Instant) {
        let mut all = self.0.all.lock();
        all.retain(|recording| now < recording.asked + GIVEN_UP);
        if let Some(flow) = flow {
            let lost = |recording: &mut Recording| {
                let before = recording.flows.overflow();
                recording.flows.add(&flow, Tally::ENDED);
                recording.flows.overflow() - before
            };
            self.0.lost.fetch_add(all.iter_mut().map(lost).sum(), Relaxed);
        }
        self.0.is_any.store(!all.is_empty(), Relaxed);
    }
}

pub(super) fn no_flows() -> FlowCounts {
    FlowCounts::bounded(MOST_FLOWS)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::observe::{
        ConnectionStart, FlowClient, Observer, Reporter, RequestProtocol, RequestStart,
        flow_counts::tests::flow,
        request::tests::start,
        tests::{party, silent, workload},
    };

    fn request(observer: &Observer, reporter: Reporter, path: &str) {
        let original_dst = "10.2.0.2:8080".parse().unwrap();
        let mut record =
            observer.request(RequestStart { reporter, original_dst, path, ..start(RequestProtocol::Http1) });
        record.set_server(party("10.2.0.2:8080", Some(workload("web", ""))));
        record.finish(Ok(()));
    }

    #[test]
    fn flows_are_counted_from_the_begin_of_a_recording_to_each_take() {
        let observer = silent();
        request(&observer, Reporter::Destination, "/before");
        assert!(observer.record_flows(1));
        for path in ["/a", "/b", "/a"] {
            request(&observer, Reporter::Destination, path);
        }
        request(&observer, Reporter::Source, "/of-the-client");
        let mut taken = observer.take_flows(1).flows;
        taken.sort_by_key(|flow| flow.count);
        let told: Vec<_> =
            taken.iter().map(|flow| (flow.request.as_ref().unwrap().path.as_str(), flow.count, flow.port)).collect();
        assert_eq!(told, [("/b", 1, 8080), ("/a", 2, 8080)]);
        assert_eq!((taken[0].namespace.as_str(), taken[0].workload.as_str()), ("default", "web"));
        assert!(matches!(&taken[0].client, FlowClient::Identity(id) if &**id.service_account() == "client"));
        assert_eq!(observer.take_flows(1), TakenFlows::default());
        assert!((2..=4).all(|id| observer.record_flows(id)) && !observer.record_flows(5), "no more than four");
    }

    #[test]
    fn what_is_open_at_the_end_is_counted_and_marked_and_what_nobody_remembers_is_said() {
        let observer = silent();
        let asked = |path: &'static str| {
            let original_dst = "10.2.0.2:8080".parse().unwrap();
            let start =
                RequestStart { reporter: Reporter::Destination, original_dst, path, ..start(RequestProtocol::Http1) };
            let mut record = observer.request(start);
            record.set_server(party("10.2.0.2:8080", Some(workload("web", ""))));
            record
        };
        let connected = |reporter| {
            let start = ConnectionStart {
                reporter,
                client: party("10.1.0.1:40000", None),
                original_dst: "10.2.0.2:9000".parse().unwrap(),
                generation: 1,
            };
            let mut record = observer.connection(start);
            record.set_server(party("10.2.0.2:9000", Some(workload("web", ""))));
            drop(record.opened());
            record
        };
        // Nobody wanted to know what this one is when it began.
        let _early = asked("/early");
        let (_in, _out) = (connected(Reporter::Destination), connected(Reporter::Source));
        assert!(observer.record_flows(1));
        let _late = asked("/late");
        asked("/late").finish(Ok(()));
        let taken = observer.end_recording(1);
        let told: Vec<_> = taken.flows.iter().map(|flow| (flow.port, flow.count, flow.open)).collect();
        assert_eq!((told, taken.overflow), (vec![(8080, 2, 1), (9000, 1, 1)], 1), "{taken:?}");
        assert!(taken.flows[1].request.is_none() && !observer.inner.recordings.is_any());
    }

    #[test]
    fn what_has_no_room_is_counted_also_after_its_recording() {
        let (observer, now) = (silent(), Instant::now());
        let recordings = &observer.inner.recordings;
        let told = |line: &str| observer.scrape().unwrap().any(|piece| piece.lines().any(|found| found == line));
        assert!(recordings.begin(1, now));
        for port in 0..=u16::try_from(MOST_FLOWS + 1).unwrap() {
            recordings.add_flow(Some(flow(port)), now);
        }
        assert!(told("heddle_watchers{kind=\"recordings\"} 1"));
        assert_eq!(recordings.end(1).overflow, 2);
        for line in ["heddle_watchers{kind=\"recordings\"} 0", "heddle_watch_lost_total{what=\"recorded\"} 2"] {
            assert!(told(line), "{line}");
        }
    }

    #[test]
    fn one_that_nobody_asks_for_ends_and_so_does_one_that_is_ended() {
        let (recordings, now) = (Recordings::default(), Instant::now());
        assert!((1..=3).all(|id| recordings.begin(id, now)));
        recordings.add_flow(Some(flow(80)), now);
        assert_eq!((recordings.end(2).flows.len(), recordings.end(2).flows.len()), (1, 0));
        assert_eq!(recordings.take(1, now).flows.len(), 1, "the others go on");
        recordings.add_flow(None, now + GIVEN_UP);
        assert!(!recordings.is_any() && recordings.0.all.lock().is_empty());
    }
}
