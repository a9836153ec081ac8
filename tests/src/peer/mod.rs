//! The program `heddle-peer`: the applications of a test bed, as real processes that the kernel captures.
//!
//! Each subcommand is one server or client. Results are JSON, one document per line of standard output, in the shapes
//! of [`report`]; a client's report is its last line, and its exit status says only whether it could do its work, not
//! whether the mesh did. Clients end by themselves within `--deadline`; servers end with whoever started them.

mod bulk;
mod connect;
mod dial;
mod dns;
mod enter;
mod errno;
mod first;
pub mod grpc;
mod hbone;
mod hold;
pub mod http;
mod http_get;
mod pattern;
mod pause;
mod probe;
mod raw_syn;
pub mod report;
mod serve;
pub mod stream;
mod udp;
pub mod websocket;

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::{Parser, Subcommand};
use serde::Serialize;

#[derive(Parser)]
#[command(name = "heddle-peer", about = "Servers and clients for Heddle's test bed", version)]
struct Cli {
    /// Clients give up after this many seconds.
    #[arg(long, global = true, default_value_t = 110)]
    deadline: u64,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Join a cgroup and a network namespace, then become another program.
    Enter(enter::Enter),
    /// Do nothing until killed.
    Pause,
    /// Serve TCP in one of several ways.
    Serve(serve::Serve),
    /// Open many connections and verify what comes back.
    Connect(connect::Connect),
    /// Move much data and verify it.
    Bulk(bulk::Bulk),
    /// Ask for data and do not read it until told to.
    Stall(bulk::Stall),
    /// Keep connections open and watch their health.
    Hold(hold::Hold),
    /// Try until a connection works, and tell when that was.
    First(first::First),
    /// Serve streams of which both ends know every byte.
    StreamServe(stream::StreamServe),
    /// Open streams of which both ends know every byte, until standard input ends.
    StreamLoad(stream::StreamLoad),
    /// Make one connection and say what became of it.
    Probe(probe::Probe),
    /// Send one GET.
    HttpGet(http_get::HttpGet),
    /// Serve HTTP/1.1 and HTTP/2, and say what came.
    HttpServe(http::HttpServe),
    /// Send requests as standard input says.
    Http(http::Http),
    /// Send requests until standard input ends.
    HttpLoad(http::HttpLoad),
    /// Serve WebSockets: what comes goes back.
    WsServe(websocket::WsServe),
    /// Send messages over a WebSocket and verify what comes back.
    Ws(websocket::Ws),
    /// Serve gRPC: what comes goes back.
    GrpcServe(grpc::GrpcServe),
    /// Make gRPC calls.
    Grpc(grpc::Grpc),
    /// Serve names.
    Dns(dns::Dns),
    /// Serve UDP: what comes goes back.
    UdpEcho(udp::Echo),
    /// Send datagrams and count what comes back.
    UdpPing(udp::Ping),
    /// Open an HBONE tunnel with a given certificate.
    Hbone(hbone::Hbone),
    /// Send the first packet of a TCP connection past the kernel's TCP.
    RawSyn(raw_syn::RawSyn),
}

/// Runs the program.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "heddle-peer: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<()> {
    let is_client = !matches!(
        cli.command,
        Command::Enter(_)
            | Command::Pause
            | Command::Serve(_)
            | Command::HttpServe(_)
            | Command::WsServe(_)
            | Command::GrpcServe(_)
            | Command::StreamServe(_)
            | Command::Dns(_)
            | Command::UdpEcho(_)
    );
    if is_client {
        end_after(Duration::from_secs(cli.deadline));
    }
    match cli.command {
        Command::Enter(enter) => enter::run(&enter),
        Command::Pause => pause::run(),
        Command::Serve(serve) => serve::run(serve),
        Command::Connect(connect) => print(&connect::run(&connect)?),
        Command::Bulk(bulk) => print(&bulk::run(&bulk)?),
        Command::Stall(stall) => print(&bulk::stall(&stall)?),
        Command::Hold(hold) => hold::run(&hold),
        Command::First(first) => print(&first::run(&first)?),
        Command::StreamServe(serve) => stream::serve(&serve),
        Command::StreamLoad(load) => stream::load(load),
        Command::Probe(probe) => print(&probe::run(&probe)?),
        Command::HttpGet(get) => print(&http_get::run(&get)?),
        Command::HttpServe(serve) => http::serve(&serve),
        Command::Http(client) => http::client(&client),
        Command::HttpLoad(load) => http::load(&load),
        Command::WsServe(serve) => websocket::serve(&serve),
        Command::Ws(client) => print(&websocket::run(&client)?),
        Command::GrpcServe(serve) => grpc::serve(&serve),
        Command::Grpc(client) => print(&grpc::run(&client)?),
        Command::Dns(dns) => dns::run(&dns),
        Command::UdpEcho(echo) => udp::echo(&echo),
        Command::UdpPing(ping) => print(&udp::ping(&ping)?),
        Command::Hbone(hbone) => print(&hbone::run(&hbone)?),
        Command::RawSyn(raw) => print(&raw_syn::run(&raw)?),
    }
}

fn end_after(deadline: Duration) {
    std::thread::spawn(move || {
        std::thread::sleep(deadline);
        let _ = writeln!(std::io::stderr(), "heddle-peer: gave up after {deadline:?}");
        std::process::exit(124);
    });
}

/// One JSON document on one line of standard output, flushed.
fn print(document: &impl Serialize) -> Result<()> {
    let mut line = serde_json::to_string(document)?;
    line.push('\n');
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(line.as_bytes())?;
    Ok(stdout.flush()?)
}
