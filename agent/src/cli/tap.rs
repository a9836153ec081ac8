//! `heddle tap`.

use std::{
    io::{IsTerminal, Write},
    ops::ControlFlow,
    process::ExitCode,
};

use anyhow::Context;
use clap::Args;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use tokio::runtime::Builder;

use super::{
    arguments::{AskedAgent, Output},
    ask::{Event, follow},
};
use crate::{cli, observe::is_servers_fault};

/// Show the requests and connections of this node as they end, one line each.
///
/// Asks the running agent by its admin socket, so it needs to run on the node, as the socket's owner. Filters that are given
/// together must all be met. Requests that began before are shown only if the access log is on. An agent that has more to tell
/// than can be read says how much it left out.
///
/// Examples:
///   heddle tap --failed                                    all that goes wrong
///   heddle tap --source shop/cart --service payments       what cart asks payments
///   heddle tap --path /api --status 5xx -o json | jq .error
///
/// Exit codes: 0 after --count lines, with the agent's end or by SIGINT, 2 the agent does not answer, or a filter means nothing.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Tap {
    /// Of this workload, pod or address: NAME, NAMESPACE/NAME or an IP address.
    #[arg(long, value_name = "WHO")]
    source: Option<String>,
    /// Answered by this workload, pod or address.
    #[arg(long, value_name = "WHO")]
    destination: Option<String>,
    /// To this Service: NAME, NAMESPACE/NAME or its host name.
    #[arg(long, value_name = "SERVICE")]
    service: Option<String>,
    /// Only `outbound` (of pods of this node) or `inbound` (to them).
    #[arg(long)]
    direction: Option<String>,
    /// Only tcp, http/1, http/2 or grpc.
    #[arg(long)]
    protocol: Option<String>,
    /// Only requests with this method.
    #[arg(long)]
    method: Option<String>,
    /// Only requests whose path begins so.
    #[arg(long)]
    path: Option<String>,
    /// Only these answers: a status, a class such as 5xx, or a range such as 400-499.
    #[arg(long)]
    status: Option<String>,
    /// Only what failed: by a response flag, a status from 500 on, or a gRPC status that says so.
    #[arg(long)]
    failed: bool,
    /// End after so many lines.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// For people, or the access log's fields as JSON, one object a line.
    #[arg(long, short, value_enum, default_value = "text")]
    output: Output,
    #[command(flatten)]
    agent: AskedAgent,
}

impl Tap {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let mut shown = 0;
        let colours = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        let ended = runtime.block_on(follow(&self.agent.socket, &self.query(), |event| {
            self.show(event, colours)?;
            shown += u64::from(event.kind == "ended");
            Ok(if self.count == Some(shown) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        }));
        match ended {
            Ok(_) => Ok(ExitCode::SUCCESS),
            Err(error) if cli::is_broken_pipe(&error) => Ok(ExitCode::SUCCESS),
            Err(error) => cli::failed(2, &error),
        }
    }

    fn query(&self) -> String {
        let failed = self.failed.then(|| "true".to_owned());
        let pairs = [
            ("source", &self.source),
            ("destination", &self.destination),
            ("service", &self.service),
            ("direction", &self.direction),
            ("protocol", &self.protocol),
            ("method", &self.method),
            ("path", &self.path),
            ("status", &self.status),
            ("failed", &failed),
        ];
        let given = pairs.into_iter().filter_map(|(key, value)| Some((key, value.as_deref()?)));
        let pairs: Vec<_> =
            given.map(|(key, value)| format!("{key}={}", utf8_percent_encode(value, NON_ALPHANUMERIC))).collect();
        format!("/tap?{}", pairs.join("&"))
    }

    fn show(&self, event: Event<'_>, colours: bool) -> anyhow::Result<()> {
        match (event.kind, self.output) {
            // For programs too: what is missing is said where it is missing.
            ("lost", _) => {
                writeln!(std::io::stderr(), "heddle: {} lines were left out: they came too fast", event.data)?;
            }
            ("ended", Output::Json) => cli::print(event.data)?,
            ("ended", Output::Text) => {
                let line = serde_json::from_str(event.data).context("the agent's line is not understood")?;
                cli::print(&text(&line, colours))?;
            }
            _ => {}
        }
        Ok(())
    }
}

