//! `heddle check`.

use std::{path::PathBuf, process::ExitCode};

use anyhow::Context;
use clap::Args;
use tokio::runtime::Builder;

use super::{arguments::Output, table::Table};
use crate::{
    check::{Report, Severity, check},
    cli,
    config::Problem,
    mesh::MeshSettings,
    objects::{self, ObjectSet},
    rules::FEATURES,
};

/// Check mesh documents and Kubernetes objects as an agent would read them, without one.
///
/// PATH is a file or a directory of Kubernetes YAML: ConfigMaps with the label heddle.io/config: "true", mesh documents
/// (HTTPRoute, AuthorizationPolicy, ...), and the Namespaces, Pods, Services and EndpointSlices that they refer to. What
/// an agent would reject is an error, with its place; what it would accept and is surely not meant is a warning.
///
/// With --kube the objects of a running cluster are checked, or PATH as if it were applied there: what PATH defines counts
/// instead of the cluster's.
///
/// Exit codes: 0 everything would be accepted, 1 something would be rejected, 2 the call itself is wrong, or the cluster
/// cannot be asked.
#[derive(Debug, Args)]
pub(super) struct Check {
    /// Files and directories to read.
    #[arg(value_name = "PATH", required_unless_present_any = ["features", "kube"])]
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

impl Check {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        if self.features {
            return features(self.output);
        }
        let report = match self.report() {
            Ok(report) => report,
            Err(error) => return cli::failed(2, &error),
        };
        match self.output {
            Output::Json => cli::print(&serde_json::to_string_pretty(&report)?)?,
            Output::Text => cli::print(&text(&report))?,
        }
        Ok(ExitCode::from(u8::from(report.count(Severity::Error) > 0)))
    }

    fn report(&self) -> anyhow::Result<Report> {
        let trust_domain =
            self.trust_domain.parse().with_context(|| format!("--trust-domain {}", self.trust_domain))?;
        let (mut set, mut unreadable) = if self.kube { self.read_cluster()? } else { Default::default() };
        let (of_files, unreadable_files) = objects::read_once(&self.paths)?;
        set.apply(of_files.objects().map(objects::Change::Put));
        unreadable.extend(unreadable_files);
        // No node: what concerns one node alone, such as a pod's network namespace, is not looked at.
        let root_namespace = self.root_namespace.as_str().into();
        let mut report = check(&set, &unreadable, &MeshSettings { node: "".into(), trust_domain, root_namespace });
        report.add_unlabelled(&objects::unlabelled(&self.paths)?);
        Ok(report)
    }

    fn read_cluster(&self) -> anyhow::Result<(ObjectSet, Vec<Problem>)> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let read = objects::read_cluster(self.kubeconfig.as_deref(), self.context.clone());
        runtime.block_on(read).context("read the cluster")
    }
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
