//! Any bytes as what operators and programs ask of an agent, and as what it has written to disk before.
//!
//! Promised: what is read comes back as the same from what is written of it; a forecast loses no flow; whoever is let in by
//! the name of the machine has named the machine.

use std::net::IpAddr;

use fastrand::Rng;
use http::uri::Authority;

use super::{Exercised, Mutator, Reading, Target, gist, lines};
use crate::{
    admin::{host::is_local, query},
    authorize::AccessSettings,
    config::MtlsMode,
    explain::{Origin, Target as Dialled, Written},
    identify::TrustDomains,
    mesh::{MeshSettings, Snapshot, TrustDomain, compile},
    objects::{
        read_text,
        state::format::{decode, encode, sealed},
    },
    observe::{Flows, TapFilter},
    simulate::{Change, Forecast, Proposal, new_policies, simulate},
};

/// Readers of an agent with the examples' cluster.
#[derive(Debug)]
pub(super) struct Admin {
    settings: MeshSettings,
    mesh: Snapshot,
    access: AccessSettings,
}

impl Admin {
    pub(super) fn new() -> Self {
        let trust_domain = "cluster.local".parse::<TrustDomain>().unwrap_or_else(|_| unreachable!("it is a domain"));
        let domains = TrustDomains::new(trust_domain.clone(), []);
        let settings = MeshSettings { node: "a".into(), trust_domain, root_namespace: "heddle-system".into() };
        let objects = read_text("cluster.yaml", include_str!("../../../deploy/examples/shop.yaml")).0;
        let mesh = compile(&objects, &settings).snapshot;
        Self { settings, mesh, access: AccessSettings { mtls: MtlsMode::Permissive, domains } }
    }
}

impl Target for Admin {
    fn exercise(&self, input: &[u8], _: &mut Rng) -> Result<Exercised, String> {
        let text = String::from_utf8_lossy(input);
        let readings =
            [question(&text)?, filter(&text), self.flows(&text)?, self.proposal(&text)?, state(input)?, host(&text)?];
        let accepted = readings.iter().filter(|reading| reading.is_ok()).count();
        let ways = readings.map(|reading| reading.unwrap_or_else(|refused| gist(&refused)));
        Ok(Exercised { accepted, ways: ways.into() })
    }

    fn mutator(&self) -> &Mutator {
        &MUTATOR
    }
}

/// The query of `/explain`.
fn question(text: &str) -> Result<Reading, String> {
    let written = match Written::from_query(text) {
        Ok((written, _)) => written,
        Err(bad) => return Ok(Err(bad.to_string())),
    };
    let again = Written::from_query(&written.to_query()).map(|(again, _)| again);
    if again.as_ref() != Ok(&written) {
        return Err(format!("{written:?} comes back as {again:?}"));
    }
    let question = match written.understood() {
        Ok(question) => question,
        Err(bad) => return Ok(Err(bad.to_string())),
    };
    let (from, to) = (question.from.to_string().parse::<Origin>(), question.to.to_string().parse::<Dialled>());
    match (from.as_ref() == Ok(&question.from), to.as_ref() == Ok(&question.to)) {
        (true, true) => Ok(Ok(format!("{:?}", question.says.as_ref().map(std::mem::discriminant)))),
        _ => Err(format!("{question} is read again as {from:?} and {to:?}")),
    }
}

/// The query of `/tap`.
fn filter(text: &str) -> Reading {
    let pairs = query::pairs(text);
    let filter = TapFilter::parse(pairs.iter().map(|(key, value)| (key.as_str(), value.as_str())));
    filter.map(|_| format!("{} filters", pairs.len().min(3))).map_err(|bad| bad.to_string())
}

impl Admin {
    /// A file of recorded flows, and what becomes of them without a policy.
    fn flows(&self, text: &str) -> Result<Reading, String> {
        let flows = match Flows::read(text) {
            Ok(flows) => flows,
            Err(bad) => return Ok(Err(bad.to_string())),
        };
        let again = flows
            .write()
            .map_err(|error| error.to_string())
            .and_then(|text| Flows::read(&text).map_err(|bad| bad.to_string()));
        if again.as_ref() != Ok(&flows) {
            return Err(format!("{flows:?} comes back as {again:?}"));
        }
        let nothing = Snapshot::default();
        let forecast = simulate(&Change { before: &self.mesh, policies: &nothing, access: &self.access }, &flows.flows);
        if !forecast.newly_denied.is_empty() || !forecast.newly_allowed.is_empty() {
            return Err(format!("nothing is new, and yet there is {forecast:?}"));
        }
        keeps_all(&forecast, &flows.flows)?;
        Ok(Ok(format!("{} flows", flows.flows.len().min(3))))
    }

