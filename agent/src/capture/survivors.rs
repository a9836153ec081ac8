//! Connections that were open before a pod was enrolled: they are not cut, and nobody protects them, so they are
//! counted.

use std::{fs, io};

use super::NetworkNamespace;

/// `TCP_ESTABLISHED` in the tables of /proc/net.
const ESTABLISHED: &str = "01";

/// Counts the established TCP connections of a namespace to other hosts.
pub(super) fn count(netns: &NetworkNamespace) -> io::Result<usize> {
    netns.run(|| {
        // The thread's own entry shows the namespace that the thread is in.
        let ipv4 = fs::read_to_string("/proc/thread-self/net/tcp")?;
        let ipv6 = fs::read_to_string("/proc/thread-self/net/tcp6").unwrap_or_default();
        Ok([ipv4, ipv6].iter().flat_map(|table| table.lines().skip(1)).filter(|line| is_survivor(line)).count())
    })?
}

/// Whether a line of the table is an established connection that leaves the pod.
fn is_survivor(line: &str) -> bool {
    let mut fields = line.split_ascii_whitespace().skip(1);
    let (Some(local), Some(remote), Some(state)) = (fields.next(), fields.next(), fields.next()) else {
        return false;
    };
    let address = |end: &str| end.split(':').next().unwrap_or_default().to_owned();
    state == ESTABLISHED && !is_loopback(&address(remote)) && address(local) != address(remote)
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
    use super::is_survivor;

    #[test]
    fn only_established_connections_to_other_hosts_count() {
        for (what, line, expected) in [
            ("to another host", "0: 0100000A:1F90 0200000A:C001 01 00000000:00000000", true),
            ("listening", "0: 0100000A:1F90 00000000:0000 0A 00000000:00000000", false),
            ("to loopback", "0: 0100007F:1F90 0100007F:C001 01 00000000:00000000", false),
            ("to itself", "0: 0100000A:1F90 0100000A:C001 01 00000000:00000000", false),
            ("closing", "0: 0100000A:1F90 0200000A:C001 06 00000000:00000000", false),
            ("IPv6", "0: 000000FD000000000000000001000000:1F90 000000FD000000000000000002000000:C001 01", true),
            (
                "IPv6 loopback",
                "0: 00000000000000000000000001000000:1F90 00000000000000000000000001000000:C001 01",
                false,
            ),
            (
                "mapped loopback",
                "0: 0000000000000000FFFF00000100007F:1F90 0000000000000000FFFF00000100007F:C001 01",
                false,
            ),
            ("cut short", "0: 0100000A:1F90", false),
        ] {
            assert_eq!(is_survivor(line), expected, "{what}");
        }
    }
}
