//! Step 1: how a pod's traffic reaches the agent.
//!
//! [`Kernel`] loads or adopts the kernel programs; [`Enrolment`] enrols pods, which opens the agent's listeners inside
//! their network namespaces; each accepted connection goes to the [`DataPath`] as an [`Accepted`], with the evidence
//! of where it came from: the namespace that the kernel accepted it in. What leaves a pod past all that is stopped at the
//! node's end of its cable. [`AgentSockets`] opens the agent's own connections from inside those namespaces. Nothing here
//! knows who a peer is or what is allowed. What the agent has decided to leave to the kernel, [`NativePaths`] tells it.

mod accept;
mod by_namespace;
mod connection_events;
mod enrolled_pod;
mod enrolment;
mod enrolment_error;
mod foretold;
pub(crate) mod fuzz;
mod kernel;
mod kubelet;
mod listeners;
mod native;
mod native_events;
mod netlink;
mod netns;
mod pins;
mod pods_by_cookie;
mod return_route;
mod ring;
mod sandbox;
mod sock_diag;
mod sockets;
mod survivors;
mod switches;
mod sys;
mod tables;
mod trial;
mod uninstall;
mod wire;

pub use accept::{Accepted, Arrival, DataPath};
pub use by_namespace::ByNamespace;
pub use connection_events::ConnectionEvents;
pub use enrolled_pod::EnrolledPod;
pub use enrolment::{Enrolment, Released};
pub use enrolment_error::EnrolmentError;
pub use foretold::{Arrives, inbound as foretell_inbound, outbound as foretell_outbound};
pub use kernel::{Kernel, KernelError};
pub use kubelet::{Kubelet, KubeletFound};
pub use listeners::{ListenerName, Listeners, Queue};
pub use native::{EnteredConnection, NativePaths};
pub use native_events::NativeEvents;
pub use netns::NetworkNamespace;
pub use pods_by_cookie::PodsByCookie;
pub use ring::LostEvents;
pub use sandbox::{SandboxError, Sandboxes};
pub use sockets::{AgentSockets, dialled, is_agent_port, is_own_dial, socket_facts, watch_liveness};
pub use switches::{KernelLogLevel, Switches};
pub use tables::{KernelCounters, TableSizes};
pub use trial::{TrialError, Tried, try_kernel};
pub use uninstall::{Uninstalled, uninstall};
