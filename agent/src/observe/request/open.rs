//! A request while it is under way, where its record and those who look at what is open share it. So one that is long has its
//! lines without a timer of its own: the look at open connections looks at these too.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use super::Unfinished;
use crate::observe::{
    ByteCounts,
    access_log::{LineEvent, Logging, RequestStory, Story},
    flow::Flow,
    inventory::{Inventory, Turn},
    metrics::Measured,
};

/// Every request that is under way.
#[derive(Debug, Default)]
pub(in crate::observe) struct OpenRequests(Inventory<OpenRequest>);

/// One of them.
#[derive(Debug)]
pub(in crate::observe) struct OpenRequest {
    id: u64,
    began: Instant,
    turn: Turn,
    pub(super) bytes: Arc<ByteCounts>,
    /// Taken at the end.
    pub(super) story: Mutex<Option<Unfinished>>,
}

/// What is known of the flow of a request to a pod of this node.
pub(in crate::observe) enum OpenFlow {
    Known(Flow),
    /// It began while nobody wanted to know what it is.
    Unknown,
}

impl OpenRequests {
    pub(super) fn begin(&self, story: Unfinished, began: Instant) -> Arc<OpenRequest> {
        self.0.insert(|id| OpenRequest {
            id,
            began,
            turn: Turn::from(began),
            bytes: Arc::default(),
            story: Mutex::new(Some(story)),
        })
    }

    /// The story of one that ends, the first time that it does.
    pub(super) fn end(&self, request: &OpenRequest) -> Option<Unfinished> {
        let story = request.story.lock().take()?;
        self.0.remove(request.id);
        Some(story)
    }

    /// The lines of those that are to be told by now, each of them once in `every`, so many at most: the others are told at
    /// the next look.
    pub(in crate::observe) fn due(
        &self,
        now: Instant,
        every: Duration,
        most: usize,
        is_told: impl Fn(Logging) -> bool,
    ) -> Vec<Story> {
        let due = self.0.some(most, |request| request.turn.is_due(now, every));
        due.iter().for_each(|request| request.turn.is_told(now));
        due.iter().filter_map(|request| request.line(&is_told)).collect()
    }

    /// Has the flow of each request to a pod of this node looked at.
    pub(in crate::observe) fn each_flow(&self, mut look: impl FnMut(OpenFlow)) {
        self.0.each(|request| {
            if let Some(flow) = request.flow() {
                look(flow);
            }
        });
    }
}

impl OpenRequest {
    pub(super) fn measured(&self) -> Measured {
        let (sent, received) = self.bytes.read();
        Measured { duration: self.began.elapsed(), sent, received }
    }

    /// Its line while it is open, where the log wants one.
    fn line(&self, is_told: impl Fn(Logging) -> bool) -> Option<Story> {
        let story = self.story.lock().as_ref().filter(|story| is_told(story.logging))?.clone();
        Some(story.told(LineEvent::Open, self.measured(), None))
    }

    fn flow(&self) -> Option<OpenFlow> {
        let story = self.story.lock();
        let Unfinished { connection, server, words, .. } = story.as_ref()?;
        let flow = Flow::of(connection, server.as_ref(), words.as_ref().map(RequestStory::as_flow))?;
        // Without its words it would look like a connection.
        Some(if words.is_some() { OpenFlow::Known(flow) } else { OpenFlow::Unknown })
    }
}
