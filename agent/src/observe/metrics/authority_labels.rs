//! Label values of the metrics of `heddle ca`, as closed lists.

use super::labels::{ClosedLabel, closed_label};

closed_label! {
    /// What became of a signing request.
    SigningResult {
        /// It was signed.
        Ok = "ok",
        /// It carried no bearer token, or several.
        NoToken = "no_token",
        /// The API server does not accept the token, or it is for another audience.
        BadToken = "bad_token",
        /// The token is not of a service account.
        NotServiceAccount = "not_service_account",
        /// The caller may not ask in the name of others.
        UntrustedAccount = "untrusted_account",
        /// The token is not bound to a pod, so the caller's node is not known.
        UnboundToken = "unbound_token",
        /// No pod with the identity runs on the caller's node.
        NotOnNode = "not_on_node",
        /// The identity is of another trust domain.
        WrongTrustDomain = "wrong_trust_domain",
        /// The signing request or its message is not what it must be.
        BadRequest = "bad_request",
        /// Too much at once.
        Busy = "busy",
        /// The API server could not be asked.
        ApiUnavailable = "api_unavailable",
        /// There is no root to sign with, or it was not confirmed for too long.
        NoRoot = "no_root",
        /// It took too long.
        TimedOut = "timed_out",
        /// Signing failed.
        Failed = "failed",
    }
}

closed_label! {
    /// What the API server said to a TokenReview.
    ReviewResult {
        /// The token is good.
        Ok = "ok",
        /// The token is not good.
        Refused = "refused",
        /// There was no answer, or a refusal to answer.
        Failed = "failed",
    }
}

closed_label! {
    /// What a look at the pods of one node found, beside the watch.
    LookResult {
        /// A pod that the watch had not shown.
        Found = "found",
        /// No such pod.
        Absent = "absent",
        /// There were too many looks.
        Limited = "limited",
        /// The API server did not answer.
        Failed = "failed",
    }
}

closed_label! {
    /// Why a connection was ended by this side.
    DropReason {
        /// Its address had as many as one may have.
        TooManyOfClient = "too_many_of_client",
        /// What came is not the TLS that we speak, or it broke off.
        Handshake = "handshake",
        /// The handshake took too long.
        HandshakeTimeout = "handshake_timeout",
        /// There was no request for too long.
        Idle = "idle",
        /// It broke the rules of HTTP/2, or broke off.
        Protocol = "protocol",
        /// It had not ended when the drain timeout passed.
        Drain = "drain",
    }
}

closed_label! {
    /// Whom a certificate is for.
    SignedFor {
        /// A workload.
        Workload = "workload",
        /// This authority's own endpoint.
        Own = "own",
    }
}

closed_label! {
    /// What the webhook answered to an API server.
    AdmissionResult {
        /// The ConfigMap may be stored.
        Allowed = "allowed",
        /// It may be stored, and something in it is surely not meant.
        Warned = "warned",
        /// It may be stored and is not judged: it is no mesh configuration, or is being deleted.
        NotJudged = "not_judged",
        /// Agents would reject something in it.
        Refused = "refused",
        /// The request is not the review of a ConfigMap.
        BadReview = "bad_review",
        /// Its body is larger than any review of a ConfigMap.
        TooLarge = "too_large",
        /// It took too long.
        TimedOut = "timed_out",
        /// Judging failed: a defect of this build.
        Failed = "failed",
    }
}

closed_label! {
    /// What became of an attempt to taint a node, or to free it.
    NodePatchResult {
        /// It is tainted now.
        Tainted = "tainted",
        /// It is free now.
        Freed = "freed",
        /// There was nothing to do any more.
        Unchanged = "unchanged",
        /// Somebody else wrote the node at the same time; it is tried again.
        Conflict = "conflict",
        /// The API server did not answer, or refused; it is tried again.
        Failed = "failed",
    }
}
