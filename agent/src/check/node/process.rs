//! What this process may do: capabilities, open files, settings of network namespaces.

use std::{fs, io};

use rustix::process::{Resource, getrlimit};

use crate::{
    check::Outcome,
    config::{Config, Source},
};

/// Numbers of capabilities, from linux/capability.h.
const NET_ADMIN: Capability = Capability { bit: 12, name: "NET_ADMIN" };
const SYS_PTRACE: Capability = Capability { bit: 19, name: "SYS_PTRACE" };
const SYS_ADMIN: Capability = Capability { bit: 21, name: "SYS_ADMIN" };

/// Fewer connections than this a busy node outgrows.
const FEW_CONNECTIONS: u32 = 4096;

/// The agent sets it in each enrolled pod's network namespace, through this very path.
const NAMESPACE_SETTING: &str = "/proc/sys/net/ipv4/tcp_fwmark_accept";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Capability {
    bit: u32,
    name: &'static str,
}

pub(super) fn check(config: &Config) -> Vec<Outcome> {
    let finds_processes = matches!(config.source, Source::Kubernetes(_));
    let status = fs::read_to_string("/proc/self/status");
    vec![
        capabilities(&status, finds_processes),
        open_files(getrlimit(Resource::Nofile).maximum, config.limits.connections),
        settings(fs::OpenOptions::new().write(true).open(NAMESPACE_SETTING).map(drop)),
    ]
}

fn capabilities(status: &io::Result<String>, finds_processes: bool) -> Outcome {
    let check = "capabilities";
    let set = match status {
        Ok(text) => effective(text),
        Err(error) => return Outcome::not_checked(check, format!("read /proc/self/status: {error}"), "mount proc"),
    };
    let needed = [Some(NET_ADMIN), Some(SYS_ADMIN), finds_processes.then_some(SYS_PTRACE)];
    let missing = needed.into_iter().flatten().filter(|capability| set & 1 << capability.bit == 0);
    let missing: Vec<&str> = missing.map(|capability| capability.name).collect();
    match missing.is_empty() {
        true => Outcome::ok(check, "all that the agent needs"),
        false => Outcome::error(
            check,
            format!("this process has not {}", missing.join(", ")),
            format!("run as root, or add to securityContext.capabilities of the container: {}", missing.join(", ")),
        ),
    }
}

/// The hexadecimal set of proc(5); none where it cannot be read.
fn effective(status: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    line.and_then(|text| u64::from_str_radix(text.trim(), 16).ok()).unwrap_or_default()
}

fn open_files(limit: Option<u64>, connections: u32) -> Outcome {
    let check = "open files";
    let text = limit.map_or_else(|| "no limit".to_owned(), |limit| format!("limit {limit}"));
    let seen = format!("{text}, with {connections} connections (limits.connections)");
    if limit.is_some_and(|limit| limit / 2 < u64::from(connections)) {
        let remedy = "raise LimitNOFILE of the container runtime's service, or lower limits.connections";
        return Outcome::error(check, format!("{seen}, each of which takes two"), remedy);
    }
    if connections < FEW_CONNECTIONS {
        let remedy = "raise LimitNOFILE of the container runtime's service, or limits.connections";
        return Outcome::warning(check, format!("{seen}: few for a node"), remedy);
    }
    Outcome::ok(check, seen)
}

fn settings(opened: io::Result<()>) -> Outcome {
    let check = "settings of pods' networks";
    match opened {
        Ok(()) => Outcome::ok(check, "/proc/sys can be written"),
        Err(error) => Outcome::error(
            check,
            format!("open {NAMESPACE_SETTING} for writing: {error}"),
            "run privileged: container runtimes mount /proc/sys for reading only in other containers",
        ),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::check::Standing;

    #[test]
    fn a_missing_capability_is_named() {
        let all = "Name:\theddle\nCapEff:\t000001ffffffffff\n".to_owned();
        assert_eq!(capabilities(&Ok(all.clone()), true).standing, Standing::Ok);
        for (bit, finds_processes, missing) in [
            (12, true, Some("NET_ADMIN")),
            (21, true, Some("SYS_ADMIN")),
            (19, true, Some("SYS_PTRACE")),
            (19, false, None),
        ] {
            let set = format!("CapEff:\t{:016x}\n", 0x1ff_ffff_ffff_u64 & !(1 << bit));
            let outcome = capabilities(&Ok(set), finds_processes);
            let expected = missing.map(|name| format!("this process has not {name}"));
            assert_eq!((outcome.standing == Standing::Error).then_some(outcome.seen), expected, "{bit}");
        }
        assert_eq!(
            capabilities(&Ok("CapEff:\t0\n".to_owned()), false).seen,
            "this process has not NET_ADMIN, SYS_ADMIN"
        );
        assert_eq!(capabilities(&Err(io::ErrorKind::NotFound.into()), true).standing, Standing::NotChecked);
    }

    #[test]
    fn each_connection_takes_two_open_files() {
        for (limit, connections, standing) in [
            (Some(1 << 20), 400_000, Standing::Ok),
            (None, 400_000, Standing::Ok),
            (Some(20_000), 9_000, Standing::Ok),
            (Some(4_096), 1_792, Standing::Warning),
            (Some(4_096), 400_000, Standing::Error),
        ] {
            assert_eq!(open_files(limit, connections).standing, standing, "{limit:?} {connections}");
        }
        assert_eq!(settings(Err(io::ErrorKind::ReadOnlyFilesystem.into())).standing, Standing::Error);
        assert!(settings(Ok(())).remedy.is_none());
        assert_eq!(effective("CapEff:\tnone\n"), 0);
        assert!(fs::read_to_string("/proc/self/status").unwrap().contains("CapEff:"));
    }
}
