//! Whether this kernel takes the programs: each is loaded, and attached where nobody is.
//!
//! In: the cgroup v2 folder that an agent would attach to. Out: what became of the maps and of each program. Nothing is pinned, and
//! nothing of an agent that runs is touched: the maps are new ones, the programs are attached to an empty cgroup and to an empty
//! network namespace, and all of it goes before this returns.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use aya::{
    Ebpf, EbpfLoader,
    programs::{
        CgroupAttachMode, CgroupSockAddr, LinkOrder, SchedClassifier, SkLookup, SockOps, TcAttachType,
        tc::TcAttachOptions,
    },
};

use super::{
    NetworkNamespace,
    kernel::{ADDRESS_HOOKS, FLOWS, INBOUND, Kernel, KernelError, OBJECT, WIRE, program, refused},
};

/// A device that every network namespace has.
const LOOPBACK: &str = "lo";

/// What became of one part.
#[derive(Debug)]
pub struct Tried {
    /// `maps`, or the name of a program.
    pub part: &'static str,
    /// Why the kernel did not take it.
    pub result: Result<(), TrialError>,
}

/// Why a part was not taken, or could not be tried.
#[derive(Debug, thiserror::Error)]
pub enum TrialError {
    /// The kernel refused it.
    #[error(transparent)]
    Refused(#[from] KernelError),
    /// There was no place to attach it.
    #[error("make {place} to attach it to: {source}")]
    NoPlace {
        /// An empty cgroup, or an empty network namespace.
        place: String,
        /// What happened.
        source: io::Error,
    },
}

/// Tries all parts, in the order in which an agent needs them. Without maps there are no programs to try.
pub fn try_kernel(cgroup: &Path) -> Vec<Tried> {
    let mut programs = match load() {
        Ok(programs) => programs,
        Err(error) => return vec![Tried { part: "maps", result: Err(error.into()) }],
    };
    let mut tried = vec![Tried { part: "maps", result: Ok(()) }];
    let folder = EmptyCgroup::below(cgroup);
    for name in ADDRESS_HOOKS {
        tried.push(Tried { part: name, result: try_address_hook(&mut programs, name, &folder) });
    }
    tried.push(Tried { part: FLOWS, result: try_flows(&mut programs, &folder) });
    let netns = NetworkNamespace::empty();
    tried.push(Tried { part: INBOUND, result: try_inbound(&mut programs, &netns) });
    if Kernel::guards_wires() {
        tried.push(Tried { part: WIRE, result: try_wire(&mut programs, &netns) });
    }
    // Before the cgroup: its links hold it.
    drop(programs);
    tried
}

fn load() -> Result<Ebpf, KernelError> {
    let mut loader = EbpfLoader::new();
    loader.btf(None);
    Ok(loader.load(OBJECT)?)
}

fn try_address_hook(programs: &mut Ebpf, name: &'static str, folder: &Place<EmptyCgroup>) -> Result<(), TrialError> {
    let hook: &mut CgroupSockAddr = program(programs, name)?;
    hook.load().map_err(refused(name))?;
    let attached = hook.attach(&open(folder)?.folder, CgroupAttachMode::Single);
    Ok(attached.map(drop).map_err(refused(name))?)
}

fn try_flows(programs: &mut Ebpf, folder: &Place<EmptyCgroup>) -> Result<(), TrialError> {
    let flows: &mut SockOps = program(programs, FLOWS)?;
    flows.load().map_err(refused(FLOWS))?;
    let attached = flows.attach(&open(folder)?.folder, CgroupAttachMode::Single);
    Ok(attached.map(drop).map_err(refused(FLOWS))?)
}

fn try_inbound(programs: &mut Ebpf, netns: &io::Result<NetworkNamespace>) -> Result<(), TrialError> {
    let inbound: &mut SkLookup = program(programs, INBOUND)?;
    inbound.load().map_err(refused(INBOUND))?;
    let attached = inbound.attach(opened(netns)?);
    Ok(attached.map(drop).map_err(refused(INBOUND))?)
}

fn try_wire(programs: &mut Ebpf, netns: &io::Result<NetworkNamespace>) -> Result<(), TrialError> {
    let wire: &mut SchedClassifier = program(programs, WIRE)?;
    wire.load().map_err(refused(WIRE))?;
    let order = TcAttachOptions::TcxOrder(LinkOrder::first());
    let inside = opened(netns)?.run(|| wire.attach_with_options(LOOPBACK, TcAttachType::Ingress, order));
    let attached = inside.map_err(|source| TrialError::NoPlace { place: NAMESPACE.to_owned(), source })?;
    Ok(attached.map(drop).map_err(refused(WIRE))?)
}

const NAMESPACE: &str = "an empty network namespace";

fn opened(netns: &io::Result<NetworkNamespace>) -> Result<&NetworkNamespace, TrialError> {
    netns.as_ref().map_err(|error| TrialError::NoPlace { place: NAMESPACE.to_owned(), source: again(error) })
}

/// Where to attach, or why there is no such place.
type Place<T> = Result<T, (PathBuf, io::Error)>;

fn open<T>(place: &Place<T>) -> Result<&T, TrialError> {
    place.as_ref().map_err(|(path, error)| TrialError::NoPlace {
        place: format!("the cgroup {}", path.display()),
        source: again(error),
    })
}

/// The same error for each program that needed the place.
fn again(error: &io::Error) -> io::Error {
    error.raw_os_error().map_or_else(|| error.kind().into(), io::Error::from_raw_os_error)
}

/// A cgroup without processes, removed when dropped.
struct EmptyCgroup {
    folder: File,
    path: PathBuf,
}

impl EmptyCgroup {
    fn below(parent: &Path) -> Place<Self> {
        let path = parent.join(format!("heddle-check-{}", std::process::id()));
        let made = fs::create_dir(&path).and_then(|()| File::open(&path));
        match made {
            Ok(folder) => Ok(Self { folder, path }),
            Err(error) => Err((path, error)),
        }
    }
}

impl Drop for EmptyCgroup {
    fn drop(&mut self) {
        // Nothing is lost with an empty cgroup that stays, and there is nobody to tell.
        let _ = fs::remove_dir(&self.path);
    }
}
