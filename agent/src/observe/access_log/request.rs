//! What the access log tells about a request beyond what it tells about every connection. Texts that clients choose are cut:
//! thousands of stories may wait in memory, and a client must not decide how large they are.

use std::fmt;

use http::{StatusCode, Version};

use crate::observe::{CUT, EndedRequest, FlowRequest, RequestIds, RequestProtocol, RequestStart};

/// Bytes of a path that are logged. Longer ones are rare, and their beginning tells what was asked.
const PATH: usize = 512;

/// Bytes of any other text that a client sent. A DNS name has at most 253.
const TEXT: usize = 256;

/// The part of a story that only requests have.
#[derive(Clone, Debug)]
pub(in crate::observe) struct RequestStory {
    pub(in crate::observe) protocol: RequestProtocol,
    pub(in crate::observe) version: Version,
    pub(in crate::observe) method: String,
    pub(in crate::observe) host: Option<String>,
    pub(in crate::observe) path: String,
    pub(in crate::observe) user_agent: Option<String>,
    pub(in crate::observe) route: Option<String>,
    pub(in crate::observe) request_id: Option<String>,
    pub(super) trace_id: Option<String>,
    pub(in crate::observe) status: Option<StatusCode>,
    pub(in crate::observe) grpc_status: Option<u32>,
}

impl RequestStory {
    pub(in crate::observe) fn new(start: &RequestStart<'_>) -> Self {
        let RequestIds { trace_id, request_id, span: _ } = &start.ids;
        Self {
            protocol: start.protocol,
            version: start.version,
            method: cut(start.method.as_str(), TEXT),
            host: (!start.host.is_empty()).then(|| cut(start.host, TEXT)),
            path: cut(start.path, PATH),
            user_agent: None,
            route: None,
            request_id: Some(cut(request_id, TEXT)),
            trace_id: trace_id.map(|id| id.to_string()),
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

    pub(in crate::observe) fn as_flow(&self) -> FlowRequest {
        FlowRequest { method: self.method.clone(), path: self.path.clone(), host: self.host.clone() }
    }

    pub(super) fn as_ended(&self) -> EndedRequest {
        EndedRequest {
            method: self.method.clone(),
            path: self.path.clone(),
            host: self.host.clone(),
            is_grpc: self.protocol == RequestProtocol::Grpc,
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
    use crate::observe::request::tests::start;

    #[test]
    fn long_texts_of_clients_are_cut_between_characters() {
        assert_eq!(cut("/cart", 8), "/cart");
        assert_eq!(cut("12345678", 8), "12345678");
        assert_eq!(cut("123456789", 8), "12345...");
        assert_eq!(cut("1234\u{fc}6789", 8), "1234...", "the letter would have its second half beyond");
        let (host, path) = ("h".repeat(9000), "p".repeat(9000));
        let story = RequestStory::new(&RequestStart { host: &host, path: &path, ..start(RequestProtocol::Http1) });
        assert_eq!((story.host.map(|host| host.len()), story.path.len()), (Some(TEXT), PATH));
    }
}
