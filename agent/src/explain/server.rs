//! The server's side: where a connection arrives, what mode its port has, whether its token is believed, and what the
//! policies say.

use std::{
    net::SocketAddr,
    time::{Instant, SystemTime},
};

use http::{HeaderMap, Method};

use super::{
    Arrival, View, World,
    question::{Asked, Says},
    report::{StepName, Verdict},
    telling::{Refused, Telling, answered, refused},
};
use crate::{
    authorize::{
        Denied, Judgement, Stage, Supposed, judge,
        limits::LimitSource,
        policy::{self, RequestFacts, TokenFacts},
        token::{self, Outcome},
    },
    capture::{Arrives, foretell_inbound, is_agent_port},
    connect::http::{
        forwarded::{self, Proven},
        head::{BadHead, authority},
    },
    failure::{BadRequest, Failed},
    mesh::{Mode, Workload},
    observe::ResponseFlag,
    request::RequestFailed,
    route::http::is_grpc,
    target::RequestTarget,
};

/// How an arrival is told.
#[derive(Clone, Copy)]
pub(super) struct Told<'a> {
    /// What part of all it is.
    pub(super) share: f64,
    /// The Service that it comes for.
    pub(super) backend: Option<&'a str>,
    /// Whether its steps are told: those of one endpoint stand for those of its like.
    pub(super) is_told: bool,
    /// How the client's agent carries it.
    pub(super) carried: Carried,
}

/// How the client's agent carries something, and so tells its client of failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Carried {
    /// By requests.
    Requests,
    /// As bytes.
    Bytes,
    /// There is no such agent.
    ByNobody,
}

/// What arrives is decided.
pub(super) fn arrives(world: &World<'_>, arrival: &Arrival<'_>, says: &Says, told: Told<'_>, telling: &mut Telling) {
    // Of an arrival that is not told, only what comes of it counts.
    let mut aside = Telling::default();
    let steps = if told.is_told { &mut *telling } else { &mut aside };
    let at = Server { world, arrival: *arrival, told };
    at.decide(says, steps);
    if !told.is_told {
        let Telling { result, notes, .. } = aside;
        result.into_iter().for_each(|possible| telling.possible(possible));
        notes.into_iter().for_each(|note| telling.note(note));
    }
}

struct Server<'a> {
    world: &'a World<'a>,
    arrival: Arrival<'a>,
    told: Told<'a>,
}

