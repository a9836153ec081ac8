//! The kubelet's probes of enrolled pods, as `common/src/probe.rs` decides over them: while the kubelet opens such a connection,
//! the pod's socket look-up lets in exactly that one.

use aya_ebpf::{
    bindings::{BPF_SOCK_OPS_STATE_CB_FLAG, bpf_sock},
    helpers::generated::bpf_get_current_ancestor_cgroup_id,
    programs::SockOpsContext,
};
use heddle_common::{Address, KernelEvent, KubeletState, OriginalDst, PortKey, ProbeTables, is_probe};

use crate::{
    flows::{dial_tuple, remote_address, remote_port, socket_of},
    maps, socket,
};

/// A process that is in no enrolled pod dials something. A socket that probes is marked with where to.
#[inline(always)]
pub(crate) fn dialled(own: *mut bpf_sock, netns: u64, to: OriginalDst) {
    if !is_probe(netns, &to, &Tables) {
        return;
    }
    maps::count(KernelEvent::KubeletProbe);
    if !socket::store(&maps::PROBING, own, to) {
        maps::count(KernelEvent::KubeletProbeLost);
    }
}

/// The kernel has chosen address and port, the SYN is not sent yet.
#[inline(always)]
pub(crate) fn connecting(context: &SockOpsContext) {
    let own = socket_of(context);
    let Some(to) = socket::stored(&maps::PROBING, own) else { return };
    // The mark may be of an earlier connect() of this socket, which has failed.
    if to != OriginalDst::new(remote_address(context), remote_port(context)) {
        return socket::forget(&maps::PROBING, own);
    }
    // First: what is entered must be taken out, also where nobody answers.
    let is_followed = context.set_cb_flags(context.cb_flags() as i32 | BPF_SOCK_OPS_STATE_CB_FLAG as i32).is_ok();
    if !is_followed || maps::PROBES.insert(dial_tuple(context), 1, 0).is_err() {
        maps::count(KernelEvent::KubeletProbeLost);
    }
}

/// Somebody has answered, or nobody will: the way closes.
#[inline(always)]
pub(crate) fn ended(context: &SockOpsContext) {
    let own = socket_of(context);
    if socket::stored(&maps::PROBING, own).is_some() {
        socket::forget(&maps::PROBING, own);
        // One that could not be entered is not there.
        let _ = maps::PROBES.remove(dial_tuple(context));
    }
}

struct Tables;

impl ProbeTables for Tables {
    #[inline(always)]
    fn netns_of(&self, address: &Address) -> Option<u64> {
        #[expect(unsafe_code, reason = "map look-ups are unsafe in aya-ebpf")]
        // SAFETY: the value is one word, read at once.
        unsafe { maps::POD_ADDRESSES.get(address) }.copied()
    }

    #[inline(always)]
    fn port_probed(&self, key: &PortKey) -> bool {
        maps::PROBED_PORTS.get_ptr(key).is_some()
    }

    #[inline(always)]
    fn kubelet(&self, state: KubeletState) -> u64 {
        maps::KUBELET.get(state as u32).copied().unwrap_or(0)
    }

    #[inline(always)]
    fn caller_cgroup(&self, depth: u32) -> u64 {
        #[expect(unsafe_code, reason = "a helper call")]
        // SAFETY: takes a number and gives one, 0 where the process is not that deep.
        unsafe {
            bpf_get_current_ancestor_cgroup_id(depth as i32)
        }
    }
}
