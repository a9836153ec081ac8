//! `heddle simulate`.

use std::{fs, path::PathBuf, process::ExitCode};

use anyhow::{Context, bail};
use clap::Args;

use super::{
    arguments::{Mode, Output},
    table::Table,
};
use crate::{
    authorize::AccessSettings,
    cli,
    identify::TrustDomains,
    mesh::{DocumentState, MeshSettings, TrustDomain, compile},
    objects,
    observe::{FlowClient, Flows},
    rules::RuleKind,
    simulate::{Change, Changed, Forecast, simulate},
};

/// Tell what new AuthorizationPolicies would change for traffic that was recorded: who would newly be refused or allowed.
///
/// Each recorded flow is judged twice by the decision that judges connections: with the policies in --objects, and with those in
/// --policy added, or in place of those of the same name. Flows have no headers, no tokens, and no addresses of clients that
/// proved who they are: what depends on these cannot be judged, and is listed.
///
/// Exit codes: 0 nobody would newly be refused, 1 somebody would, 2 the call itself is wrong.
#[derive(Debug, Args)]
pub(super) struct Simulate {
    /// Files and directories with the AuthorizationPolicies to add or replace; may be repeated.
    #[arg(long, value_name = "PATH", required = true)]
    policy: Vec<PathBuf>,
    /// What heddle record wrote.
    #[arg(long, value_name = "FILE")]
    flows: PathBuf,
    /// Files and directories of the objects and mesh documents as they are; may be repeated.
    #[arg(long, value_name = "PATH", required = true)]
    objects: Vec<PathBuf>,
    /// mtls.mode of the servers' agent.yaml.
    #[arg(long, value_enum, default_value = "permissive")]
    mtls: Mode,
    /// The namespace whose documents concern the whole mesh, as in agent.yaml.
    #[arg(long, value_name = "NAME", default_value = "heddle-system")]
    root_namespace: String,
    /// The domain of all identities, as in agent.yaml.
    #[arg(long, value_name = "DOMAIN", default_value = "cluster.local")]
    trust_domain: String,
    /// A domain of the servers' agent.yaml whose identities policies take for those of --trust-domain; may be repeated.
    #[arg(long = "trust-domain-alias", value_name = "DOMAIN")]
    trust_domain_aliases: Vec<TrustDomain>,
    /// For people, or JSON for programs.
    #[arg(long, short, value_enum, default_value = "text")]
    output: Output,
}

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
        let trust_domain: TrustDomain =
            self.trust_domain.parse().with_context(|| format!("--trust-domain {}", self.trust_domain))?;
        let root_namespace = self.root_namespace.as_str().into();
        let settings = MeshSettings { node: "".into(), trust_domain: trust_domain.clone(), root_namespace };
        let (before, _) = objects::read_once(&self.objects)?;
        let (new, unreadable) = objects::read_once(&self.policy)?;
        let (before, new) = (compile(&before, &settings), compile(&new, &settings));
        if let Some(problem) = unreadable.first() {
            bail!("{problem}");
        }
        if let Some(rejected) = new.documents.iter().find(|status| status.state != DocumentState::Accepted) {
            bail!("{rejected}");
        }
        if let Some(other) = new.snapshot.rules().keys().find(|key| key.kind != RuleKind::AuthorizationPolicy) {
            bail!("--policy has {other}, and only AuthorizationPolicies are simulated; put it into --objects");
        }
        if new.snapshot.rules().is_empty() {
            bail!("--policy has no AuthorizationPolicy in it");
        }
        let domains = TrustDomains::new(trust_domain, self.trust_domain_aliases.iter().cloned());
        let access = AccessSettings { mtls: self.mtls.into(), domains };
        Ok(simulate(&Change { before: &before.snapshot, policies: &new.snapshot, access: &access }, &flows))
    }
}

fn text(forecast: &Forecast) -> String {
    let count = |list: &[Changed]| list.iter().map(|changed| changed.flow.count).sum::<u64>();
    let lists = [
        ("newly refused", &forecast.newly_denied),
        ("newly allowed", &forecast.newly_allowed),
        ("cannot be judged", &forecast.cannot_be_judged),
    ];
    let mut text = String::new();
    for (title, list) in lists.iter().filter(|(_, list)| !list.is_empty()) {
        let mut table = Table::default();
        for Changed { flow, why } in *list {
            let client = match &flow.client {
                FlowClient::Identity(identity) => identity.to_string(),
                FlowClient::Address(address) => address.to_string(),
            };
            let request =
                flow.request.as_ref().map_or_else(|| "tcp".to_owned(), |one| format!("{} {}", one.method, one.path));
            let server = format!("{}/{}:{}", flow.namespace, flow.workload, flow.port);
            table.row([&flow.count.to_string(), &client, &server, &request, why]);
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

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use clap::Parser;

    use super::*;
    use crate::observe::{Flow, FlowsEnd, FlowsHead, VERSION};

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
        assert_eq!(forecast(&["--trust-domain-alias", "new.example"]).newly_denied.len(), 1);
    }
}
