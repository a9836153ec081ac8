//! The traffic that goes on while everything else happens, and what must be true of it at any moment.
//!
//! Streams and requests of a client that may, each byte of them known at both ends; and tries of clients that may not, to a server
//! that counts every byte that it gets. What breaks is counted and allowed: the network is bad. What is wrong, ends as if it were
//! whole, or comes from who may not send it is not.

use anyhow::{Result, ensure};

use super::ground::Pods;
use super::reporter::{Reporter, listening};
use super::{GUARDED, REQUESTS, STREAMS};
use crate::bed::{Process, Service};
use crate::peer::http::report::LoadReport;
use crate::peer::stream::MARKER;
use crate::peer::stream::report::StreamReport;

/// Bytes of a request's body, and of the answer's.
const BODY: u64 = 10_000;

/// The standing load.
pub(super) struct Load {
    allowed: Vec<Reporter<StreamReport>>,
    requests: Vec<Reporter<LoadReport>>,
    servers: Vec<Reporter<StreamReport>>,
    refused: Vec<Reporter<StreamReport>>,
    guarded: Vec<Reporter<StreamReport>>,
    /// They only have to run.
    _web: Vec<Process>,
}

/// What all of it has come to so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Standing {
    /// Streams that were whole, as the clients saw them.
    pub(super) whole: u64,
    /// Streams that broke.
    pub(super) broken: u64,
    /// Bytes that were verified at either end.
    pub(super) verified: u64,
    /// Requests that were answered with 200 and the right body.
    pub(super) answered: u64,
    /// Requests that failed or were answered otherwise.
    pub(super) unanswered: u64,
    /// Connections that clients tried which may not.
    pub(super) tries: u64,
}

impl Load {
    pub(super) fn start(pods: &Pods, web: &Service, flip: Option<u64>) -> Result<Self> {
        let flip = flip.map(|at| format!(" --flip {at}")).unwrap_or_default();
        let (mut servers, mut guarded, mut servers_of_requests) = (Vec::new(), Vec::new(), Vec::new());
        for pod in [&pods.far, &pods.other] {
            servers.push(Reporter::server(pod, &format!("stream-serve --listen {STREAMS}{flip}"))?);
            guarded.push(Reporter::server(pod, &format!("stream-serve --listen {GUARDED}"))?);
            servers_of_requests.push(listening(pod, &format!("http-serve --listen {REQUESTS} --quiet"))?);
        }
        let far = pods.far.at(STREAMS);
        let allowed = [
            format!("stream-load --to {far} --streams 2 --bytes 1000000000000 --pause-ms 30"),
            format!("stream-load --to {far},{} --streams 3 --bytes 100000 --pause-ms 10", web.at(STREAMS)),
        ];
        let ask =
            format!("--method POST --target /{MARKER} --behave echo --body-bytes {BODY} --echoed --per-connection 200");
        let requests = [
            format!("http-load --to {} --host web {ask} --pause-ms 50 --concurrency 2", web.at(REQUESTS)),
            format!("http-load --to {} --host web {ask} --pause-ms 70 --concurrency 2 --h2", web.at(REQUESTS)),
        ];
        let to_guarded = format!("{},{},{}", pods.far.at(GUARDED), pods.other.at(GUARDED), pods.far.at6(GUARDED));
        let tries = format!("stream-load --to {to_guarded} --streams 2 --bytes 1000 --again-ms 40 --silence 4");
        let client = |line: &String| Reporter::client(&pods.client, line);
        Ok(Self {
            allowed: allowed.iter().map(client).collect::<Result<_>>()?,
            requests: requests.iter().map(|line| Reporter::client(&pods.client, line)).collect::<Result<_>>()?,
            servers,
            refused: vec![Reporter::client(&pods.intruder, &tries)?, Reporter::client(&pods.stranger, &tries)?],
            guarded,
            _web: servers_of_requests,
        })
    }

    /// Asks everybody; an error says what is not as it must be.
    pub(super) fn look(&mut self) -> Result<Standing> {
        let mut standing = Standing::default();
        for (end, all) in [("a client", &mut self.allowed), ("a server", &mut self.servers)] {
            for one in all {
                let report = one.ask()?;
                ensure!(report.wrong == 0, "{end} got wrong bytes on an open stream: {:?}", report.examples);
                ensure!(report.short == 0, "{end} took a part of a stream for the whole: {:?}", report.examples);
                standing.verified += report.verified;
                if end == "a client" {
                    standing.whole += report.whole;
                    standing.broken += report.broken.values().sum::<u64>();
                }
            }
        }
        for one in &mut self.requests {
            let report = one.ask()?;
            ensure!(report.mixed == 0, "a body that is not what was sent: {:?}", report.examples);
            let of_200 = report.answers.iter().filter(|(answer, _)| answer.starts_with("200"));
            let answered = of_200.map(|(_, count)| count).sum::<u64>();
            standing.answered += answered;
            standing.unanswered += report.attempted - answered;
            standing.verified += answered * BODY;
        }
        for one in &mut self.refused {
            let report = one.ask()?;
            ensure!(report.received == 0, "a client that may not has had an answer: {report:?}");
            standing.tries += report.begun;
        }
        for one in &mut self.guarded {
            let report = one.ask()?;
            ensure!(report.received == 0, "a byte of a client that may not was delivered: {report:?}");
        }
        Ok(standing)
    }
}

impl Standing {
    pub(super) fn since(&self, before: &Self) -> Self {
        Self {
            whole: self.whole - before.whole,
            broken: self.broken - before.broken,
            verified: self.verified - before.verified,
            answered: self.answered - before.answered,
            unanswered: self.unanswered - before.unanswered,
            tries: self.tries - before.tries,
        }
    }
}
