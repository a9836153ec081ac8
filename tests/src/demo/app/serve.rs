//! The server: one request per connection. A request's own headers make it slow, or let it fail.
//!
//! `x-take-ms: 50` takes that long. `x-fail-first: 2` answers the first two requests for a path with 503.

use std::collections::HashMap;
use std::io::{BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use parking_lot::Mutex;

use super::head::Head;
use super::{Answer, TIMEOUT};

#[derive(Args)]
pub(in crate::demo) struct Serve {
    /// What to call itself.
    #[arg(long)]
    name: String,
    /// Where to listen, on all addresses.
    #[arg(long)]
    port: u16,
}

/// The server at work.
struct Server {
    name: String,
    /// How often a path failed on purpose.
    failed: Mutex<HashMap<String, u32>>,
}

impl Serve {
    pub(super) fn run(&self) -> Result<()> {
        // The IPv6 wildcard takes IPv4, too.
        let listener = TcpListener::bind(("::", self.port)).with_context(|| format!("listening on {}", self.port))?;
        writeln!(std::io::stdout(), "listening on port {}", self.port)?;
        let server = Arc::new(Server { name: self.name.clone(), failed: Mutex::default() });
        loop {
            let (stream, client) = listener.accept().context("accepting")?;
            let server = Arc::clone(&server);
            // A client that breaks off is its own affair.
            std::thread::spawn(move || server.serve(stream, client));
        }
    }
}

impl Server {
    fn serve(&self, mut stream: TcpStream, client: SocketAddr) -> Result<()> {
        stream.set_read_timeout(Some(TIMEOUT))?;
        let mut reader = BufReader::new(&stream);
        let head = Head::read(&mut reader)?;
        head.body(&mut reader)?;
        if let Some(milliseconds) = head.number("x-take-ms") {
            std::thread::sleep(Duration::from_millis(milliseconds).min(TIMEOUT));
        }
        let (status, body) = self.answer(&head, client)?;
        let head = format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\nconnection: close");
        write!(stream, "{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len())?;
        Ok(())
    }

    fn answer(&self, head: &Head, client: SocketAddr) -> Result<(&'static str, String)> {
        let asked = head.word(1).unwrap_or_default().to_owned();
        let server = self.name.clone();
        if let Some(limit) = head.number("x-fail-first") {
            let mut failed = self.failed.lock();
            let count = failed.entry(asked.clone()).or_default();
            if *count < limit {
                *count += 1;
                return Ok(("503 Service Unavailable", format!("{server} fails for the time being\n")));
            }
        }
        let client = SocketAddr::new(client.ip().to_canonical(), client.port());
        Ok(("200 OK", serde_json::to_string(&Answer { server, client, asked })? + "\n"))
    }
}
