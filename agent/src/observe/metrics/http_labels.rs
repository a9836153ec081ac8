//! Label values of the metrics about HTTP, as closed lists, like those in `labels.rs`.

use super::labels::{ClosedLabel, closed_label};
use crate::authorize::token::Reason;

closed_label! {
    /// How it was found out what a connection carries.
    DetectedBy {
        /// The Service port says it, by `appProtocol` or its name.
        Declared = "declared",
        /// Earlier connections to the port.
        Learned = "learned",
        /// The client's first bytes.
        Sniffed = "sniffed",
        /// The client was silent for as long as is waited: carried as bytes.
        Timeout = "timeout",
        /// The server spoke first: carried as bytes.
        ServerFirst = "server_first",
    }
}

closed_label! {
    /// What a connection carries.
    DetectedProtocol {
        /// HTTP/1.0 or HTTP/1.1.
        Http1 = "http1",
        /// HTTP/2 without TLS.
        Http2 = "http2",
        /// TLS of the application's own, carried as bytes.
        Tls = "tls",
        /// Anything else, carried as bytes.
        Tcp = "tcp",
    }
}

closed_label! {
    /// Why a client's HTTP is refused before anything is decided over the request.
    HttpRefusal {
        /// It is not HTTP as the RFCs have it.
        BadRequest = "bad_request",
        /// Two readers could see its end in different places.
        Smuggling = "smuggling",
        /// The head has more bytes or lines than allowed.
        HeaderTooLarge = "header_too_large",
        /// The head was not complete in time.
        HeaderTimeout = "header_timeout",
        /// The body stopped to come.
        BodyTimeout = "body_timeout",
        /// The request target could be read in two ways.
        BadTarget = "bad_target",
        /// Host and `:authority` are missing, several, or not alike.
        BadHost = "bad_host",
        /// A frame or a state that HTTP/2 forbids.
        Protocol = "protocol",
        /// The client opens streams and resets them at once.
        TooManyResets = "too_many_resets",
    }
}

closed_label! {
    /// What became of a try that failed and that the route would have tried again.
    RetryResult {
        /// It was tried again.
        Again = "again",
        /// The budget of retries is spent.
        NoBudget = "no_budget",
        /// The request's body is longer than what is kept for another try.
        BodyTooLong = "body_too_long",
        /// It was the last of the tries that are allowed.
        Attempts = "attempts",
        /// It may have reached the application, and its method is not to be repeated.
        NotIdempotent = "not_idempotent",
        /// The circuit breaker's limit of retries is reached.
        Overflow = "overflow",
    }
}

closed_label! {
    /// The limit of a circuit breaker that is reached.
    OverflowLimit {
        /// Connections.
        Connections = "connections",
        /// Requests that wait for a connection.
        Pending = "pending",
        /// Requests under way.
        Requests = "requests",
        /// Retries under way.
        Retries = "retries",
    }
}

closed_label! {
    /// What went to a fallback.
    FallbackOf {
        /// A request.
        Request = "http",
        /// A connection that is carried as bytes.
        Connection = "tcp",
    }
}

closed_label! {
    /// Why a fallback took over.
    FallbackReason {
        /// The Service port has no endpoint that may be used.
        NoEndpoint = "no_endpoint",
        /// Every try ended before anything was sent to a server.
        NotReached = "not_reached",
        /// A circuit breaker of the Service port refused.
        Overflow = "overflow",
    }
}

closed_label! {
    /// Why an endpoint gets no requests for a while.
    EjectionReason {
        /// Answers of 500 to 599 in a row.
        Consecutive5xx = "consecutive_5xx",
        /// Answers of 502, 503 or 504 in a row.
        GatewayErrors = "gateway_errors",
        /// Connections that failed or broke, or no answer in time, in a row.
        LocalOriginFailures = "local_origin_failures",
        /// The request that was to find out whether it works again failed.
        ProbeFailed = "probe_failed",
    }
}

