//! The helper calls that aya-ebpf has no safe form of: socket storage outside connect hooks, the namespace's cookie, binding
//! to a device.

use aya_ebpf::{
    EbpfContext,
    bindings::{BPF_SK_STORAGE_GET_F_CREATE, bpf_sock},
    btf_maps::SkStorage,
    helpers::generated::{bpf_get_netns_cookie, bpf_setsockopt, bpf_sk_storage_delete, bpf_sk_storage_get},
};
use heddle_common::Address;

use crate::context::{read_field, read_ipv6};

/// `SOL_SOCKET` and `SO_BINDTODEVICE` of the x86_64 and aarch64 system call interface.
pub(crate) const SOL_SOCKET: i32 = 1;
pub(crate) const SO_BINDTODEVICE: i32 = 25;
/// `AF_INET6`.
const IPV6: u32 = 10;

/// Cookie of the network namespace of the context's socket.
#[inline(always)]
#[expect(unsafe_code, reason = "a helper call")]
pub(crate) fn netns_cookie(context: &impl EbpfContext) -> u64 {
    // SAFETY: a context of a program type that has this helper; the verifier refuses others.
    unsafe { bpf_get_netns_cookie(context.as_ptr()) }
}

/// A value that a socket carries in a map. It stays there while the socket is at hand, which the kernel has locked.
pub(crate) struct Carried<T>(*mut T);

impl<T: Copy> Carried<T> {
    #[inline(always)]
    #[expect(unsafe_code, reason = "map value by pointer")]
    pub(crate) fn get(&self) -> T {
        // SAFETY: a place for a value of the map's type, which has one.
        unsafe { self.0.read() }
    }

    #[inline(always)]
    #[expect(unsafe_code, reason = "map value by pointer")]
    pub(crate) fn set(&self, value: T) {
        // SAFETY: a place for a value of the map's type.
        unsafe { self.0.write(value) }
    }
}

/// What a socket carries in a map, if it does.
#[inline(always)]
pub(crate) fn carried<T>(map: &SkStorage<T>, socket: *mut bpf_sock) -> Option<Carried<T>> {
    place(map, socket, core::ptr::null_mut(), 0)
}

/// The same, read.
#[inline(always)]
pub(crate) fn stored<T: Copy>(map: &SkStorage<T>, socket: *mut bpf_sock) -> Option<T> {
    carried(map, socket).map(|carried| carried.get())
}

/// Puts a value on a socket, in the place of what was there; false when the kernel has no memory for it.
#[inline(always)]
pub(crate) fn store<T: Copy>(map: &SkStorage<T>, socket: *mut bpf_sock, mut value: T) -> bool {
    let Some(carried) = place(map, socket, &mut value, u64::from(BPF_SK_STORAGE_GET_F_CREATE)) else { return false };
    carried.set(value);
    true
}

/// Where the value is, made of `initial` where there is none and the flags say so.
#[inline(always)]
#[expect(unsafe_code, reason = "a helper call")]
fn place<T>(map: &SkStorage<T>, socket: *mut bpf_sock, initial: *mut T, flags: u64) -> Option<Carried<T>> {
    if socket.is_null() {
        return None;
    }
    // SAFETY: a socket that the context owns for the time of this call; the kernel copies from `initial` only to make a value.
    let place = unsafe { bpf_sk_storage_get(map_pointer(map), socket.cast(), initial.cast(), flags) };
    (!place.is_null()).then_some(Carried(place.cast()))
}

/// Takes a value off a socket, if it carries one.
#[inline(always)]
#[expect(unsafe_code, reason = "a helper call")]
pub(crate) fn forget<T>(map: &SkStorage<T>, socket: *mut bpf_sock) {
    if !socket.is_null() {
        // SAFETY: a socket that the context owns for the time of this call. "Not found" needs no answer.
        unsafe { bpf_sk_storage_delete(map_pointer(map), socket.cast()) };
    }
}

/// The address that a socket is bound to, `::` if it is to none.
#[inline(always)]
pub(crate) fn bound_address(socket: *mut bpf_sock) -> Address {
    // Both are read before the choice, as in `inbound`.
    let (ipv6, ipv4) = (read_ipv6!(socket, src_ip6), read_field!(socket, src_ip4));
    match read_field!(socket, family) {
        IPV6 => ipv6,
        _ => Address::from_ipv4_be(ipv4),
    }
}

/// Sends what the socket has still to send to the loopback device, where nobody is: so that nothing leaves the namespace
/// any more of a connection that must not be.
#[inline(always)]
pub(crate) fn cut_off(context: &impl EbpfContext) -> bool {
    let mut device = *b"lo\0";
    #[expect(unsafe_code, reason = "a helper call")]
    // SAFETY: the kernel copies three bytes from the stack.
    let result = unsafe {
        bpf_setsockopt(context.as_ptr(), SOL_SOCKET, SO_BINDTODEVICE, device.as_mut_ptr().cast(), device.len() as i32)
    };
    result == 0
}

#[inline(always)]
pub(crate) fn map_pointer<M>(map: &M) -> *mut core::ffi::c_void {
    core::ptr::from_ref(map).cast_mut().cast()
}
