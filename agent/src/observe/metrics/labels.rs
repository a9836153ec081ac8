//! Label values of the agent's own metrics, as closed lists: what is not listed here cannot become a label.

/// A label whose values are all known when the agent is built.
pub trait ClosedLabel: Copy + 'static {
    /// Every value, in the order of the enum.
    const ALL: &'static [Self];
    /// The label's value.
    fn as_str(self) -> &'static str;
    /// Its place in [`Self::ALL`].
    fn index(self) -> usize;
}

/// Declares an enum and its label values together, so that none can be forgotten.
macro_rules! closed_label {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$variant_doc])* $variant,)+ }

        impl ClosedLabel for $name {
            const ALL: &'static [Self] = &[$(Self::$variant,)+];

            fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }

            fn index(self) -> usize {
                self as usize
            }
        }
    };
}

pub(super) use closed_label;

closed_label! {
    /// Which end of a tunnel this agent is.
    Side {
        /// It dialled.
        Client = "client",
        /// It accepted.
        Server = "server",
    }
}

closed_label! {
    /// Where an event of a connection got lost.
    LostEventReason {
        /// The kernel's ring was full, or it had no memory.
        Ring = "ring",
        /// Somebody who listens did not take events as fast as they came.
        SlowListener = "slow_listener",
    }
}

closed_label! {
    /// How a TLS handshake ended.
    HandshakeResult {
        /// Both sides proved who they are.
        Ok = "ok",
        /// The peer's chain does not lead to a trusted root, or it has expired.
        UntrustedCertificate = "untrusted_certificate",
        /// The peer's certificate, or that of an intermediate, is in a revocation list.
        RevokedCertificate = "revoked_certificate",
        /// The certificate is good, but it is not of the expected identity or trust domain.
        WrongIdentity = "wrong_identity",
        /// The peer showed no certificate.
        NoCertificate = "no_certificate",
        /// The peer refused with an alert.
        PeerAlert = "peer_alert",
        /// The handshake timeout passed.
        Timeout = "timeout",
        /// The peer closed or reset the TCP connection.
        Closed = "closed",
        /// What the peer sent is not TLS 1.3 with our parameters.
        Protocol = "protocol",
    }
}

closed_label! {
    /// Why a connection of an enrolled pod was carried in the clear.
    BypassReason {
        /// `heddle.io/exclude-inbound-ports` or `heddle.io/exclude-outbound-ports`.
        ExcludedPort = "excluded_port",
        /// `heddle.io/exclude-outbound-cidrs`.
        ExcludedNetwork = "excluded_network",
        /// The kubelet probed a port that the pod declares for that.
        KubeletProbe = "kubelet_probe",
        /// It was open before the pod was enrolled.
        BeforeEnrolment = "before_enrolment",
        /// The destination is not in the mesh.
        OutsideMesh = "outside_mesh",
        /// To a pod of this node without a tunnel, accepted under PERMISSIVE.
        PermissivePlaintext = "permissive_plaintext",
        /// To or from a pod of this node, since the mode of the destination is DISABLE.
        DisabledMtls = "disabled_mtls",
    }
}

closed_label! {
    /// Why a connection was refused before it could be recorded: nothing is known that a record would say.
    RefusedReason {
        /// The kernel gave no original destination: somebody in the pod called the agent's port itself.
        UnknownDestination = "unknown_destination",
        /// It is the agent's own connection to an application, come back.
        Loop = "loop",
        /// A tunnel to a pod that this node has no certificate for yet.
        NoCertificate = "no_certificate",
        /// One in a tunnel, to a pod that has as many connections as it may have, none of which ended in time.
        PodIsFull = "pod_is_full",
        /// A tunnel, while the agent takes nothing new on (`heddle_overload` tells why).
        Overloaded = "overloaded",
    }
}

closed_label! {
    /// What the agent itself may have only so much of, for all pods together.
    Resource {
        /// Connections, each of which takes descriptors: new ones are refused, but the first of pods that have few.
        Connections = "connections",
        /// Files and sockets: new connections are refused.
        Descriptors = "descriptors",
        /// Memory: new connections and requests are refused, and less is kept to be sent.
        Memory = "memory",
    }
}

closed_label! {
    /// What a pod may have only so much of.
    PodBound {
        /// Connections that it opened: further ones wait in its own queue.
        OutboundConnections = "outbound_connections",
        /// Connections to it: they wait in its own queue, those in tunnels for an answer.
        InboundConnections = "inbound_connections",
        /// Handshakes of its tunnels to others.
        OutboundHandshakes = "outbound_handshakes",
        /// Handshakes of tunnels to it: they wait in its own queue.
        InboundHandshakes = "inbound_handshakes",
        /// Connections of HTTP to servers, for its requests: a request waits, and is then answered with 503.
        OutboundHttp = "outbound_http",
        /// Connections of HTTP to its application: a request is answered with 503.
        InboundHttp = "inbound_http",
        /// Tunnels from it: those that nobody uses are closed, and nothing waits.
        OutboundTunnels = "outbound_tunnels",
        /// Bytes to be sent: each connection goes on in small pieces.
        SentBytes = "sent_bytes",
        /// Bytes that came and are not read: its tunnels are not read.
        ReceivedBytes = "received_bytes",
    }
}

closed_label! {
    /// Which way connections and handshakes of a pod go, and bytes that wait.
    PodDirection {
        /// From the pod; of bytes, from the socket of an application or a server outside to a tunnel or another socket.
        Outbound = "outbound",
        /// To the pod; of bytes, from a tunnel to the socket of an application.
        Inbound = "inbound",
    }
}

