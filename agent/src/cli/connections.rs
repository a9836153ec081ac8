//! `heddle connections`.

use std::{fmt::Write as _, process::ExitCode};

use anyhow::Context;
use clap::Args;

use super::{
    arguments::{AskedAgent, Output},
    ask::ask,
    table::Table,
};
use crate::{
    cli,
    observe::{ConnectionView, OpenView},
};

/// List the open connections of this node: who talks to whom, since when, and how much.
///
/// Asks the running agent by its admin socket, so it needs to run on the node, as the socket's owner. Bytes of connections
/// that carry HTTP are counted with their requests, and not here. heddle explain --connection ID tells of one of them why it
/// goes where it goes.
///
/// Exit codes: 0 listed, 2 the agent does not answer or wrong usage.
#[derive(Debug, Args)]
pub(super) struct Connections {
    /// List so many, the oldest first.
    #[arg(long, value_name = "NUMBER", default_value = "1000")]
    most: usize,
    #[command(flatten)]
    agent: AskedAgent,
    /// For people, or as the agent gave it.
    #[arg(long, short, value_enum, default_value = "text")]
    output: Output,
}

impl Connections {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let body = match ask(&self.agent.socket, &format!("/connections?most={}", self.most)) {
            Ok(body) => body,
            Err(error) => return cli::failed(2, &error),
        };
        let open: OpenView = serde_json::from_slice(&body).context("the agent's answer is not understood")?;
        let text = match self.output {
            Output::Json => serde_json::to_string_pretty(&open)?,
            Output::Text => text(&open),
        };
        cli::print(text.trim_end())?;
        Ok(ExitCode::SUCCESS)
    }
}

fn text(open: &OpenView) -> String {
    let mut table = Table::default();
    table.row([
        "ID",
        "AGE",
        "DIRECTION",
        "PROTOCOL",
        "SOURCE",
        "DESTINATION",
        "SERVICE",
        "ENDPOINT",
        "SECURITY",
        "SENT",
        "RECEIVED",
    ]);
    for one in &open.connections {
        let bytes = |count: Option<u64>| count.map_or_else(|| "-".to_owned(), |count| count.to_string());
        table.row([
            &one.id.to_string(),
            &age(one.age_seconds),
            &one.direction,
            &one.protocol,
            &source(one),
            &one.destination.to_string(),
            one.service.as_deref().unwrap_or("-"),
            &endpoint(one),
            &one.security,
            &bytes(one.sent_bytes),
            &bytes(one.received_bytes),
        ]);
    }
    let mut text = table.to_string();
    let (shown, all) = (open.connections.len(), open.open);
    // Writing to a String cannot fail.
    let _ = match shown == all {
        true => writeln!(text, "{all} open"),
        false => writeln!(text, "{all} open, of which the {shown} oldest are shown; --most shows more"),
    };
    text
}

/// The pod, or else the address.
fn source(one: &ConnectionView) -> String {
    one.source.pod.clone().unwrap_or_else(|| one.source.address.to_string())
}

fn endpoint(one: &ConnectionView) -> String {
    one.endpoint.as_ref().map_or_else(|| "-".to_owned(), |endpoint| endpoint.address.to_string())
}

fn age(seconds: u64) -> String {
    match seconds {
        0..=119 => format!("{seconds}s"),
        120..=7199 => format!("{}m", seconds / 60),
        7200..=172_799 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn a_connection_is_one_line_with_what_is_known_of_it() {
        let text = text(
            &serde_json::from_str(
                r#"{"open": 2, "connections": [{"id": 7, "direction": "outbound", "protocol": "tcp", "since": "x",
                "ageSeconds": 150, "source": {"address": "10.0.0.1:4000", "pod": "shop/web"},
                "destination": "10.96.0.1:80", "service": "cart.shop.svc.cluster.local",
                "endpoint": {"address": "10.0.0.2:8080"}, "security": "mutual_tls", "sentBytes": 5, "receivedBytes": 6,
                "generation": 3}]}"#,
            )
            .unwrap(),
        );
        let words: Vec<_> = text.lines().nth(1).unwrap().split_whitespace().collect();
        assert_eq!(
            words,
            [
                "7",
                "2m",
                "outbound",
                "tcp",
                "shop/web",
                "10.96.0.1:80",
                "cart.shop.svc.cluster.local",
                "10.0.0.2:8080",
                "mutual_tls",
                "5",
                "6"
            ]
        );
        assert!(text.ends_with("2 open, of which the 1 oldest are shown; --most shows more\n"), "{text}");
    }

    #[test]
    fn ages_have_the_unit_that_fits() {
        assert_eq!([0, 119, 120, 7200, 200_000].map(age), ["0s", "119s", "2m", "2h", "2d"]);
    }
}
