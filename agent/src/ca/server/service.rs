//! `IstioCertificateService/CreateCertificate`: one request from its token to the signed chain.

use std::{
    collections::HashSet,
    future::Future,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::Duration,
};

use http::{Request, Response};
use hyper::body::Incoming;
use rcgen::string::Ia5String;
use rustls::pki_types::{CertificateSigningRequestDer, pem::PemObject};
use tokio::{sync::Semaphore, time::timeout};
use tonic::{Status, body::Body, metadata::MetadataMap, server::Grpc};
use tonic_prost::ProstCodec;
use tower_service::Service as TowerService;

use super::{
    audit::Audit,
    connections::Answering,
    placement::Placement,
    refusal::Refusal,
    roots::Roots,
    tokens::{Caller, Tokens},
};
use crate::{
    ca::{
        pem,
        protocol::{CREATE_CERTIFICATE, CertificateRequest, CertificateResponse, IMPERSONATED_IDENTITY, SERVICE},
        signing::{Life, SignedLeaf},
    },
    config::authority::AccountName,
    identify::Clock,
    mesh::{SpiffeId, TrustDomain},
    observe::{AuthorityMetrics, SignedFor, SigningResult},
};

/// Who may ask for what, for how long.
#[derive(Clone, Debug)]
pub struct ServicePolicy {
    /// The only domain that it signs for.
    pub trust_domain: TrustDomain,
    /// Who may ask in the name of the pods of its own node.
    pub trusted: HashSet<AccountName>,
    /// The longest life of a leaf, and the usual one.
    pub leaf_lifetime: Duration,
    /// Requests at once.
    pub requests: usize,
    /// From a request's head to its answer.
    pub request_timeout: Duration,
}

/// The service.
pub struct Service {
    pub(super) policy: ServicePolicy,
    roots: Roots,
    tokens: Tokens,
    placement: Placement,
    clock: Clock,
    metrics: AuthorityMetrics,
    slots: Semaphore,
}

impl Service {
    /// Signs with `roots` for whom `tokens` and `placement` vouch.
    pub fn new(
        policy: ServicePolicy,
        roots: Roots,
        (tokens, placement): (Tokens, Placement),
        clock: Clock,
        metrics: AuthorityMetrics,
    ) -> Self {
        let slots = Semaphore::new(policy.requests);
        Self { policy, roots, tokens, placement, clock, metrics, slots }
    }

    fn refuse(&self, client: SocketAddr, refusal: &Refusal) -> Response<Body> {
        Audit::begin(client).refused(refusal);
        self.metrics.request(refusal.result());
        refusal.status().into_http()
    }

    async fn create(
        &self,
        client: SocketAddr,
        metadata: &MetadataMap,
        request: &CertificateRequest,
    ) -> Result<CertificateResponse, Status> {
        let mut audit = Audit::begin(client);
        match self.decide(metadata, request, &mut audit).await {
            Ok(leaf) => {
                audit.signed(&leaf.serial, leaf.not_after);
                self.metrics.request(SigningResult::Ok);
                self.metrics.certificate(SignedFor::Workload);
                Ok(answer_of(&leaf))
            }
            Err(refusal) => {
                audit.refused(&refusal);
                self.metrics.request(refusal.result());
                Err(refusal.status())
            }
        }
    }

    /// Who asks, for whom, may it, and is the request good: in this order, so that nobody unknown has us parse anything.
    async fn decide(
        &self,
        metadata: &MetadataMap,
        request: &CertificateRequest,
        audit: &mut Audit,
    ) -> Result<SignedLeaf, Refusal> {
        let caller = self.tokens.caller(bearer(metadata)?).await?;
        audit.caller(&caller);
        let id = self.identity_asked_for(&caller, request)?;
        audit.identity(&id);
        self.check_may_have(&caller, &id, audit).await?;
        let csr = CertificateSigningRequestDer::from_pem_slice(request.csr.as_bytes());
        let csr = csr.map_err(|error| Refusal::BadRequest(format!("csr is not a signing request in PEM: {error}")))?;
        let asked = u64::try_from(request.validity_duration).ok().filter(|seconds| *seconds > 0);
        let lifetime = asked.map_or(self.policy.leaf_lifetime, Duration::from_secs).min(self.policy.leaf_lifetime);
        let keyring = self.roots.current(&self.clock)?;
        Ok(keyring.sign(&id, &csr, Life { now: self.clock.now(), lifetime })?)
    }

    /// The caller's own identity, unless it names another.
    fn identity_asked_for(&self, caller: &Caller, request: &CertificateRequest) -> Result<SpiffeId, Refusal> {
        let Some(named) = impersonated(request)? else {
            let AccountName { namespace, name } = caller.account().clone();
            return Ok(SpiffeId::new(self.policy.trust_domain.clone(), namespace, name));
        };
        // A name that is no URI in ASCII could never be signed.
        Ia5String::try_from(named).map_err(|_| bad_identity("it is not ASCII"))?;
        let id: SpiffeId = named.parse().map_err(|error| bad_identity(&format!("{error}")))?;
        if *id.trust_domain() != self.policy.trust_domain {
            return Err(Refusal::WrongTrustDomain { id, domain: self.policy.trust_domain.to_string() });
        }
        Ok(id)
    }

