//! `heddle check`.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context;
use clap::Args;
use serde::Serialize;
use tokio::runtime::Builder;

use super::{arguments::Output, outcomes, table::Table};
use crate::{
    check::{Outcome, Report, Severity, Standing, check, cluster, node},
    cli,
    config::{Config, Machine, Problem, Problems},
    mesh::MeshSettings,
    objects::{self, ObjectSet},
    rules::FEATURES,
};

/// Check mesh documents, a cluster, or this machine, before an agent meets them.
///
/// PATH is a file or a directory of Kubernetes YAML: ConfigMaps with the label heddle.io/config: "true", mesh documents
/// (HTTPRoute, AuthorizationPolicy, ...), and the Namespaces, Pods, Services and EndpointSlices that they refer to. What
/// an agent would reject is an error, with its place; what it would accept and is surely not meant is a warning.
///
/// With --kube a running cluster is checked: first whether Heddle can be installed there (versions, rights, nodes, network
/// plugin, other meshes, ports, policies), one line for each check with the remedy; then its objects. With --kube and PATH the
/// objects alone, as if PATH were applied there: what PATH defines counts instead of the cluster's.
///
/// With --node this machine is checked, as the agent of agent.yaml would meet it: kernel, mounts, capabilities, limits, ports,
/// and whether the kernel takes the programs, which are loaded and attached where nobody is. Run it as the agent runs: on the
/// node as root, or in the agent's container (kubectl exec). Nothing of an agent that runs there is touched.
///
/// What may not be asked is "not checked", with the right that is missing.
///
/// Exit codes: 0 everything would be accepted and no check is an error, 1 something would be rejected or a check is an error,
/// 2 the call itself is wrong, or the cluster cannot be asked.
#[derive(Debug, Args)]
pub(super) struct Check {
    /// Files and directories to read.
    #[arg(value_name = "PATH", required_unless_present_any = ["features", "kube", "node"])]
    paths: Vec<PathBuf>,
    /// Read a running cluster too: that of the kubeconfig that kubectl would take, or of this pod.
    #[arg(long)]
    kube: bool,
    /// The kubeconfig for --kube.
    #[arg(long, value_name = "FILE", requires = "kube")]
    kubeconfig: Option<PathBuf>,
    /// The context of the kubeconfig, instead of its current one.
    #[arg(long, value_name = "NAME", requires = "kube")]
    context: Option<String>,
    /// Check this machine.
    #[arg(long, conflicts_with_all = ["paths", "kube", "features"])]
    node: bool,
    /// The agent's configuration, for --node. Without it: /etc/heddle/agent.yaml, or the defaults where that is not there.
    #[arg(long, short, value_name = "FILE", requires = "node")]
    config: Option<PathBuf>,
    /// List what this build enforces, and end.
    #[arg(long)]
    features: bool,
    /// For people, or JSON for programs.
    #[arg(long, short, value_enum, default_value = "text")]
    output: Output,
    /// The namespace whose documents concern the whole mesh, as in agent.yaml.
    #[arg(long, value_name = "NAME", default_value = "heddle-system")]
    root_namespace: String,
    /// The domain of all identities, as in agent.yaml.
    #[arg(long, value_name = "DOMAIN", default_value = "cluster.local")]
    trust_domain: String,
}

/// Where an agent finds its configuration.
const AGENT_CONFIG: &str = "/etc/heddle/agent.yaml";
/// What must be said, and no check depends on.
const DEFAULTS: &str = "node: this\nsource: {kubernetes: {}}\n";

