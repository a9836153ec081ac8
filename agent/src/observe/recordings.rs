//! Recordings of flows: who asked which workload for what, counted while somebody records.
//!
//! Data threads add what ends to them; without a recording that costs one load. A recording
//! that nobody asks for ends by itself.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::{
    Reporter,
    access_log::Story,
    flow::{Flow, FlowClient},
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
}

#[derive(Debug)]
struct Recording {
    id: u64,
    asked: Instant,
    /// With a count of 0 each.
    flows: HashMap<Flow, u64>,
    overflow: u64,
}

/// What was recorded since the last take.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TakenFlows {
    /// Distinct flows.
    pub flows: Vec<Flow>,
    /// Connections and requests whose flow was one too many.
    pub overflow: u64,
}

impl Recordings {
    /// Sees to it that there is a recording of this id; whether there may be.
    pub(super) fn begin(&self, id: u64, now: Instant) -> bool {
        let mut all = self.0.all.lock();
        all.retain(|recording| now < recording.asked + GIVEN_UP);
        if let Some(known) = all.iter_mut().find(|recording| recording.id == id) {
            known.asked = now;
        } else if all.len() < MOST_RECORDINGS {
            all.push(Recording { id, asked: now, flows: HashMap::new(), overflow: 0 });
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
        let (flows, overflow) = (std::mem::take(&mut recording.flows), std::mem::take(&mut recording.overflow));
        drop(all);
        TakenFlows { flows: flows.into_iter().map(|(flow, count)| Flow { count, ..flow }).collect(), overflow }
    }

    /// Whether anybody records.
    pub(super) fn is_any(&self) -> bool {
        self.0.is_any.load(Relaxed)
    }

    /// Adds what ended.
    pub(super) fn add(&self, story: &Story, now: Instant) {
        if self.is_any() {
            self.add_flow(flow(story), now);
        }
    }

    fn add_flow(&self, flow: Option<Flow>, now: Instant) {
        let mut all = self.0.all.lock();
        all.retain(|recording| now < recording.asked + GIVEN_UP);
        if let Some(flow) = flow {
            all.iter_mut().for_each(|recording| recording.add(&flow));
        }
        self.0.is_any.store(!all.is_empty(), Relaxed);
    }
}

impl Recording {
    fn add(&mut self, flow: &Flow) {
        let has_room = self.flows.len() < MOST_FLOWS;
        match self.flows.get_mut(flow) {
            Some(count) => *count += 1,
            None if has_room => drop(self.flows.insert(flow.clone(), 1)),
            None => self.overflow += 1,
        }
    }
}

/// The flow of what a pod of this node was asked, whatever it was answered.
fn flow(story: &Story) -> Option<Flow> {
    if story.start.reporter != Reporter::Destination {
        return None;
    }
    let server = story.server.as_ref()?;
    let workload = server.workload.as_deref()?;
    Some(Flow {
        client: match &story.start.client.identity {
            Some(identity) => FlowClient::Identity(identity.clone()),
            None => FlowClient::Address(story.start.client.address.ip()),
        },
        namespace: workload.namespace.to_string(),
        workload: workload.owner.to_string(),
        port: story.start.original_dst.port(),
        request: story.request.as_deref().map(super::access_log::RequestStory::as_flow),
        count: 0,
    })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::observe::{
        Observer, RequestProtocol, RequestStart,
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
    fn too_many_flows_are_only_counted_and_one_that_nobody_asks_for_ends() {
        let (recordings, now) = (Recordings::default(), Instant::now());
        assert!(recordings.begin(1, now));
        let flow = |port| Flow {
            client: FlowClient::Address([10, 0, 0, 1].into()),
            namespace: String::new(),
            workload: String::new(),
            port,
            request: None,
            count: 0,
        };
        {
            let mut all = recordings.0.all.lock();
            (0..10_005).for_each(|port| all[0].add(&flow(port)));
            all[0].add(&flow(0));
        }
        let taken = recordings.take(1, now);
        assert_eq!((taken.flows.len(), taken.overflow), (MOST_FLOWS, 5));
        assert_eq!(taken.flows.iter().map(|flow| flow.count).max(), Some(2));
        recordings.add_flow(None, now + GIVEN_UP);
        assert!(!recordings.0.is_any.load(Relaxed) && recordings.0.all.lock().is_empty());
    }
}