impl Server<'_> {
    fn decide(&self, says: &Says, telling: &mut Telling) {
        let Arrival { workload, identity, client, to } = self.arrival;
        let pod = format!("{}/{}", workload.namespace, workload.name);
        if identity.is_none() && !self.comes_to_the_agent(&pod, telling) {
            return;
        }
        if identity.is_some() {
            telling.step(StepName::Arrival, format!("at the agent of {}, by a tunnel to pod {pod}", workload.node));
        }
        if is_agent_port(to.port()) {
            let failed = Failed::Request(BadRequest::AgentPort(to.port()));
            return telling.connection_fails(self.told.share, &failed, self.told.backend);
        }
        let supposed = Supposed { identity, client, to };
        // What is never parsed, and what is no HTTP, is decided once, by its bytes.
        let says = if workload.is_opaque(to.port()) { &Says::Bytes } else { says };
        let approach = self.judge(supposed, Stage::Approach);
        self.tell_mode(&approach, telling);
        // Nobody asks the policies about what the mode refuses.
        if let Some(denied @ Denied::Plaintext(_)) = approach.denied {
            return self.connection_refused(denied, says, telling);
        }
        if let Some(denied) = approach.denied {
            self.tell_policies("before anything is read of it", &approach.policies, &approach.remarks, telling)
                .refuses();
            return self.connection_refused(denied, says, telling);
        }
        match says {
            Says::Request(asked) => self.request(supposed, asked, telling),
            Says::Tls(_) | Says::Bytes => {
                let judged = self.judge(supposed, Stage::Bytes);
                let step = self.tell_policies("of its bytes", &judged.policies, &judged.remarks, telling);
                match judged.denied {
                    Some(denied) => {
                        step.refuses();
                        self.connection_refused(denied, says, telling);
                    }
                    None => self.served("the application gets the connection", telling),
                }
            }
        }
    }

    /// Whether a plaintext connection comes to the agent.
    fn comes_to_the_agent(&self, pod: &str, telling: &mut Telling) -> bool {
        let Arrival { workload, client, to, .. } = self.arrival;
        let rules = (self.world.capture)(workload);
        if rules.is_none() {
            telling.note(format!(
                "which ports of pod {pod} are excluded is known on its own node, {}; taken for none",
                workload.node
            ));
        }
        let rules = rules.unwrap_or_default();
        match foretell_inbound(&workload.addresses, &rules, client, to) {
            Arrives::AtPlaintext => {
                let step = telling
                    .step(StepName::Arrival, format!("at the agent of {}, in plaintext, for pod {pod}", workload.node));
                if rules.probed_ports.contains(&to.port()) {
                    step.because("the pod declares probes of the port: those of its kubelet go to the application, past the agent");
                }
                true
            }
            Arrives::AtTunnels => {
                let step = telling.step(StepName::Arrival, "at the agent's port for tunnels, which takes no plaintext");
                step.refuses();
                let says = "the connection ends: it does not begin with a handshake".to_owned();
                telling.possible(refused(self.told.share, ResponseFlag::TlsFailure, says));
                false
            }
            Arrives::Past(event) => {
                let step =
                    telling.step(StepName::Arrival, format!("at the application, past the agent ({})", event.name()));
                step.verdict(Verdict::Bypasses).because(match client == to.ip() {
                    true => "the pod connects to itself",
                    false => "the port is excluded for the pod: an annotation or a Capture document says so",
                });
                self.served("the application gets it, past the agent", telling);
                false
            }
            Arrives::Nowhere(event) => {
                telling.step(StepName::Arrival, format!("nowhere: the kernel drops it ({})", event.name())).refuses();
                let says = "nobody answers: the address is none of the pod's".to_owned();
                telling.possible(refused(self.told.share, ResponseFlag::ConnectTimeout, says));
                false
            }
        }
    }

    fn judge(&self, supposed: Supposed<'_>, stage: Stage<'_>) -> Judgement<'_> {
        judge(self.world.snapshot, self.world.access, self.arrival.workload, supposed, stage)
    }

    fn tell_mode(&self, judged: &Judgement<'_>, telling: &mut Telling) {
        let mode = match judged.mode.mode {
            Mode::Strict => "STRICT: only clients with a proven identity",
            Mode::Permissive => "PERMISSIVE: plaintext too",
            Mode::Disable => "DISABLE: clients in the mesh come in plaintext",
        };
        let source = judged.mode.source();
        let step = telling.step(StepName::Mode, mode);
        step.because(format!("{source} says so"));
        if let Some(denied @ Denied::Plaintext(_)) = &judged.denied {
            step.refuses().because(denied.to_string());
        }
        let is_elsewhere = matches!(self.world.view, View::Agent { node, .. } if *self.arrival.workload.node != *node);
        if source == crate::authorize::ModeSource::Agent && is_elsewhere {
            telling.note("no PeerAuthentication says a mode: mtls.mode of this agent's agent.yaml is taken for that of the server's node");
        }
        if source == crate::authorize::ModeSource::Agent && matches!(self.world.view, View::Objects) {
            telling.note("no PeerAuthentication says a mode: --mtls is taken for mtls.mode of the server's agent.yaml");
        }
    }

    fn tell_policies<'t>(
        &self,
        of_what: &str,
        explanation: &policy::Explanation,
        remarks: &[crate::authorize::Remark],
        telling: &'t mut Telling,
    ) -> &'t mut super::report::Step {
        let step = telling.step(StepName::Access, format!("{of_what}: {}", explanation.decision));
        if explanation.policies.is_empty() {
            step.because("no AuthorizationPolicy selects the pod");
        }
        for policy in &explanation.policies {
            let lines = policy.to_string();
            match policy.matches {
                Some(_) => step.because(lines),
                None => step.instead_of(lines),
            };
        }
        if let Some(on_trial) = &explanation.on_trial {
            step.because(format!("with the policies on trial in force: {on_trial}"));
        }
        for remark in remarks {
            step.because(remark.to_string());
        }
        step.details(explanation)
    }

    /// The client is told by a reset; where an agent asks for it over a tunnel, that answers its own client's requests.
    fn connection_refused(&self, denied: Denied, says: &Says, telling: &mut Telling) {
        let failed = Failed::from(denied);
        match says {
            Says::Request(asked) if self.told.carried == Carried::Requests => {
                let backend = self.told.backend;
                let is_grpc = is_grpc(&asked.headers);
                telling.refused_by_peer(self.told.share, &failed, Refused { is_grpc, backend });
            }
            _ => telling.connection_fails(self.told.share, &failed, self.told.backend),
        }
    }

    fn request(&self, supposed: Supposed<'_>, asked: &Asked, telling: &mut Telling) {
        let Arrival { workload, identity, .. } = self.arrival;
        let asking = Refused { is_grpc: is_grpc(&asked.headers), backend: self.told.backend };
        let mut headers = asked.headers.clone();
        let proven = identity.map(|client| Proven { client, server: &workload.identity });
        forwarded::write_client_cert(&mut headers, proven);
        forwarded::write_proto(&mut headers);
        let host = match host(&headers, supposed.to) {
            Ok(host) => host,
            Err(bad) => return telling.request_fails(self.told.share, &bad.into(), asking),
        };
        let target = match RequestTarget::parse(&asked.path) {
            Ok(target) => target,
            Err(bad) => return telling.request_fails(self.told.share, &bad.into(), asking),
        };
        let Some(outcome) = self.token(workload, &asked.path, &headers, asking, telling) else { return };
        let token = outcome.token().map(|token| TokenFacts { claims: token.claims(), space_delimited: &[] });
        let path = if asked.method == Method::CONNECT { "/" } else { target.path() };
        let facts = RequestFacts { method: asked.method.as_str(), path, host: &host, headers: &headers, token };
        let judged = self.judge(supposed, Stage::Request(&facts));
        let step = self.tell_policies("of the request", &judged.policies, &judged.remarks, telling);
        if let Some(denied) = judged.denied {
            step.refuses();
            return telling.request_fails(self.told.share, &denied.into(), asking);
        }
        if !self.within_limits(workload, &headers, asking, telling) {
            return;
        }
        self.served("the application answers", telling);
    }

    /// What looking for a token comes to, unless it is refused.
    fn token(
        &self,
        workload: &Workload,
        path: &str,
        headers: &HeaderMap,
        asking: Refused<'_>,
        telling: &mut Telling,
    ) -> Option<Outcome> {
        let rules = self.world.snapshot.token_rules_of(workload);
        if rules.is_empty() {
            return Some(Outcome::NoToken);
        }
        let named: Vec<String> = rules
            .iter()
            .map(|rule| format!("{} of RequestAuthentication {}", rule.rule().issuer, rule.document()))
            .collect();
        let target = path.parse().unwrap_or_default();
        let carrier = token::Request { headers, target: &target, at: SystemTime::now() };
        let outcome = token::authenticate(&rules, &carrier, self.world.keys);
        let says = match &outcome {
            Outcome::NoToken => "the request has no token: it passes, as nobody".to_owned(),
            Outcome::Verified(token) => {
                format!("the token is believed: {}", token.principal().unwrap_or_else(|| "of no principal".to_owned()))
            }
            Outcome::Refused(refusal) => format!("the token is not believed: {refusal}"),
        };
        let step = telling.step(StepName::Token, says);
        step.because(format!("tokens are looked for by the rules for {}", named.join(", ")));
        let Outcome::Refused(refusal) = outcome else { return Some(outcome) };
        step.refuses();
        if matches!(self.world.view, View::Objects) {
            telling.note("keys that have to be fetched are not: only those in the documents themselves are known");
        }
        telling.request_fails(self.told.share, &RequestFailed::Token(refusal), asking);
        None
    }

    fn within_limits(
        &self,
        workload: &Workload,
        headers: &HeaderMap,
        asking: Refused<'_>,
        telling: &mut Telling,
    ) -> bool {
        let limits = self.world.snapshot.rate_limits_of_workload(workload);
        let source = match self.arrival.identity {
            Some(identity) => LimitSource::Identity(identity),
            None => LimitSource::Address(self.arrival.client),
        };
        for applied in limits {
            let look = self.world.limiter.look(&applied.document, &applied.limits, source, headers, Instant::now());
            let step = telling.step(
                StepName::Limits,
                format!("RateLimit {} counts requests to the pod, on its node", applied.document),
            );
            if let Err(limited) = look {
                step.refuses().because(limited.to_string());
                telling.request_fails(self.told.share, &limited.into(), asking);
                return false;
            }
        }
        true
    }

    fn served(&self, says: &str, telling: &mut Telling) {
        let endpoint = Some(self.arrival.to);
        let backend = self.told.backend.map(ToOwned::to_owned);
        telling.possible(super::report::Possible { endpoint, backend, ..answered(self.told.share, says) });
    }
}

/// Whom a request is for; the address itself where it does not say, as of HTTP/1.0.
fn host(headers: &HeaderMap, to: SocketAddr) -> Result<String, BadHead> {
    match headers.contains_key(http::header::HOST) {
        true => Ok(authority(headers)?.to_string()),
        false => Ok(to.to_string()),
    }
}
