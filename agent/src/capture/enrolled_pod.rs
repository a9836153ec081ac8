//! An enrolled pod: who it is, where its sockets are opened, and its account with the agent.

use std::{io, sync::Arc};

use super::{
    NetworkNamespace,
    listeners::{PodQueues, ShownListeners},
    return_route::ReturnRoute,
    survivors,
};
use crate::{mesh::Workload, shares::Account};

/// An enrolled pod as its connections see it. It lives as long as the last of them.
#[derive(Debug)]
pub struct EnrolledPod {
    /// The pod as it was when it was enrolled.
    pub workload: Arc<Workload>,
    /// Where its sockets are opened.
    pub netns: Arc<NetworkNamespace>,
    /// What it may have of this agent, and has.
    pub account: Arc<Account>,
    listeners: ShownListeners,
    _return_route: ReturnRoute,
}

impl EnrolledPod {
    pub(super) fn new(
        workload: Arc<Workload>,
        netns: Arc<NetworkNamespace>,
        account: Arc<Account>,
        listeners: ShownListeners,
        return_route: ReturnRoute,
    ) -> Self {
        Self { workload, netns, account, listeners, _return_route: return_route }
    }

    /// How full the queues are in which its connections wait for the agent.
    pub fn queues(&self) -> PodQueues {
        self.listeners.queues()
    }

    /// How many connections it has that were open before it was enrolled and stay outside the mesh. Takes seconds where
    /// thousands of connections come and go: not for a thread that others wait for.
    pub fn survivors(&self) -> io::Result<usize> {
        survivors::count(&self.netns)
    }
}
