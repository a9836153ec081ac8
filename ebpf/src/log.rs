//! Messages to the agent's own log, at a level that the agent changes while the programs run. What is not wanted costs one
//! read of a map, and only where something goes wrong: no message is on the way of a connection that goes well.

use heddle_common::Switch;

use crate::maps;

/// Levels, as `aya_log` numbers them.
pub(crate) const WARN: u32 = 2;
pub(crate) const DEBUG: u32 = 4;

/// Whether messages of a level are wanted.
#[inline(always)]
pub(crate) fn wanted(level: u32) -> bool {
    maps::switch(Switch::LogLevel) >= level
}

/// As `aya_log_ebpf::warn`, if it is wanted.
macro_rules! log_warn {
    ($($message:tt)+) => {
        if $crate::log::wanted($crate::log::WARN) {
            ::aya_log_ebpf::warn!($($message)+);
        }
    };
}

/// As `aya_log_ebpf::debug`, if it is wanted.
macro_rules! log_debug {
    ($($message:tt)+) => {
        if $crate::log::wanted($crate::log::DEBUG) {
            ::aya_log_ebpf::debug!($($message)+);
        }
    };
}

pub(crate) use {log_debug, log_warn};
