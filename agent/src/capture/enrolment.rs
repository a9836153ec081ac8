//! Enrolling pods and releasing them, live: no pod is restarted and no open connection is cut.
//!
//! The order matters. Enrolment first opens what will serve the connections, then turns them to it; release goes the
//! other way round. What fails half-way is undone, save for what a pod's own processes can make fail: that pod is captured
//! and refused.

use std::{collections::HashMap, fs, io, os::fd::AsRawFd, sync::Arc};

use heddle_common::{Address, ListenerKind};
use tokio::sync::watch;
use tracing::{info, warn};

use crate::{
    mesh::{LocalPod, Netns, Workload, WorkloadUid},
    shares::Account,
};

use super::{
    Arrival, DataPath, EnrolledPod, EnrolmentError, Kernel, KernelError, NetworkNamespace, Sandboxes,
    accept::accept,
    enrolment_error::inside,
    listeners::{Listeners, PodListeners},
    return_route::ReturnRoute,
    sandbox::{NamespaceId, Process, id_of},
    wire::node_ends,
};

/// What is in force for one pod.
#[derive(Debug)]
struct InForce {
    pod: Arc<EnrolledPod>,
    addresses: Vec<Address>,
    local: LocalPod,
    /// The process whose namespace it is, where it was found by the pod's uid.
    process: Option<Process>,
    /// The pod is in another namespace by now.
    moved: bool,
    listeners: PodListeners,
    /// Dropped to stop accepting: the listeners serve their queues and close. Accepted connections live on.
    _accepting: watch::Sender<()>,
}

/// A pod that was released, with its listeners, which still accept.
#[derive(Debug)]
#[must_use = "its listeners close at once otherwise, and connections that are just being handed over are lost"]
pub struct Released(InForce);

/// The enrolled pods of this node.
pub struct Enrolment {
    kernel: Kernel,
    sandboxes: Sandboxes,
    data_path: Arc<dyn DataPath>,
    pods: HashMap<WorkloadUid, InForce>,
    /// Namespaces of pods that could not be enrolled and whose connections are refused until they can.
    refused: HashMap<WorkloadUid, u64>,
    /// What the agent before has handed over, of pods that are not enrolled yet.
    inherited: Listeners,
}

impl Enrolment {
    /// Takes over the kernel's half, and the listeners of the agent before where it has handed them over.
    pub fn new(kernel: Kernel, sandboxes: Sandboxes, data_path: Arc<dyn DataPath>, inherited: Listeners) -> Self {
        if !Kernel::guards_wires() {
            warn!(
                "connections that leave a pod past the capture, by a raw socket, are not stopped: that takes Linux 6.6"
            );
        }
        Self { kernel, sandboxes, data_path, pods: HashMap::new(), refused: HashMap::new(), inherited }
    }

    /// Accepts no more: the listeners serve their queues, and close here.
    pub fn stop_accepting(&mut self) {
        self.pods.clear();
    }

    /// From now on the kernel's half is the next agent's.
    pub fn hand_over(&self) -> io::Result<Listeners> {
        ReturnRoute::leave_all(true);
        self.pods.values().map(|it| Ok((it.pod.netns.cookie(), it.listeners.named()?))).collect()
    }

    /// Nobody has taken it over after all: whatever was changed meanwhile, each pod is to be enrolled again.
    pub fn take_back(&mut self) {
        ReturnRoute::leave_all(false);
        self.pods.values_mut().for_each(|pod| pod.moved = true);
    }

    /// How many pods are enrolled now.
    pub fn count(&self) -> usize {
        self.pods.len()
    }

    /// Whether exactly this state of the pod is in force.
    pub fn is_current(&self, workload: &Workload) -> bool {
        self.pods.get(&workload.uid).is_some_and(|current| {
            !current.moved
                && current.addresses == addresses(workload)
                && workload.local.as_deref() == Some(&current.local)
        })
    }

