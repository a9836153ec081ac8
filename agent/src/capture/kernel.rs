//! The kernel's half of the agent: programs, maps and links, loaded or adopted from the agent before.
//!
//! Exactly one [`Kernel`] exists in an agent and one task owns it, so that the maps have one writer.

use std::{
    fs::{self, File},
    io,
    os::{fd::AsFd, unix::fs::MetadataExt},
    path::{Path, PathBuf},
};

use aya::{
    Ebpf, EbpfError, EbpfLoader,
    maps::MapError,
    programs::{
        CgroupAttachMode, CgroupSockAddr, LinkOrder, ProgramError, ProgramFd, SchedClassifier, SkLookup, SockOps,
        TcAttachType,
        links::{FdLink, LinkError},
        tc::TcAttachOptions,
    },
    util::KernelVersion,
};

use super::{
    AgentSockets, ConnectionEvents, KernelCounters, Kubelet, KubeletFound, NativeEvents, NativePaths, NetworkNamespace,
    PodsByCookie, Switches, TableSizes,
    pins::{Pins, remove_link},
    sys,
    tables::Tables,
    wire::NodeEnd,
};
use crate::{
    config::{CaptureConfig, check_runs_in},
    mesh::CaptureRules,
    privileges::remark,
};

/// The programs, compiled from the `ebpf` crate by build.rs.
pub(super) static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/heddle.bpf.o"));

/// The maps that outlive the agent, by their names in the object, which are their pins' names too.
const MAPS: &[&str] = &[
    "PODS",
    "POD_ADDRESSES",
    "EXCLUDED_PORTS",
    "EXCLUDED_NETWORKS",
    "LISTENERS",
    "AGENT_SOCKETS",
    "CAPTURED",
    "ACCEPTED",
    "FLOWS",
    "APPLICATION_DIALS",
    "AGENT_DIALS",
    "WIRES",
    "VERDICTS",
    "NATIVE_STATE",
    "NATIVE_SOCKETS",
    "NATIVE_CONNECTIONS",
    "NATIVE_EVENTS",
    "NATIVE_LOST",
    "KUBELET",
    "PROBED_PORTS",
    "PROBING",
    "PROBES",
    "EVENTS",
];

/// Programs that are attached to the cgroup, where connections are dialled and asked about.
pub(super) const ADDRESS_HOOKS: [&str; 4] = ["connect4", "connect6", "getpeername4", "getpeername6"];
/// The one there that sees connections open and close.
pub(super) const FLOWS: &str = "flows";
/// The one in each pod's namespace.
pub(super) const INBOUND: &str = "inbound";
/// The one at the node's end of each cable.
pub(super) const WIRE: &str = "wire";

/// Why the kernel's half could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// The folder for pins is unusable.
    #[error("prepare {path} for pinned maps and links: {source}", path = path.display())]
    Pins {
        /// `capture.pins`.
        path: PathBuf,
        /// What happened.
        source: io::Error,
    },
    /// The cgroup to attach to is unusable.
    #[error("open cgroup {path}: {source}; set capture.cgroup to a cgroup v2 folder that has the pods and this agent", path = path.display())]
    Cgroup {
        /// `capture.cgroup`.
        path: PathBuf,
        /// What happened.
        source: io::Error,
    },
    /// The kernel refused a map or a program's format.
    #[error("load the kernel programs: {0}{remark}; they need Linux 5.15 or later", remark = remark(.0))]
    Load(#[from] EbpfError),
    /// The kernel refused a program, or to attach it.
    #[error("attach kernel program {program}: {source}{remark}", remark = remark(source.as_ref()))]
    Program {
        /// Name of the program.
        program: &'static str,
        /// What happened.
        source: Box<ProgramError>,
    },
    /// A link could not be opened, replaced or pinned.
    #[error("pin the link of kernel program {program}: {reason}")]
    Link {
        /// Name of the program.
        program: &'static str,
        /// What happened.
        reason: String,
    },
    /// A map could not be opened or changed.
    #[error("kernel map {map}: {source}")]
    Map {
        /// Name of the map.
        map: &'static str,
        /// What happened.
        source: MapError,
    },
}

