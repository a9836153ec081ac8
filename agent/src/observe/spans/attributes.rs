//! What a span says of its request: attributes by OpenTelemetry's conventions for HTTP and RPC, and the mesh's own under `heddle.`.
//!
//! Texts of clients were cut when the story was begun. Whatever an attribute says, the access log says too.

use http::{Method, Version};

use super::{
    protocol::{AnyValue, KeyValue, Value},
    status::{Fault, grpc_name},
};
use crate::observe::{
    Party, Reporter, RequestProtocol, Transport,
    access_log::{RequestStory, Story},
};

/// Methods that have a name of their own in conventions; all others are one, since clients make them up.
const METHODS: [Method; 9] = [
    Method::GET,
    Method::HEAD,
    Method::POST,
    Method::PUT,
    Method::DELETE,
    Method::CONNECT,
    Method::OPTIONS,
    Method::TRACE,
    Method::PATCH,
];

/// What a span is called: few names, so that it can be told how often each is there.
pub(super) fn name(request: &RequestStory) -> String {
    match request.protocol {
        RequestProtocol::Grpc => request.path().trim_start_matches('/').to_owned(),
        _ if is_known(request.method()) => request.method().to_owned(),
        _ => "HTTP".to_owned(),
    }
}

/// All that is said of a request, and why it failed.
pub(super) fn attributes(story: &Story, fault: Option<Fault>) -> Vec<KeyValue> {
    let mut all = Attributes(Vec::with_capacity(40));
    if let Some(request) = story.request.as_deref() {
        all.request(request);
        all.addresses(story, request);
    }
    all.fault(fault);
    all.transport(&story.transport);
    all.mesh(story);
    all.0
}

fn is_known(method: &str) -> bool {
    METHODS.iter().any(|known| known.as_str() == method)
}

struct Attributes(Vec<KeyValue>);

impl Attributes {
    fn request(&mut self, request: &RequestStory) {
        if is_known(request.method()) {
            self.text("http.request.method", request.method());
        } else {
            self.text("http.request.method", "_OTHER");
            self.text("http.request.method_original", request.method());
        }
        self.text("url.scheme", "http");
        self.text("url.path", request.path());
        self.text("network.protocol.name", "http");
        self.text("network.protocol.version", version(request.version));
        self.some("user_agent.original", request.user_agent());
        if let Some(status) = request.status {
            self.number("http.response.status_code", status.as_u16().into());
        }
        if request.protocol == RequestProtocol::Grpc {
            self.text("rpc.system.name", "grpc");
            self.text("rpc.method", request.path().trim_start_matches('/'));
            if let Some(status) = request.grpc_status {
                self.text("rpc.response.status_code", &grpc_name(status));
            }
        }
    }

    /// Whom the request is for, as it says itself, and who is at the other end.
    fn addresses(&mut self, story: &Story, request: &RequestStory) {
        let dialled = story.start.original_dst;
        let (host, port) = request.host().map_or((None, None), split_host);
        match host {
            Some(host) => self.text("server.address", host),
            None => self.text("server.address", &dialled.ip().to_string()),
        }
        self.number("server.port", port.unwrap_or(dialled.port()).into());
        let client = &story.start.client;
        let peer = match story.start.reporter {
            Reporter::Source => story.server.as_ref(),
            Reporter::Destination => Some(client),
        };
        if let Some(peer) = peer {
            self.text("network.peer.address", &peer.address.ip().to_string());
            self.number("network.peer.port", peer.address.port().into());
        }
        if story.start.reporter == Reporter::Destination {
            self.text("client.address", &client.address.ip().to_string());
        }
    }

    fn fault(&mut self, fault: Option<Fault>) {
        match fault {
            None => {}
            Some(Fault::Flag(flag)) => self.text("error.type", flag.as_str()),
            Some(Fault::Status(status)) => self.text("error.type", status.as_str()),
            Some(Fault::Grpc(status)) => self.text("error.type", &grpc_name(status)),
        }
    }

