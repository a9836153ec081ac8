//! Short words for what the HTTP tests ask: a client that is told what to send, a server that tells what came, documents.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use heddle_tests::bed::{Agent, Pod, Process, Service};
pub(crate) use heddle_tests::peer::http::Client;
use heddle_tests::peer::http::report::{Answer, Ask, HttpEvent, LoadReport, Seen};

use crate::world::{SOON, World, failures};

/// A `heddle-peer http-serve` in a pod.
pub(crate) struct Server {
    process: Process,
}

impl Server {
    /// `line` has the words after `http-serve`.
    pub(crate) fn start(pod: &Pod, line: &str) -> Result<Self> {
        Ok(Self { process: listening(pod, &format!("http-serve {line}"))? })
    }

    /// What it printed up to now.
    pub(crate) fn events(&self) -> Vec<HttpEvent> {
        self.process.stdout().iter().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// The requests that it got up to now.
    pub(crate) fn requests(&self) -> Vec<Seen> {
        let requests = self.events().into_iter().filter_map(|event| match event {
            HttpEvent::Request(seen) => Some(*seen),
            HttpEvent::Ended { .. } => None,
        });
        requests.collect()
    }

    /// Waits for a request that was not there before.
    pub(crate) fn wait_request(&mut self, wanted: impl Fn(&Seen) -> bool) -> Result<Seen> {
        let is_it = |line: &str| match serde_json::from_str(line) {
            Ok(HttpEvent::Request(seen)) => Some(*seen).filter(|seen| wanted(seen)),
            _ => None,
        };
        let line = self.process.wait_line(SOON, |line| is_it(line).is_some())?;
        is_it(&line).context("it was there a moment ago")
    }

    pub(crate) fn process(&mut self) -> &mut Process {
        &mut self.process
    }
}

/// Any server of `heddle-peer` that says when it listens.
pub(crate) fn listening(pod: &Pod, line: &str) -> Result<Process> {
    let mut server = pod.peer(line)?.start()?;
    server.wait_line(SOON, |line| line.contains("\"listening\""))?;
    Ok(server)
}

/// The usual world with HTTP in it: Service web (port 80) is the pod far, whose server listens at 8080.
pub(crate) struct Web {
    pub(crate) world: World,
    pub(crate) service: Service,
    pub(crate) server: Server,
    pub(crate) client: Client,
}

impl Web {
    pub(crate) fn new(name: &str) -> Result<Self> {
        Self::within(World::new(name)?)
    }

    /// In a world that is there already.
    pub(crate) fn within(world: World) -> Result<Self> {
        let server = Server::start(&world.far, "--listen 8080 --name far")?;
        let service = world.bed.service("web", &[(80, 8080)])?;
        service.backends(&[&world.far])?;
        world.settle()?;
        let client = Client::of(&world.client)?;
        Ok(Self { world, service, server, client })
    }

    /// A request to the Service, with the name that clients know it by.
    pub(crate) fn get(&self, target: &str) -> Ask {
        Ask::to(self.service.at(80)).host("web").target(target)
    }

    /// Sends it and gives back what the server saw; anything but 200 is an error.
    pub(crate) fn seen(&mut self, ask: Ask) -> Result<(Answer, Seen)> {
        let answer = self.client.ask(ask)?;
        ensure!(answer.status == 200 && answer.error.is_none(), "{answer:?}\n{}", self.said()?);
        let seen = answer.seen().with_context(|| format!("{answer:?}"))?;
        Ok((answer, seen))
    }

    /// Another Service of one pod, with a server of its own name.
    pub(crate) fn version(&self, name: &str) -> Result<(Pod, Service, Server)> {
        let before = self.world.b.metrics()?.sum("heddle_enrolled_pods", &[]);
        let pod = self.world.far.node().pod(name).start()?;
        self.world.b.wait_metrics("the new pod is enrolled", SOON, |metrics| {
            metrics.sum("heddle_enrolled_pods", &[]) > before
        })?;
        let server = Server::start(&pod, &format!("--listen 8080 --name {name}"))?;
        let service = self.world.bed.service(name, &[(80, 8080)])?;
        service.backends(&[&pod])?;
        crate::world::settle(&self.world.bed, &[&self.world.a, &self.world.b])?;
        Ok((pod, service, server))
    }

    /// Puts documents in force at both nodes.
    pub(crate) fn in_force(&self, documents: &str) -> Result<()> {
        in_force(&self.world, documents)
    }

    /// What the agents said about failures, for messages.
    pub(crate) fn said(&self) -> Result<String> {
        failures(&[&self.world.a, &self.world.b])
    }
}

/// Puts documents in force at both nodes in place of those before; one that is refused is an error.
pub(crate) fn in_force(world: &World, documents: &str) -> Result<()> {
    world.bed.objects().put_text("mesh-documents.yaml", documents)?;
    world.settle()?;
    for agent in [&world.a, &world.b] {
        all_accepted(agent)?;
    }
    Ok(())
}

/// Whether an agent refused no document.
pub(crate) fn all_accepted(agent: &Agent) -> Result<()> {
    let status = agent.get_json("/status")?;
    let refused = |document: &&serde_json::Value| document["state"] != "accepted";
    let refused: Vec<_> = status["documents"].as_array().into_iter().flatten().filter(refused).collect();
    ensure!(refused.is_empty(), "{refused:#?}");
    Ok(())
}

/// An HTTPRoute `default/web` of the Service web with these rules.
pub(crate) fn route(rules: &str) -> String {
    format!(
        "---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: web, namespace: default}}\n\
         spec:\n  parentRefs: [{{group: \"\", kind: Service, name: web}}]\n  rules: {rules}\n"
    )
}

/// Any document of the namespace `default`; `version` is its API.
pub(crate) fn document(version: &str, kind: &str, name: &str, spec: &str) -> String {
    format!("---\napiVersion: {version}\nkind: {kind}\nmetadata: {{name: {name}, namespace: default}}\nspec: {spec}\n")
}

/// Requests that go on until told to end.
pub(crate) struct HttpLoad {
    process: Process,
    begun: Instant,
}

impl HttpLoad {
    /// `line` has the words after `http-load`.
    pub(crate) fn start(pod: &Pod, line: &str) -> Result<Self> {
        Ok(Self { process: pod.peer(&format!("http-load --deadline 300 {line}"))?.start()?, begun: Instant::now() })
    }

    /// Ends it and gives back what became of its requests.
    pub(crate) fn end(mut self) -> Result<LoadReport> {
        // Load that ends before it began shows nothing.
        std::thread::sleep(Duration::from_millis(500).saturating_sub(self.begun.elapsed()));
        self.process.close_stdin();
        let finished = self.process.wait(SOON * 3)?;
        let report: LoadReport = serde_json::from_str(finished.stdout.last().map_or("", String::as_str))?;
        ensure!(report.attempted > 20, "there was no load: {report:?}");
        Ok(report)
    }
}

/// How far from `n * p` a count of `n` draws may be: a false alarm is rarer than one in a million (5.2 standard deviations, and
/// one for the normal distribution's being an approximation).
pub(crate) fn tolerance(n: u32, p: f64) -> f64 {
    if p <= 0.0 || p >= 1.0 { 0.0 } else { 5.2 * (f64::from(n) * p * (1.0 - p)).sqrt() + 1.0 }
}

/// Whether a count of `n` draws is what a probability of `p` gives.
pub(crate) fn is_share(count: usize, n: u32, p: f64) -> bool {
    (count as f64 - f64::from(n) * p).abs() <= tolerance(n, p)
}
