//! Heddle's kernel programs: entry points that gather facts, ask the pure decisions of `heddle-common`, and carry
//! out the answer.
//!
//! `connect` brings the pods' outgoing connections to the agent, `flows` tells the agent where they were going,
//! `peername` tells the application what it asked for, `inbound` brings incoming connections to the agent, `wire` stops
//! what left a pod by another way. `native` follows the connections that the agent has decided to leave to the kernel, `probe` those by which the
//! kubelet probes a pod.
//! `events` and `endings` tell the agent about single connections while somebody listens. `maps` has the tables, `socket`
//! the few helpers that aya-ebpf has no safe form of. None of them ever lets a connection of an enrolled pod pass because
//! something went wrong.

#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]

mod connect;
mod context;
mod endings;
mod events;
mod flows;
mod inbound;
mod log;
mod maps;
mod native;
mod peername;
mod probe;
mod socket;
mod wire;

/// The kernel refuses helpers such as `bpf_sk_storage_get` to programs of another licence.
#[expect(unsafe_code, reason = "the section is the kernel's interface")]
// SAFETY: the kernel reads a NUL-terminated text from this section.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    // Never reached: the verifier takes no program in which it could be.
    loop {}
}
