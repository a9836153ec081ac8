//! Response flags: the closed list of ways in which a connection or request can fail, each with its meaning and the remedy.
//!
//! A flag is what the metric label `response_flags` and the access log's `flag` carry. Names are Envoy's where they mean
//! the same, and Istio's for L4. What a peer sees on the wire is decided where the connection is refused, not here.

use std::fmt;

/// Why a connection or request failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ResponseFlag {
    /// `UH`
    NoHealthyUpstream,
    /// `UF`
    ConnectFailure,
    /// `UT`
    ConnectTimeout,
    /// `UC`
    UpstreamReset,
    /// `UO`
    Overflow,
    /// `OM`
    Overloaded,
    /// `NR`
    NoRoute,
    /// `DC`
    DownstreamClosed,
    /// `DPE`
    DownstreamProtocolError,
    /// `URX`
    RetriesExhausted,
    /// `SI`
    StreamIdle,
    /// `RL`
    RateLimited,
    /// `DI`
    DelayInjected,
    /// `FI`
    FaultInjected,
    /// `UAEX`
    RequestDenied,
    /// `DENY`
    Denied,
    /// `TLS_FAILURE`
    TlsFailure,
    /// `CONNECT`
    ConnectRefused,
    /// `IDENTITY_ERROR`
    IdentityError,
    /// `CERT_REVOKED`
    CertRevoked,
    /// `DRAIN`
    Drained,
    /// `ABORTED`
    Aborted,
    /// `RESET`
    NativeReset,
}

/// The label and log value of a connection or request that ended well.
pub const NO_FLAG: &str = "-";

struct Facts {
    name: &'static str,
    meaning: &'static str,
    remedy: &'static str,
}

impl ResponseFlag {
    /// Every flag, in the order of the reference.
    pub const ALL: [Self; 23] = [
        Self::NoHealthyUpstream,
        Self::ConnectFailure,
        Self::ConnectTimeout,
        Self::UpstreamReset,
        Self::Overflow,
        Self::Overloaded,
        Self::NoRoute,
        Self::DownstreamClosed,
        Self::DownstreamProtocolError,
        Self::RetriesExhausted,
        Self::StreamIdle,
        Self::RateLimited,
        Self::DelayInjected,
        Self::FaultInjected,
        Self::RequestDenied,
        Self::Denied,
        Self::TlsFailure,
        Self::ConnectRefused,
        Self::IdentityError,
        Self::CertRevoked,
        Self::Drained,
        Self::Aborted,
        Self::NativeReset,
    ];

