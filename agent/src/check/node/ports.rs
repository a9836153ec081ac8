//! The agent's own ports on the node: each is bound once, and let go.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    os::unix::net::UnixStream,
};

use crate::{check::Outcome, config::Config};

pub(super) fn check(config: &Config) -> Vec<Outcome> {
    let addresses = [
        ("admin.address", config.admin.address),
        ("metrics.address", Some(config.metrics)),
        ("health.address", Some(config.health)),
    ];
    let has_agent = || config.admin.socket.as_ref().is_some_and(|socket| UnixStream::connect(socket).is_ok());
    let listed = addresses.into_iter().filter_map(|(key, address)| Some((key, address?)));
    listed.map(|(key, address)| judge(key, address, TcpListener::bind(address).map(drop), has_agent)).collect()
}

fn judge(key: &str, address: SocketAddr, bound: io::Result<()>, has_agent: impl Fn() -> bool) -> Outcome {
    let check = format!("port {}", address.port());
    match bound {
        Ok(()) => Outcome::ok(check, format!("free ({key})")),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && has_agent() => {
            Outcome::ok(check, format!("taken by the agent that runs here ({key})"))
        }
        Err(error) => Outcome::error(
            check,
            format!("listen on {address} ({key}): {error}"),
            format!("find who has it with: ss -ltnp 'sport = :{}'; or set {key}", address.port()),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Standing;

    #[test]
    fn a_port_may_be_taken_by_an_agent_alone() {
        let address = SocketAddr::from(([127, 0, 0, 1], 15020));
        let taken = || Err(io::ErrorKind::AddrInUse.into());
        assert_eq!(judge("metrics.address", address, Ok(()), || false).standing, Standing::Ok);
        assert_eq!(judge("metrics.address", address, taken(), || true).standing, Standing::Ok);
        let outcome = judge("metrics.address", address, taken(), || false);
        assert_eq!(outcome.standing, Standing::Error);
        assert!(outcome.to_string().contains("set metrics.address"), "{outcome}");
    }
}
