//! What is promised of a request's headers about traces: whoever reads them next finds the agent's span as the parent where
//! one is recorded, and what the client sent where none is.

use http::HeaderMap;

use super::{Context, Decision, Draw, RequestIds};
use crate::rules::value::Percentage;

/// How headers are read, in few words.
pub(crate) fn traced(sent: &HeaderMap) -> Result<String, String> {
    let mut plain = sent.clone();
    let ids = RequestIds::of(&mut plain);
    if ids.request_id.is_empty() || RequestIds::of(&mut plain.clone()) != ids {
        return Err(format!("{ids:?} is not what is read again of {plain:?}"));
    }
    let mut ways = Vec::new();
    for share in [Some(Percentage::ALL), Percentage::from_parts_per_million(0)].into_iter().flatten() {
        let mut headers = sent.clone();
        let ids = RequestIds::traced(&mut headers, Draw(share));
        let said = Context::read(&headers).said();
        let Some(span) = &ids.span else {
            left_alone(sent, &headers)?;
            ways.push("left");
            continue;
        };
        let is_parent = said.trace_id == Some(span.trace_id) && said.parent == Some(span.span_id);
        if !is_parent || said.decision != Some(Decision::Record) {
            return Err(format!("{span:?} is recorded, and who comes next reads {said:?} in {headers:?}"));
        }
        ways.push(if span.parent.is_some() { "a child" } else { "a root" });
    }
    Ok(format!("{ways:?}, {:?}", Context::read(sent).formats()))
}

/// Only B3 has a place to say that nothing is recorded.
fn left_alone(sent: &HeaderMap, passed: &HeaderMap) -> Result<(), String> {
    let others = |headers: &HeaderMap| {
        let mut headers = headers.clone();
        ["b3", "x-b3-sampled", "x-request-id"].into_iter().for_each(|name| drop(headers.remove(name)));
        headers
    };
    match others(sent) == others(passed) {
        true => Ok(()),
        false => Err(format!("nothing is recorded, and {sent:?} became {passed:?}")),
    }
}

impl Context {
    fn formats(&self) -> [bool; 3] {
        [self.w3c.is_some(), self.single.is_some(), self.multi.is_some()]
    }
}