    /// Looks whether each pod is still in the namespace that it was enrolled in. One whose namespace was made anew is not
    /// current any more. Cheap: one look at one inode for each pod. Whether there is such a pod.
    pub fn find_moved(&mut self) -> bool {
        for (uid, pod) in &mut self.pods {
            let now = match (&pod.local.netns, &pod.process) {
                // A path that is gone says nothing: the pod may be ending.
                (Netns::Path(path), _) => fs::metadata(path).ok().map(|metadata| id_of(&metadata)),
                (Netns::OfUid, Some(process)) => self.sandboxes.current(&uid.0, process).map(|(id, process)| {
                    pod.process = Some(process);
                    id
                }),
                (Netns::OfUid, None) => None,
            };
            let differs = |now: NamespaceId| pod.pod.netns.id().is_ok_and(|enrolled| enrolled != now);
            pod.moved |= now.is_some_and(differs);
        }
        self.pods.values().any(|pod| pod.moved)
    }

    /// Enrols a pod, or brings an enrolled one up to date. Returns the pod if it is new.
    pub fn enrol(&mut self, workload: &Arc<Workload>) -> Result<Option<Arc<EnrolledPod>>, EnrolmentError> {
        let local = workload.local.as_ref().ok_or(EnrolmentError::NotLocal)?;
        let (netns, process) = self.open_namespace(workload, local)?;
        match self.pods.get(&workload.uid) {
            Some(current) if current.pod.netns.cookie() == netns.cookie() => {
                self.update(workload, local, process)?;
                return Ok(None);
            }
            // The same pod in another namespace: its sandbox was made anew.
            Some(_) => {
                let released = self.release(&workload.uid)?;
                released.map_or(Ok(()), |released| self.forget(&released))?;
            }
            None => {}
        }
        self.enrol_new(workload, local, netns, process).map(Some)
    }

    fn open_namespace(
        &self,
        workload: &Workload,
        local: &LocalPod,
    ) -> Result<(NetworkNamespace, Option<Process>), EnrolmentError> {
        let (netns, process) = match &local.netns {
            Netns::Path(path) => {
                let opened = NetworkNamespace::open(path);
                let netns = opened.map_err(|error| EnrolmentError::namespace(path, error))?;
                if netns.is_home().map_err(inside("compare it with the node's own network namespace"))? {
                    return Err(EnrolmentError::NodeNamespace { path: path.clone() });
                }
                (netns, None)
            }
            Netns::OfUid => {
                let sandbox = self.sandboxes.open(&workload.uid.0)?;
                let opened = NetworkNamespace::of(sandbox.handle);
                (opened.map_err(inside("enter the network namespace of the pod's process"))?, Some(sandbox.process))
            }
        };
        Ok((netns, process))
    }

    /// Releases a pod: its new connections go where they would without Heddle, open ones are served to their end. Those
    /// that are just being looked up, or in the middle of their handshake, still need what is left: give it a moment
    /// before [`Enrolment::forget`]. `None` for a pod that is not enrolled.
    pub fn release(&mut self, uid: &WorkloadUid) -> Result<Option<Released>, EnrolmentError> {
        if let Some(cookie) = self.refused.get(uid) {
            self.remove_from_kernel(*cookie)?;
            self.refused.remove(uid);
        }
        let Some(released) = self.pods.get(uid) else { return Ok(None) };
        let cookie = released.pod.netns.cookie();
        self.kernel.tables.clear_outbound(cookie)?;
        self.kernel.unguard(cookie)?;
        self.kernel.detach_inbound(cookie)?;
        Ok(self.pods.remove(uid).map(Released))
    }

    /// Forgets a released pod. When it is dropped its listeners serve their queues and close.
    pub fn forget(&mut self, released: &Released) -> Result<(), EnrolmentError> {
        let cookie = released.0.pod.netns.cookie();
        self.kernel.pods.remove(cookie);
        Ok(self.kernel.tables.clear_inbound(cookie)?)
    }

