//! The client: requests each on a connection of its own, one after the other or all at once, or all on one connection.

use std::io::{BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

use anyhow::{Context, Result};
use clap::Args;
use socket2::{Domain, Protocol, Socket, Type};

use super::head::Head;
use super::{Call, TIMEOUT};

#[derive(Args)]
pub(in crate::demo) struct Ask {
    /// Where to.
    #[arg(long)]
    to: SocketAddr,
    /// What to ask for.
    #[arg(long, default_value = "/")]
    path: String,
    /// How often.
    #[arg(long, default_value_t = 1)]
    count: usize,
    /// One more header, such as `x-version:v2`; may be given several times.
    #[arg(long = "header")]
    headers: Vec<String>,
    /// Send a POST with this body instead of a GET.
    #[arg(long)]
    body: Option<String>,
    /// All requests on one connection, one after the other.
    #[arg(long, conflicts_with = "at_once")]
    one_connection: bool,
    /// All requests at the same time.
    #[arg(long)]
    at_once: bool,
}

/// A connection that requests can be sent on.
type Connection = BufReader<TcpStream>;

impl Ask {
    pub(super) fn run(&self) -> Result<()> {
        let calls = if self.one_connection {
            self.on_one_connection()
        } else if self.at_once {
            self.at_the_same_time()
        } else {
            (0..self.count).map(|_| self.call()).collect()
        };
        writeln!(std::io::stdout(), "{}", serde_json::to_string(&calls)?).context("printing the report")
    }

    fn at_the_same_time(&self) -> Vec<Call> {
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..self.count).map(|_| scope.spawn(|| self.call())).collect();
            let failed = || Call { error: Some("the client panicked".to_owned()), ..Call::default() };
            threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| failed())).collect()
        })
    }

    /// As many calls as there shall be, up to the first that leaves the connection unusable.
    fn on_one_connection(&self) -> Vec<Call> {
        let mut calls = Vec::new();
        let (mut call, mut connection) = self.begin();
        while let Some(open) = &mut connection {
            self.exchange(open, &mut call);
            if call.error.is_some() || calls.len() + 1 == self.count {
                break;
            }
            let next = Call { peername: call.peername, ..Call::default() };
            calls.push(std::mem::replace(&mut call, next));
        }
        calls.push(call);
        calls
    }

    fn call(&self) -> Call {
        let (mut call, connection) = self.begin();
        if let Some(mut connection) = connection {
            self.exchange(&mut connection, &mut call);
        }
        call
    }

    fn begin(&self) -> (Call, Option<Connection>) {
        let (mut call, begin) = (Call::default(), Instant::now());
        let connected = connect(self.to);
        call.connect_us = u64::try_from(begin.elapsed().as_micros()).unwrap_or(u64::MAX);
        match connected {
            Ok(stream) => {
                // Nothing, if the server has reset the connection meanwhile.
                call.peername = stream.peer_addr().ok();
                (call, Some(BufReader::new(stream)))
            }
            Err(error) => {
                call.connect_error = Some(in_words(&error.into()));
                (call, None)
            }
        }
    }

    fn exchange(&self, connection: &mut Connection, call: &mut Call) {
        if let Err(error) = self.try_exchange(connection, call) {
            call.error = Some(in_words(&error));
        }
    }

    fn try_exchange(&self, connection: &mut Connection, call: &mut Call) -> Result<()> {
        // In one piece, as most programs send it.
        connection.get_mut().write_all(self.request().as_bytes())?;
        call.sent = self.body.as_ref().map_or(0, String::len) as u64;
        let head = Head::read(connection)?;
        let body = head.body(connection)?;
        call.received = body.len() as u64;
        call.status = head.word(1).and_then(|status| status.parse().ok());
        call.retry_after = head.header("retry-after").map(str::to_owned);
        if call.status == Some(200) {
            call.answer = Some(serde_json::from_slice(&body).context("the answer is not the server's")?);
        } else {
            call.words = String::from_utf8_lossy(&body).lines().next().map(str::to_owned);
        }
        Ok(())
    }

    fn request(&self) -> String {
        let method = if self.body.is_some() { "POST" } else { "GET" };
        let mut text = format!("{method} {} HTTP/1.1\r\nhost: {}\r\n", self.path, self.to);
        for header in &self.headers {
            text.push_str(&format!("{header}\r\n"));
        }
        if !self.one_connection {
            text.push_str("connection: close\r\n");
        }
        match &self.body {
            Some(body) => text + &format!("content-length: {}\r\n\r\n{body}", body.len()),
            None => text + "\r\n",
        }
    }
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