impl Check {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        if self.features {
            return features(self.output);
        }
        if self.node {
            return match self.agent_config() {
                Ok(config) => self.tell_checks(&node::check(&config)),
                Err(problems) => cli::failed(2, &problems.into()),
            };
        }
        let mut checks = Vec::new();
        match self.report(&mut checks) {
            Ok(report) => self.tell(&checks, &report),
            Err(error) => {
                // What could be found is worth knowing, above all where the rest may not be asked.
                if !checks.is_empty() {
                    self.tell_checks(&checks)?;
                }
                cli::failed(2, &error)
            }
        }
    }

    fn agent_config(&self) -> Result<Config, Problems> {
        match &self.config {
            Some(path) => Config::load(path),
            None if Path::new(AGENT_CONFIG).exists() => Config::load(Path::new(AGENT_CONFIG)),
            None => Config::parse("the defaults", DEFAULTS, &Machine::detect()),
        }
    }

    fn tell(&self, checks: &[Outcome], report: &Report) -> anyhow::Result<ExitCode> {
        match self.output {
            Output::Json if checks.is_empty() => cli::print(&serde_json::to_string_pretty(report)?)?,
            Output::Json => {
                let all = WithChecks { checks, report };
                cli::print(&serde_json::to_string_pretty(&all)?)?;
            }
            Output::Text => {
                if !checks.is_empty() {
                    cli::print(&outcomes::text(checks, outcomes::wants_colour()))?;
                }
                cli::print(&text(report))?;
            }
        }
        let errors = report.count(Severity::Error) + outcomes::count(checks, Standing::Error);
        Ok(ExitCode::from(u8::from(errors > 0)))
    }

    fn tell_checks(&self, checks: &[Outcome]) -> anyhow::Result<ExitCode> {
        match self.output {
            Output::Json => cli::print(&serde_json::to_string_pretty(&serde_json::json!({"checks": checks}))?)?,
            Output::Text => cli::print(&outcomes::text(checks, outcomes::wants_colour()))?,
        }
        Ok(ExitCode::from(u8::from(outcomes::count(checks, Standing::Error) > 0)))
    }

    fn report(&self, checks: &mut Vec<Outcome>) -> anyhow::Result<Report> {
        let trust_domain =
            self.trust_domain.parse().with_context(|| format!("--trust-domain {}", self.trust_domain))?;
        let (mut set, mut unreadable) = if self.kube { self.read_cluster(checks)? } else { Default::default() };
        let (of_files, unreadable_files) = objects::read_once(&self.paths)?;
        set.apply(of_files.objects().map(objects::Change::Put));
        unreadable.extend(unreadable_files);
        // No node: what concerns one node alone, such as a pod's network namespace, is not looked at.
        let root_namespace = self.root_namespace.as_str().into();
        let mut report = check(&set, &unreadable, &MeshSettings { node: "".into(), trust_domain, root_namespace });
        report.add_unlabelled(&objects::unlabelled(&self.paths)?);
        Ok(report)
    }

    fn read_cluster(&self, checks: &mut Vec<Outcome>) -> anyhow::Result<(ObjectSet, Vec<Problem>)> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let connecting = objects::cluster_client(self.kubeconfig.as_deref(), self.context.clone());
            let client = connecting.await.context("read the cluster")?;
            if self.paths.is_empty() {
                *checks = cluster::check(&client).await.context("ask the API server for its version")?;
            }
            objects::read_cluster(client).await.context("read the cluster")
        })
    }
}

/// Both for programs: the checks stand beside what the report has.
#[derive(Serialize)]
struct WithChecks<'a> {
    checks: &'a [Outcome],
    #[serde(flatten)]
    report: &'a Report,
}

fn text(report: &Report) -> String {
    let findings: String = report.findings.iter().map(|finding| format!("{finding}\n")).collect();
    let read: Vec<String> =
        report.objects.iter().filter(|(_, count)| **count > 0).map(|(kind, count)| format!("{count} {kind}")).collect();
    let read = if read.is_empty() { "no object of a kind that the mesh reads".to_owned() } else { read.join(", ") };
    let (errors, warnings) = (report.count(Severity::Error), report.count(Severity::Warning));
    let unchecked = match report.unchecked.join(", ") {
        kinds if kinds.is_empty() => String::new(),
        kinds => format!("\nnot checked, since none was given: references to {kinds}"),
    };
    format!(
        "{findings}read {read}; {} documents accepted, {errors} errors, {warnings} warnings{unchecked}",
        report.accepted
    )
}

fn features(output: Output) -> anyhow::Result<ExitCode> {
    let text = match output {
        Output::Json => {
            let rows = FEATURES.iter().map(|feature| {
                serde_json::json!({
                    "kind": feature.kind.as_str(), "apiVersions": feature.kind.api_versions(),
                    "enforced": feature.enforced, "effect": feature.effect,
                })
            });
            serde_json::to_string_pretty(&rows.collect::<Vec<_>>())?
        }
        Output::Text => {
            let mut table = Table::default();
            for feature in FEATURES {
                let enforced = if feature.enforced { "enforced" } else { "not enforced" };
                table.row([feature.kind.as_str(), enforced, feature.effect, &feature.kind.api_versions().join(" ")]);
            }
            table.to_string()
        }
    };
    cli::print(text.trim_end())?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_names_what_was_read_and_what_could_not_be_followed() {
        let mut report = Report { accepted: 2, ..Report::default() };
        assert_eq!(
            text(&report),
            "read no object of a kind that the mesh reads; 2 documents accepted, 0 errors, 0 warnings"
        );
        report.objects.insert("Pod", 3);
        report.unchecked = vec!["Namespace", "Service"];
        assert_eq!(
            text(&report),
            "read 3 Pod; 2 documents accepted, 0 errors, 0 warnings\n\
             not checked, since none was given: references to Namespace, Service"
        );
    }
}
