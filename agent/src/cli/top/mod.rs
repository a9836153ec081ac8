//! `heddle top`.

mod connections;
mod draw;
mod state;
mod sums;
#[cfg(test)]
mod tests;
mod traffic;
mod unit;
mod view;

use std::{
    io::{IsTerminal, Write},
    ops::ControlFlow,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use ratatui::{
    DefaultTerminal,
    crossterm::event::{self, KeyEventKind},
};
use tokio::{
    runtime::Builder,
    signal::unix::{SignalKind, signal},
    sync::mpsc,
};

use super::{
    arguments::AskedAgent,
    ask::{ask, follow},
};
use crate::{cli, observe::OpenView};
use state::{Next, State};
use traffic::Second;
use view::View;

/// Show who speaks with whom on this node, how much, how fast, and what fails; anew each second.
///
/// Asks the running agent by its admin socket, so it needs to run on the node, as the socket's owner. Nothing is kept by the
/// agent for it: the tables begin with the connections that are open. `?` shows the keys.
///
/// Exit codes: 0 ended by a key, 1 there is no terminal, 2 the agent does not answer.
#[derive(Debug, Args)]
pub(super) struct Top {
    /// On the terminal, or the agent's sums of each second as JSON, one object a line.
    #[arg(long, short, value_enum, default_value = "screen")]
    output: Output,
    #[command(flatten)]
    agent: AskedAgent,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    Screen,
    Json,
}

/// What happens meanwhile.
enum Event {
    Second(Second),
    Connections(OpenView),
    /// Of a terminal that changes its size nothing is told: the next drawing sees it.
    Input(event::Event),
    Trouble(String),
}

/// How soon they are seen once somebody turns to them, and how often they are looked at.
const LOOK: Duration = Duration::from_millis(500);

/// The agent may come back: it is asked again after so long.
const AGAIN: Duration = Duration::from_secs(1);

impl Top {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        if self.output == Output::Json {
            let ended = runtime.block_on(follow(&self.agent.socket, "/traffic", |event| {
                match event.kind {
                    "second" => cli::print(event.data)?,
                    _ => {
                        writeln!(
                            std::io::stderr(),
                            "heddle: {} seconds were left out: they came too fast",
                            event.data
                        )?;
                    }
                }
                Ok(ControlFlow::<()>::Continue(()))
            }));
            return match ended {
                Ok(_) => Ok(ExitCode::SUCCESS),
                Err(error) if cli::is_broken_pipe(&error) => Ok(ExitCode::SUCCESS),
                Err(error) => cli::failed(2, &error),
            };
        }
        if !std::io::stdout().is_terminal() {
            bail!("top needs a terminal; `heddle top -o json` and `heddle tap` do not");
        }
        // Whoever cannot ask the agent should know before the screen is taken.
        if let Err(error) = ask(&self.agent.socket, "/healthz/live") {
            return cli::failed(2, &error);
        }
        let mut terminal = ratatui::try_init().context("take over the terminal")?;
        let ended = runtime.block_on(self.show(&mut terminal));
        ratatui::restore();
        ended.map(|()| ExitCode::SUCCESS)
    }

    async fn show(&self, terminal: &mut DefaultTerminal) -> anyhow::Result<()> {
        let (events, mut received) = mpsc::channel(64);
        read_keys(events.clone());
        let (socket, are_shown) = (self.agent.socket.clone(), Arc::new(AtomicBool::new(false)));
        tokio::spawn(watch_connections(socket.clone(), Arc::clone(&are_shown), events.clone()));
        tokio::spawn(async move { watch(&socket, &events).await });
        let (mut state, place) = (State::new(), self.agent.socket.display().to_string());
        let mut terminated = signal(SignalKind::terminate()).context("wait for SIGTERM")?;
        loop {
            terminal.draw(|frame| draw::draw(frame, &state, &place)).context("draw on the terminal")?;
            are_shown.store(state.view == View::Connections, Relaxed);
            // Whoever is ended from outside gives the terminal back too.
            let event = tokio::select! {
                event = received.recv() => event,
                _ = terminated.recv() => None,
                _ = tokio::signal::ctrl_c() => None,
            };
            let Some(event) = event else { return Ok(()) };
            if happened(&mut state, event) == Next::Quit {
                return Ok(());
            }
        }
    }
}

fn happened(state: &mut State, event: Event) -> Next {
    match event {
        Event::Second(second) => state.add(second),
        Event::Connections(connections) => state.set_connections(connections),
        Event::Trouble(trouble) => state.trouble = Some(trouble),
        Event::Input(event::Event::Key(key)) if key.kind != KeyEventKind::Release => return state.key(key),
        Event::Input(_) => {}
    }
    Next::Go
}

/// Waits for keys on a thread of its own, which ends with the process.
fn read_keys(events: mpsc::Sender<Event>) {
    thread::spawn(move || {
        while let Ok(event) = event::read() {
            if events.blocking_send(Event::Input(event)).is_err() {
                return;
            }
        }
    });
}

/// Follows the agent, and waits for it where it is away.
async fn watch(socket: &Path, events: &mpsc::Sender<Event>) {
    loop {
        let followed = follow(socket, "/traffic", |event| {
            if event.kind == "second" {
                let second = serde_json::from_str(event.data).context("the agent's answer is not understood")?;
                // A screen that is not drawn in time misses a second.
                let _ = events.try_send(Event::Second(second));
            }
            Ok(ControlFlow::<()>::Continue(()))
        });
        let trouble = followed.await.err().map_or_else(|| "the agent ended".to_owned(), |error| format!("{error:#}"));
        if events.send(Event::Trouble(trouble)).await.is_err() {
            return;
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// Asks for the open connections as long as they are shown. That the agent is away is told elsewhere.
async fn watch_connections(socket: PathBuf, are_shown: Arc<AtomicBool>, events: mpsc::Sender<Event>) {
    let path = format!("/connections?most={}", connections::MOST);
    loop {
        tokio::time::sleep(LOOK).await;
        if !are_shown.load(Relaxed) {
            continue;
        }
        let (socket, path) = (socket.clone(), path.clone());
        let asked = tokio::task::spawn_blocking(move || ask(&socket, &path)).await;
        let open = asked.ok().and_then(Result::ok).and_then(|body| serde_json::from_slice(&body).ok());
        if let Some(open) = open
            && events.send(Event::Connections(open)).await.is_err()
        {
            return;
        }
    }
}
