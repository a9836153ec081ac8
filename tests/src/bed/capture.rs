//! Records every packet on the wire between the nodes, with tcpdump, and proves that the record is complete.
//!
//! Absence of plaintext in a record means something only if nothing was lost: the end of the record is a packet sent
//! for that purpose and awaited in the file, and packets that the kernel dropped are an error.

use std::fs::File;
use std::io::Read;
use std::net::UdpSocket;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use memchr::memmem;
use rustix::process::Signal;

use super::launch::Launch;
use super::packets::Capture;
use super::process::Process;
use super::{State, WIRE};

const WITHIN: Duration = Duration::from_secs(10);
/// Discard (RFC 863): no one listens.
const DISCARD: u16 = 9;

/// A running record; see [`super::Bed::wire_capture`].
pub struct WireCapture {
    bed: Arc<State>,
    tcpdump: Process,
    file: PathBuf,
    serial: u32,
}

impl WireCapture {
    pub(super) fn start(bed: &Arc<State>) -> Result<Self> {
        let serial = bed.objects.serial();
        let file = bed.directory.join(format!("wire-{serial}.pcap"));
        // Immediate mode, or else the end of the record waits in a kernel block and is lost; root kept (-Z), or else
        // tcpdump may not write here; 64 MiB of buffer so that bulk transfers fit.
        let launch = Launch::new("tcpdump on the wire".to_owned(), "tcpdump", &bed.wire, &bed.tools);
        let launch = launch.words(&format!("-i {WIRE} -n -U --immediate-mode -B 65536 -Z root -w")).arg(&file);
        let mut tcpdump = launch.start()?;
        tcpdump.wait_stderr(WITHIN, |line| line.contains("listening on"))?;
        Ok(Self { bed: Arc::clone(bed), tcpdump, file, serial })
    }

    /// Ends the record and gives back its packets.
    pub fn stop(mut self) -> Result<Capture> {
        let last = format!("the end of the record {} of {}", self.serial, self.bed.id);
        self.send_last(last.as_bytes())?;
        let deadline = Instant::now() + WITHIN;
        let mut file = File::open(&self.file).with_context(|| format!("reading {}", self.file.display()))?;
        let mut bytes = Vec::new();
        loop {
            // Other traffic may go on behind it: no byte of the file is passed over.
            bytes.drain(..bytes.len().saturating_sub(last.len()));
            file.read_to_end(&mut bytes).with_context(|| format!("reading {}", self.file.display()))?;
            if memmem::find(&bytes, last.as_bytes()).is_some() {
                break;
            }
            ensure!(Instant::now() < deadline, "{}", self.tcpdump.describe("did not record its last packet"));
            std::thread::sleep(Duration::from_millis(20));
        }
        self.tcpdump.signal(Signal::INT)?;
        let finished = self.tcpdump.wait(WITHIN)?;
        if !finished.stderr.iter().any(|line| line.starts_with("0 packets dropped by kernel")) {
            bail!("the record of the wire has gaps: {}", finished.describe());
        }
        Capture::parse(std::fs::read(&self.file).with_context(|| format!("reading {}", self.file.display()))?)
    }

    /// A broadcast on the wire from its first node.
    fn send_last(&self, payload: &[u8]) -> Result<()> {
        let first = self.bed.nodes.lock().first().cloned().context("a bed without nodes has nothing to record")?;
        first.netns().run(|| {
            let socket = UdpSocket::bind((first.wire_v4(), 0))?;
            socket.set_broadcast(true)?;
            socket.send_to(payload, ("172.30.0.255", DISCARD)).context("sending the last packet of the record")?;
            Ok(())
        })
    }
}
