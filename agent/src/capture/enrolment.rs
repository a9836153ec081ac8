//! Enrolling pods and releasing them, live: no pod is restarted and no open connection is cut.
//!
//! The order matters. Enrolment first opens what will serve the connections, then turns them to it; release goes the
//! other way round. What fails half-way is undone.

use std::{collections::HashMap, io, os::fd::AsRawFd, path::PathBuf, sync::Arc};

use heddle_common::{Address, ListenerKind};
use tokio::sync::watch;

use crate::mesh::{CaptureRules, LocalPod, Workload, WorkloadUid};

use super::{
    Arrival, DataPath, Kernel, KernelError, NetworkNamespace, accept::accept, return_route::ReturnRoute,
    sockets::PodListeners, survivors,
};

/// Why a pod could not be enrolled.
#[derive(Debug, thiserror::Error)]
pub enum EnrolmentError {
    /// The pod does not run on this node, or is not enrolled in the mesh.
    #[error("it has no network namespace on this node")]
    NotLocal,
    /// The network namespace could not be opened.
    #[error("open network namespace {path}: {source}", path = path.display())]
    Namespace {
        /// Its path.
        path: PathBuf,
        /// What happened.
        source: io::Error,
    },
    /// To capture the node's own traffic would cut the node off.
    #[error("{path} is the node's own network namespace: a host-network pod cannot be enrolled, correct heddle.io/netns", path = path.display())]
    NodeNamespace {
        /// The path.
        path: PathBuf,
    },
    /// Something inside the namespace could not be set up.
    #[error("{what}: {source}")]
    Inside {
        /// What was tried.
        what: &'static str,
        /// What happened.
        source: io::Error,
    },
    /// The kernel refused a map entry or a link.
    #[error(transparent)]
    Kernel(#[from] KernelError),
}

/// An enrolled pod as its connections see it. It lives as long as the last of them.
#[derive(Debug)]
pub struct EnrolledPod {
    /// The pod as it was when it was enrolled.
    pub workload: Arc<Workload>,
    /// Where its sockets are opened.
    pub netns: Arc<NetworkNamespace>,
    _return_route: ReturnRoute,
}

/// What is in force for one pod.
#[derive(Debug)]
struct InForce {
    pod: Arc<EnrolledPod>,
    addresses: Vec<Address>,
    rules: CaptureRules,
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
    data_path: Arc<dyn DataPath>,
    pods: HashMap<WorkloadUid, InForce>,
}

impl EnrolledPod {
    /// How many connections it has that were open before it was enrolled and stay outside the mesh. Takes seconds where
    /// thousands of connections come and go: not for a thread that others wait for.
    pub fn survivors(&self) -> io::Result<usize> {
        survivors::count(&self.netns)
    }
}

impl Enrolment {
    /// Takes over the kernel's half.
    pub fn new(kernel: Kernel, data_path: Arc<dyn DataPath>) -> Self {
        Self { kernel, data_path, pods: HashMap::new() }
    }

    /// How many pods are enrolled now.
    pub fn count(&self) -> usize {
        self.pods.len()
    }

    /// Whether exactly this state of the pod is in force.
    pub fn is_current(&self, workload: &Workload) -> bool {
        self.pods.get(&workload.uid).is_some_and(|current| {
            current.addresses == addresses(workload)
                && workload
                    .local
                    .as_ref()
                    .is_some_and(|local| current.rules == local.rules && current.pod.netns.path() == local.netns)
        })
    }

    /// Enrols a pod, or brings an enrolled one up to date. Returns the pod if it is new.
    pub fn enrol(&mut self, workload: &Arc<Workload>) -> Result<Option<Arc<EnrolledPod>>, EnrolmentError> {
        let local = workload.local.as_ref().ok_or(EnrolmentError::NotLocal)?;
        let netns = NetworkNamespace::open(&local.netns)
            .map_err(|source| EnrolmentError::Namespace { path: local.netns.clone(), source })?;
        if netns.is_home().map_err(inside("compare it with the node's own network namespace"))? {
            return Err(EnrolmentError::NodeNamespace { path: local.netns.clone() });
        }
        match self.pods.get(&workload.uid) {
            Some(current) if current.pod.netns.cookie() == netns.cookie() => {
                self.update(workload, local)?;
                return Ok(None);
            }
            // The same pod in another namespace: its sandbox was made anew.
            Some(_) => {
                let released = self.release(&workload.uid)?;
                released.map_or(Ok(()), |released| self.forget(&released))?;
            }
            None => {}
        }
        self.enrol_new(workload, local, netns).map(Some)
    }