closed_label! {
    /// What a rate limit that refused something is attached to.
    LimitedAt {
        /// A rule of a route.
        Route = "route",
        /// A Service.
        Service = "service",
        /// The server's pod.
        Workload = "workload",
    }
}

closed_label! {
    /// A fault that was injected.
    FaultKind {
        /// The request was held back.
        Delay = "delay",
        /// It was answered in place of the server.
        Abort = "abort",
    }
}

closed_label! {
    /// What became of the copy of a request.
    MirrorResult {
        /// It was answered, whatever the answer.
        Sent = "sent",
        /// It could not be sent, or was not answered.
        Failed = "failed",
        /// Too many copies were under way.
        Dropped = "dropped",
    }
}

closed_label! {
    /// Where the picked endpoint is, as seen from the client's node. The first that applies.
    PickLocality {
        /// On the same node.
        SameNode = "same_node",
        /// In the same zone.
        SameZone = "same_zone",
        /// In another zone.
        OtherZone = "other_zone",
        /// One of the two nodes has no labels that say where it is.
        Unknown = "unknown",
    }
}

closed_label! {
    /// Which connection a request was sent over.
    PoolResult {
        /// One that had carried others.
        Reused = "reused",
        /// One that was opened for it.
        New = "new",
    }
}

closed_label! {
    /// What a connection became when it stopped to be HTTP.
    UpgradeKind {
        /// A WebSocket, over HTTP/1.1 or as extended CONNECT.
        WebSocket = "websocket",
        /// The tunnel of a CONNECT.
        Connect = "connect",
        /// Another protocol.
        Other = "other",
    }
}

closed_label! {
    /// What looking for a request's JSON Web Token came to; the reasons are those of its refusal.
    TokenResult {
        /// It has none.
        None = "none",
        /// It has one that is believed.
        Verified = "verified",
        /// Two that differ.
        SeveralTokens = "several_tokens",
        /// Longer than any that is read.
        TooLong = "too_long",
        /// No signed JSON Web Token.
        Malformed = "malformed",
        /// It demands to be understood in a way that is not known here.
        CriticalHeader = "critical_header",
        /// Nobody here believes its issuer.
        UnknownIssuer = "unknown_issuer",
        /// Its time is over.
        Expired = "expired",
        /// Its time has not come yet.
        NotYetValid = "not_yet_valid",
        /// It is for others.
        WrongAudience = "wrong_audience",
        /// The issuer's keys could not be had yet.
        KeysUnavailable = "keys_unavailable",
        /// Signed with a key that the issuer does not publish.
        UnknownKey = "unknown_key",
        /// Not signed, or in a way that is not accepted.
        AlgorithmNotAllowed = "algorithm_not_allowed",
        /// The signature is not that of the issuer.
        BadSignature = "bad_signature",
    }
}

impl From<Reason> for TokenResult {
    fn from(reason: Reason) -> Self {
        match reason {
            Reason::SeveralTokens => Self::SeveralTokens,
            Reason::TooLong => Self::TooLong,
            Reason::Malformed => Self::Malformed,
            Reason::CriticalHeader => Self::CriticalHeader,
            Reason::UnknownIssuer => Self::UnknownIssuer,
            Reason::Expired => Self::Expired,
            Reason::NotYetValid => Self::NotYetValid,
            Reason::WrongAudience => Self::WrongAudience,
            Reason::KeysUnavailable => Self::KeysUnavailable,
            Reason::UnknownKey => Self::UnknownKey,
            Reason::AlgorithmNotAllowed => Self::AlgorithmNotAllowed,
            Reason::BadSignature => Self::BadSignature,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_token_has_the_same_word_in_metrics_as_everywhere() {
        for reason in Reason::ALL {
            assert_eq!(TokenResult::from(*reason).as_str(), reason.as_str());
        }
        assert_eq!(TokenResult::ALL.len(), Reason::ALL.len() + 2, "and those without a token, or with a good one");
    }
}
