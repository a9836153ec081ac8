//! The kinds of documents that a mesh ConfigMap may hold.

use std::fmt;

macro_rules! kinds {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal of $versions:expr;)+) => {
        /// A kind of mesh document, by its upstream name.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum RuleKind { $($(#[doc = $doc])+ $variant,)+ }

        impl RuleKind {
            /// Every kind.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// As written in `kind:`.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// The `apiVersion`s that are read, the preferred one first.
            pub const fn api_versions(self) -> &'static [&'static str] {
                match self { $(Self::$variant => &$versions,)+ }
            }
        }
    };
}

kinds! {
    /// Routes of HTTP requests.
    HttpRoute = "HTTPRoute" of ["gateway.networking.k8s.io/v1", "gateway.networking.k8s.io/v1beta1"];
    /// Routes of gRPC calls.
    GrpcRoute = "GRPCRoute" of ["gateway.networking.k8s.io/v1"];
    /// Routes of TLS connections, by server name.
    TlsRoute = "TLSRoute" of ["gateway.networking.k8s.io/v1", "gateway.networking.k8s.io/v1alpha3", "gateway.networking.k8s.io/v1alpha2"];
    /// Routes of TCP connections.
    TcpRoute = "TCPRoute" of ["gateway.networking.k8s.io/v1", "gateway.networking.k8s.io/v1alpha2"];
    /// Permission to refer across namespaces; mesh routes need none.
    ReferenceGrant = "ReferenceGrant" of ["gateway.networking.k8s.io/v1", "gateway.networking.k8s.io/v1beta1"];
    /// Retry budget and session persistence of a Service.
    BackendTrafficPolicy = "XBackendTrafficPolicy" of ["gateway.networking.x-k8s.io/v1alpha1"];
    /// Who may do what with a workload.
    AuthorizationPolicy = "AuthorizationPolicy" of ["security.istio.io/v1", "security.istio.io/v1beta1"];
    /// Whether a workload takes plaintext.
    PeerAuthentication = "PeerAuthentication" of ["security.istio.io/v1", "security.istio.io/v1beta1"];
    /// Which JSON Web Tokens a workload believes.
    RequestAuthentication = "RequestAuthentication" of ["security.istio.io/v1", "security.istio.io/v1beta1"];
    /// How connections to a destination are balanced and bounded.
    DestinationRule = "DestinationRule" of ["networking.istio.io/v1", "networking.istio.io/v1beta1", "networking.istio.io/v1alpha3"];
    /// A destination outside the cluster.
    ServiceEntry = "ServiceEntry" of ["networking.istio.io/v1", "networking.istio.io/v1beta1", "networking.istio.io/v1alpha3"];
    /// How many requests a client may make.
    RateLimit = "RateLimit" of ["heddle.io/v1alpha1"];
    /// Delays and errors on purpose.
    FaultInjection = "FaultInjection" of ["heddle.io/v1alpha1"];
    /// Who serves in the place of a Service that cannot.
    Fallback = "Fallback" of ["heddle.io/v1alpha1"];
    /// What is measured, logged and traced.
    Telemetry = "Telemetry" of ["heddle.io/v1alpha1"];
    /// What stays out of capture, and a pod's share of the agent.
    Capture = "Capture" of ["heddle.io/v1alpha1"];
}

impl fmt::Display for RuleKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
