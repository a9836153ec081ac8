//! Which kinds of objects the server knows, and under which paths.
//!
//! The built-in ones are what the agent can read or write; a test registers more of them.

use std::sync::Arc;

use parking_lot::RwLock;

/// One kind of object, as API discovery lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    /// The API group; the core group is "".
    pub group: String,
    /// The version of the group.
    pub version: String,
    /// The plural that paths use.
    pub plural: String,
    /// The kind that objects name.
    pub kind: String,
    /// Whether its objects belong to namespaces.
    pub namespaced: bool,
    /// Whether `status` is written separately, as a subresource.
    pub has_status: bool,
    /// Whether objects are kept; one that is not kept can only be created, and the answer is all there is.
    pub stored: bool,
    /// What kubectl may call it.
    pub short: String,
}

impl Resource {
    /// A namespaced kind without a status subresource; `api_version` is `v1` or `group/version`.
    #[must_use]
    pub fn new(api_version: &str, plural: &str, kind: &str) -> Self {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        Self {
            group: group.to_owned(),
            version: version.to_owned(),
            plural: plural.to_owned(),
            kind: kind.to_owned(),
            namespaced: true,
            has_status: false,
            stored: true,
            short: String::new(),
        }
    }

    /// Belongs to no namespace.
    #[must_use]
    pub fn cluster_wide(mut self) -> Self {
        self.namespaced = false;
        self
    }

    /// Its status is a subresource.
    #[must_use]
    pub fn with_status(mut self) -> Self {
        self.has_status = true;
        self
    }

    fn short(mut self, name: &str) -> Self {
        self.short = name.to_owned();
        self
    }

    fn answered_only(mut self) -> Self {
        self.stored = false;
        self
    }

    /// `v1` or `group/version`.
    #[must_use]
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }

    /// `pods` or `endpointslices.discovery.k8s.io`, as messages name it.
    #[must_use]
    pub fn full_name(&self) -> String {
        if self.group.is_empty() { self.plural.clone() } else { format!("{}.{}", self.plural, self.group) }
    }
}

/// All kinds that a server knows.
pub(super) struct Registry {
    resources: RwLock<Vec<Arc<Resource>>>,
}

impl Registry {
    /// The built-in kinds.
    pub(super) fn built_in() -> Self {
        Self { resources: RwLock::new(built_in().into_iter().map(Arc::new).collect()) }
    }

    /// Adds a kind, or replaces the one under the same path.
    pub(super) fn register(&self, resource: Resource) {
        let mut resources = self.resources.write();
        let same = |known: &Arc<Resource>| {
            (&known.group, &known.version, &known.plural) == (&resource.group, &resource.version, &resource.plural)
        };
        resources.retain(|known| !same(known));
        resources.push(Arc::new(resource));
    }

    /// The kind under a path.
    pub(super) fn at(&self, group: &str, version: &str, plural: &str) -> Option<Arc<Resource>> {
        let found =
            |known: &&Arc<Resource>| (&*known.group, &*known.version, &*known.plural) == (group, version, plural);
        self.resources.read().iter().find(found).cloned()
    }

    /// The kind of an object.
    pub(super) fn of(&self, api_version: &str, kind: &str) -> Option<Arc<Resource>> {
        self.resources.read().iter().find(|known| known.api_version() == api_version && known.kind == kind).cloned()
    }

    /// The first kind of this name: the core group's, where several have it.
    pub(super) fn called(&self, kind: &str) -> Option<Arc<Resource>> {
        self.resources.read().iter().find(|known| known.kind == kind).cloned()
    }

    /// All kinds, in the order of their registration.
    pub(super) fn all(&self) -> Vec<Arc<Resource>> {
        self.resources.read().clone()
    }
}

fn built_in() -> Vec<Resource> {
    vec![
        Resource::new("v1", "namespaces", "Namespace").cluster_wide().with_status().short("ns"),
        Resource::new("v1", "nodes", "Node").cluster_wide().with_status().short("no"),
        Resource::new("v1", "pods", "Pod").with_status().short("po"),
        Resource::new("v1", "services", "Service").with_status().short("svc"),
        Resource::new("v1", "serviceaccounts", "ServiceAccount").short("sa"),
        Resource::new("v1", "configmaps", "ConfigMap").short("cm"),
        Resource::new("v1", "secrets", "Secret"),
        Resource::new("v1", "events", "Event").short("ev"),
        Resource::new("discovery.k8s.io/v1", "endpointslices", "EndpointSlice"),
        Resource::new("events.k8s.io/v1", "events", "Event").short("ev"),
        Resource::new(
            "admissionregistration.k8s.io/v1",
            "validatingwebhookconfigurations",
            "ValidatingWebhookConfiguration",
        )
        .cluster_wide(),
        Resource::new("authentication.k8s.io/v1", "tokenreviews", "TokenReview").cluster_wide().answered_only(),
        access_review("selfsubjectaccessreviews", "SelfSubjectAccessReview"),
        access_review("subjectaccessreviews", "SubjectAccessReview"),
        Resource::new(RBAC, "clusterroles", "ClusterRole").cluster_wide(),
        Resource::new(RBAC, "clusterrolebindings", "ClusterRoleBinding").cluster_wide(),
        Resource::new(RBAC, "roles", "Role"),
        Resource::new(RBAC, "rolebindings", "RoleBinding"),
        Resource::new("apps/v1", "daemonsets", "DaemonSet").with_status().short("ds"),
        Resource::new("networking.k8s.io/v1", "networkpolicies", "NetworkPolicy").short("netpol"),
    ]
}

const RBAC: &str = "rbac.authorization.k8s.io/v1";

fn access_review(plural: &str, kind: &str) -> Resource {
    Resource::new("authorization.k8s.io/v1", plural, kind).cluster_wide().answered_only()
}
