//! Those who want all that there is while a light pod is measured: one pod that sends without end, one that opens connections as fast
//! as it can, each to a server of its own on the other node.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::ground::{HTTP, IPERF, pause, serve};
use super::wrk::{self, Manner};
use crate::bed::{Bed, Node, Pod, Process};

/// Connections that are being opened at a time.
const AT_A_TIME: u32 = 16;
/// Until both are at it, and by how much they outlast who is measured.
const AROUND: Duration = Duration::from_secs(1);

/// The pods, and their servers.
pub(super) struct Crowd {
    sender: Pod,
    receiver: Pod,
    opener: Pod,
    accepter: Pod,
    _servers: Vec<Process>,
}

/// Both at work, until dropped.
pub(super) struct Busy([Process; 2]);

impl Crowd {
    pub(super) fn start(a: &Node, b: &Node, pod: impl Fn(&Node, &str) -> Result<Pod>, bed: &Bed) -> Result<Self> {
        let (sender, receiver) = (pod(a, "sender")?, pod(b, "receiver")?);
        let (opener, accepter) = (pod(a, "opener")?, pod(b, "accepter")?);
        let mut servers = serve(&receiver, bed)?;
        servers.extend(serve(&accepter, bed)?);
        Ok(Self { sender, receiver, opener, accepter, _servers: servers })
    }

    /// Sets them to work for so many seconds and a bit.
    pub(super) fn work(&self, seconds: u64, bed: &Bed) -> Result<Busy> {
        let seconds = seconds + 3 * AROUND.as_secs();
        let to = self.receiver.at(IPERF);
        let bulk = format!("-c {} -p {} -t {seconds} --connect-timeout 5000", to.ip(), to.port());
        let url = format!("http://{}/bench/ok", self.accepter.at(HTTP));
        let open = wrk::command(&self.opener, &url, AT_A_TIME, Manner::Closing, seconds, bed.directory())?;
        let busy = Busy([self.sender.command("iperf3").words(&bulk).start()?, open.start()?]);
        pause(AROUND)?;
        Ok(busy)
    }
}

impl Busy {
    /// Ends them; an error where one has ended by itself, when there was no crowd.
    pub(super) fn end(self) -> Result<()> {
        for mut process in self.0 {
            ensure!(process.running()?, "{}", process.describe("was to be at work the whole time"));
            process.kill()?;
        }
        Ok(())
    }
}
