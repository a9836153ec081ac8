//! The ends of the last requests, as the access log told them: for who asks what became of one by its id.
//!
//! Only the access log's writer adds to it, whole batches at once; data threads have no part in it. The oldest make room.

use std::{collections::VecDeque, net::SocketAddr, sync::Arc};

use parking_lot::Mutex;
use serde_json::Value;

use super::{Failure, Party, Reporter, access_log::Story};

/// The last ones. Clones are the same memory.
#[derive(Clone, Debug, Default)]
pub(super) struct Recent {
    kept: Arc<Mutex<VecDeque<Arc<Story>>>>,
    most: usize,
}

/// What became of a request.
#[derive(Clone, Debug)]
pub struct Ended {
    /// Each field of the access log that says something.
    pub fields: Value,
    /// Generation of the snapshot that it was decided on.
    pub generation: u64,
    /// The side that saw it.
    pub reporter: Reporter,
    /// The client.
    pub client: Party,
    /// What the client dialled.
    pub original_dst: SocketAddr,
    /// Who answered, or was to.
    pub server: Option<Party>,
    /// Why it did not end well.
    pub failure: Option<Failure>,
    /// What was asked.
    pub request: EndedRequest,
}

/// A request that ended.
#[derive(Clone, Debug)]
pub struct EndedRequest {
    /// Its method.
    pub method: String,
    /// Its path without the query, cut where it was long.
    pub path: String,
    /// Its host, where it said one.
    pub host: Option<String>,
    /// Whether it was a gRPC call.
    pub is_grpc: bool,
    /// What the client was answered.
    pub status: Option<u16>,
}

impl Recent {
    pub(super) fn new(most: usize) -> Self {
        Self { kept: Arc::default(), most }
    }

    /// How many are kept at most.
    pub(super) fn most(&self) -> usize {
        self.most
    }

    /// Keeps a batch; what was drained stays usable.
    pub(super) fn keep(&self, batch: &mut Vec<Arc<Story>>) {
        if self.most == 0 {
            return batch.clear();
        }
        let mut gone = Vec::new();
        let mut kept = self.kept.lock();
        for story in batch.drain(..) {
            if kept.len() == self.most {
                gone.extend(kept.pop_front());
            }
            kept.push_back(story);
        }
        drop(kept);
        // Freed out of the lock, which somebody may wait for.
        drop(gone);
    }

    /// The requests with this trace id or request id, the newest first.
    pub(super) fn find(&self, id: &str, most: usize) -> Vec<Ended> {
        let kept = self.kept.lock();
        kept.iter().rev().filter(|story| story.has_id(id)).take(most).filter_map(|story| story.ended()).collect()
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use http::{Method, StatusCode};

    use super::*;
    use crate::observe::{
        AccessLogOutput, AccessLogSettings, LogFormat, Observer, RequestIds, RequestProtocol, RequestStart,
        ResponseFlag, TraceId, request::tests::start,
    };

    fn observer(remembered: usize) -> Observer {
        let settings = AccessLogSettings { remembered, ..AccessLogSettings::default() };
        let output = AccessLogOutput { format: LogFormat::Json, output: Box::new(std::io::sink()), settings };
        Observer::new("prod".into(), Some(output)).unwrap()
    }

    fn request(observer: &Observer, request_id: &str, trace_id: Option<u8>, failed: bool) {
        let trace_id = trace_id.and_then(|id| TraceId::parse(&trace(id)));
        let mut record = observer.request(RequestStart {
            method: Method::POST,
            path: "/shop.Cart/Add",
            host: "web.shop",
            generation: 7,
            ids: RequestIds { trace_id, request_id: request_id.into(), span: None },
            ..start(RequestProtocol::Grpc)
        });
        record.responded(StatusCode::OK);
        let failure = Failure { flag: ResponseFlag::RequestDenied, error: "no".to_owned(), denied_by: None };
        record.finish(if failed { Err(failure) } else { Ok(()) });
    }

    fn trace(id: u8) -> String {
        format!("{id:032x}")
    }

    fn flushed(observer: &Observer) {
        assert!(observer.flush_access_log(std::time::Duration::from_secs(10)));
    }

    #[test]
    fn requests_are_found_by_either_id_the_newest_first() {
        let observer = observer(10);
        request(&observer, "r1", Some(7), false);
        request(&observer, "r2", Some(7), true);
        request(&observer, "r3", None, false);
        flushed(&observer);
        let found = observer.ended(&trace(7));
        assert_eq!(found.len(), 2);
        let newest = &found[0];
        assert_eq!((newest.fields["request_id"].as_str(), newest.generation), (Some("r2"), 7));
        assert_eq!(newest.failure.as_ref().unwrap().flag, ResponseFlag::RequestDenied);
        let asked = &newest.request;
        assert_eq!((&*asked.method, &*asked.path, asked.host.as_deref()), ("POST", "/shop.Cart/Add", Some("web.shop")));
        assert_eq!((asked.is_grpc, asked.status), (true, Some(200)));
        assert!(newest.fields.get("tls_version").is_none(), "what has nothing to say is left out: {}", newest.fields);
        assert_eq!((observer.ended("r3").len(), observer.ended("r4").len(), observer.ended("").len()), (1, 0, 0));
    }

    #[test]
    fn the_oldest_make_room_and_nothing_is_kept_where_nothing_is_to_be() {
        let (few, none) = (observer(3), observer(0));
        for number in 0..10 {
            request(&few, &format!("r{number}"), Some(7), false);
            request(&none, &format!("r{number}"), Some(7), false);
        }
        flushed(&few);
        flushed(&none);
        let ids: Vec<_> =
            few.ended(&trace(7)).iter().map(|one| one.fields["request_id"].as_str().unwrap().to_owned()).collect();
        assert_eq!(ids, ["r9", "r8", "r7"]);
        assert_eq!((few.remembered(), none.remembered()), (3, 0));
        assert!(none.ended(&trace(7)).is_empty());
    }

    #[test]
    fn connections_which_nobody_can_ask_for_make_no_request_forgotten() {
        let observer = observer(2);
        request(&observer, "r1", Some(7), false);
        for _ in 0..10 {
            observer.connection(crate::observe::tests::start()).finish(Ok(()));
        }
        flushed(&observer);
        assert_eq!(observer.ended("r1").len(), 1);
    }
}
