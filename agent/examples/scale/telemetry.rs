//! What it costs to tell of one HTTP request, and to be scraped, as the agent does it.
//!
//! A request is recorded from its head to its end as the client's agent records it: with a rule, an endpoint and a tunnel. It is only
//! counted, or has a line in the access log too, or would have one that is beyond the log's rate.

use std::{
    fmt,
    hint::black_box,
    num::NonZeroU32,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use heddle::{
    mesh::{Membership, ServiceName, SpiffeId, TrustDomain, Workload, WorkloadTelemetry, WorkloadUid},
    observe::{
        AccessLogOutput, AccessLogSettings, LogFormat, Observer, Party, Reporter, RequestProtocol, RequestStart,
        RootName, Transport,
    },
};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Version, header::USER_AGENT};
use serde::{Deserialize, Serialize};

use crate::measure::{Times, many};

/// Servers whose requests are counted, for the scrape: each has one set of labels, which is 67 series.
const SERVERS: usize = 150;
const LEAST_SERIES: usize = 10_000;
const SCRAPES: usize = 50;

const LINES_AT_ONCE: usize = 4_000;
const LOG_ROUNDS: usize = 25;

/// What was measured. Times are in microseconds.
#[derive(Serialize, Deserialize)]
pub(crate) struct TelemetryFigures {
    counted: Times,
    left_out: Times,
    logged: Times,
    series: usize,
    scrape: Times,
}

impl TelemetryFigures {
    pub(crate) const HEAD: &str =
        "request counted  p99    beyond the rate  p99    with a line  p99    series  scrape  p99";
}

impl fmt::Display for TelemetryFigures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { counted, left_out, logged, series, scrape } = self;
        write!(
            f,
            "{:>15.2}  {:>5.2}  {:>15.2}  {:>5.2}  {:>11.2}  {:>5.2}  {series:>6}  {:>6.0}  {:>5.0}",
            counted.median,
            counted.p99,
            left_out.median,
            left_out.p99,
            logged.median,
            logged.p99,
            scrape.median,
            scrape.p99
        )
    }
}

/// Measures them.
pub(crate) fn measure() -> Result<TelemetryFigures> {
    let world = World::new()?;
    let silent = || Observer::new("example".into(), None);
    let of_request = |observer: Observer| many(|| world.request(&observer, 0));
    let (counted, left_out) = (of_request(silent()?), of_request(logging(NonZeroU32::new(1))?));
    let logged = world.logged(&logging(None)?);
    let observer = silent()?;
    (0..SERVERS).for_each(|server| world.request(&observer, server));
    let series =
        observer.scrape()?.flat_map(|piece| piece.lines().map(|line| line.starts_with('#')).collect::<Vec<_>>());
    let series = series.filter(|is_comment| !is_comment).count();
    ensure!(series >= LEAST_SERIES, "{series} series are less than {LEAST_SERIES}");
    let mut times = Vec::new();
    for _ in 0..SCRAPES {
        let start = Instant::now();
        observer.scrape()?.for_each(|piece| drop(black_box(piece)));
        times.push(start.elapsed().as_secs_f64() * 1e6);
    }
    Ok(TelemetryFigures { counted, left_out, logged, series, scrape: Times::of(times) })
}

/// To nowhere: what the writer's own system calls cost is not the agent's.
fn logging(rate: Option<NonZeroU32>) -> Result<Observer> {
    let settings = AccessLogSettings { rate, remembered: 4096, ..AccessLogSettings::default() };
    let output = AccessLogOutput { format: LogFormat::Json, output: Box::new(std::io::sink()), settings };
    Ok(Observer::new("example".into(), Some(output))?)
}

struct World {
    client: Arc<Workload>,
    servers: Vec<Arc<Workload>>,
    transport: Transport,
    service: ServiceName,
}

impl World {
    fn new() -> Result<Self> {
        let domain: TrustDomain = "cluster.local".parse()?;
        let pod = |name: String| workload(&domain, &name);
        Ok(Self {
            client: pod("client".to_owned()),
            servers: (0..SERVERS).map(|server| pod(format!("server-{server}"))).collect(),
            transport: Transport::Hbone {
                tls_version: "TLSv1_3",
                group: "X25519MLKEM768",
                root: RootName::of(b"the root of the example"),
            },
            service: ServiceName { namespace: "shop".into(), name: "web".into() },
        })
    }

    /// As many at once as the log's queue has room for; they are written before the next.
    fn logged(&self, observer: &Observer) -> Times {
        let rounds = (0..LOG_ROUNDS).map(|_| {
            let start = Instant::now();
            (0..LINES_AT_ONCE).for_each(|_| self.request(observer, 0));
            let took = start.elapsed();
            observer.flush_access_log(Duration::from_secs(10));
            took.as_secs_f64() * 1e6 / LINES_AT_ONCE as f64
        });
        Times::of(rounds.collect())
    }

    fn request(&self, observer: &Observer, server: usize) {
        let mut headers = HeaderMap::from_iter([(USER_AGENT, HeaderValue::from_static("example/1.0"))]);
        let telemetry = WorkloadTelemetry::default();
        let party = |workload: &Arc<Workload>, port| Party {
            address: ([10, 0, 0, 1], port).into(),
            workload: Some(Arc::clone(workload)),
            identity: Some(workload.identity.clone()),
        };
        let mut record = observer.request(RequestStart {
            reporter: Reporter::Source,
            client: party(&self.client, 40_000),
            original_dst: ([10, 96, 0, 1], 80).into(),
            protocol: RequestProtocol::Http1,
            version: Version::HTTP_11,
            method: Method::GET,
            path: "/team-7/service/items/4711",
            host: "web.shop",
            ids: observer.identify(&mut headers, &telemetry),
            telemetry,
            generation: 7,
        });
        record.set_user_agent("example/1.0");
        record.set_service(self.service.clone());
        record.set_route(format_args!("{} rules[{}]", "HTTPRoute shop/web", 1));
        record.set_tries(1);
        record.set_server(party(&self.servers[server], 8080));
        record.set_transport(self.transport);
        record.bytes().add_received(3);
        record.responded(StatusCode::OK);
        record.finish(Ok(()));
    }
}

fn workload(domain: &TrustDomain, name: &str) -> Arc<Workload> {
    let (namespace, name): (Arc<str>, Arc<str>) = ("shop".into(), name.into());
    Arc::new(Workload {
        uid: WorkloadUid(format!("shop/{name}-1").into()),
        name: format!("{name}-5d4f8c7b6-x2x9z").into(),
        identity: SpiffeId::new(domain.clone(), Arc::clone(&namespace), Arc::clone(&name)),
        namespace,
        service_account: Arc::clone(&name),
        node: "node-a".into(),
        addresses: Arc::default(),
        membership: Membership::Enrolled,
        owner: Arc::clone(&name),
        app: Arc::clone(&name),
        version: "v1".into(),
        canonical_service: name,
        canonical_revision: "v1".into(),
        labels: Arc::default(),
        opaque_ports: Arc::default(),
        local: None,
    })
}