    /// Releases what an earlier agent enrolled and this one did not. Returns how many.
    pub fn release_leftovers(&mut self) -> Result<usize, EnrolmentError> {
        let attached = self
            .kernel
            .adopted()
            .map_err(|source| EnrolmentError::Inside { what: "list the links that an earlier agent pinned", source })?;
        let mut leftovers = self.kernel.tables.enrolled()?;
        leftovers.extend(attached);
        leftovers.sort_unstable();
        leftovers.dedup();
        leftovers.retain(|cookie| !self.pods.values().any(|pod| pod.pod.netns.cookie() == *cookie));
        for cookie in &leftovers {
            self.remove_from_kernel(*cookie)?;
        }
        self.inherited.clear();
        Ok(leftovers.len())
    }

    fn enrol_new(
        &mut self,
        workload: &Arc<Workload>,
        local: &LocalPod,
        netns: NetworkNamespace,
        process: Option<Process>,
    ) -> Result<Arc<EnrolledPod>, EnrolmentError> {
        let cookie = netns.cookie();
        let netns = Arc::new(netns);
        let (return_route, listeners) = match self.prepare(&netns) {
            Ok(prepared) => prepared,
            // The pod's own processes can bring that about, by having the agent's ports: it must not set them free.
            Err(error) => {
                if let Some(earlier) = self.refused.insert(workload.uid.clone(), cookie).filter(|it| *it != cookie) {
                    self.remove_from_kernel(earlier)?;
                }
                self.divert(workload, local, &netns)?;
                return Err(error);
            }
        };
        let account = Account::new(local.share.of(self.data_path.pod_share()), self.data_path.overload());
        let pod = Arc::new(EnrolledPod::new(Arc::clone(workload), netns, account, listeners.shown(), return_route));

        // What an earlier agent captured stays captured, and is refused while nobody listens: fail closed.
        let adopted = self.kernel.tables.enrolled()?.contains(&cookie);
        let undo = |this: &mut Self, error: KernelError| {
            if !adopted {
                // The error that stopped the enrolment is the one to report.
                let _ = this.remove_from_kernel(cookie);
            }
            error
        };
        self.capture(workload, local, &pod, &listeners).map_err(|error| undo(self, error))?;
        self.refused.remove(&workload.uid);
        self.kernel.pods.insert(&pod);
        // Where this fails the pod stays captured, and its connections are refused.
        let accepting = self.start_accepting(&pod, &listeners).map_err(inside("share the agent's listeners"));
        // Last: the kernel takes some milliseconds for it, in which connections are served already.
        let guarded = accepting.and_then(|accepting| {
            self.guard(workload, &pod.netns).map_err(|error| undo(self, error))?;
            Ok(accepting)
        });
        let accepting = guarded.inspect_err(|_| self.kernel.pods.remove(cookie))?;
        let in_force = InForce {
            addresses: addresses(workload),
            local: local.clone(),
            process,
            moved: false,
            listeners,
            _accepting: accepting,
            pod: Arc::clone(&pod),
        };
        self.pods.insert(workload.uid.clone(), in_force);
        Ok(pod)
    }

    /// What the pod's namespace needs before anything is turned to the agent.
    fn prepare(&mut self, netns: &Arc<NetworkNamespace>) -> Result<(ReturnRoute, PodListeners), EnrolmentError> {
        let return_route = ReturnRoute::install(Arc::clone(netns), self.sandboxes.proc())
            .map_err(inside("route the answers of applications back to the agent"))?;
        let inherited = self.inherited.remove(&netns.cookie()).unwrap_or_default();
        let listeners = PodListeners::open(netns, inherited)
            .map_err(inside("open the agent's listeners, until when the pod's connections are refused"))?;
        Ok((return_route, listeners))
    }

