//! What the access log tells about a request beyond what it tells about every connection. Texts that clients choose are cut:
//! thousands of stories may wait in memory, and a client must not decide how large they are.

use std::fmt::{self, Write as _};

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
    pub(in crate::observe) status: Option<StatusCode>,
    pub(in crate::observe) grpc_status: Option<u32>,
    texts: Texts,
    method: Text,
    host: Text,
    path: Text,
    user_agent: Text,
    route: Text,
    request_id: Text,
    trace_id: Text,
}

impl RequestStory {
    pub(in crate::observe) fn new(start: &RequestStart<'_>) -> Self {
        let RequestIds { trace_id, request_id, span: _ } = &start.ids;
        let mut texts = Texts::with_room(start.host.len() + start.path.len() + request_id.len());
        Self {
            protocol: start.protocol,
            version: start.version,
            status: None,
            grpc_status: None,
            method: texts.add(start.method.as_str(), TEXT),
            host: texts.add(start.host, TEXT),
            path: texts.add(start.path, PATH),
            user_agent: Text::default(),
            route: Text::default(),
            request_id: texts.add(request_id, TEXT),
            trace_id: trace_id.map(|id| texts.show(&id)).unwrap_or_default(),
            texts,
        }
    }

    pub(in crate::observe) fn set_user_agent(&mut self, user_agent: &str) {
        self.user_agent = self.texts.add(user_agent, TEXT);
    }

    pub(in crate::observe) fn set_route(&mut self, route: &dyn fmt::Display) {
        self.route = self.texts.show(route);
    }

    pub(in crate::observe) fn method(&self) -> &str {
        self.texts.get(self.method)
    }

    pub(in crate::observe) fn host(&self) -> Option<&str> {
        self.texts.some(self.host)
    }

    pub(in crate::observe) fn path(&self) -> &str {
        self.texts.get(self.path)
    }

    pub(in crate::observe) fn user_agent(&self) -> Option<&str> {
        self.texts.some(self.user_agent)
    }

    pub(in crate::observe) fn route(&self) -> Option<&str> {
        self.texts.some(self.route)
    }

    pub(in crate::observe) fn request_id(&self) -> Option<&str> {
        self.texts.some(self.request_id)
    }

    pub(in crate::observe) fn trace_id(&self) -> Option<&str> {
        self.texts.some(self.trace_id)
    }

    pub(in crate::observe) fn as_flow(&self) -> FlowRequest {
        FlowRequest {
            method: self.method().to_owned(),
            path: self.path().to_owned(),
            host: self.host().map(str::to_owned),
        }
    }

    pub(super) fn as_ended(&self) -> EndedRequest {
        EndedRequest {
            method: self.method().to_owned(),
            path: self.path().to_owned(),
            host: self.host().map(str::to_owned),
            is_grpc: self.protocol == RequestProtocol::Grpc,
            status: self.status.map(|status| status.as_u16()),
        }
    }

    pub(in crate::observe) fn ended(self, status: Option<StatusCode>, grpc_status: Option<u32>) -> Self {
        Self { status, grpc_status, ..self }
    }
}

/// What a user agent and a route take, mostly.
const ROOM: usize = 96;

/// All texts of a story, one after the other: each of them alone would be a piece of memory to get, and to give back by another
/// thread.
#[derive(Clone, Debug)]
struct Texts(String);

/// Where one of them is; empty where there is none.
#[derive(Clone, Copy, Debug, Default)]
struct Text {
    start: u32,
    end: u32,
}

impl Texts {
    fn with_room(bytes: usize) -> Self {
        Self(String::with_capacity(bytes.min(PATH + TEXT) + ROOM))
    }

    /// Adds a text of a client, cut after so many bytes.
    fn add(&mut self, text: &str, most: usize) -> Text {
        let start = self.end();
        self.0.extend(cut(text, most));
        Text { start, end: self.end() }
    }

    fn show(&mut self, text: &dyn fmt::Display) -> Text {
        let start = self.end();
        // Writing to a String cannot fail; what its owner cannot show stays empty.
        let _ = write!(self.0, "{text}");
        Text { start, end: self.end() }
    }

    fn end(&self) -> u32 {
        u32::try_from(self.0.len()).unwrap_or(u32::MAX)
    }

    fn get(&self, text: Text) -> &str {
        self.0.get(text.start as usize..text.end as usize).unwrap_or_default()
    }

    fn some(&self, text: Text) -> Option<&str> {
        Some(self.get(text)).filter(|text| !text.is_empty())
    }
}

/// What is kept of a text, and the mark where that is not all.
fn cut(text: &str, most: usize) -> [&str; 2] {
    if text.len() <= most {
        return [text, ""];
    }
    [&text[..text.floor_char_boundary(most - CUT.len())], CUT]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::request::tests::start;

    #[test]
    fn long_texts_of_clients_are_cut_between_characters() {
        let cut = |text: &str| cut(text, 8).concat();
        assert_eq!(cut("/cart"), "/cart");
        assert_eq!(cut("12345678"), "12345678");
        assert_eq!(cut("123456789"), "12345...");
        assert_eq!(cut("1234\u{fc}6789"), "1234...", "the letter would have its second half beyond");
        let (host, path) = ("h".repeat(9000), "p".repeat(9000));
        let story = RequestStory::new(&RequestStart { host: &host, path: &path, ..start(RequestProtocol::Http1) });
        assert_eq!((story.host().map(str::len), story.path().len()), (Some(TEXT), PATH));
    }

    #[test]
    fn each_text_is_found_where_it_was_put() {
        let mut story = RequestStory::new(&RequestStart { host: "", path: "/cart", ..start(RequestProtocol::Http1) });
        assert_eq!((story.host(), story.user_agent(), story.route(), story.trace_id()), (None, None, None, None));
        story.set_route(&"HTTPRoute shop/web rules[1]");
        story.set_user_agent("curl/8");
        assert_eq!((story.method(), story.path()), ("GET", "/cart"));
        assert_eq!((story.user_agent(), story.route()), (Some("curl/8"), Some("HTTPRoute shop/web rules[1]")));
    }
}
