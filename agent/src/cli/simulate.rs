//! `heddle simulate`.

use std::{fs, path::PathBuf, process::ExitCode};

use anyhow::{Context, bail};
use clap::Args;

use super::{
    arguments::{AskedAgent, Mode, Output},
    ask::post,
    table::Table,
};
use crate::{
    authorize::AccessSettings,
    cli,
    identify::TrustDomains,
    mesh::{MeshSettings, TrustDomain, compile},
    objects::{self, ConfigMap, ObjectSet},
    observe::{Flow, FlowClient, Flows},
    simulate::{Change, Changed, Forecast, Proposal, new_policies, simulate},
};

/// Tell what new AuthorizationPolicies would change for traffic that was recorded: who would newly be refused or allowed.
///
/// Each recorded flow is judged twice by the decision that judges connections: with the policies in force, and with those in
/// --policy added, or in place of those of the same name. Flows have no headers, no tokens, and no addresses of clients that
/// proved who they are: what depends on these cannot be judged, and is listed. Of each flow it is told how much of it was open
/// when the recording ended.
///
/// Asks the running agent by its admin socket, so it needs to run on a node, as the socket's owner: that agent knows the
/// policies, the pods of the whole mesh, and its own agent.yaml. With --objects it asks no agent and takes the mesh from a
/// directory of Kubernetes objects and mesh documents, as heddle check reads them.
///
/// Exit codes: 0 nobody would newly be refused, 1 somebody would, 2 the call itself is wrong.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Simulate {
    /// Files and directories with the AuthorizationPolicies to add or replace; may be repeated.
    #[arg(long, value_name = "PATH", required = true)]
    policy: Vec<PathBuf>,
    /// What heddle record wrote.
    #[arg(long, value_name = "FILE")]
    flows: PathBuf,
    /// Files and directories of the objects and mesh documents as they are, instead of asking an agent; may be repeated.
    #[arg(long, value_name = "PATH")]
    objects: Vec<PathBuf>,
    /// For --objects: mtls.mode of the servers' agent.yaml.
    #[arg(long, value_enum, default_value = "permissive", requires = "objects")]
    mtls: Mode,
    /// For --objects: the namespace whose documents concern the whole mesh, as in agent.yaml.
    #[arg(long, value_name = "NAME", default_value = "heddle-system", requires = "objects")]
    root_namespace: String,
    /// For --objects: the domain of all identities, as in agent.yaml.
    #[arg(long, value_name = "DOMAIN", default_value = "cluster.local", requires = "objects")]
    trust_domain: String,
    /// For --objects: a domain of the servers' agent.yaml whose identities policies take for those of --trust-domain; may be
    /// repeated.
    #[arg(long = "trust-domain-alias", value_name = "DOMAIN", requires = "objects")]
    trust_domain_aliases: Vec<TrustDomain>,
    #[command(flatten)]
    agent: AskedAgent,
    /// For people, or JSON for programs.
    #[arg(long, short, value_enum, default_value = "text")]
    output: Output,
}

const EXAMPLES: &str = "\
Examples:
  Whom would this policy refuse, of what was asked in the last ten minutes?
    heddle record --for 10m --to flows.jsonl
    heddle simulate --policy new-policy.yaml --flows flows.jsonl

  The same before anything is applied, without an agent:
    heddle simulate --policy new-policy.yaml --flows flows.jsonl --objects manifests/";

/// Flows that an agent is asked about at a time: far fewer than it could judge within the time that an answer may take.
const AT_ONCE: usize = 500;

impl Simulate {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let forecast = match self.forecast() {
            Ok(forecast) => forecast,
            Err(error) => return cli::failed(2, &error),
        };
        match self.output {
            Output::Json => cli::print(&serde_json::to_string_pretty(&forecast)?)?,
            Output::Text => cli::print(text(&forecast).trim_end())?,
        }
        Ok(ExitCode::from(u8::from(!forecast.newly_denied.is_empty())))
    }

    fn forecast(&self) -> anyhow::Result<Forecast> {
        let place = self.flows.display();
        let recorded = fs::read_to_string(&self.flows).with_context(|| format!("read {place}"))?;
        let flows = Flows::read(&recorded).with_context(|| format!("read {place}"))?;
        let (new, unreadable) = objects::read_once(&self.policy)?;
        if let Some(problem) = unreadable.first() {
            bail!("{problem}");
        }
        let forecast = match self.objects.is_empty() {
            true => self.ask(&new, &flows.flows)?,
            false => self.judge(&new, &flows.flows)?,
        };
        Ok(Forecast { overflow: flows.end.overflow, ..forecast })
    }

    /// By the agent's mesh.
    fn ask(&self, new: &ObjectSet, flows: &[Flow]) -> anyhow::Result<Forecast> {
        let documents: Vec<ConfigMap> = new.config_maps.values().map(|map| map.as_ref().clone()).collect();
        let (mut forecast, mut left) = (Forecast::default(), flows);
        // Once without flows too: policies that cannot be are told all the same.
        loop {
            let (flows, more) = left.split_at(left.len().min(AT_ONCE));
            let proposal = Proposal { documents: documents.clone(), flows: flows.to_vec() };
            let body = post(&self.agent.socket, "/simulate", serde_json::to_string(&proposal)?)?;
            forecast = forecast.and(serde_json::from_slice(&body).context("the agent's answer is not understood")?);
            if more.is_empty() {
                return Ok(forecast);
            }
            left = more;
        }
    }

    /// By the objects.
    fn judge(&self, new: &ObjectSet, flows: &[Flow]) -> anyhow::Result<Forecast> {
        let trust_domain: TrustDomain =
            self.trust_domain.parse().with_context(|| format!("--trust-domain {}", self.trust_domain))?;
        let root_namespace = self.root_namespace.as_str().into();
        let settings = MeshSettings { node: "".into(), trust_domain: trust_domain.clone(), root_namespace };
        let policies = new_policies(new, &settings)?;
        let (before, _) = objects::read_once(&self.objects)?;
        let before = compile(&before, &settings).snapshot;
        let domains = TrustDomains::new(trust_domain, self.trust_domain_aliases.iter().cloned());
        let access = AccessSettings { mtls: self.mtls.into(), domains };
        Ok(simulate(&Change { before: &before, policies: &policies, access: &access }, flows))
    }
}