/// Programs, maps and links.
pub struct Kernel {
    programs: Ebpf,
    pins: Pins,
    cgroup: Cgroup,
    switches: Switches,
    native: NativePaths,
    /// The maps that say which pods are enrolled.
    pub(super) tables: Tables,
    /// Who is enrolled, for those who read the kernel's events.
    pub(super) pods: PodsByCookie,
}

/// Where the programs are attached that see pods' sockets.
struct Cgroup {
    folder: File,
    inode: u64,
}

impl Cgroup {
    fn open(path: &Path) -> Result<Self, KernelError> {
        let unusable = |source| KernelError::Cgroup { path: path.to_owned(), source };
        let folder = File::open(path).map_err(unusable)?;
        let inode = folder.metadata().map_err(unusable)?.ino();
        // Its own sockets must be seen by the programs that it attaches.
        check_runs_in(path).map_err(unusable)?;
        Ok(Self { folder, inode })
    }
}

impl Kernel {
    /// Loads the programs, with the maps that an earlier agent pinned or new ones. Nothing is in force yet, and what is
    /// stays so: whatever this kernel refuses is refused here.
    pub fn load(cgroup: &Path, pins: &Path) -> Result<Self, KernelError> {
        let cgroup = Cgroup::open(cgroup)?;
        let folders = Pins::create(pins).map_err(|source| KernelError::Pins { path: pins.to_owned(), source })?;
        let mut loader = EbpfLoader::new();
        // The programs use no kernel types: without this the loader would parse the kernel's own, for 20 MB and 50 ms.
        loader.btf(None);
        for map in MAPS {
            loader.map_pin_path(map, folders.map(map));
        }
        let mut programs = loader.load(OBJECT)?;
        load_programs(&mut programs)?;
        let native = NativePaths::open(&folders)?;
        let tables = Tables::open(&folders)?;
        let switches = Switches::of(&mut programs)?;
        Ok(Self { programs, pins: folders, cgroup, switches, native, tables, pods: PodsByCookie::default() })
    }

    /// Puts the programs in force on the cgroup: links that are pinned already get them in one step. Pods that an earlier
    /// agent captured stay captured; those of one with another layout without their exclusions, until they are enrolled.
    pub fn put_in_force(&mut self) -> Result<(), KernelError> {
        // First: what an earlier agent decided holds no longer.
        self.native.take_over()?;
        let captured = self.adopted().map_err(|error| self.pins_failed(error))?;
        let known = self.tables.enrolled()?;
        for netns in captured.iter().filter(|netns| !known.contains(netns)) {
            self.tables.set_outbound(*netns, &[], &CaptureRules::default())?;
        }
        self.attach_to_cgroup()?;
        self.pins.remove_other_versions().map_err(|error| self.pins_failed(error))
    }

    /// Hands out what the data path needs of the kernel.
    pub fn sockets(&self) -> Result<AgentSockets, KernelError> {
        AgentSockets::open(&self.pins.map("AGENT_SOCKETS"), &self.pins.map("ACCEPTED"))
            .map_err(|source| KernelError::Map { map: "AGENT_SOCKETS", source })
    }

    /// Hands out the reader of the kernel's counters.
    pub fn counters(&self) -> Result<KernelCounters, KernelError> {
        KernelCounters::open(&self.pins.map("EVENTS")).map_err(|source| KernelError::Map { map: "EVENTS", source })
    }

    /// Hands out the reader of how much is entered in the tables.
    pub fn table_sizes(&self) -> Result<TableSizes, KernelError> {
        TableSizes::open(&self.pins)
    }

    /// Hands out the reader of what the programs tell about connections. There is one.
    pub fn connection_events(&mut self) -> Result<ConnectionEvents, KernelError> {
        ConnectionEvents::of(&mut self.programs, self.switches.clone())
    }

    /// Hands out the kernel's half of native connections.
    pub fn native_paths(&self) -> NativePaths {
        self.native.clone()
    }

    /// Hands out the reader of what the programs tell about native connections. There is one.
    pub fn native_events(&self) -> Result<NativeEvents, KernelError> {
        NativeEvents::open(&self.pins)
    }

