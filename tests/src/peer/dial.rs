//! One client socket, made in the way that the command line asks for.
//!
//! Real programs differ in how they connect; each way takes another path through the kernel's hooks.

use std::fs::File;
use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV6, TcpStream};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
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
    /// IP_TRANSPARENT.
    #[arg(long)]
    transparent: bool,
    /// Multipath TCP.
    #[arg(long)]
    mptcp: bool,
    /// Make the socket in this network namespace, as if another process there had handed it over.
    #[arg(long)]
    made_in: Option<PathBuf>,
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
        let socket = self.socket(Domain::for_address(target))?;
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
        if self.transparent && target.is_ipv4() {
            socket.set_ip_transparent_v4(true)?;
        } else if self.transparent {
            socket.set_ip_transparent_v6(true)?;
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

    fn socket(&self, domain: Domain) -> io::Result<Socket> {
        let protocol = if self.mptcp { Protocol::MPTCP } else { Protocol::TCP };
        let make = || Socket::new(domain, Type::STREAM, Some(protocol));
        let Some(elsewhere) = &self.made_in else { return make() };
        let (home, elsewhere) = (File::open("/proc/thread-self/ns/net")?, File::open(elsewhere)?);
        move_into_link_name_space(elsewhere.as_fd(), Some(LinkNameSpaceType::Network))?;
        let made = make();
        move_into_link_name_space(home.as_fd(), Some(LinkNameSpaceType::Network))?;
        made
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
