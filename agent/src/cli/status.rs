//! `heddle status`.

use std::{fmt::Write as _, process::ExitCode};

use anyhow::Context;
use clap::{Args, ValueEnum};

use super::{
    arguments::{AskedAgent, Output},
    ask::ask,
    table::Table,
};
use crate::{admin::status::Status, cli};

/// Tell how this node's agent stands: readiness, pods, certificates, mesh documents, problems.
///
/// Asks the running agent by its admin socket, so it needs to run on the node, as the socket's owner.
///
/// Exit codes: 0 all is well, 1 something needs attention (said last, one line each), 2 the agent does not answer or
/// wrong usage.
#[derive(Debug, Args)]
pub(super) struct ShowStatus {
    #[command(flatten)]
    agent: AskedAgent,
    /// Only answer one question, as an exec probe of Kubernetes does: 0 for yes.
    ///
    /// While an agent is replaced by the next, both may have the addresses of the health endpoint, and each has an admin
    /// socket of its own.
    #[arg(long, value_enum, value_name = "QUESTION", conflicts_with = "output")]
    probe: Option<Probe>,
    /// For people, or as the agent gave it.
    #[arg(long, short, value_enum, default_value = "text")]
    output: Output,
}

/// What a probe asks.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Probe {
    /// Whether the agent answers at all.
    Live,
    /// Whether it serves the pods of its node.
    Ready,
}

impl ShowStatus {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let body = match ask(&self.agent.socket, "/status") {
            Ok(body) => body,
            Err(error) => return cli::failed(2, &error),
        };
        let status: Status = serde_json::from_slice(&body).context("the agent's answer is not understood")?;
        if let Some(probe) = self.probe {
            return answer(probe, &status);
        }
        let text = match self.output {
            Output::Json => serde_json::to_string_pretty(&status)?,
            Output::Text => text(&status),
        };
        cli::print(text.trim_end())?;
        Ok(ExitCode::from(u8::from(!status.concerns().is_empty())))
    }
}

fn answer(probe: Probe, status: &Status) -> anyhow::Result<ExitCode> {
    if status.ready || matches!(probe, Probe::Live) {
        return Ok(ExitCode::SUCCESS);
    }
    for missing in &status.missing {
        cli::print(&format!("not ready: {}: {}", missing.condition, missing.reason))?;
    }
    Ok(ExitCode::FAILURE)
}

fn text(status: &Status) -> String {
    let mut text = String::new();
    let ready = if status.ready { "ready" } else { "not ready" };
    let objects: Vec<String> = status.objects.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
    let mut facts = Table::default();
    facts.row(["node", &status.node]);
    facts.row(["version", &status.version]);
    facts.row(["agent", ready]);
    let source = match (status.source.live, status.source.state_age_seconds) {
        (true, _) => "live".to_owned(),
        (false, Some(age)) => format!("state on disk, saved {age} s ago; the API server has not been heard"),
        (false, None) => "waiting for the first objects".to_owned(),
    };
    facts.row(["source", &source]);
    facts.row(["kubelet", status.kubelet.as_deref().unwrap_or("not found")]);
    facts.row(["generation", &status.generation.to_string()]);
    facts.row(["objects", &objects.join(", ")]);
    section(&mut text, "", &facts);

    let mut pods = Table::default();
    for pod in &status.pods {
        pods.row([&pod.name, pod.missing.as_deref().unwrap_or("enrolled"), &pod.identity]);
    }
    section(&mut text, "pods", &pods);

    let mut certificates = Table::default();
    for held in &status.certificates {
        let left = held.expires_in_seconds.map_or_else(String::new, |seconds| format!("{} h left", seconds / 3600));
        certificates.row([&held.identity, &held.state, &left]);
    }
    section(&mut text, "certificates", &certificates);

    let mut roots = Table::default();
    for root in &status.roots {
        roots.row([&root.name, &root.subject, &format!("{} d left", root.expires_in_seconds / 86_400)]);
    }
    section(&mut text, "trusted roots", &roots);

    let mut revocation = Table::default();
    if let Some(lists) = &status.revocation {
        let next =
            lists.next_update_in_seconds.map_or_else(String::new, |left| format!("next update in {} h", left / 3600));
        revocation.row([&lists.path, &format!("{} certificates", lists.entries), &next]);
    }
    section(&mut text, "revocation lists", &revocation);

    let mut documents = Table::default();
    for document in &status.documents {
        let rule = document.rule.as_deref().unwrap_or("(not readable)");
        documents.row([rule, &document.state, &format!("{}, line {}", document.place, document.line)]);
    }
    section(&mut text, "documents", &documents);

    let concerns = status.concerns();
    if !concerns.is_empty() {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "needs attention");
        for concern in concerns {
            let _ = writeln!(text, "  {concern}");
        }
    }
    text
}

fn section(text: &mut String, title: &str, table: &Table) {
    if table.is_empty() {
        return;
    }
    let title = if title.is_empty() { String::new() } else { format!("{title}\n") };
    let _ = writeln!(text, "{title}{table}");
}