    /// Turns the pod's connections to its listeners.
    fn capture(
        &mut self,
        workload: &Workload,
        local: &LocalPod,
        pod: &EnrolledPod,
        listeners: &PodListeners,
    ) -> Result<(), KernelError> {
        let cookie = pod.netns.cookie();
        self.kernel.tables.set_listener(cookie, ListenerKind::Plaintext, listeners.plaintext.as_raw_fd())?;
        self.kernel.tables.set_listener(cookie, ListenerKind::Hbone, listeners.hbone.as_raw_fd())?;
        self.kernel.tables.set_listener(cookie, ListenerKind::Held, listeners.held.as_raw_fd())?;
        self.turn(workload, local, &pod.netns)
    }

    /// Turns the pod's connections to where nobody listens: all are refused, and nothing else leaves.
    fn divert(&mut self, workload: &Workload, local: &LocalPod, netns: &NetworkNamespace) -> Result<(), KernelError> {
        self.turn(workload, local, netns)?;
        self.guard(workload, netns)
    }

    /// Turns the pod's new connections to the listeners: inbound first, so that no answer to a captured outbound
    /// connection meets a pod that peers cannot reach yet.
    fn turn(&mut self, workload: &Workload, local: &LocalPod, netns: &NetworkNamespace) -> Result<(), KernelError> {
        let (cookie, addresses) = (netns.cookie(), addresses(workload));
        self.kernel.tables.set_inbound(cookie, &addresses, &local.rules)?;
        self.kernel.attach_inbound(netns)?;
        self.kernel.tables.set_outbound(cookie, &addresses, &local.rules)
    }

    /// Guards the pod's cables, where it has any: in some networks a pod's device is a part of the node's.
    fn guard(&mut self, workload: &Workload, netns: &NetworkNamespace) -> Result<(), KernelError> {
        if !Kernel::guards_wires() {
            return Ok(());
        }
        let ends = match node_ends(netns) {
            Ok(ends) => ends,
            Err(error) => {
                warn!(pod = %workload.name, %error, "look for the pod's cables; they are not guarded");
                return Ok(());
            }
        };
        if ends.is_empty() {
            info!(pod = %workload.name, "the pod has no cable to this node's namespace that could be guarded");
        }
        self.kernel.guard(netns.cookie(), &ends)
    }

    fn update(
        &mut self,
        workload: &Arc<Workload>,
        local: &LocalPod,
        process: Option<Process>,
    ) -> Result<(), EnrolmentError> {
        let Some(current) = self.pods.get_mut(&workload.uid) else { return Ok(()) };
        let cookie = current.pod.netns.cookie();
        let addresses = addresses(workload);
        self.kernel.tables.set_inbound(cookie, &addresses, &local.rules)?;
        self.kernel.tables.set_outbound(cookie, &addresses, &local.rules)?;
        current.pod.account.set(local.share.of(self.data_path.pod_share()));
        current.addresses = addresses;
        current.local = local.clone();
        current.process = process;
        current.moved = false;
        Ok(())
    }

    fn remove_from_kernel(&mut self, cookie: u64) -> Result<(), KernelError> {
        self.kernel.tables.clear_outbound(cookie)?;
        self.kernel.unguard(cookie)?;
        self.kernel.detach_inbound(cookie)?;
        self.kernel.tables.clear_inbound(cookie)
    }

    fn start_accepting(&self, pod: &Arc<EnrolledPod>, listeners: &PodListeners) -> io::Result<watch::Sender<()>> {
        let (sender, stop) = watch::channel(());
        let PodListeners { outbound, plaintext, hbone, held: _ } = listeners;
        let outbound = outbound.iter().map(|listener| (Arrival::Outbound, listener));
        for (arrival, listener) in outbound.chain([(Arrival::Plaintext, plaintext), (Arrival::Hbone, hbone)]) {
            let (listener, pod, account) = (listener.try_clone()?, Arc::clone(pod), Arc::clone(&pod.account));
            let acceptor = accept(listener, arrival, pod, Arc::clone(&self.data_path), stop.clone());
            self.data_path.spawn_acceptor(account, Box::pin(acceptor));
        }
        Ok(sender)
    }
}

fn addresses(workload: &Workload) -> Vec<Address> {
    workload.addresses.iter().map(|address| Address::from(*address)).collect()
}
