//! `cgroup/getpeername4` and `getpeername6`: the application of a captured connection sees the address that it
//! asked for, not the agent's listener.

use aya_ebpf::{macros::cgroup_sock_addr, programs::SockAddrContext};

use crate::{
    connect::{socket_of, write_ipv6},
    context::write_field,
    maps, socket,
};

/// The only answer that the kernel takes from this kind of program.
const PROCEED: i32 = 1;

#[cgroup_sock_addr(getpeername4)]
fn getpeername4(context: SockAddrContext) -> i32 {
    if let Some(original) = socket::stored(&maps::CAPTURED, socket_of(&context))
        && let Some(address) = original.address.ipv4_be()
    {
        write_field!(context.sock_addr, user_ip4, address);
        write_field!(context.sock_addr, user_port, u32::from((original.port as u16).to_be()));
    }
    PROCEED
}

#[cgroup_sock_addr(getpeername6)]
fn getpeername6(context: SockAddrContext) -> i32 {
    if let Some(original) = socket::stored(&maps::CAPTURED, socket_of(&context)) {
        write_ipv6(&context, original.address);
        write_field!(context.sock_addr, user_port, u32::from((original.port as u16).to_be()));
    }
    PROCEED
}
