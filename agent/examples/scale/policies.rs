//! The measurement of decisions by AuthorizationPolicies, of which more and more are there and the same few select the
//! workload: what a connection and a request cost, and what the change of a policy costs.

use std::{collections::BTreeMap, fmt, hint::black_box, sync::Arc, time::Instant, time::SystemTime};

use anyhow::{Context as _, Result, ensure};
use heddle::{
    authorize::policy::{Facts, RequestFacts, Verdict, decide},
    identify::TrustDomains,
    mesh::SpiffeId,
    objects::{ConfigMap, Object, ObjectName},
};
use http::HeaderMap;
use serde::{Deserialize, Serialize};

use crate::{
    measure::{Mesh, Times, resident},
    world::World,
};

/// Single changes that are measured.
const CHANGES: usize = 1_000;
const DECISIONS: usize = 50_000;
/// Decisions that are measured as one: the clock alone costs about as much.
const DECISIONS_AT_ONCE: usize = 50;
/// The policies that select the workload, whatever others there are: one of the mesh, two of its own.
const SELECTING: usize = 3;

/// What was measured with so many policies. Times are in microseconds.
#[derive(Serialize, Deserialize)]
pub(crate) struct PolicyFigures {
    policies: usize,
    selecting: usize,
    compile_ms: f64,
    connection: Times,
    request: Times,
    policy_change: Times,
    bytes_per_policy: f64,
}

impl PolicyFigures {
    pub(crate) const HEAD: &str = "policies  selecting  compile ms  policy decision, connection  p99    request  p99    policy change  p99    B/policy";
}

impl fmt::Display for PolicyFigures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:>8}  {:>9}  {:>10.1}  {:>27.2}  {:>5.2}  {:>7.2}  {:>5.2}  {:>13.1}  {:>5.1}  {:>8.0}",
            self.policies,
            self.selecting,
            self.compile_ms,
            self.connection.median,
            self.connection.p99,
            self.request.median,
            self.request.p99,
            self.policy_change.median,
            self.policy_change.p99,
            self.bytes_per_policy
        )
    }
}

/// Measures with so many policies, each in a ConfigMap of its own.
pub(crate) fn measure(policies: usize) -> Result<PolicyFigures> {
    ensure!(policies >= SELECTING, "found {policies} policies, allowed: {SELECTING} and more");
    let world = World { endpoints: 1, per_service: 1 };
    let mut mesh = Mesh::new()?;
    mesh.apply(vec![World::namespace(), world.service(0), world.pod(0, "v1")]);
    let before = resident()?;
    let all: Vec<Object> = (0..policies).map(|index| policy(index, true)).collect();
    let compile_ms = mesh.apply(all).as_secs_f64() * 1e3;
    let bytes = resident()?.saturating_sub(before);
    Ok(PolicyFigures {
        policies,
        selecting: SELECTING,
        compile_ms,
        connection: decisions(&mesh, false)?,
        request: decisions(&mesh, true)?,
        policy_change: changes(&mut mesh, policies),
        bytes_per_policy: bytes as f64 / policies as f64,
    })
}

/// Of a connection its policies are found and asked; a request asks those that its connection has found.
fn decisions(mesh: &Mesh, of_requests: bool) -> Result<Times> {
    let snapshot = mesh.snapshot();
    let workload = snapshot.workloads().first().map(|workload| Arc::clone(workload)).context("finding the workload")?;
    let domains = TrustDomains::new("cluster.local".parse().context("reading the trust domain")?, []);
    let identity: SpiffeId = "spiffe://cluster.local/ns/shop/sa/web".parse().context("reading the identity")?;
    let headers = HeaderMap::new();
    let request = RequestFacts { method: "GET", path: "/carts/7", host: "cart", headers: &headers, token: None };
    let address = workload.addresses.first().copied().context("finding the workload's address")?;
    let facts = Facts {
        identity: Some(&identity),
        source: address,
        remote: address,
        destination: (address, 8080).into(),
        sni: None,
        request: of_requests.then_some(&request),
        requests_follow: false,
    };
    let policies = snapshot.policies_of(&workload);
    ensure!(policies.len() == SELECTING, "{} policies select the workload, not {SELECTING}", policies.len());
    ensure!(
        decide(&policies, &domains, &facts).verdict() == Verdict::Allowed,
        "the decision is not the one that is meant"
    );
    let mut times = Vec::with_capacity(DECISIONS / DECISIONS_AT_ONCE);
    for _ in 0..DECISIONS / DECISIONS_AT_ONCE {
        let start = Instant::now();
        for _ in 0..DECISIONS_AT_ONCE {
            match of_requests {
                true => drop(black_box(decide(&policies, &domains, black_box(&facts)))),
                false => drop(black_box(decide(&snapshot.policies_of(&workload), &domains, black_box(&facts)))),
            }
        }
        times.push(start.elapsed().as_secs_f64() * 1e6 / DECISIONS_AT_ONCE as f64);
    }
    Ok(Times::of(times))
}

/// One policy after the other gets another rule, and its own back.
fn changes(mesh: &mut Mesh, policies: usize) -> Times {
    let change = |turn: usize| policy((turn / 2 * 7_919) % policies, turn % 2 == 1);
    Times::of((0..CHANGES).map(|turn| mesh.apply(vec![change(turn)]).as_secs_f64() * 1e6).collect())
}

/// The first three select the workload. The others are for other applications of its namespace, with a label in common.
fn policy(index: usize, is_first_version: bool) -> Object {
    let account = if is_first_version { "web" } else { "other" };
    let allow = format!(
        "rules: [{{from: [{{source: {{principals: [cluster.local/ns/shop/sa/api, cluster.local/ns/shop/sa/{account}]}}}}], \
         to: [{{operation: {{ports: ['8080']}}}}]}}, {{to: [{{operation: {{methods: [GET], paths: ['/carts/{{*}}']}}}}]}}]"
    );
    let deny = format!("action: DENY, rules: [{{from: [{{source: {{namespaces: [dev, {account}-dev]}}}}]}}]");
    let selecting = |app: usize| format!("selector: {{matchLabels: {{app: service-{app}, version: v1}}}}");
    let (namespace, spec) = match index {
        0 => ("heddle-system", deny),
        1 => ("shop", format!("{}, {allow}", selecting(0))),
        2 => ("shop", format!("{}, {deny}", selecting(0))),
        _ => ("shop", format!("{}, {allow}", selecting(index))),
    };
    let name = format!("policy-{index}");
    let text = format!(
        "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {{name: {name}}}\nspec: {{{spec}}}\n"
    );
    Object::ConfigMap(Arc::new(ConfigMap {
        name: ObjectName::new(namespace, &name),
        uid: None,
        created: Some(SystemTime::UNIX_EPOCH),
        data: BTreeMap::from([("policy.yaml".to_owned(), text.into())]),
    }))
}
