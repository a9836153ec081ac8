//! The way back from an application to the agent.
//!
//! The agent connects to an application with the client's address as its source, so the application answers to that
//! address, and the answer would leave the pod. The agent's packets carry a mark, the application's socket takes it
//! over (`tcp_fwmark_accept`), and one rule sends what has the mark to the local table: the answer stays here. So does the
//! refusal where no application listens: no socket sends it, and it takes the mark from the packet (`fwmark_reflect`).

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    route::{RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType},
    rule::{RuleAction, RuleAttribute, RuleMessage},
};
use parking_lot::Mutex;

use super::{NetworkNamespace, listeners::has_ipv6, netlink::ask, sockets::APPLICATION_MARK};

/// Number of our routing table in pods' namespaces: the mark's, so that one is recognised by the other.
const TABLE: u32 = APPLICATION_MARK;
/// Before the rules of the main table (32766), after the local one (0).
const PRIORITY: u32 = 100;
/// Index of `lo`, which is 1 in every network namespace.
const LOOPBACK: u32 = 1;

static INSTALLED: Mutex<Installed> = Mutex::new(Installed { count: BTreeMap::new(), are_left: false });

/// What this process has installed.
struct Installed {
    /// How many [`ReturnRoute`]s each namespace has, by its cookie. A pod that is released and enrolled again has two for as
    /// long as connections of the first time live, and the end of those must not take the route from the others.
    count: BTreeMap<u64, usize>,
    /// They are the next agent's to remove.
    are_left: bool,
}

/// Rules and routes of one pod's namespace; removed with the last of its kind, which is when the pod's last connection
/// has ended.
#[derive(Debug)]
pub(super) struct ReturnRoute {
    netns: Arc<NetworkNamespace>,
    proc: PathBuf,
}

impl ReturnRoute {
    /// Puts them in place, the settings by a proc file system that can be written; what an earlier agent left is taken over.
    pub(super) fn install(netns: Arc<NetworkNamespace>, proc: &Path) -> io::Result<Self> {
        let mut installed = INSTALLED.lock();
        netns.run(|| {
            for setting in settings(proc) {
                fs::write(&setting, "1").map_err(|error| not_set(&setting, &error))?;
            }
            for family in families() {
                create(RouteNetlinkMessage::NewRoute(route(family)))?;
                create(RouteNetlinkMessage::NewRule(rule(family)))?;
            }
            Ok::<_, io::Error>(())
        })??;
        *installed.count.entry(netns.cookie()).or_default() += 1;
        drop(installed);
        Ok(Self { netns, proc: proc.to_owned() })
    }

    /// Whether all of this process are left where they are when their time is over, for the agent that has taken over.
    pub(super) fn leave_all(are_left: bool) {
        INSTALLED.lock().are_left = are_left;
    }
}

impl Drop for ReturnRoute {
    fn drop(&mut self) {
        let mut installed = INSTALLED.lock();
        let Some(count) = installed.count.get_mut(&self.netns.cookie()) else { return };
        *count -= 1;
        if *count > 0 {
            return;
        }
        installed.count.remove(&self.netns.cookie());
        if installed.are_left {
            return;
        }
        // Best effort: in a namespace that is going away there is nothing left to remove.
        let _ = self.netns.run(|| clear(&self.proc));
    }
}

/// Takes them out of the namespace that this thread is in, whoever has installed them. Whether there were any. The settings are
/// then what the kernel gives a new namespace.
pub(super) fn clear(proc: &Path) -> io::Result<bool> {
    let mut were_there = false;
    for family in families() {
        were_there |= remove(RouteNetlinkMessage::DelRule(rule(family)))?;
        were_there |= remove(RouteNetlinkMessage::DelRoute(route(family)))?;
    }
    if were_there {
        for setting in settings(proc) {
            fs::write(&setting, "0").map_err(|error| not_set(&setting, &error))?;
        }
    }
    Ok(were_there)
}

/// Whether it was there: the kernel knows no such rule, or no such process, which it says of a route.
fn remove(message: RouteNetlinkMessage) -> io::Result<bool> {
    match ask(message, 0) {
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ESRCH)) => Ok(false),
        result => result.map(|_| true),
    }
}

/// sys/net shows the namespace of the thread that opens it.
fn settings(proc: &Path) -> impl Iterator<Item = PathBuf> {
    let ipv4 = ["sys/net/ipv4/tcp_fwmark_accept", "sys/net/ipv4/fwmark_reflect"];
    ipv4.into_iter().chain(has_ipv6().then_some("sys/net/ipv6/fwmark_reflect")).map(|setting| proc.join(setting))
}

/// Container runtimes make the container's own /proc/sys read-only.
fn not_set(setting: &Path, error: &io::Error) -> io::Error {
    let remedy = if error.kind() == io::ErrorKind::ReadOnlyFilesystem {
        "; mount the machine's /proc into the agent's container (hostPath, not readOnly), and name that place in capture.proc"
    } else {
        ""
    };
    io::Error::new(error.kind(), format!("write to {}: {error}{remedy}", setting.display()))
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

/// What exists already was left by an earlier agent.
fn create(message: RouteNetlinkMessage) -> io::Result<()> {
    match ask(message, NLM_F_CREATE | NLM_F_EXCL) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}
