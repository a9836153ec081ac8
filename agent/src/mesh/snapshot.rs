//! The immutable state that every decision reads, and the handle that swaps it.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    sync::{Arc, OnceLock},
};

use arc_swap::ArcSwap;

use super::{
    Entries, Modes, Policy, Routes, Rules, Service, ServiceName, ServicePort, TokenRule, Workload,
    address_map::AddressMap,
    backend_policies::BackendPolicies,
    destinations::Destinations,
    entries::Found,
    fallbacks::Fallbacks,
    policies::Policies,
    rate_limits::RateLimits,
    telemetry::TelemetryDocuments,
    token_rules::{TokenDocument, TokenDocuments},
};

/// Everything a decision reads, of one generation. A copy shares all that is the same.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Grows by one with each published snapshot; 0 is "nothing yet".
    pub generation: u64,
    pub(super) workloads: AddressMap<Arc<Workload>>,
    pub(super) local: Arc<[Arc<Workload>]>,
    pub(super) services: imbl::OrdMap<ServiceName, Arc<Service>>,
    pub(super) virtual_addresses: AddressMap<Arc<Service>>,
    pub(super) rules: Rules,
    pub(super) entries: Arc<Entries>,
    pub(super) modes: Arc<Modes>,
    pub(super) policies: Policies,
    pub(super) token_documents: TokenDocuments,
    pub(super) routes: Routes,
    pub(super) destinations: Destinations,
    pub(super) backend_policies: BackendPolicies,
    pub(super) rate_limits: RateLimits,
    pub(super) fallbacks: Fallbacks,
    pub(super) telemetry: TelemetryDocuments,
}

/// What an address that a pod dialled stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// A cluster IP and one of its ports.
    Service(Arc<ServicePort>),
    /// A cluster IP, but not one of its ports.
    UnknownServicePort(Arc<Service>),
    /// A pod's own address.
    Workload(Arc<Workload>),
    /// A destination outside the cluster that has a name: a ServiceEntry without endpoints of its own.
    Named(ServiceName),
    /// Nothing that the mesh knows.
    External,
}

impl Snapshot {
    /// Whether two snapshots decide everything alike, whatever their generations.
    pub fn same_contents(&self, other: &Self) -> bool {
        // Exhaustive, so that a new field cannot be forgotten here.
        let Self {
            generation: _,
            workloads,
            local,
            services,
            virtual_addresses,
            rules,
            entries,
            modes,
            policies,
            token_documents,
            routes,
            destinations,
            backend_policies,
            rate_limits,
            fallbacks,
            telemetry,
        } = self;
        *workloads == other.workloads
            && *local == other.local
            && *services == other.services
            && *virtual_addresses == other.virtual_addresses
            && *rules == other.rules
            && *entries == other.entries
            && *modes == other.modes
            && *policies == other.policies
            && *token_documents == other.token_documents
            && *routes == other.routes
            && *destinations == other.destinations
            && *backend_policies == other.backend_policies
            && *rate_limits == other.rate_limits
            && *fallbacks == other.fallbacks
            && *telemetry == other.telemetry
    }

    /// The pod that has this address.
    pub fn workload(&self, address: IpAddr) -> Option<&Arc<Workload>> {
        self.workloads.get(address)
    }

    /// A pod as it is now; as it was, where it has gone since.
    pub fn current(&self, workload: &Arc<Workload>) -> Arc<Workload> {
        let now = workload.addresses.iter().find_map(|address| self.workload(*address));
        Arc::clone(now.filter(|now| now.uid == workload.uid).unwrap_or(workload))
    }

