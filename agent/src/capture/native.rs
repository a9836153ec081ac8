//! The kernel's half of native connections: the agent's verdicts, the generation in force, and the connections that are entered.
//!
//! The kernel's generation never goes back, also not from one agent to the next: each agent begins above all that there was,
//! so that no verdict of an earlier one holds, and adds the generation of its own snapshots.

use std::{
    fmt, io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
};

use aya::maps::{Array, HashMap, MapData, MapError};
use heddle_common::{Address, ConnectionTuple, DialKey, NativeConnection, NativeState, OUTSIDE, Verdict, VerdictKey};
use parking_lot::Mutex;

use super::{EnrolledPod, kernel::KernelError, pins::Pins, sock_diag::destroy, sys, tables::open};

/// The maps. Cloning is cheap, and clones are the same maps.
#[derive(Clone)]
pub struct NativePaths(Arc<Maps>);

struct Maps {
    verdicts: Mutex<HashMap<MapData, VerdictKey, Verdict>>,
    connections: Mutex<HashMap<MapData, DialKey, NativeConnection>>,
    /// The same map, to be read whole.
    all_connections: MapData,
    state: Mutex<State>,
    /// The kernel's generation of this agent before it has a snapshot.
    base: AtomicU64,
}

struct State {
    array: Array<MapData, u64>,
    /// The kernel goes by this agent, and by no other.
    is_ours: bool,
}

/// One that is entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EnteredConnection {
    /// Cookie of the namespace that opened it, and both ends.
    pub key: DialKey,
    /// What the kernel has of it.
    pub entry: NativeConnection,
}

impl NativePaths {
    /// Opens the maps, and changes nothing.
    pub(super) fn open(pins: &Pins) -> Result<Self, KernelError> {
        let array: Array<_, u64> = open(pins, STATE, aya::maps::Map::Array)?;
        let state = Mutex::new(State { array, is_ours: false });
        let verdicts = open(pins, "VERDICTS", aya::maps::Map::LruHashMap)?;
        let connections = open(pins, CONNECTIONS, aya::maps::Map::HashMap)?;
        let (verdicts, connections, base) = (Mutex::new(verdicts), Mutex::new(connections), AtomicU64::new(0));
        let all_connections =
            MapData::from_pin(pins.map(CONNECTIONS)).map_err(|source| KernelError::Map { map: CONNECTIONS, source })?;
        Ok(Self(Arc::new(Maps { verdicts, connections, all_connections, state, base })))
    }

    /// From now on the kernel goes by this agent: no verdict that was there holds after this.
    pub fn take_over(&self) -> Result<(), KernelError> {
        let mut state = self.0.state.lock();
        let failed = |source| KernelError::Map { map: STATE, source };
        let base = state.array.get(&GENERATION, 0).map_err(failed)? + 1;
        self.0.base.store(base, SeqCst);
        state.array.set(GENERATION, base, 0).map_err(failed)?;
        state.is_ours = true;
        Ok(())
    }

    /// From now on the kernel goes by the next agent: what this one decides is not told to it any more.
    pub fn hand_over(&self) {
        self.0.state.lock().is_ours = false;
    }

    /// Whether the kernel goes by this agent.
    pub fn is_ours(&self) -> bool {
        self.0.state.lock().is_ours
    }

    /// From now on only verdicts that were decided on this generation of snapshots hold. To be called before anybody can
    /// decide on it.
    pub fn move_on(&self, generation: u64) -> Result<(), KernelError> {
        let mut state = self.0.state.lock();
        if !state.is_ours {
            return Ok(());
        }
        let set = state.array.set(GENERATION, self.of_kernel(generation), 0);
        set.map_err(|source| KernelError::Map { map: STATE, source })
    }

    /// What a pod dials from its own address goes natively from now on, while this generation is in force: to another pod
    /// of this node, or to what is no pod of the mesh.
    pub fn put(
        &self,
        source: &EnrolledPod,
        client: Address,
        to: SocketAddr,
        destination: Option<&EnrolledPod>,
        generation: u64,
    ) -> Result<(), KernelError> {
        let key = VerdictKey::new(source.netns.cookie(), to.ip().into(), to.port());
        let destination = destination.map_or(OUTSIDE, |pod| pod.netns.cookie());
        let verdict = Verdict { generation: self.of_kernel(generation), destination, client };
        let put = self.0.verdicts.lock().insert(key, verdict, 0);
        put.map_err(|source| KernelError::Map { map: "VERDICTS", source })
    }

    /// How many are entered.
    pub fn count(&self) -> u64 {
        self.0.state.lock().array.get(&(NativeState::Entered as u32), 0).unwrap_or(0)
    }

    /// All that are entered, and that were when this was called.
    pub fn entered(&self) -> io::Result<Vec<EnteredConnection>> {
        let entries = sys::map_entries(self.0.all_connections.fd())?;
        Ok(entries.into_iter().map(|(key, entry)| EnteredConnection { key, entry }).collect())
    }

    /// The one with these ends.
    pub fn get(&self, key: &DialKey) -> Option<NativeConnection> {
        self.0.connections.lock().get(key, 0).ok()
    }

    /// Lets the SYN of one pass on this generation, if that is still in force, and the connection still to be opened.
    pub fn renew(&self, connection: &EnteredConnection, generation: u64) -> Result<(), KernelError> {
        let entry = NativeConnection { generation: self.of_kernel(generation), ..connection.entry };
        match self.0.connections.lock().insert(connection.key, entry, EXISTING) {
            // It has ended meanwhile.
            Err(MapError::SyscallError(error)) if error.io_error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
            Err(source) => Err(KernelError::Map { map: CONNECTIONS, source }),
            Ok(()) => Ok(()),
        }
    }

    /// The generation of this agent's snapshots that a kernel's generation stands for; 0 for that of an earlier agent.
    pub fn of_snapshot(&self, generation: u64) -> u64 {
        generation.saturating_sub(self.0.base.load(SeqCst))
    }

    fn of_kernel(&self, generation: u64) -> u64 {
        self.0.base.load(SeqCst) + generation
    }
}

impl EnrolledPod {
    /// Ends a native connection that this pod has opened. False if it has ended by itself.
    pub fn end_native(&self, tuple: &ConnectionTuple) -> io::Result<bool> {
        destroy(&self.netns, (tuple.client, tuple.client_port), (tuple.server, tuple.server_port))
    }

    /// Ends a native connection that was opened to this pod.
    pub fn end_native_here(&self, tuple: &ConnectionTuple) -> io::Result<bool> {
        destroy(&self.netns, (tuple.server, tuple.server_port), (tuple.client, tuple.client_port))
    }
}

impl fmt::Debug for NativePaths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NativePaths").field("base", &self.0.base).finish_non_exhaustive()
    }
}

const STATE: &str = "NATIVE_STATE";
const CONNECTIONS: &str = "NATIVE_CONNECTIONS";
const GENERATION: u32 = NativeState::Generation as u32;
/// `BPF_EXIST`.
const EXISTING: u64 = 2;
