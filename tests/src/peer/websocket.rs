//! `heddle-peer ws-serve` and `ws`: a WebSocket that sends back what comes, and a client that verifies it.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use futures_util::{SinkExt, StreamExt};
use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Bytes, Message};
use tokio_tungstenite::{accept_async, client_async};

use super::pattern::Pattern;
use super::print;
use super::report::ServerEvent;
use super::serve::{bind, parse_listen};

#[derive(Args)]
pub(super) struct WsServe {
    /// Where to listen: a port or an address.
    #[arg(long)]
    listen: String,
}

#[derive(Args)]
pub(super) struct Ws {
    /// Where to.
    #[arg(long)]
    to: SocketAddr,
    /// The Host header.
    #[arg(long, default_value = "web")]
    host: String,
    /// The path.
    #[arg(long, default_value = "/")]
    path: String,
    /// How many messages, one after the other; every other one is text.
    #[arg(long, default_value_t = 10)]
    count: u64,
    /// Bytes of a message.
    #[arg(long, default_value_t = 1000)]
    bytes: usize,
    /// Milliseconds between two messages.
    #[arg(long, default_value_t = 0)]
    pause_ms: u64,
}

/// What `ws` found.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct WsReport {
    /// The status of an answer that switched no protocol.
    pub refused: Option<u16>,
    /// Messages that came back unchanged.
    pub echoed: u64,
    /// A ping was answered.
    pub pong: bool,
    /// The close was answered.
    pub closed: bool,
    /// What went wrong.
    pub error: Option<String>,
}

pub(super) fn serve(serve: &WsServe) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let addresses = parse_listen(&serve.listen).context("--listen is no port and no address")?;
        let address = *addresses.first().context("no address to listen at")?;
        let listener = bind(address).with_context(|| format!("listening on {address}"))?;
        print(&ServerEvent::Listening { addresses: vec![listener.local_addr()?] })?;
        loop {
            let (stream, _) = listener.accept().await.context("accepting")?;
            tokio::spawn(async move {
                let Ok(socket) = accept_async(stream).await else { return };
                let (mut sink, mut stream) = socket.split();
                while let Some(Ok(message)) = stream.next().await {
                    // Pings and closes are answered by the library.
                    if (message.is_text() || message.is_binary()) && sink.send(message).await.is_err() {
                        return;
                    }
                }
                let _ = sink.close().await;
            });
        }
    })
}

pub(super) fn run(ws: &Ws) -> Result<WsReport> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut report = WsReport::default();
    runtime.block_on(async {
        if let Err(error) = exchange(ws, &mut report).await {
            report.error = Some(format!("{error:#}"));
        }
    });
    Ok(report)
}

async fn exchange(ws: &Ws, report: &mut WsReport) -> Result<()> {
    let stream = TcpStream::connect(ws.to).await.with_context(|| format!("connecting to {}", ws.to))?;
    stream.set_nodelay(true)?;
    let request = format!("ws://{}{}", ws.host, ws.path).into_client_request()?;
    let (mut socket, _) = match client_async(request, stream).await {
        Ok(open) => open,
        Err(tokio_tungstenite::tungstenite::Error::Http(answer)) => {
            report.refused = Some(answer.status().as_u16());
            return Ok(());
        }
        Err(error) => return Err(error).context("opening the WebSocket"),
    };
    for number in 0..ws.count {
        let message = message(number, ws.bytes);
        socket.send(message.clone()).await.context("sending")?;
        let back = socket.next().await.context("the WebSocket ended")?.context("receiving")?;
        report.echoed += u64::from(back == message);
        tokio::time::sleep(Duration::from_millis(ws.pause_ms)).await;
    }
    socket.send(Message::Ping(Bytes::from_static(b"are you there"))).await.context("sending a ping")?;
    report.pong = matches!(socket.next().await, Some(Ok(Message::Pong(_))));
    socket.close(None).await.context("closing")?;
    while let Some(Ok(message)) = socket.next().await {
        report.closed |= message.is_close();
    }
    Ok(())
}

fn message(number: u64, bytes: usize) -> Message {
    if number.is_multiple_of(2) {
        return Message::text(format!("message {number} ").repeat(bytes / 10 + 1));
    }
    let mut buffer = vec![0; bytes];
    Pattern::new(number).fill(0, &mut buffer);
    Message::binary(buffer)
}
