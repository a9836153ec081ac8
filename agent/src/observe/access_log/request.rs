//! What the access log tells about a request beyond what it tells about every connection. Texts that clients choose are cut:
//! thousands of stories may wait in memory, and a client must not decide how large they are.

use std::fmt;

use http::{Method, StatusCode};

use crate::observe::{CUT, EndedRequest, FlowRequest, RequestProtocol};

/// Bytes of a path that are logged. Longer ones are rare, and their beginning tells what was asked.
const PATH: usize = 512;

/// Bytes of any other text that a client sent. A DNS name has at most 253.
const TEXT: usize = 256;

/// The part of a story that only requests have.
#[derive(Debug)]
pub(in crate::observe) struct RequestStory {
    pub(super) protocol: &'static str,
    pub(super) method: String,
    pub(super) host: Option<String>,
    pub(super) path: String,
    pub(super) user_agent: Option<String>,
    pub(super) route: Option<String>,
    pub(super) request_id: Option<String>,
    pub(super) trace_id: Option<String>,
    pub(super) status: Option<StatusCode>,
    pub(super) grpc_status: Option<u32>,
}

impl RequestStory {
    pub(in crate::observe) fn new(protocol: &'static str, method: &Method, host: &str, path: &str) -> Self {
        Self {
            protocol,
            method: cut(method.as_str(), TEXT),
            host: (!host.is_empty()).then(|| cut(host, TEXT)),
            path: cut(path, PATH),
            user_agent: None,
            route: None,
            request_id: None,
            trace_id: None,
            status: None,
            grpc_status: None,
        }
    }

    pub(in crate::observe) fn set_user_agent(&mut self, user_agent: &str) {
        self.user_agent = Some(cut(user_agent, TEXT));
    }

    pub(in crate::observe) fn set_route(&mut self, route: &dyn fmt::Display) {
        self.route = Some(route.to_string());
    }

    pub(in crate::observe) fn set_trace(&mut self, trace_id: Option<&str>, request_id: Option<&str>) {
        self.trace_id = trace_id.map(|id| cut(id, TEXT));
        self.request_id = request_id.map(|id| cut(id, TEXT));
    }

    pub(in crate::observe) fn as_flow(&self) -> FlowRequest {
        FlowRequest { method: self.method.clone(), path: self.path.clone(), host: self.host.clone() }
    }

    pub(super) fn as_ended(&self) -> EndedRequest {
        EndedRequest {
            method: self.method.clone(),
            path: self.path.clone(),
            host: self.host.clone(),
            is_grpc: self.protocol == RequestProtocol::Grpc.as_str(),
            status: self.status.map(|status| status.as_u16()),
        }
    }

    pub(in crate::observe) fn ended(self, status: Option<StatusCode>, grpc_status: Option<u32>) -> Self {
        Self { status, grpc_status, ..self }
    }
}

fn cut(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(most - CUT.len());
    format!("{}{CUT}", &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_of_clients_are_cut_between_characters() {
        assert_eq!(cut("/cart", 8), "/cart");
        assert_eq!(cut("12345678", 8), "12345678");
        assert_eq!(cut("123456789", 8), "12345...");
        assert_eq!(cut("1234\u{fc}6789", 8), "1234...", "the letter would have its second half beyond");
        let story = RequestStory::new("http/1", &Method::GET, &"h".repeat(9000), &"p".repeat(9000));
        assert_eq!((story.host.map(|host| host.len()), story.path.len()), (Some(TEXT), PATH));
    }
}
