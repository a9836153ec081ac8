//! What the kernel programs count, in one closed list.

macro_rules! kernel_events {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)+) => {
        /// Index of a counter in `EVENTS`, a per-CPU array.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u32)]
        pub enum KernelEvent {
            $($(#[$doc])* $variant,)+
        }

        impl KernelEvent {
            /// All events, in the order of their indices.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// Value of the metric label `event`.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }
        }
    };
}

kernel_events! {
    /// connect() of an enrolled pod was redirected to the agent.
    OutboundCaptured = "outbound_captured",
    /// connect() of the agent itself, inside a pod's namespace.
    OutboundAgent = "outbound_agent",
    /// connect() to the pod's own addresses or loopback.
    OutboundLocal = "outbound_local",
    /// connect() to an excluded port.
    OutboundExcludedPort = "outbound_excluded_port",
    /// connect() to an excluded network.
    OutboundExcludedNetwork = "outbound_excluded_network",
    /// The socket's storage for the original destination could not be made: connect() refused.
    OutboundRefused = "outbound_refused",
    /// The destination of a captured connection was handed to the agent's accepted socket.
    FlowDelivered = "flow_delivered",
    /// The table of captured connections on their way had no room: the connection will be refused.
    FlowLost = "flow_lost",
    /// A connection came in by a tunnel.
    InboundHbone = "inbound_hbone",
    /// A connection came in without a tunnel and went to the agent.
    InboundPlaintext = "inbound_plaintext",
    /// The agent's own connection to the application passed.
    InboundAgent = "inbound_agent",
    /// A connection from the pod to itself passed.
    InboundLocal = "inbound_local",
    /// A connection to an excluded port passed.
    InboundExcludedPort = "inbound_excluded_port",
    /// No listener of the agent (it is down): dropped.
    InboundNoListener = "inbound_no_listener",
    /// An address of the namespace that no enrolled pod has: dropped.
    InboundUnknownAddress = "inbound_unknown_address",
    /// The table of the agent's connections to applications had no room.
    ApplicationDialLost = "application_dial_lost",
    /// The table of the agent's connections to other machines had no room: the wire will not let it out.
    AgentDialLost = "agent_dial_lost",
    /// A TCP connection that left a pod past the capture, by a raw socket or another namespace: dropped on its wire.
    WireEscape = "wire_escape",
    /// A packet on a pod's wire whose TCP header cannot be read, or that is in more than one VLAN tag: dropped.
    WireHidden = "wire_hidden",
    /// connect() of an enrolled pod goes natively, by a verdict of the agent.
    OutboundNative = "outbound_native",
    /// A native connection was let in at its pod.
    InboundNative = "inbound_native",
    /// A native connection was held up on its way: what it was decided on was not in force any more.
    NativeStale = "native_stale",
    /// A native connection was cut off: it had reached somebody else, had another address, or could not be entered.
    NativeCutOff = "native_cut_off",
    /// connect() of the kubelet to a port that an enrolled pod of this node declares for its probes.
    KubeletProbe = "kubelet_probe",
    /// A probe of the kubelet was let in at its pod.
    InboundKubeletProbe = "inbound_kubelet_probe",
    /// A probe of the kubelet could not be entered: it is taken for anybody's connection.
    KubeletProbeLost = "kubelet_probe_lost",
}

#[cfg(test)]
mod tests {
    use super::KernelEvent;

    #[test]
    fn indices_follow_the_list() {
        for (index, event) in KernelEvent::ALL.iter().enumerate() {
            assert_eq!(*event as usize, index);
        }
    }
}
