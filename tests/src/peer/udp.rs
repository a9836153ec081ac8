//! `heddle-peer udp-echo` and `udp-ping`: datagrams, which the mesh must leave alone.

use std::collections::BTreeSet;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;

use super::print;
use super::report::{PingReport, ServerEvent};

#[derive(Args)]
pub(super) struct Echo {
    /// Where to listen.
    #[arg(long)]
    listen: SocketAddr,
}

#[derive(Args)]
pub(super) struct Ping {
    /// Where to.
    #[arg(long)]
    to: SocketAddr,
    /// How many datagrams.
    #[arg(long, default_value_t = 5)]
    count: u64,
    /// Connect the socket first, so that the kernel's connect hook sees it.
    #[arg(long)]
    connected: bool,
    /// How many milliseconds to wait for each answer.
    #[arg(long, default_value_t = 500)]
    wait_ms: u64,
}

pub(super) fn echo(echo: &Echo) -> Result<()> {
    let socket = UdpSocket::bind(echo.listen).with_context(|| format!("listening on {}", echo.listen))?;
    print(&ServerEvent::Listening { addresses: vec![socket.local_addr()?] })?;
    let mut buffer = [0; 2048];
    loop {
        let (count, from) = socket.recv_from(&mut buffer)?;
        socket.send_to(&buffer[..count], from)?;
    }
}

pub(super) fn ping(ping: &Ping) -> Result<PingReport> {
    let any = if ping.to.is_ipv4() { SocketAddr::from(([0; 4], 0)) } else { SocketAddr::from(([0u16; 8], 0)) };
    let socket = UdpSocket::bind(any)?;
    socket.set_read_timeout(Some(Duration::from_millis(ping.wait_ms)))?;
    if ping.connected {
        socket.connect(ping.to).with_context(|| format!("connecting to {}", ping.to))?;
    }
    // Answers may come late, after the next datagram was sent: a neighbour had to be found first.
    let (mut waiting, mut sent) = (BTreeSet::new(), 0);
    for number in 0..ping.count {
        let datagram = datagram(number);
        let result = if ping.connected {
            socket.send(datagram.as_bytes())
        } else {
            socket.send_to(datagram.as_bytes(), ping.to)
        };
        result.with_context(|| format!("sending to {}", ping.to))?;
        sent += 1;
        waiting.insert(datagram);
        receive(&socket, ping.to, &mut waiting);
    }
    Ok(PingReport { sent, answered: sent - waiting.len() as u64 })
}

fn datagram(number: u64) -> String {
    format!("datagram {number} of {}", std::process::id())
}

/// Takes answers until none is waited for, or none comes for the socket's time limit.
fn receive(socket: &UdpSocket, from: SocketAddr, waiting: &mut BTreeSet<String>) {
    let mut buffer = [0; 2048];
    while !waiting.is_empty() {
        let Ok((count, sender)) = socket.recv_from(&mut buffer) else { return };
        // Not the whole address: an IPv6 sender may have a flow label of its own.
        if (sender.ip(), sender.port()) == (from.ip(), from.port()) {
            waiting.remove(String::from_utf8_lossy(&buffer[..count]).as_ref());
        }
    }
}
