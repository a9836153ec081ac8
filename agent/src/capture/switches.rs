//! What the agent turns on and off in the kernel programs while they run. All is off when they are loaded.

use std::{fmt, sync::Arc};

use aya::{
    Ebpf,
    maps::{Array, MapData, MapError},
};
use heddle_common::Switch;
use parking_lot::Mutex;

use super::{kernel::KernelError, tables::taken};

const MAP: &str = "SWITCHES";

/// The switches. Cloning is cheap, and clones are the same switches.
#[derive(Clone)]
pub struct Switches(Arc<Mutex<Array<MapData, u32>>>);

/// What the kernel programs log: this level and the more serious ones. The numbers are those of `aya_log::Level`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KernelLogLevel {
    /// Nothing.
    Off = 0,
    /// What should never be.
    Error = 1,
    /// What was lost.
    Warn = 2,
    /// What happens seldom.
    Info = 3,
    /// Each connection that is dropped.
    Debug = 4,
    /// Everything.
    Trace = 5,
}

impl Switches {
    pub(super) fn of(programs: &mut Ebpf) -> Result<Self, KernelError> {
        Ok(Self(Arc::new(Mutex::new(taken(programs, MAP)?))))
    }

    /// From now on the kernel programs log so much.
    pub fn set_log_level(&self, level: KernelLogLevel) -> Result<(), KernelError> {
        self.set(Switch::LogLevel, level as u32)
    }

    /// From now on the kernel programs tell about connections, or do not.
    pub(super) fn set_events(&self, wanted: bool) -> Result<(), KernelError> {
        self.set(Switch::Events, u32::from(wanted))
    }

    /// Whether they do, as the kernel has it.
    pub fn events_are_on(&self) -> bool {
        self.0.lock().get(&(Switch::Events as u32), 0).is_ok_and(|value| value != 0)
    }

    fn set(&self, switch: Switch, value: u32) -> Result<(), KernelError> {
        let failed = |source: MapError| KernelError::Map { map: MAP, source };
        self.0.lock().set(switch as u32, value, 0).map_err(failed)
    }
}

impl fmt::Debug for Switches {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Switches").finish_non_exhaustive()
    }
}