closed_label! {
    /// Why a connection to a pod of this node is not permitted.
    DenialReason {
        /// Plaintext where the mode is STRICT.
        StrictMode = "strict_mode",
        /// A rule of a DENY policy matches.
        PolicyDenies = "policy_denies",
        /// ALLOW policies select the pod, and no rule of theirs matches.
        NothingAllows = "nothing_allows",
    }
}

closed_label! {
    /// What a document did to a connection.
    PolicyEffect {
        /// It refused a new one.
        Denied = "denied",
        /// It ended an open one.
        Withdrawn = "withdrawn",
        /// An AUDIT policy matches.
        Audited = "audited",
        /// An AUDIT policy on trial matches.
        WouldAudit = "would_audit",
        /// With the policies on trial in force, it would allow it.
        WouldAllow = "would_allow",
        /// With the policies on trial in force, it would refuse it.
        WouldDeny = "would_deny",
    }
}

closed_label! {
    /// How dialling another agent ended.
    DialResult {
        /// The tunnel is up.
        Ok = "ok",
        /// TCP connect refused or unreachable.
        ConnectFailed = "connect_failed",
        /// No answer within the connect timeout.
        Timeout = "timeout",
        /// The handshake failed.
        Tls = "tls",
        /// HTTP/2 could not be started.
        Http2 = "http2",
    }
}

closed_label! {
    /// Why this agent ends a tunnel.
    TunnelEndReason {
        /// The peer's certificate was revoked: the tunnel and what is in it is cut.
        PeerRevoked = "peer_revoked",
        /// The peer's certificate has expired: no new connections, the open ones go on.
        PeerExpired = "peer_expired",
        /// The root that vouched for the peer is not trusted any more: as above.
        RootRemoved = "root_removed",
        /// The peer sent what HTTP/2 forbids, or a frame that is too long: the tunnel is cut.
        Protocol = "protocol",
        /// The peer opened streams and reset them at once, or asked too much else of this end: the tunnel is cut.
        TooManyResets = "too_many_resets",
    }
}

closed_label! {
    /// What came of reading the CRL file.
    CrlLoad {
        /// In force.
        Ok = "ok",
        /// Missing or not readable: what was read before stays in force.
        Failed = "failed",
    }
}

closed_label! {
    /// What became of a question to the name servers.
    LookupResult {
        /// Addresses.
        Ok = "ok",
        /// The answer that the name has none of the family.
        Empty = "empty",
        /// No answer.
        Failed = "failed",
    }
}

closed_label! {
    /// What came of fetching the keys of an issuer of tokens.
    KeyFetchResult {
        /// Keys.
        Ok = "ok",
        /// The place is no web address, or its name has no address.
        NoAddress = "no_address",
        /// It is an address that keys are never fetched from.
        Forbidden = "forbidden",
        /// No connection, or it ended in the middle.
        Unreachable = "unreachable",
        /// The server did not prove who it is.
        Tls = "tls",
        /// No answer in time.
        Timeout = "timeout",
        /// Another status than 200.
        Status = "status",
        /// The answer has no keys that can be used, or is too large.
        Invalid = "invalid",
    }
}

closed_label! {
    /// What became of a Kubernetes Event.
    EventResult {
        /// It was written.
        Written = "written",
        /// Another agent had written it, or this one before.
        Exists = "exists",
        /// The API server could not be reached or refused, several times.
        Failed = "failed",
    }
}

closed_label! {
    /// What became of a mesh document.
    DocumentLabel {
        /// In force.
        Accepted = "accepted",
        /// Not in force as it is; an earlier version may be.
        Rejected = "rejected",
        /// Another document defines the same object and came first.
        Conflict = "conflict",
    }
}

closed_label! {
    /// Why a connection or request has no line in the access log.
    LeftOutReason {
        /// It ended well, and is not among the share that is logged.
        Sampled = "sampled",
        /// A Telemetry document turns the lines of its workload off.
        Disabled = "disabled",
        /// More came than `log.accessRate` allows.
        Rate = "rate",
    }
}

closed_label! {
    /// Why a span was lost.
    SpanDropReason {
        /// More spans waited for the collector than there are places.
        QueueFull = "queue_full",
        /// The collector does not want it.
        Refused = "refused",
        /// The collector did not take it for as long as is tried.
        Unreachable = "unreachable",
        /// The agent ended first.
        Shutdown = "shutdown",
    }
}

closed_label! {
    /// What became of a try to export spans.
    SpanExportResult {
        /// The collector took all.
        Ok = "ok",
        /// The collector took some.
        Partial = "partial",
        /// The collector refuses, for good, or speaks something else.
        Refused = "refused",
        /// The collector asks to try again later.
        Busy = "busy",
        /// No connection, or it broke.
        Unreachable = "unreachable",
        /// The collector did not prove who it is, or there are no roots.
        Tls = "tls",
        /// No answer in time.
        Timeout = "timeout",
    }
}

closed_label! {
    /// State of a certificate that this node holds.
    CertificateState {
        /// In use.
        Valid = "valid",
        /// Asked for, none held.
        Pending = "pending",
        /// The last request failed; an older one may still serve.
        Failed = "failed",
        /// Held, but past its end.
        Expired = "expired",
    }
}

closed_label! {
    /// Why listing or watching a kind of the Kubernetes API had to be started again.
    RestartReason {
        /// The API server ended the watch, as it does every few minutes.
        Ended = "ended",
        /// The connection broke, or was silent for too long.
        Broken = "broken",
        /// The API server has forgotten the version to go on from: everything is listed anew.
        Expired = "expired",
        /// It does not know the agent, or does not let it.
        Refused = "refused",
        /// There was no connection.
        Unreachable = "unreachable",
        /// Any other answer.
        ServerError = "server_error",
    }
}
