//! The helper calls that aya-ebpf has no safe form of: socket storage outside connect hooks, the namespace's cookie.

use aya_ebpf::{
    EbpfContext,
    bindings::{BPF_SK_STORAGE_GET_F_CREATE, bpf_sock},
    btf_maps::SkStorage,
    helpers::generated::{bpf_get_netns_cookie, bpf_sk_storage_delete, bpf_sk_storage_get},
};

/// Cookie of the network namespace of the context's socket.
#[inline(always)]
#[expect(unsafe_code, reason = "a helper call")]
pub(crate) fn netns_cookie(context: &impl EbpfContext) -> u64 {
    // SAFETY: a context of a program type that has this helper; the verifier refuses others.
    unsafe { bpf_get_netns_cookie(context.as_ptr()) }
}

/// The value that a socket carries in a map, if it does.
#[inline(always)]
#[expect(unsafe_code, reason = "helper call and map value by pointer")]
pub(crate) fn stored<T: Copy>(map: &SkStorage<T>, socket: *mut bpf_sock) -> Option<T> {
    if socket.is_null() {
        return None;
    }
    // SAFETY: a socket that the context owns for the time of this call, and no flag, so no value is read.
    let value = unsafe { bpf_sk_storage_get(map_pointer(map), socket.cast(), core::ptr::null_mut(), 0) };
    // SAFETY: null or a pointer to a value of this map's type.
    unsafe { value.cast::<T>().as_ref() }.copied()
}

/// Puts a value on a socket; false when the kernel has no memory for it.
#[inline(always)]
#[expect(unsafe_code, reason = "helper call and map value by pointer")]
pub(crate) fn store<T: Copy>(map: &SkStorage<T>, socket: *mut bpf_sock, mut value: T) -> bool {
    if socket.is_null() {
        return false;
    }
    let initial = core::ptr::from_mut(&mut value).cast();
    // SAFETY: a socket that the context owns for the time of this call; the value outlives it.
    let place =
        unsafe { bpf_sk_storage_get(map_pointer(map), socket.cast(), initial, u64::from(BPF_SK_STORAGE_GET_F_CREATE)) };
    if place.is_null() {
        return false;
    }
    // SAFETY: not null, so a place for a value of this map's type; an existing value is replaced by this.
    unsafe { place.cast::<T>().write(value) };
    true
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

#[inline(always)]
fn map_pointer<T>(map: &SkStorage<T>) -> *mut core::ffi::c_void {
    core::ptr::from_ref(map).cast_mut().cast()
}