    /// Releases a pod: its new connections go where they would without Heddle, open ones are served to their end. Those
    /// that are just being looked up, or in the middle of their handshake, still need what is left: give it a moment
    /// before [`Enrolment::forget`]. `None` for a pod that is not enrolled.
    pub fn release(&mut self, uid: &WorkloadUid) -> Result<Option<Released>, EnrolmentError> {
        let Some(released) = self.pods.get(uid) else { return Ok(None) };
        let cookie = released.pod.netns.cookie();
        self.kernel.tables.clear_outbound(cookie)?;
        self.kernel.detach_inbound(cookie)?;
        Ok(self.pods.remove(uid).map(Released))
    }

    /// Forgets a released pod. When it is dropped its listeners serve their queues and close.
    pub fn forget(&mut self, released: &Released) -> Result<(), EnrolmentError> {
        Ok(self.kernel.tables.clear_inbound(released.0.pod.netns.cookie())?)
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
        Ok(leftovers.len())
    }

    fn enrol_new(
        &mut self,
        workload: &Arc<Workload>,
        local: &LocalPod,
        netns: NetworkNamespace,
    ) -> Result<Arc<EnrolledPod>, EnrolmentError> {
        let cookie = netns.cookie();
        let netns = Arc::new(netns);
        let return_route = ReturnRoute::install(Arc::clone(&netns))
            .map_err(inside("route the answers of applications back to the agent"))?;
        let listeners = PodListeners::open(&netns).map_err(inside("open the agent's listeners"))?;
        let pod = Arc::new(EnrolledPod { workload: Arc::clone(workload), netns, _return_route: return_route });

        // What an earlier agent captured stays captured, and is refused while nobody listens: fail closed.
        let adopted = self.kernel.tables.enrolled()?.contains(&cookie);
        if let Err(error) = self.capture(workload, local, &pod, &listeners) {
            if !adopted {
                // The error that stopped the enrolment is the one to report.
                let _ = self.remove_from_kernel(cookie);
            }
            return Err(error.into());
        }
        let in_force = InForce {
            addresses: addresses(workload),
            rules: local.rules.clone(),
            _accepting: self.start_accepting(&pod, listeners),
            pod: Arc::clone(&pod),
        };
        self.pods.insert(workload.uid.clone(), in_force);
        Ok(pod)
    }

    /// Turns the pod's new connections to the listeners: inbound first, so that no answer to a captured outbound
    /// connection meets a pod that peers cannot reach yet.
    fn capture(
        &mut self,
        workload: &Workload,
        local: &LocalPod,
        pod: &EnrolledPod,
        listeners: &PodListeners,
    ) -> Result<(), KernelError> {
        let cookie = pod.netns.cookie();
        let addresses = addresses(workload);
        self.kernel.tables.set_listener(cookie, ListenerKind::Plaintext, listeners.plaintext.as_raw_fd())?;
        self.kernel.tables.set_listener(cookie, ListenerKind::Hbone, listeners.hbone.as_raw_fd())?;
        self.kernel.tables.set_inbound(cookie, &addresses, &local.rules)?;
        self.kernel.attach_inbound(&pod.netns)?;
        self.kernel.tables.set_outbound(cookie, &addresses, &local.rules)
    }

    fn update(&mut self, workload: &Arc<Workload>, local: &LocalPod) -> Result<(), EnrolmentError> {
        let Some(current) = self.pods.get_mut(&workload.uid) else { return Ok(()) };
        let cookie = current.pod.netns.cookie();
        let addresses = addresses(workload);
        self.kernel.tables.set_inbound(cookie, &addresses, &local.rules)?;
        self.kernel.tables.set_outbound(cookie, &addresses, &local.rules)?;
        current.addresses = addresses;
        current.rules = local.rules.clone();
        Ok(())
    }

    fn remove_from_kernel(&mut self, cookie: u64) -> Result<(), KernelError> {
        self.kernel.tables.clear_outbound(cookie)?;
        self.kernel.detach_inbound(cookie)?;
        self.kernel.tables.clear_inbound(cookie)
    }

    fn start_accepting(&self, pod: &Arc<EnrolledPod>, listeners: PodListeners) -> watch::Sender<()> {
        let (sender, stop) = watch::channel(());
        let PodListeners { outbound, plaintext, hbone } = listeners;
        let all = outbound
            .into_iter()
            .map(|listener| (Arrival::Outbound, listener))
            .chain([(Arrival::Plaintext, plaintext), (Arrival::Hbone, hbone)]);
        for (arrival, listener) in all {
            let acceptor = accept(listener, arrival, Arc::clone(pod), Arc::clone(&self.data_path), stop.clone());
            self.data_path.spawn_acceptor(Box::pin(acceptor));
        }
        sender
    }
}

fn addresses(workload: &Workload) -> Vec<Address> {
    workload.addresses.iter().map(|address| Address::from(*address)).collect()
}

fn inside(what: &'static str) -> impl Fn(io::Error) -> EnrolmentError {
    move |source| EnrolmentError::Inside { what, source }
}
