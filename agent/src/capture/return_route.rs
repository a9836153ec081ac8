//! The way back from an application to the agent.
//!
//! The agent connects to an application with the client's address as its source, so the application answers to that
//! address, and the answer would leave the pod. The agent's packets carry a mark, the application's socket takes it
//! over (`tcp_fwmark_accept`), and one rule sends what has the mark to the local table: the answer stays here. So does the
//! refusal where no application listens: no socket sends it, and it takes the mark from the packet (`fwmark_reflect`).

use std::{collections::BTreeMap, fs, io, sync::Arc};

use netlink_packet_core::{NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    route::{RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType},
    rule::{RuleAction, RuleAttribute, RuleMessage},
};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use parking_lot::Mutex;

use super::{
    NetworkNamespace,
    sockets::{APPLICATION_MARK, has_ipv6},
};

/// Number of our routing table in pods' namespaces: the mark's, so that one is recognised by the other.
const TABLE: u32 = APPLICATION_MARK;
/// Before the rules of the main table (32766), after the local one (0).
const PRIORITY: u32 = 100;
/// Index of `lo`, which is 1 in every network namespace.
const LOOPBACK: u32 = 1;

/// How many [`ReturnRoute`]s each namespace has, by its cookie. A pod that is released and enrolled again has two for as
/// long as connections of the first time live, and the end of those must not take the route from the others.
static INSTALLED: Mutex<BTreeMap<u64, usize>> = Mutex::new(BTreeMap::new());

/// Rules and routes of one pod's namespace; removed with the last of its kind, which is when the pod's last connection
/// has ended.
#[derive(Debug)]
pub(super) struct ReturnRoute {
    netns: Arc<NetworkNamespace>,
}

impl ReturnRoute {
    /// Puts them in place; what an earlier agent left is taken over.
    pub(super) fn install(netns: Arc<NetworkNamespace>) -> io::Result<Self> {
        let mut installed = INSTALLED.lock();
        netns.run(|| {
            for setting in settings() {
                fs::write(setting, "1")?;
            }
            for family in families() {
                request(RouteNetlinkMessage::NewRoute(route(family)), true)?;
                request(RouteNetlinkMessage::NewRule(rule(family)), true)?;
            }
            Ok::<_, io::Error>(())
        })??;
        *installed.entry(netns.cookie()).or_default() += 1;
        drop(installed);
        Ok(Self { netns })
    }
}

impl Drop for ReturnRoute {
    fn drop(&mut self) {
        let mut installed = INSTALLED.lock();
        let Some(count) = installed.get_mut(&self.netns.cookie()) else { return };
        *count -= 1;
        if *count > 0 {
            return;
        }
        installed.remove(&self.netns.cookie());
        // Best effort: in a namespace that is going away there is nothing left to remove.
        let _ = self.netns.run(|| {
            for family in families() {
                let _ = request(RouteNetlinkMessage::DelRule(rule(family)), false);
                let _ = request(RouteNetlinkMessage::DelRoute(route(family)), false);
            }
        });
    }
}

/// /proc/sys/net shows the namespace of the thread that opens it.
fn settings() -> impl Iterator<Item = &'static str> {
    let ipv4 = ["/proc/sys/net/ipv4/tcp_fwmark_accept", "/proc/sys/net/ipv4/fwmark_reflect"];
    ipv4.into_iter().chain(has_ipv6().then_some("/proc/sys/net/ipv6/fwmark_reflect"))
}

fn families() -> impl Iterator<Item = AddressFamily> {
    [AddressFamily::Inet].into_iter().chain(has_ipv6().then_some(AddressFamily::Inet6))
}

fn rule(family: AddressFamily) -> RuleMessage {
    let mut rule = RuleMessage::default();
    rule.header.family = family;
    rule.header.action = RuleAction::ToTable;
    rule.attributes =
        vec![RuleAttribute::Priority(PRIORITY), RuleAttribute::FwMark(APPLICATION_MARK), RuleAttribute::Table(TABLE)];
    rule
}

/// "Every address is local": without a destination, since its prefix has length 0.
fn route(family: AddressFamily) -> RouteMessage {
    let mut route = RouteMessage::default();
    route.header = RouteHeader {
        address_family: family,
        protocol: RouteProtocol::Static,
        scope: RouteScope::Host,
        kind: RouteType::Local,
        ..RouteHeader::default()
    };
    route.attributes = vec![RouteAttribute::Table(TABLE), RouteAttribute::Oif(LOOPBACK)];
    route
}

/// Sends one request on a socket of the current namespace and waits for the kernel's answer, which is immediate.
fn request(message: RouteNetlinkMessage, create: bool) -> io::Result<()> {
    let mut packet = NetlinkMessage::from(message);
    packet.header.flags = NLM_F_REQUEST | NLM_F_ACK | if create { NLM_F_CREATE | NLM_F_EXCL } else { 0 };
    packet.finalize();
    let mut bytes = vec![0; packet.buffer_len()];
    packet.serialize(&mut bytes);

    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    socket.send(&bytes, 0)?;
    let (answer, _) = socket.recv_from_full()?;
    let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&answer).map_err(io::Error::other)?;
    match answer.payload {
        NetlinkPayload::Error(error) => match error.to_io() {
            // Success is an error message without a code.
            _ if error.code.is_none() => Ok(()),
            error if create && error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            error => Err(error),
        },
        _ => Err(io::Error::other("the kernel answered a routing request with something else")),
    }
}
