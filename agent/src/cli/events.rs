//! `heddle events`.

use std::{
    io::{self, Write},
    ops::ControlFlow,
    process::ExitCode,
};

use clap::Args;
use tokio::runtime::Builder;

use super::{
    arguments::{AskedAgent, Output},
    ask::follow_lines,
};
use crate::{admin::events::Event, cli};

/// Tell what this node's kernel sees of the connections of enrolled pods, as it happens.
///
/// connect: an application's connection goes to the agent. refused: there is no connection, with the reason. bypassed: it goes
/// past the agent, with the reason. closed: it ended, with its bytes, round trip time and segments sent again; told of
/// connections that began while somebody listened. lost: so many events are missing here. Nothing is told, and nothing costs,
/// while nobody listens. Ends with the agent, or by SIGINT.
///
/// Asks the running agent by its admin socket, so it needs to run on the node, as the socket's owner.
///
/// Exit codes: 0 ended, 2 the agent does not answer or wrong usage.
#[derive(Debug, Args)]
pub(super) struct Events {
    #[command(flatten)]
    agent: AskedAgent,
    /// For people, or a line of JSON for each event.
    #[arg(long, short, value_enum, default_value = "text")]
    output: Output,
}

impl Events {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        if self.output == Output::Text {
            cli::print(&row(&HEADING))?;
        }
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let followed = runtime.block_on(follow_lines(&self.agent.socket, "/events", |line| {
            self.print(line)?;
            Ok(ControlFlow::<()>::Continue(()))
        }));
        match followed {
            Ok(_) => Ok(ExitCode::SUCCESS),
            // Who reads this has enough, as `head` does.
            Err(error) if cli::is_broken_pipe(&error) => Ok(ExitCode::SUCCESS),
            Err(error) => cli::failed(2, &error),
        }
    }

    fn print(&self, line: &str) -> anyhow::Result<()> {
        let mut out = io::stdout().lock();
        match (self.output, serde_json::from_str::<Event>(line)) {
            (Output::Text, Ok(event)) => writeln!(out, "{}", text(&event))?,
            // What is not understood is shown as it came.
            (Output::Json, _) | (Output::Text, Err(_)) => writeln!(out, "{line}")?,
        }
        out.flush()?;
        Ok(())
    }
}

/// Columns with room for what is usual: those of a stream cannot wait for the widest.
const WIDTHS: [usize; 7] = [24, 8, 16, 20, 24, 22, 22];
const HEADING: [&str; 8] = ["TIME", "EVENT", "REASON", "SOCKET", "POD", "CLIENT", "SERVER", ""];

fn row(cells: &[&str; 8]) -> String {
    let mut line = String::new();
    for (cell, width) in cells.iter().zip(WIDTHS.iter().chain([&0])) {
        line.push_str(&format!("{cell:width$} "));
    }
    line.trim_end().to_owned()
}

fn text(event: &Event) -> String {
    let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    let [reason, socket, pod, client, server] =
        [&event.reason, &event.socket, &event.pod, &event.client, &event.server].map(or_none);
    row(&[&event.time, &event.event, &reason, &socket, &pod, &client, &server, &rest(event)])
}

/// What only some events have.
fn rest(event: &Event) -> String {
    if let Some(count) = event.count {
        return format!("{count} events are missing here");
    }
    let numbers = [
        ("sent", event.sent_bytes),
        ("received", event.received_bytes),
        ("ms", event.duration_ms),
        ("rtt_us", event.rtt_us.map(u64::from)),
        ("retransmits", event.retransmits.map(u64::from)),
    ];
    let known = numbers.iter().filter_map(|(name, number)| Some(format!("{name}={}", (*number)?)));
    known.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn columns_line_up_with_the_heading() {
        let event = Event {
            time: "2026-07-30T10:00:00.250Z".into(),
            event: "closed".into(),
            socket: Some("application".into()),
            pod: Some("shop/web-1".into()),
            client: Some("10.0.0.1:40000".into()),
            server: Some("10.96.0.1:80".into()),
            sent_bytes: Some(5),
            received_bytes: Some(7),
            rtt_us: Some(40),
            ..Event::default()
        };
        let (heading, line) = (row(&HEADING), text(&event));
        for (title, cell) in [("EVENT", "closed"), ("SOCKET", "application"), ("POD", "shop"), ("SERVER", "10.96")] {
            assert_eq!(heading.find(title).unwrap(), line.find(cell).unwrap(), "{title}\n{heading}\n{line}");
        }
        assert!(line.ends_with("sent=5 received=7 rtt_us=40"), "{line}");
    }
}
