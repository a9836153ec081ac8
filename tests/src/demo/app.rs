//! The application of the demo's pods: a web server that says what it sees, and its client.
//!
//! `heddle-demo serve` and `heddle-demo get` run as processes of their own inside the pods. They know nothing of any
//! mesh: plain HTTP/1.1, one request per connection, and what getpeername() and accept() told them.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use serde::{Deserialize, Serialize};
use socket2::{Domain, Protocol, Socket, Type};

use crate::http;

/// Nobody in the demo is slower than this.
const TIMEOUT: Duration = Duration::from_secs(5);
/// A request's head may not be larger.
const MAX_HEAD: u64 = 8 << 10;

#[derive(Subcommand)]
pub(super) enum App {
    /// Serve HTTP in a pod; every answer says who asked, and for what.
    #[command(hide = true)]
    Serve(Serve),
    /// Send GETs, each on a connection of its own, and report as JSON what became of them.
    #[command(hide = true)]
    Get(Get),
}

#[derive(Args)]
pub(super) struct Serve {
    /// What to call itself.
    #[arg(long)]
    name: String,
    /// Where to listen, on all addresses.
    #[arg(long)]
    port: u16,
}

#[derive(Args)]
pub(super) struct Get {
    /// Where to.
    #[arg(long)]
    to: SocketAddr,
    /// What to ask for.
    #[arg(long, default_value = "/")]
    path: String,
    /// How often.
    #[arg(long, default_value_t = 1)]
    count: usize,
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

/// What became of one GET.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Call {
    /// How long connect() took, in microseconds.
    pub(super) connect_us: u64,
    /// What getpeername() said.
    pub(super) peername: Option<SocketAddr>,
    /// Bytes of the request, counted by the client.
    pub(super) sent: u64,
    /// Bytes of the answer, counted by the client.
    pub(super) received: u64,
    /// The answer.
    pub(super) answer: Option<Answer>,
    /// What connect() said instead of yes.
    pub(super) connect_error: Option<String>,
    /// What went wrong after connect().
    pub(super) error: Option<String>,
}

impl Call {
    /// What became of it, for people.
    pub(super) fn outcome(&self) -> String {
        match (&self.connect_error, &self.error, &self.answer) {
            (Some(error), ..) => error.clone(),
            (None, Some(error), _) => error.clone(),
            (None, None, Some(answer)) => format!("answered by {}", answer.server),
            (None, None, None) => "no answer".to_owned(),
        }
    }
}

pub(super) fn run(app: &App) -> Result<()> {
    match app {
        App::Serve(serve) => serve.run(),
        App::Get(get) => {
            let calls: Vec<Call> = (0..get.count).map(|_| call(get.to, &get.path)).collect();
            writeln!(std::io::stdout(), "{}", serde_json::to_string(&calls)?).context("printing the report")
        }
    }
}

impl Serve {
    fn run(&self) -> Result<()> {
        // The IPv6 wildcard takes IPv4, too.
        let listener = TcpListener::bind(("::", self.port)).with_context(|| format!("listening on {}", self.port))?;
        writeln!(std::io::stdout(), "listening on port {}", self.port)?;
        loop {
            let (stream, client) = listener.accept().context("accepting")?;
            let name = self.name.clone();
            // A client that breaks off is its own affair.
            std::thread::spawn(move || serve_one(stream, client, name));
        }
    }
}

fn serve_one(mut stream: TcpStream, client: SocketAddr, server: String) -> Result<()> {
    stream.set_read_timeout(Some(TIMEOUT))?;
    let mut lines = BufReader::new((&stream).take(MAX_HEAD)).lines();
    let request = lines.next().context("no request")??;
    while lines.next().transpose()?.is_some_and(|line| !line.is_empty()) {}
    let asked = request.split(' ').nth(1).unwrap_or_default().to_owned();
    let client = SocketAddr::new(client.ip().to_canonical(), client.port());
    let body = serde_json::to_string(&Answer { server, client, asked })? + "\n";
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close";
    write!(stream, "{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len())?;
    Ok(())
}

fn call(to: SocketAddr, path: &str) -> Call {
    let (mut call, begin) = (Call::default(), Instant::now());
    let connected = connect(to);
    call.connect_us = u64::try_from(begin.elapsed().as_micros()).unwrap_or(u64::MAX);
    match connected {
        Ok(stream) => match exchange(stream, to, path, &mut call) {
            Ok(answer) => call.answer = Some(answer),
            Err(error) => call.error = Some(in_words(&error)),
        },
        Err(error) => call.connect_error = Some(in_words(&error.into())),
    }
    call
}

/// As most programs connect: blocking, here with a limit.
fn connect(to: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_read_timeout(Some(TIMEOUT))?;
    // Bounds a blocking connect(), too.
    socket.set_write_timeout(Some(TIMEOUT))?;
    socket.connect(&to.into())?;
    Ok(socket.into())
}

/// The kernel's words without Rust's "(os error 111)".
fn in_words(error: &anyhow::Error) -> String {
    let text = error.root_cause().to_string();
    text.split(" (os error").next().unwrap_or_default().to_lowercase()
}

fn exchange(stream: TcpStream, to: SocketAddr, path: &str, call: &mut Call) -> Result<Answer> {
    // Nothing, if the server has reset the connection meanwhile.
    call.peername = stream.peer_addr().ok();
    let counted = Counted { stream, unsent: Vec::new(), sent: &mut call.sent, received: &mut call.received };
    let response = http::get(counted, &to.to_string(), path)?;
    serde_json::from_slice(&response.body).with_context(|| format!("status {}", response.status))
}

/// Counts as the application does, to compare with what the agents say, and sends a request in one piece.
struct Counted<'a> {
    stream: TcpStream,
    unsent: Vec<u8>,
    sent: &'a mut u64,
    received: &'a mut u64,
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.flush()?;
        let count = self.stream.read(buffer)?;
        *self.received += count as u64;
        Ok(count)
    }
}

impl Write for Counted<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.unsent.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.stream.write_all(&self.unsent)?;
        *self.sent += self.unsent.len() as u64;
        self.unsent.clear();
        Ok(())
    }
}
