//! Connections that were open before a pod was enrolled: they are not cut, and nobody protects them, so they are
//! counted.

use std::{collections::HashSet, fs, io};

use super::NetworkNamespace;

/// `TCP_ESTABLISHED` in the tables of /proc/net.
const ESTABLISHED: &str = "01";

/// Counts the established TCP connections of a namespace to other hosts that are not the agent's own. A pod that is
/// enrolled for the second time can still have some of those.
pub(super) fn count(netns: &NetworkNamespace) -> io::Result<usize> {
    let tables = netns.run(|| {
        // The thread's own entry shows the namespace that the thread is in.
        let ipv4 = fs::read_to_string("/proc/thread-self/net/tcp")?;
        let ipv6 = fs::read_to_string("/proc/thread-self/net/tcp6").unwrap_or_default();
        Ok::<_, io::Error>(ipv4 + &ipv6)
    })??;
    let established: Vec<_> = tables.lines().filter_map(Established::parse).collect();
    if established.is_empty() {
        return Ok(0);
    }
    Ok(survivors(&established, &own_sockets()?))
}

/// One line of the table: a connection that leaves the pod.
#[derive(Debug, PartialEq)]
pub(super) struct Established<'a> {
    local: &'a str,
    pub(super) remote: &'a str,
    inode: &'a str,
}

impl<'a> Established<'a> {
    /// `None` for lines that are no established connection to another host, and for the heading.
    pub(super) fn parse(line: &'a str) -> Option<Self> {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let [_, local, remote, state, _, _, _, _, _, inode, ..] = fields.as_slice() else { return None };
        let address = |end: &'a str| end.split(':').next().unwrap_or_default();
        let leaves = !is_loopback(address(remote)) && address(local) != address(remote);
        (*state == ESTABLISHED && leaves).then_some(Self { local, remote, inode })
    }
}

/// Those that neither are a socket of the agent nor end at one, as an application's end of what the agent relays does.
fn survivors(established: &[Established<'_>], own: &HashSet<String>) -> usize {
    let is_own = |entry: &&Established<'_>| own.contains(entry.inode);
    let own_ends: HashSet<_> = established.iter().filter(is_own).map(|entry| (entry.remote, entry.local)).collect();
    let others = established.iter().filter(|entry| !is_own(entry));
    others.filter(|entry| !own_ends.contains(&(entry.local, entry.remote))).count()
}

/// Inode numbers of all sockets that this process has open.
fn own_sockets() -> io::Result<HashSet<String>> {
    let mut inodes = HashSet::new();
    for entry in fs::read_dir("/proc/self/fd")? {
        // A descriptor can be closed between the listing and the look.
        let Ok(target) = fs::read_link(entry?.path()) else { continue };
        let inode = target.to_str().and_then(|text| text.strip_prefix("socket:[")?.strip_suffix(']'));
        inodes.extend(inode.map(str::to_owned));
    }
    Ok(inodes)
}

/// Addresses stand there as words in the machine's byte order, in hexadecimal.
fn is_loopback(address: &str) -> bool {
    match address.len() {
        8 => address.ends_with("7F"),
        _ => {
            address == "00000000000000000000000001000000"
                || (address.starts_with("0000000000000000FFFF0000") && address.ends_with("7F"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A line with the fields that are not looked at filled in.
    fn line(local: &str, remote: &str, state: &str, inode: u32) -> String {
        format!("0: {local} {remote} {state} 00000000:00000000 00:00000000 00000000 0 0 {inode} 1 0 20 4 0 10 -1")
    }

    #[test]
    fn only_established_connections_to_other_hosts_count() {
        const V6: &str = "000000FD0000000000000000";
        let (one, two) = (format!("{V6}01000000:1F90"), format!("{V6}02000000:C001"));
        let loopback = "00000000000000000000000001000000:1F90";
        let mapped = "0000000000000000FFFF00000100007F:1F90";
        for (what, line, expected) in [
            ("to another host", line("0100000A:1F90", "0200000A:C001", "01", 1), true),
            ("listening", line("0100000A:1F90", "00000000:0000", "0A", 1), false),
            ("to loopback", line("0100007F:1F90", "0100007F:C001", "01", 1), false),
            ("to itself", line("0100000A:1F90", "0100000A:C001", "01", 1), false),
            ("closing", line("0100000A:1F90", "0200000A:C001", "06", 1), false),
            ("IPv6", line(&one, &two, "01", 1), true),
            ("IPv6 loopback", line(loopback, loopback, "01", 1), false),
            ("mapped loopback", line(mapped, mapped, "01", 1), false),
            ("cut short", "0: 0100000A:1F90".to_owned(), false),
        ] {
            assert_eq!(Established::parse(&line).is_some(), expected, "{what}");
        }
    }

    #[test]
    fn what_the_agent_relays_is_no_survivor() {
        let entry = |local, remote, inode| Established { local, remote, inode };
        let established = [
            entry("client:1", "server:80", "7"),
            entry("server:80", "client:1", "100"),
            entry("server:80", "client:2", "101"),
        ];
        assert_eq!(survivors(&established, &HashSet::from(["7".to_owned()])), 1);
        assert_eq!(survivors(&established, &HashSet::new()), 3);
    }
}
