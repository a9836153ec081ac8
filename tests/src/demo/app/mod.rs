//! The application of the demo's pods: a web server that says what it sees, and its client.
//!
//! `heddle-demo serve` and `heddle-demo ask` run as processes of their own inside the pods. They know nothing of any
//! mesh: plain HTTP/1.1, and what getpeername() and accept() told them.

mod ask;
mod head;
mod serve;

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;
use clap::Subcommand;
use serde::{Deserialize, Serialize};

/// Nobody in the demo is slower than this.
const TIMEOUT: Duration = Duration::from_secs(5);
/// A body may not be larger.
const MAX_BODY: usize = 64 << 10;

#[derive(Subcommand)]
pub(super) enum App {
    /// Serve HTTP in a pod; every answer says who asked, and for what.
    #[command(hide = true)]
    Serve(serve::Serve),
    /// Send requests, and report as JSON what became of each.
    #[command(hide = true)]
    Ask(ask::Ask),
}

/// What the server answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Answer {
    /// Its own name.
    pub(super) server: String,
    /// The client as accept() gave it.
    pub(super) client: SocketAddr,
    /// What was asked for.
    pub(super) asked: String,
}

/// What became of one request.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Call {
    /// How long connect() took, in microseconds; 0 on a connection that was there.
    pub(super) connect_us: u64,
    /// What getpeername() said.
    pub(super) peername: Option<SocketAddr>,
    /// Bytes of the request's body.
    pub(super) sent: u64,
    /// Bytes of the answer's body, counted by the client.
    pub(super) received: u64,
    /// The status of the answer, whoever gave it.
    pub(super) status: Option<u16>,
    /// What its Retry-After said.
    pub(super) retry_after: Option<String>,
    /// The server's answer, if it served the request.
    pub(super) answer: Option<Answer>,
    /// The first line of any other answer.
    pub(super) words: Option<String>,
    /// What connect() said instead of yes.
    pub(super) connect_error: Option<String>,
    /// What went wrong after connect().
    pub(super) error: Option<String>,
}

impl Call {
    /// What became of it, for people.
    pub(super) fn outcome(&self) -> String {
        match (self.connect_error.as_ref().or(self.error.as_ref()), &self.answer, self.status) {
            (Some(error), ..) => error.clone(),
            (None, Some(answer), _) => format!("answered by {}", answer.server),
            (None, None, Some(status)) => format!("{status}: {}", self.words.as_deref().unwrap_or("no words")),
            (None, None, None) => "no answer".to_owned(),
        }
    }
}

pub(super) fn run(app: &App) -> Result<()> {
    match app {
        App::Serve(serve) => serve.run(),
        App::Ask(ask) => ask.run(),
    }
}