    /// Hands out what tells the programs which cgroup is the kubelet's. There is one.
    pub fn kubelet(&self, config: &CaptureConfig, found: KubeletFound) -> Result<Kubelet, KernelError> {
        Kubelet::open(&self.pins, config, found)
    }

    /// Hands out what is turned on and off while the programs run.
    pub fn switches(&self) -> Switches {
        self.switches.clone()
    }

    /// Hands out who is enrolled, by the cookie that events name.
    pub fn pods_by_cookie(&self) -> PodsByCookie {
        self.pods.clone()
    }

    /// The loaded programs, for the reader of their log.
    pub fn programs(&mut self) -> &mut Ebpf {
        &mut self.programs
    }

    /// Cookies of the namespaces whose inbound connections an earlier agent captured.
    pub(super) fn adopted(&self) -> io::Result<Vec<u64>> {
        self.pins.pods()
    }

    /// From now on new inbound connections of this namespace go to the agent.
    pub(super) fn attach_inbound(&mut self, netns: &NetworkNamespace) -> Result<(), KernelError> {
        let pin = self.pins.pod_link(netns.cookie());
        let program: &mut SkLookup = program(&mut self.programs, INBOUND)?;
        if adopt_link(INBOUND, &pin, fd(INBOUND, program.fd())?)? {
            return Ok(());
        }
        let link = program.attach(netns).and_then(|id| program.take_link(id)).map_err(refused(INBOUND))?;
        pin_link(INBOUND, link.into(), &pin)
    }

    /// From now on new inbound connections of this namespace go where they would without Heddle.
    pub(super) fn detach_inbound(&self, netns: u64) -> Result<(), KernelError> {
        match remove_link(&self.pins.pod_link(netns)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(KernelError::Link { program: INBOUND, reason: error.to_string() })
            }
            _ => Ok(()),
        }
    }

    /// Whether this kernel can guard wires: it has `tcx`, whose links are pinned like the others.
    pub(super) fn guards_wires() -> bool {
        KernelVersion::current().is_ok_and(|kernel| kernel >= KernelVersion::new(6, 6, 0))
    }

    /// From now on no TCP connection leaves this namespace by these cables unless the agent opens it.
    pub(super) fn guard(&mut self, netns: u64, ends: &[NodeEnd]) -> Result<(), KernelError> {
        // First: a program that does not know a device lets pass what comes in by it.
        let devices: Vec<u32> = ends.iter().map(|end| end.index).collect();
        self.tables.set_wires(netns, &devices)?;
        let program: &mut SchedClassifier = program(&mut self.programs, WIRE)?;
        for end in ends {
            let pin = self.pins.wire_link(netns, end.index);
            if adopt_link(WIRE, &pin, fd(WIRE, program.fd())?)? {
                continue;
            }
            // Before all others, so that none of them lets pass what this one would not.
            let order = TcAttachOptions::TcxOrder(LinkOrder::first());
            let attached = program.attach_with_options(&end.name, TcAttachType::Ingress, order);
            let link = attached.and_then(|id| program.take_link(id)).map_err(refused(WIRE))?;
            pin_link(WIRE, link.try_into().map_err(unlinked(WIRE))?, &pin)?;
        }
        Ok(())
    }

    /// From now on everything leaves this namespace.
    pub(super) fn unguard(&mut self, netns: u64) -> Result<(), KernelError> {
        let failed = |error: io::Error| KernelError::Link { program: WIRE, reason: error.to_string() };
        self.tables.set_wires(netns, &[])?;
        for pin in self.pins.wire_links(netns).map_err(failed)? {
            remove_link(&pin).map_err(failed)?;
        }
        Ok(())
    }

    fn attach_to_cgroup(&mut self) -> Result<(), KernelError> {
        for name in ADDRESS_HOOKS {
            attach_address_hook(
                &mut self.programs,
                name,
                &self.cgroup.folder,
                &self.pins.cgroup_link(name, self.cgroup.inode),
            )?;
        }
        attach_flows(&mut self.programs, &self.cgroup.folder, &self.pins.cgroup_link(FLOWS, self.cgroup.inode))?;
        self.pins.keep_only_cgroup(self.cgroup.inode).map_err(|error| self.pins_failed(error))
    }

    fn pins_failed(&self, source: io::Error) -> KernelError {
        KernelError::Pins { path: self.pins.base().to_owned(), source }
    }
}