fn text(forecast: &Forecast) -> String {
    let count = |list: &[Changed]| list.iter().fold(0_u64, |sum, changed| sum.saturating_add(changed.flow.count));
    let lists = [
        ("newly refused", &forecast.newly_denied),
        ("newly allowed", &forecast.newly_allowed),
        ("cannot be judged", &forecast.cannot_be_judged),
    ];
    let mut text = String::new();
    for (title, list) in lists.iter().filter(|(_, list)| !list.is_empty()) {
        let mut table = Table::default();
        for changed in *list {
            table.row(cells(changed).each_ref().map(String::as_str));
        }
        text += &format!("{title}\n{table}\n");
    }
    let [denied, allowed, unknown] = lists.map(|(_, list)| count(list));
    text += &format!(
        "{denied} newly refused, {allowed} newly allowed, {unknown} cannot be judged, {} as before",
        forecast.unchanged
    );
    if forecast.overflow > 0 {
        text += &format!("; {} more were recorded without their flow", forecast.overflow);
    }
    text
}

/// How often, who, whom, for what, and why.
fn cells(Changed { flow, why }: &Changed) -> [String; 5] {
    let count = match flow.open {
        0 => flow.count.to_string(),
        open => format!("{} ({open} open)", flow.count),
    };
    let client = match &flow.client {
        FlowClient::Identity(identity) => identity.to_string(),
        FlowClient::Address(address) => address.to_string(),
    };
    let server = format!("{}/{}:{}", flow.namespace, flow.workload, flow.port);
    let request = flow.request.as_ref().map(|request| format!("{} {}", request.method, request.path));
    [count, client, server, request.unwrap_or_else(|| "tcp".to_owned()), why.clone()]
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use clap::Parser;

    use super::*;
    use crate::observe::{FlowsEnd, FlowsHead, VERSION};

    #[derive(Parser)]
    struct Alone {
        #[command(flatten)]
        simulate: Simulate,
    }

    #[test]
    fn identities_of_an_alias_are_those_of_the_domain() {
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = directory.path().join(name);
            fs::write(&path, text).unwrap();
            path.to_str().unwrap().to_owned()
        };
        let objects = "{apiVersion: v1, kind: Pod, metadata: {namespace: shop, name: cart, labels: {heddle.io/mesh: enabled}}, \
                       spec: {nodeName: node-b}, status: {podIPs: [{ip: 10.0.0.1}]}}";
        let policy = "{apiVersion: security.istio.io/v1, kind: AuthorizationPolicy, metadata: {namespace: shop, name: p}, \
                      spec: {rules: [{from: [{source: {principals: [old.example/ns/shop/sa/web]}}]}]}}";
        let flow = Flow {
            client: FlowClient::Identity("spiffe://cluster.local/ns/shop/sa/web".parse().unwrap()),
            namespace: "shop".to_owned(),
            workload: "cart".to_owned(),
            port: 80,
            request: None,
            count: 1,
            open: 1,
        };
        let flows = Flows {
            head: FlowsHead { version: VERSION, ..FlowsHead::default() },
            flows: vec![flow],
            end: FlowsEnd { flows: 1, ..FlowsEnd::default() },
        };
        let (objects, policy) = (file("objects.yaml", objects), file("policy.yaml", policy));
        let flows = file("flows", &flows.write().unwrap());
        let forecast = |more: &[&str]| {
            let given = ["simulate", "--objects", &objects, "--policy", &policy, "--flows", &flows];
            Alone::parse_from(given.iter().chain(more)).simulate.forecast().unwrap()
        };
        assert_eq!(forecast(&[]).newly_denied.len(), 1);
        assert_eq!(
            forecast(&["--trust-domain-alias", "new.example", "--trust-domain-alias", "old.example"]).unchanged,
            1
        );
        let denied = forecast(&["--trust-domain-alias", "new.example"]);
        assert_eq!(denied.newly_denied.len(), 1);
        assert!(text(&denied).contains("1 (1 open)"), "{}", text(&denied));
        let alone = ["simulate", "--policy", &policy, "--flows", &flows, "--mtls", "strict"];
        assert!(Alone::try_parse_from(alone).is_err(), "an agent knows its own");
    }
}
