//! `heddle explain`.

use std::{io::IsTerminal, path::PathBuf, process::ExitCode, time::Duration};

use anyhow::Context;
use clap::Args;
use http::StatusCode;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::{
    arguments::{AskedAgent, Mode, Output},
    ask::ask_for,
};
use crate::{
    cli,
    explain::{Paint, Report, Settings, Written, explain_objects},
    mesh::TrustDomain,
    objects,
};

/// Tell why a connection or request goes where it goes, or does not: every decision in order, and why the others lost.
///
/// Asks the running agent by its admin socket, so it needs to run on the client's node, as the socket's owner: that agent
/// knows how endpoints do and which certificates there are. With --objects it asks no agent and decides on a directory of
/// Kubernetes objects and mesh documents, as heddle check reads them.
///
/// HOST is a name or an address. Names are those of the cluster's DNS, relative to the client's namespace: web, web.shop and
/// web.shop.svc.cluster.local are the address of Service web of namespace shop; hosts of ServiceEntries are known too.
/// Where chance decides (weights, endpoints, faults), shares are told.
///
/// Exit codes: 0 the server gets it, 1 it, or a part of it, is refused or leads nowhere, 2 the call itself is wrong, or the
/// agent does not answer.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Explain {
    /// The client: NAMESPACE/POD, or an address.
    #[arg(long, value_name = "CLIENT", required_unless_present_any = ["connection", "trace"])]
    from: Option<String>,
    /// What it dials.
    #[arg(long, value_name = "HOST:PORT", required_unless_present_any = ["connection", "trace"])]
    to: Option<String>,
    /// The request's method; GET where a path or header is given.
    #[arg(long, value_name = "METHOD")]
    method: Option<String>,
    /// The request's path, with its query.
    #[arg(long, value_name = "PATH")]
    path: Option<String>,
    /// A header of the request; may be repeated. A gRPC call has 'content-type: application/grpc'.
    #[arg(long = "header", short = 'H', value_name = "NAME: VALUE")]
    headers: Vec<String>,
    /// The client speaks TLS of its own and asks for this server name; "" for none.
    #[arg(long, value_name = "NAME")]
    sni: Option<String>,
    /// The client speaks something that is no HTTP.
    #[arg(long)]
    tcp: bool,
    /// An open connection of this node, by its id in heddle connections.
    #[arg(long, value_name = "ID", conflicts_with_all = ["from", "to", "trace", "objects"])]
    connection: Option<u64>,
    /// A request that ended lately, by its trace id or request id (trace_id and request_id of the access log).
    #[arg(long, value_name = "ID", conflicts_with_all = ["from", "to", "objects"])]
    trace: Option<String>,
    /// Files and directories of objects and mesh documents to decide on, instead of asking an agent; may be repeated.
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
  Why does shop/web-7c9f not reach the cart?
    heddle explain --from shop/web-7c9f --to cart:80

  Which rule decides over this request, and which backends get it with what share?
    heddle explain --from shop/web-7c9f --to cart.shop:80 --path /v2/items -H 'x-user: alice'

  The same for a gRPC call, and for TLS of the client's own:
    heddle explain --from shop/web-7c9f --to cart:80 --method POST --path /shop.Cart/Add -H 'content-type: application/grpc'
    heddle explain --from shop/web-7c9f --to db.example.com:443 --sni db.example.com

  What became of a request that failed a minute ago? The access log has its trace_id and request_id.
    heddle explain --trace 0af7651916cd43dd8448eb211c80319c

  Who is behind an open connection, and would it be allowed now?
    heddle connections
    heddle explain --connection 42

  Before anything is applied: would these manifests let it through?
    heddle explain --objects manifests/ --from shop/web --to cart:80 --method DELETE --path /items/1";

/// How long opening a connection may take where no agent.yaml says: its default.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

