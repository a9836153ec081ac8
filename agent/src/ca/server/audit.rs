//! One line for each certificate and for each refusal: who asked, from which node and pod, for which identity, and what
//! came of it. No line holds a token or a key.

use std::{net::SocketAddr, time::SystemTime};

use super::{refusal::Refusal, tokens::Caller};
use crate::{
    mesh::SpiffeId,
    observe::{AUDIT, ClosedLabel},
};

/// What is known of a request so far.
#[derive(Debug)]
pub(super) struct Audit {
    client: SocketAddr,
    caller: String,
    pod: String,
    node: String,
    identity: String,
}

/// Where something is not known.
const NONE: &str = "-";

impl Audit {
    pub(super) fn begin(client: SocketAddr) -> Self {
        let none = || NONE.to_owned();
        Self { client, caller: none(), pod: none(), node: none(), identity: none() }
    }

    pub(super) fn caller(&mut self, caller: &Caller) {
        self.caller = caller.account().to_string();
        self.pod = caller.pod().map_or_else(|| NONE.to_owned(), |pod| pod.name.to_string());
        self.node = caller.node().map_or_else(|| NONE.to_owned(), ToString::to_string);
    }

    pub(super) fn node(&mut self, node: &str) {
        node.clone_into(&mut self.node);
    }

    pub(super) fn identity(&mut self, id: &SpiffeId) {
        self.identity = id.to_string();
    }

    pub(super) fn signed(&self, serial: &str, not_after: SystemTime) {
        let Self { client, caller, pod, node, identity } = self;
        let not_after = humantime::format_rfc3339_seconds(not_after);
        tracing::info!(
            target: AUDIT, outcome = "signed", %client, %caller, %pod, %node, %identity, serial, %not_after,
            "certificate signed"
        );
    }

    pub(super) fn refused(&self, refusal: &Refusal) {
        let Self { client, caller, pod, node, identity } = self;
        let reason = refusal.result().as_str();
        tracing::info!(
            target: AUDIT, outcome = "refused", %client, %caller, %pod, %node, %identity, reason, detail = %refusal,
            "certificate refused"
        );
    }
}