    /// An identity is the caller's own, or that of a pod on its node.
    async fn check_may_have(&self, caller: &Caller, id: &SpiffeId, audit: &mut Audit) -> Result<(), Refusal> {
        let wanted = AccountName { namespace: Arc::clone(id.namespace()), name: Arc::clone(id.service_account()) };
        if wanted == *caller.account() {
            return Ok(());
        }
        if !self.policy.trusted.contains(caller.account()) {
            return Err(Refusal::UntrustedAccount(caller.account().clone()));
        }
        let node = self.placement.node_of(caller).ok_or_else(|| Refusal::UnboundToken(caller.account().clone()))?;
        audit.node(&node);
        if self.placement.runs_on(&node, &wanted).await? {
            return Ok(());
        }
        Err(Refusal::NotOnNode { account: wanted, node: node.to_string() })
    }
}

impl Answering for Service {
    const HTTP1: bool = false;

    async fn answer(self: Arc<Self>, client: SocketAddr, request: Request<Incoming>) -> Response<Body> {
        if request.uri().path() != CREATE_CERTIFICATE {
            let message = format!("{} is not served here; {SERVICE} has CreateCertificate only", request.uri().path());
            return Status::unimplemented(message).into_http();
        }
        let Ok(_slot) = self.slots.try_acquire() else {
            return self.refuse(client, &Refusal::Busy("requests"));
        };
        let judged = Arc::new(AtomicBool::new(false));
        let call = Call { service: Arc::clone(&self), client, judged: Arc::clone(&judged) };
        let mut grpc = Grpc::new(ProstCodec::<CertificateResponse, CertificateRequest>::default())
            .max_decoding_message_size(LARGEST_MESSAGE);
        let answering = grpc.unary(call, request);
        match timeout(self.policy.request_timeout, answering).await {
            Err(_) => self.refuse(client, &Refusal::TimedOut(self.policy.request_timeout)),
            // What is no message of the protocol does not get as far as `create`.
            Ok(response) if !judged.load(Relaxed) => {
                let status = Status::from_header_map(response.headers());
                let status = status.unwrap_or_else(|| Status::internal("no answer"));
                self.refuse(client, &Refusal::BadMessage(status))
            }
            Ok(response) => response,
        }
    }
}

/// One call, as tonic wants it.
struct Call {
    service: Arc<Service>,
    client: SocketAddr,
    judged: Arc<AtomicBool>,
}

impl TowerService<tonic::Request<CertificateRequest>> for Call {
    type Response = tonic::Response<CertificateResponse>;
    type Error = Status;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Status>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: tonic::Request<CertificateRequest>) -> Self::Future {
        self.judged.store(true, Relaxed);
        let (service, client) = (Arc::clone(&self.service), self.client);
        Box::pin(async move {
            let (metadata, _, message) = request.into_parts();
            service.create(client, &metadata, &message).await.map(tonic::Response::new)
        })
    }
}

/// The one token of `authorization` (RFC 6750).
fn bearer(metadata: &MetadataMap) -> Result<&str, Refusal> {
    let values = metadata.get_all("authorization");
    let tokens: Vec<&str> = values.iter().filter_map(|value| value.to_str().ok()).filter_map(token_of).collect();
    match tokens.as_slice() {
        [token] => Ok(token),
        tokens => Err(Refusal::NoToken(tokens.len())),
    }
}

fn token_of(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

/// The name that the request asks for instead of the caller's own.
fn impersonated(request: &CertificateRequest) -> Result<Option<&str>, Refusal> {
    let field = request.metadata.as_ref().and_then(|metadata| metadata.fields.get(IMPERSONATED_IDENTITY));
    match field.and_then(|value| value.kind.as_ref()) {
        None => Ok(None),
        Some(prost_types::value::Kind::StringValue(name)) => Ok(Some(name)),
        Some(_) => Err(bad_identity("it is not text")),
    }
}

fn bad_identity(problem: &str) -> Refusal {
    Refusal::BadRequest(format!("metadata {IMPERSONATED_IDENTITY}: {problem}"))
}

/// The leaf, what is between, and all roots in the last entry.
fn answer_of(leaf: &SignedLeaf) -> CertificateResponse {
    let chain = leaf.chain.chain.iter().map(pem::certificate);
    CertificateResponse { cert_chain: chain.chain([pem::certificates(&leaf.chain.roots)]).collect() }
}

/// A signing request on P-256 has about 500 bytes in PEM, an RSA one that will be refused two thousand.
pub(super) const LARGEST_MESSAGE: usize = 16 * 1024;
