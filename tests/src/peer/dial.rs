//! One client socket, made in the way that the command line asks for.
//!
//! Real programs differ in how they connect; each way takes another path through the kernel's hooks.

use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV6, TcpStream};
use std::time::Duration;

use clap::Args;
use socket2::{Domain, Protocol, Socket, Type};

#[derive(Args, Clone)]
pub(super) struct Dial {
    /// Bind to this address, or address and port, first.
    #[arg(long, value_parser = parse_bind)]
    bind: Option<SocketAddr>,
    /// SO_BINDTODEVICE.
    #[arg(long)]
    bind_device: Option<String>,
    /// SO_MARK.
    #[arg(long)]
    mark: Option<u32>,
    /// Use an IPv6 socket and the v4-mapped form of IPv4 addresses.
    #[arg(long)]
    mapped_v6: bool,
    /// Connect without blocking, and wait with poll(2).
    #[arg(long)]
    nonblocking: bool,
    /// Limit in seconds for connecting, and for each read and write.
    #[arg(long, default_value_t = 10.0)]
    timeout: f64,
}

impl Dial {
    pub(super) fn timeout(&self) -> Duration {
        Duration::from_secs_f64(self.timeout)
    }

    /// The address that the socket is asked to connect to.
    pub(super) fn target(&self, to: SocketAddr) -> SocketAddr {
        if self.mapped_v6 { mapped(to) } else { to }
    }

    /// A connected, blocking socket with time limits.
    pub(super) fn connect(&self, to: SocketAddr) -> io::Result<TcpStream> {
        let target = self.target(to);
        let socket = Socket::new(Domain::for_address(target), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_read_timeout(Some(self.timeout()))?;
        // Also bounds a blocking connect(), which then says EINPROGRESS.
        socket.set_write_timeout(Some(self.timeout()))?;
        socket.set_tcp_nodelay(true)?;
        if let Some(device) = &self.bind_device {
            socket.bind_device(Some(device.as_bytes()))?;
        }
        if let Some(mark) = self.mark {
            socket.set_mark(mark)?;
        }
        if let Some(from) = self.bind {
            socket.set_reuse_address(true)?;
            socket.bind(&self.target(from).into())?;
        }
        if self.nonblocking {
            socket.connect_timeout(&target.into(), self.timeout())?;
        } else {
            socket.connect(&target.into())?;
        }
        Ok(socket.into())
    }
}

fn mapped(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V4(v4) => SocketAddrV6::new(v4.ip().to_ipv6_mapped(), v4.port(), 0, 0).into(),
        v6 @ SocketAddr::V6(_) => v6,
    }
}

fn parse_bind(text: &str) -> Result<SocketAddr, String> {
    let with_port = text.parse().ok();
    let without = || text.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, 0));
    with_port.or_else(without).ok_or_else(|| format!("`{text}` is neither an address nor address:port"))
}