/// One line: when, from whom to whom, what, and how it went.
fn text(line: &Value, colours: bool) -> String {
    let word = |name: &str| line[name].as_str().unwrap_or("-");
    let time = word("time").get(11..23).unwrap_or("-");
    let arrow = if word("direction") == "inbound" { "<-" } else { "->" };
    let client = who(line, "source", "source_address");
    let server = match (line["destination_workload"].as_str(), line["service"].as_str()) {
        (None, Some(service)) => service.to_owned(),
        _ => who(line, "destination", "destination_address"),
    };
    let what = match line["method"].as_str() {
        Some(method) => format!("{method} {}", word("path")),
        None => format!("{} bytes, {} back", line["sent_bytes"], line["received_bytes"]),
    };
    let status = ["grpc_status", "status"].iter().find_map(|name| line[*name].as_u64());
    let flag = Some(word("flag")).filter(|flag| *flag != "-");
    let lock = match (line["tls_version"].is_null(), flag) {
        (false, _) => "mtls",
        // What failed on its way out without TLS may never have been sent.
        (true, Some(_)) if word("direction") == "outbound" => "-",
        (true, _) => "plain",
    };
    // Of a call those are failures that a server is to blame for.
    let call = line["grpc_status"].as_u64().and_then(|status| u32::try_from(status).ok());
    let of_call = call.is_some_and(is_servers_fault);
    let failed = flag.is_some() || of_call || line["status"].as_u64().is_some_and(|status| status >= 500);
    let ended = [status.map(|status| status.to_string()), flag.map(str::to_owned)];
    let ended = ended.into_iter().flatten().collect::<Vec<_>>().join(" ");
    let (ended, milliseconds) = (if ended.is_empty() { "ok" } else { &ended }, &line["duration_ms"]);
    let error = line["error"].as_str().map(|error| format!("  {error}")).unwrap_or_default();
    let (red, grey, plain) = if colours { ("\x1b[31m", "\x1b[2m", "\x1b[0m") } else { ("", "", "") };
    let mark = if failed { red } else { "" };
    let unmark = if failed { plain } else { "" };
    format!(
        "{grey}{time}{plain} {client} {arrow} {server} {grey}{lock} {}{plain}  {what}  {mark}{ended}{unmark} {milliseconds} ms{mark}{error}{unmark}",
        word("protocol"),
    )
}

fn who(line: &Value, side: &str, address: &str) -> String {
    let of = |part: &str| line[format!("{side}_{part}")].as_str();
    match (of("namespace"), of("workload")) {
        (Some(namespace), Some(workload)) => format!("{namespace}/{workload}"),
        _ => line[address].as_str().unwrap_or("-").to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_line_says_who_asked_whom_for_what_and_how_it_went() {
        let line = json!({
            "time": "2026-07-30T10:00:00.250Z", "direction": "outbound", "protocol": "http/1", "flag": "UH",
            "source_namespace": "shop", "source_workload": "cart-1", "destination_address": "10.96.0.1:80",
            "destination_workload": null, "service": "web.shop.svc.cluster.local", "method": "GET", "path": "/a",
            "status": 503, "duration_ms": 7, "error": "no endpoint", "tls_version": null,
        });
        let expected =
            "10:00:00.250 shop/cart-1 -> web.shop.svc.cluster.local - http/1  GET /a  503 UH 7 ms  no endpoint";
        assert_eq!(text(&line, false), expected);
        assert!(text(&line, true).contains("\x1b[31m503 UH\x1b[0m"));
        let sent = json!({"direction": "outbound", "flag": "-", "tls_version": null});
        assert!(text(&sent, false).contains(" plain "), "what did not fail was sent");
        let line = json!({
            "time": "2026-07-30T10:00:00.250Z", "direction": "inbound", "protocol": "tcp", "flag": "-",
            "source_address": "10.0.0.9:5", "destination_namespace": "shop", "destination_workload": "db-0",
            "sent_bytes": 3, "received_bytes": 4, "duration_ms": 1, "tls_version": "TLSv1_3",
        });
        assert_eq!(text(&line, false), "10:00:00.250 10.0.0.9:5 <- shop/db-0 mtls tcp  3 bytes, 4 back  ok 1 ms");
    }
}