impl Explain {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let report = match self.report() {
            Ok(report) => report,
            Err(error) => return cli::failed(2, &error),
        };
        let paint = if std::io::stdout().is_terminal() { Paint::Coloured } else { Paint::Plain };
        match self.output {
            Output::Json => cli::print(&serde_json::to_string_pretty(&report)?)?,
            Output::Text => cli::print(&report.to_text(paint))?,
        }
        Ok(ExitCode::from(u8::from(!report.answered)))
    }

    fn report(&self) -> anyhow::Result<Report> {
        let written = self.written();
        let one = |key: &str, value: &str| format!("{key}={}", utf8_percent_encode(value, NON_ALPHANUMERIC));
        let past = match (&self.connection, &self.trace) {
            (Some(id), _) => Some(one("connection", &id.to_string())),
            (_, Some(id)) => Some(one("trace", id)),
            (None, None) => None,
        };
        let is_more = written != Written::default();
        match past {
            Some(_) if is_more => anyhow::bail!(
                "--connection and --trace say by themselves what is asked: leave --method, --path, -H, --sni and --tcp out"
            ),
            Some(past) => self.ask(&past),
            None if self.objects.is_empty() => {
                // What is no question is told here, without an agent.
                written.understood()?;
                self.ask(&written.to_query())
            }
            None => self.decide(&written),
        }
    }

    fn written(&self) -> Written {
        Written {
            from: self.from.clone().unwrap_or_default(),
            to: self.to.clone().unwrap_or_default(),
            method: self.method.clone(),
            path: self.path.clone(),
            headers: self.headers.clone(),
            sni: self.sni.clone(),
            bytes: self.tcp,
        }
    }

    fn ask(&self, query: &str) -> anyhow::Result<Report> {
        let (status, body) = ask_for(&self.agent.socket, &format!("/explain?{query}"))?;
        if status != StatusCode::OK {
            anyhow::bail!("{}", String::from_utf8_lossy(&body).trim_end());
        }
        serde_json::from_slice(&body).context("the agent's answer is not understood: is it of this version?")
    }

    fn decide(&self, written: &Written) -> anyhow::Result<Report> {
        let question = written.understood()?;
        let (set, unreadable) = objects::read_once(&self.objects)?;
        let settings = Settings {
            trust_domain: self.trust_domain.parse().with_context(|| format!("--trust-domain {}", self.trust_domain))?,
            root_namespace: self.root_namespace.as_str().into(),
            trust_domain_aliases: self.trust_domain_aliases.clone(),
            mtls: self.mtls.into(),
            connect_timeout: CONNECT_TIMEOUT,
        };
        let mut report = explain_objects(&set, &settings, &question)?;
        if !unreadable.is_empty() {
            report.notes.push(format!("{} objects could not be read: heddle check says which", unreadable.len()));
        }
        Ok(report)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Alone {
        #[command(flatten)]
        explain: Explain,
    }

    #[test]
    fn identities_of_an_alias_are_those_of_the_domain() {
        let file = tempfile::NamedTempFile::with_suffix(".yaml").unwrap();
        let pod = |name: &str, address: &str| {
            format!(
                "{{apiVersion: v1, kind: Pod, metadata: {{namespace: shop, name: {name}, labels: {{heddle.io/mesh: enabled}}}}, \
                 spec: {{nodeName: node-a, serviceAccountName: {name}}}, status: {{podIPs: [{{ip: {address}}}]}}}}\n---\n"
            )
        };
        let policy = "{apiVersion: security.istio.io/v1, kind: AuthorizationPolicy, metadata: {namespace: shop, name: p}, \
                      spec: {rules: [{from: [{source: {principals: [old.example/ns/shop/sa/web]}}]}]}}";
        std::fs::write(file.path(), pod("web", "10.0.0.1") + &pod("cart", "10.0.0.2") + policy).unwrap();
        let is_answered = |more: &[&str]| {
            let path = file.path().to_str().unwrap();
            let given = ["explain", "--objects", path, "--from", "shop/web", "--to", "10.0.0.2:80", "--tcp"];
            Alone::parse_from(given.iter().chain(more)).explain.report().unwrap().answered
        };
        assert!(!is_answered(&[]));
        assert!(!is_answered(&["--trust-domain-alias", "new.example"]));
        assert!(is_answered(&["--trust-domain-alias", "new.example", "--trust-domain-alias", "old.example"]));
        let alone = ["explain", "--from", "a/b", "--to", "c:1", "--trust-domain-alias", "old.example"];
        assert!(Alone::try_parse_from(alone).is_err(), "an agent knows its own");
    }
}