    /// The flag as labels and log lines carry it.
    pub fn as_str(self) -> &'static str {
        self.facts().name
    }

    /// What happened.
    pub fn meaning(self) -> &'static str {
        self.facts().meaning
    }

    /// What the person who reads the flag can do.
    pub fn remedy(self) -> &'static str {
        self.facts().remedy
    }

    fn facts(self) -> Facts {
        let (name, meaning, remedy) = match self {
            Self::NoHealthyUpstream => (
                "UH",
                "the service has no ready endpoint",
                "check the readiness of the pods that the service selects, and its EndpointSlices; heddle_ejected_endpoints tells whether some are left out for their failures",
            ),
            Self::ConnectFailure => (
                "UF",
                "no connection to the server or its node could be opened: refused or unreachable",
                "check that the server listens on the endpoint's port and that the network lets the nodes reach each other on port 15008",
            ),
            Self::ConnectTimeout => (
                "UT",
                "the server or its node did not answer in time: within the connect timeout, or the timeout of the route or of a try",
                "error says which time was over: check that the peer is alive and no firewall drops packets, or why its answers are slow; raise limits.connectTimeout for slow links, or timeouts of the route",
            ),
            Self::UpstreamReset => (
                "UC",
                "the server's side broke an open connection, before or within its answer",
                "look at the server's own log at this time, and at the other node's access log line for the same connection",
            ),
            Self::Overflow => (
                "UO",
                "a limit of the agent or of a DestinationRule's connectionPool was reached",
                "see which bound heddle_refused_connections_total or heddle_overflows_total names, then spread the load or raise that limit",
            ),
            Self::Overloaded => (
                "OM",
                "the agent takes nothing new on: all pods of the node together have as many connections as it may have, or it has used its descriptors or its memory",
                "heddle_overload names which; raise limits.connections or limits.memory with the limits of the agent's container, or find the pod that has most by heddle_pod_connections and heddle_pod_buffer_bytes",
            ),
            Self::NoRoute => (
                "NR",
                "the destination is known, but nothing serves the dialled port, or no rule of its routes matches the request",
                "compare the dialled port with the ports of the service, and host, path and method with the routes attached to it",
            ),
            Self::DownstreamClosed => (
                "DC",
                "the client gave up before the connection was opened or the answer was complete, or broke it",
                "look at the client's own log and timeouts",
            ),
            Self::DownstreamProtocolError => (
                "DPE",
                "the client sent something that is not valid HTTP, or that two readers could understand in two ways",
                "error says what; heddle_http_refused_total counts the reasons; correct the client, or declare the port's protocol if it is not HTTP",
            ),
            Self::RetriesExhausted => (
                "URX",
                "every try that the route allows failed, or the budget of retries is spent",
                "look at the log of the servers that were tried (tries, endpoint); heddle_retries_total tells why it was not tried again",
            ),
            Self::StreamIdle => (
                "SI",
                "neither side sent anything on the request's stream for as long as is allowed",
                "send something within the idle timeout, as gRPC and WebSocket pings do, or raise that timeout",
            ),
            Self::RateLimited => (
                "RL",
                "a RateLimit was exceeded",
                "policy names the document: have the client slow down as Retry-After asks, or raise the limit",
            ),
            Self::DelayInjected => (
                "DI",
                "the request ended while a FaultInjection delayed it: its client gave up, or its time was over",
                "that is what was asked for; remove the FaultInjection that policy names if it is not wanted any more",
            ),
            Self::FaultInjected => (
                "FI",
                "a FaultInjection answered in place of the server",
                "that is what was asked for; remove the FaultInjection that policy names if it is not wanted any more",
            ),
            Self::RequestDenied => (
                "UAEX",
                "the server's node does not permit this request, or does not believe its token",
                "see policy and error in the access log of the server's node",
            ),
            Self::Denied => (
                "DENY",
                "the server's node does not permit this connection, or no longer does",
                "see policy and error in the access log of the server's node; plaintext under STRICT needs an enrolled client, or PERMISSIVE in what policy names",
            ),
            Self::TlsFailure => (
                "TLS_FAILURE",
                "the TLS handshake between the nodes failed or took too long",
                "check that both agents trust the same CA, that their clocks agree, and that port 15008 is reached without a middlebox",
            ),
            Self::ConnectRefused => (
                "CONNECT",
                "the other agent answered the tunnel's CONNECT with something else than 200",
                "look at the access log of the destination's node for the same connection",
            ),
            Self::IdentityError => (
                "IDENTITY_ERROR",
                "a party could not prove the identity that it must have",
                "check the pods' service accounts, that this node has their certificates (heddle_certificates), and that a stale pod address is not in use",
            ),
            Self::CertRevoked => (
                "CERT_REVOKED",
                "the peer's certificate, or that of an intermediate, is in a certificate revocation list",
                "if that is a mistake have the peer's node issue a new certificate (its agent does when it reads the same list), or correct the CRL",
            ),
            Self::Drained => (
                "DRAIN",
                "the agent was stopping and the connection outlived the drain timeout",
                "raise limits.drainTimeout (and the pod's terminationGracePeriodSeconds) if such connections must end by themselves",
            ),
            Self::Aborted => (
                "ABORTED",
                "the agent gave the connection up without an outcome",
                "expected only while the agent stops or a pod is released; otherwise report it with the agent's log",
            ),
            Self::NativeReset => (
                "RESET",
                "a connection that the kernel carried was broken off by one of its ends, or by a timeout",
                "look at the logs of both ends at this time: the kernel does not say which of them it was",
            ),
        };
        Facts { name, meaning, remedy }
    }
}

impl fmt::Display for ResponseFlag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_are_distinct_and_indexes_follow_the_list() {
        let names: HashSet<_> = ResponseFlag::ALL.iter().map(|flag| flag.as_str()).collect();
        assert_eq!(names.len(), ResponseFlag::ALL.len());
        for (index, flag) in ResponseFlag::ALL.into_iter().enumerate() {
            assert_eq!(flag as usize, index, "{flag} stands at the wrong place in ALL");
        }
    }
}