    fn transport(&mut self, transport: &Transport) {
        self.text("heddle.connection_security_policy", transport.security_policy());
        if let Transport::Hbone { tls_version, group, root } = transport {
            self.text("tls.protocol.name", "tls");
            // rustls writes `TLSv1_3`.
            self.text("tls.protocol.version", &tls_version.trim_start_matches("TLSv").replace('_', "."));
            self.text("tls.curve", group);
            self.text("heddle.tls.root", &root.to_string());
        }
    }

    fn mesh(&mut self, story: &Story) {
        self.text("heddle.direction", story.start.reporter.direction());
        if let Some(service) = &story.service {
            self.text("heddle.service", &service.host());
        }
        self.party(&PARTY_NAMES[0], &story.start.client);
        if let Some(server) = &story.server {
            self.party(&PARTY_NAMES[1], server);
            self.text("heddle.endpoint", &server.address.to_string());
        }
        if story.tries > 0 {
            self.number("heddle.tries", story.tries.into());
        }
        if story.tries > 1 {
            self.number("http.request.resend_count", i64::from(story.tries) - 1);
        }
        if let Some(request) = story.request.as_deref() {
            self.some("heddle.route", request.route());
            self.some("heddle.request_id", request.request_id());
        }
        if let Some(failure) = &story.failure {
            self.text("heddle.response_flag", failure.flag.as_str());
            self.some("heddle.policy", failure.denied_by.as_deref());
        }
        self.number("heddle.request.body.bytes", i64::try_from(story.sent).unwrap_or(i64::MAX));
        self.number("heddle.response.body.bytes", i64::try_from(story.received).unwrap_or(i64::MAX));
    }

    fn party(&mut self, names: &PartyNames, party: &Party) {
        if let Some(workload) = &party.workload {
            self.text(names.workload, &workload.owner);
            self.text(names.namespace, &workload.namespace);
            self.text(names.service, &workload.canonical_service);
        }
        if let Some(identity) = &party.identity {
            self.text(names.principal, &identity.to_string());
        }
    }

    fn text(&mut self, key: &str, value: &str) {
        self.0.push(text(key, value));
    }

    fn some(&mut self, key: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.text(key, value);
        }
    }

    fn number(&mut self, key: &str, value: i64) {
        self.0.push(KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(Value::Number(value)) }) });
    }
}

struct PartyNames {
    workload: &'static str,
    namespace: &'static str,
    service: &'static str,
    principal: &'static str,
}

const PARTY_NAMES: [PartyNames; 2] = [
    PartyNames {
        workload: "heddle.source.workload",
        namespace: "heddle.source.namespace",
        service: "heddle.source.canonical_service",
        principal: "heddle.source.principal",
    },
    PartyNames {
        workload: "heddle.destination.workload",
        namespace: "heddle.destination.namespace",
        service: "heddle.destination.canonical_service",
        principal: "heddle.destination.principal",
    },
];

/// One attribute.
pub(super) fn text(key: &str, value: &str) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(Value::Text(value.to_owned())) }) }
}

/// `Host` without and with a port; an IPv6 address has brackets.
fn split_host(host: &str) -> (Option<&str>, Option<u16>) {
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => match port.parse() {
            Ok(port) => (name, Some(port)),
            Err(_) => (host, None),
        },
        _ => (host, None),
    };
    let name = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    (Some(name).filter(|name| !name.is_empty()), port)
}

fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_2 => "2",
        Version::HTTP_10 => "1.0",
        _ => "1.1",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_a_name_and_perhaps_a_port() {
        for (host, expected) in [
            ("web.shop", (Some("web.shop"), None)),
            ("web.shop:8080", (Some("web.shop"), Some(8080))),
            ("[2001:db8::1]", (Some("2001:db8::1"), None)),
            ("[2001:db8::1]:80", (Some("2001:db8::1"), Some(80))),
            ("web:http", (Some("web:http"), None)),
            (":80", (None, Some(80))),
            ("", (None, None)),
        ] {
            assert_eq!(split_host(host), expected, "{host:?}");
        }
    }
}