fn load_programs(programs: &mut Ebpf) -> Result<(), KernelError> {
    for name in ADDRESS_HOOKS {
        let hook: &mut CgroupSockAddr = program(programs, name)?;
        hook.load().map_err(refused(name))?;
    }
    let flows: &mut SockOps = program(programs, FLOWS)?;
    flows.load().map_err(refused(FLOWS))?;
    let inbound: &mut SkLookup = program(programs, INBOUND)?;
    inbound.load().map_err(refused(INBOUND))?;
    let wire: &mut SchedClassifier = program(programs, WIRE)?;
    wire.load().map_err(refused(WIRE))
}

fn attach_address_hook(programs: &mut Ebpf, name: &'static str, cgroup: &File, pin: &Path) -> Result<(), KernelError> {
    let program: &mut CgroupSockAddr = program(programs, name)?;
    if adopt_link(name, pin, fd(name, program.fd())?)? {
        return Ok(());
    }
    // Links on a cgroup live side by side without asking for it: the kernel refuses the flag.
    let id = program.attach(cgroup, CgroupAttachMode::Single).map_err(refused(name))?;
    let link = program.take_link(id).map_err(refused(name))?;
    pin_link(name, link.try_into().map_err(unlinked(name))?, pin)
}

fn attach_flows(programs: &mut Ebpf, cgroup: &File, pin: &Path) -> Result<(), KernelError> {
    let program: &mut SockOps = program(programs, FLOWS)?;
    if adopt_link(FLOWS, pin, fd(FLOWS, program.fd())?)? {
        return Ok(());
    }
    let id = program.attach(cgroup, CgroupAttachMode::Single).map_err(refused(FLOWS))?;
    let link = program.take_link(id).map_err(refused(FLOWS))?;
    pin_link(FLOWS, link.try_into().map_err(unlinked(FLOWS))?, pin)
}

/// Gives a pinned link the new program. False if there is none, or if what it was attached to is gone.
fn adopt_link(name: &'static str, pin: &Path, program: &ProgramFd) -> Result<bool, KernelError> {
    if !pin.exists() {
        return Ok(false);
    }
    let failed = |error: io::Error| KernelError::Link { program: name, reason: error.to_string() };
    let link = sys::open_link(pin).map_err(failed)?;
    match sys::update_link(link, program.as_fd()) {
        Ok(()) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::ENOLINK) => {
            fs::remove_file(pin).map_err(failed)?;
            Ok(false)
        }
        Err(error) => Err(failed(error)),
    }
}

fn pin_link(program: &'static str, link: FdLink, pin: &Path) -> Result<(), KernelError> {
    // The pin keeps the link; the descriptor is not needed.
    link.pin(pin).map(drop).map_err(|error| KernelError::Link { program, reason: error.to_string() })
}

pub(super) fn program<'a, T>(programs: &'a mut Ebpf, name: &'static str) -> Result<&'a mut T, KernelError>
where
    &'a mut T: TryFrom<&'a mut aya::programs::Program, Error = ProgramError>,
{
    let found = programs.program_mut(name).ok_or_else(|| KernelError::Link {
        program: name,
        reason: "the object that was built into this agent does not have it".to_owned(),
    })?;
    found.try_into().map_err(refused(name))
}

fn fd<'a>(program: &'static str, fd: Result<&'a ProgramFd, ProgramError>) -> Result<&'a ProgramFd, KernelError> {
    fd.map_err(refused(program))
}

pub(super) fn refused(program: &'static str) -> impl Fn(ProgramError) -> KernelError {
    move |source| KernelError::Program { program, source: Box::new(source) }
}

fn unlinked(program: &'static str) -> impl Fn(LinkError) -> KernelError {
    move |error| KernelError::Link { program, reason: error.to_string() }
}
