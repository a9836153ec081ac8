//! May this request reach the application? Its token first, then the policies.

use std::time::SystemTime;

use http::{HeaderMap, Method, request::Parts};

use super::Inbound;
use crate::{
    authorize::{
        self, Answer, Facts, PermittedRequest, Proven,
        limits::{LimitSource, Limited},
        policy::{RequestFacts, TokenFacts},
        token::{self, Outcome},
    },
    mesh::{Snapshot, Workload},
    observe::{LimitedAt, RequestRecord, TokenResult},
    request::failed::RequestFailed,
};

/// What looking for a token came to, as metrics have it.
fn result(outcome: &Outcome) -> TokenResult {
    match outcome {
        Outcome::NoToken => TokenResult::None,
        Outcome::Verified(_) => TokenResult::Verified,
        Outcome::Refused(refusal) => refusal.reason().into(),
    }
}

impl Inbound {
    /// Decides over a request, and makes of its headers what the application may believe.
    pub(super) fn authorize(
        &self,
        snapshot: &Snapshot,
        workload: &Workload,
        parts: &mut Parts,
        authority: &str,
        record: &mut RequestRecord,
    ) -> Result<PermittedRequest, RequestFailed> {
        let node = &self.facts.thread.node;
        let rules = snapshot.token_rules_of(workload);
        let outcome = match rules.is_empty() {
            true => Outcome::NoToken,
            false => {
                let carrier = token::Request { headers: &parts.headers, target: &parts.uri, at: SystemTime::now() };
                let outcome = token::authenticate(&rules, &carrier, &node.token_keys.load());
                node.token_keys.learn_from(&outcome);
                node.observer.metrics().token_looked_at(result(&outcome));
                outcome
            }
        };
        if let Outcome::Refused(refusal) = outcome {
            return Err(RequestFailed::Token(refusal));
        }
        let token = outcome.token().map(|token| TokenFacts { claims: token.claims(), space_delimited: &[] });
        let facts = RequestFacts {
            method: parts.method.as_str(),
            // Of CONNECT, which has none, the root.
            path: if parts.method == Method::CONNECT { "/" } else { parts.uri.path() },
            host: authority,
            headers: &parts.headers,
            token,
        };
        let known = Facts {
            peer: self.facts.peer.as_ref().map(Proven::ByCertificate),
            client: self.facts.client.ip(),
            to: self.facts.to,
        };
        let Answer { leave, remarks } = authorize::request(snapshot, &node.access, workload, known, &facts);
        if !remarks.is_empty() {
            record.set_remarks(node.told(&remarks));
        }
        let permitted = leave?;
        self.limited(snapshot, workload, &parts.headers)?;
        if !rules.is_empty() {
            token::forward(&rules, outcome.token(), &mut parts.headers, &mut parts.uri);
        }
        Ok(permitted)
    }

    fn limited(&self, snapshot: &Snapshot, workload: &Workload, headers: &HeaderMap) -> Result<(), Limited> {
        let source = match &self.facts.peer {
            Some(peer) => LimitSource::Identity(peer.id()),
            None => LimitSource::Address(self.facts.client.ip()),
        };
        let limits = snapshot.rate_limits_of_workload(workload);
        limits
            .into_iter()
            .try_for_each(|limits| self.facts.thread.node.limited(limits, source, headers, LimitedAt::Workload))
    }
}