    /// The body of `/simulate`.
    fn proposal(&self, text: &str) -> Result<Reading, String> {
        let proposal: Proposal = match serde_json::from_str(text) {
            Ok(proposal) => proposal,
            Err(error) => return Ok(Err(error.to_string())),
        };
        let policies = match new_policies(&proposal.objects(), &self.settings) {
            Ok(policies) => policies,
            Err(bad) => return Ok(Err(bad.to_string())),
        };
        let change = Change { before: &self.mesh, policies: &policies, access: &self.access };
        let forecast = simulate(&change, &proposal.flows);
        keeps_all(&forecast, &proposal.flows)?;
        Ok(Ok("a forecast".to_owned()))
    }
}

/// Each flow is in one list, or counted as unchanged.
fn keeps_all(forecast: &Forecast, flows: &[crate::observe::Flow]) -> Result<(), String> {
    let lists = [&forecast.newly_denied, &forecast.newly_allowed, &forecast.cannot_be_judged];
    let listed = lists.into_iter().flatten().map(|changed| changed.flow.count);
    let sum = |counts: &mut dyn Iterator<Item = u64>| counts.fold(0_u64, u64::saturating_add);
    let told = sum(&mut listed.chain([forecast.unchanged]));
    let all = sum(&mut flows.iter().map(|flow| flow.count));
    match told == all {
        true => Ok(()),
        false => Err(format!("{told} of {all} connections are in {forecast:?}")),
    }
}

/// A body of the state on disk, which is whole.
fn state(body: &[u8]) -> Result<Reading, String> {
    let kept = match decode(&sealed(body)) {
        Ok(kept) => kept,
        Err(error) => return Ok(Err(error.to_string())),
    };
    let again = encode(&kept)
        .map_err(|error| error.to_string())
        .and_then(|bytes| decode(&bytes).map_err(|error| error.to_string()));
    match again.as_ref() == Ok(&kept) {
        true => Ok(Ok("a state".to_owned())),
        false => Err(format!("{kept:?} comes back as {again:?}")),
    }
}

/// The Host header of who asks the admin address.
fn host(text: &str) -> Result<Reading, String> {
    if !is_local(text) {
        return Ok(Err("not local".to_owned()));
    }
    let Ok(authority) = text.parse::<Authority>() else { return Ok(Ok("no authority".to_owned())) };
    let name = authority.host().trim_start_matches('[').trim_end_matches(']');
    let is_loopback = name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    match is_loopback || name.eq_ignore_ascii_case("localhost") {
        true => Ok(Ok("local".to_owned())),
        false => Err(format!("{text} is let in, which names {name}")),
    }
}

const MUTATOR: Mutator = Mutator {
    words: &WORDS,
    repeated: &[b"&header=a:b", b"{\"a\":", b"[", b"x", b"\n"],
    marks: b"\n&=?:,\"{}[]/",
    parts: lines,
    most: 64 << 10,
};

const WORDS: [&[u8]; 69] = [
    b"from=",
    b"&to=",
    b"&method=",
    b"&path=",
    b"&header=",
    b"&sni=",
    b"&tcp",
    b"&source=",
    b"&destination=",
    b"&service=",
    b"&status=",
    b"&protocol=",
    b"&direction=",
    b"&failed=",
    b"shop/web",
    b"web.shop:80",
    b"[::1]:80",
    b"::1",
    b"10.0.0.1",
    b"4xx",
    b"5xx",
    b"6xx",
    b"400-499",
    b"499-400",
    b"true",
    b"false",
    b"inbound",
    b"http/2",
    b"grpc",
    b"%2F",
    b"%",
    b"%ff",
    b"+",
    b"GET",
    b"a%3A%20b",
    b"/",
    b"*",
    b"localhost",
    b"localhost:15000",
    b"127.0.0.1",
    b"[127.0.0.1]",
    b"127.1",
    b"@",
    b"0",
    b"1",
    b"-1",
    b"18446744073709551615",
    b"65536",
    b"1e400",
    b"null",
    b"{}",
    b"[]",
    b"\"\"",
    b"\"a\":",
    b"\"identity\":\"spiffe://cluster.local/ns/shop/sa/web\"",
    b"\"address\":\"192.0.2.7\"",
    b"\"method\":\"GET\"",
    b"\"path\":\"/a...\"",
    b"\"host\":\"u@a\"",
    b"\"count\":18446744073709551615",
    b"\"open\":1",
    b",",
    b"\n",
    b"\\u0000",
    b"\\ud800",
    b"\xff",
    b"{\"heddleFlows\":1,\"node\":\"a\",\"started\":\"\"}\n",
    b"{\"ended\":\"\",\"flows\":0,\"overflow\":0}\n",
    b"\"documents\":[],\"flows\":[]",
];