    /// What a dialled address stands for. IPv4-mapped addresses must have been made IPv4 before.
    pub fn destination(&self, address: SocketAddr) -> Destination {
        if let Some(service) = self.virtual_addresses.get(address.ip()) {
            return match service.port(address) {
                Some(port) => Destination::Service(Arc::clone(port)),
                None => Destination::UnknownServicePort(Arc::clone(service)),
            };
        }
        if let Some(workload) = self.workloads.get(address.ip()) {
            return Destination::Workload(Arc::clone(workload));
        }
        match self.entries.find(address) {
            Some(Found::Endpoints(port)) => Destination::Service(port),
            Some(Found::AsDialled(name)) => Destination::Named(name),
            None => Destination::External,
        }
    }

    /// The Service of this name.
    pub fn service(&self, name: &ServiceName) -> Option<&Arc<Service>> {
        self.services.get(name)
    }

    /// Where connections to a Service port go on one of its endpoints' addresses.
    pub fn service_endpoint(&self, namespace: &str, name: &str, port: u16, address: IpAddr) -> Option<SocketAddr> {
        let service = self.service(&ServiceName { namespace: namespace.into(), name: name.into() })?;
        service.port(SocketAddr::new(address, port))?.ready.on(address)
    }

    /// The mesh documents in force, ordered by kind, namespace and name.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// The AuthorizationPolicies that select a workload: those for the whole mesh first, then by name.
    pub fn policies_of(&self, workload: &Workload) -> Vec<&Policy> {
        self.policies.of(workload)
    }

    /// Destinations outside the cluster.
    pub fn entries(&self) -> &Entries {
        &self.entries
    }

    /// The rules for JSON Web Tokens in requests to a workload: those for the whole mesh first, then by name and place.
    pub fn token_rules_of(&self, workload: &Workload) -> Vec<TokenRule> {
        self.token_documents.of(workload).into_iter().flat_map(TokenDocument::rules).collect()
    }

    /// What PeerAuthentications say.
    pub fn modes(&self) -> &Modes {
        &self.modes
    }

    /// Which routes decide over which ports.
    pub fn routes(&self) -> &Routes {
        &self.routes
    }

    /// The enrolled pods of this node, ordered by uid.
    pub fn local_pods(&self) -> &[Arc<Workload>] {
        &self.local
    }

    /// All services, ordered by name.
    pub fn services(&self) -> impl ExactSizeIterator<Item = &Arc<Service>> {
        self.services.values()
    }

    /// All workloads, ordered by namespace and name.
    pub fn workloads(&self) -> Vec<&Arc<Workload>> {
        let mut all: Vec<_> = self.workloads.values().collect();
        all.sort_by(|a, b| (&a.namespace, &a.name, &a.uid).cmp(&(&b.namespace, &b.name, &b.uid)));
        all.dedup_by(|a, b| a.uid == b.uid);
        all
    }
}

/// The current snapshot, shared by all steps. Cloning is cheap; reading never blocks.
#[derive(Clone, Default)]
pub struct SnapshotHandle(Arc<Shared>);

#[derive(Default)]
struct Shared {
    current: ArcSwap<Snapshot>,
    before_publishing: OnceLock<Hook>,
}

type Hook = Box<dyn Fn(u64) + Send + Sync>;

impl SnapshotHandle {
    /// The snapshot that a new connection reads, from start to end.
    pub fn load(&self) -> Arc<Snapshot> {
        self.0.current.load_full()
    }

    /// Has the generation of each snapshot told before anybody can read it: what the kernel was told on an earlier one must not
    /// hold beside it. One who asks, at the start.
    pub fn before_publishing(&self, hook: impl Fn(u64) + Send + Sync + 'static) {
        drop(self.0.before_publishing.set(Box::new(hook)));
    }

    /// Puts a new snapshot in force for connections from now on.
    pub fn publish(&self, snapshot: Snapshot) {
        if let Some(hook) = self.0.before_publishing.get() {
            hook(snapshot.generation);
        }
        self.0.current.store(Arc::new(snapshot));
    }
}

impl fmt::Debug for SnapshotHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SnapshotHandle").field(&self.load().generation).finish()
    }
}
