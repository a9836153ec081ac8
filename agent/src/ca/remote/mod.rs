//! A client of a remote authority: `heddle ca`, cert-manager's istio-csr, or istiod.
//!
//! In: signing requests. Out: chains with the roots to trust. It proves who this agent is by a token that is read from its
//! file for every request, since the kubelet replaces it, and believes the authority by roots from another file. It keeps
//! no certificate, asks once, and reports what happened: when to ask again is decided in `identify/renewal.rs`.

pub(super) mod answer;
mod channel;
mod dial;
mod error;
mod files;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use http::{Uri, uri::PathAndQuery};
use prost_types::{Struct, Value, value::Kind};
use rustls::pki_types::CertificateSigningRequestDer;
use tokio::time::timeout;
use tonic::{
    Request, Status,
    client::Grpc,
    metadata::{Ascii, MetadataValue},
};
use tonic_prost::ProstCodec;

use self::{channel::Channel, dial::Link, error::RemoteError, files::Token};
use super::{
    pem,
    protocol::{CREATE_CERTIFICATE, CertificateRequest, CertificateResponse, IMPERSONATED_IDENTITY},
};
use crate::{
    config::RemoteCaConfig,
    identify::{Clock, IssueError, Issuer, SignedChain, TlsSettings},
    mesh::SpiffeId,
};

/// An authority that is asked over the network.
pub struct RemoteCa {
    config: RemoteCaConfig,
    clock: Clock,
    channel: Channel,
}

impl RemoteCa {
    /// Connects nowhere yet; a file that is missing is reported when a certificate is wanted.
    pub fn new(config: &RemoteCaConfig, tls: &TlsSettings) -> Self {
        Self { config: config.clone(), clock: tls.clock().clone(), channel: Channel::new(config, tls) }
    }

    async fn ask(
        &self,
        id: &SpiffeId,
        request: &CertificateSigningRequestDer<'static>,
    ) -> Result<SignedChain, RemoteError> {
        let token = files::token(&self.config.token).await?;
        let message = self.message(id, request);
        let (link, is_reused) = self.channel.link().await?;
        let answer = match self.call(&link, &message, &token).await {
            // A kept connection may have ended unnoticed. To sign twice harms nobody: only one answer is used.
            Err(error) if is_reused && error.is_broken() => {
                let (link, _) = self.channel.link().await?;
                self.call(&link, &message, &token).await
            }
            answer => answer,
        };
        answer::split(&answer?.cert_chain, self.clock.now()).map_err(|problem| self.bad_answer(problem))
    }

    fn message(&self, id: &SpiffeId, request: &CertificateSigningRequestDer<'static>) -> CertificateRequest {
        let name = Value { kind: Some(Kind::StringValue(id.to_string())) };
        let metadata = Struct { fields: BTreeMap::from([(IMPERSONATED_IDENTITY.to_owned(), name)]) };
        CertificateRequest {
            csr: pem::encode("CERTIFICATE REQUEST", request),
            validity_duration: i64::try_from(self.config.lifetime.as_secs().max(1)).unwrap_or(i64::MAX),
            metadata: self.config.impersonate.then_some(metadata),
        }
    }

    /// One call. A connection that did not carry it to its end is not used again.
    async fn call(
        &self,
        link: &Link,
        message: &CertificateRequest,
        token: &Token,
    ) -> Result<CertificateResponse, RemoteError> {
        let address = || self.config.address.to_string();
        let outcome = match timeout(CALL_TIMEOUT, self.unary(link, message.clone(), token)).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(status)) => RemoteError::of_status(address(), &status, token, self.clock.now()),
            Err(_) => RemoteError::Timeout { what: "answer", address: address(), within: CALL_TIMEOUT },
        };
        if !outcome.is_answer() {
            self.channel.forget(link);
        }
        Err(outcome)
    }

    async fn unary(
        &self,
        link: &Link,
        message: CertificateRequest,
        token: &Token,
    ) -> Result<CertificateResponse, Status> {
        let mut client = Grpc::with_origin(link.clone(), self.origin()?).max_decoding_message_size(LONGEST_ANSWER);
        client.ready().await.map_err(|error| Status::from_error(error.into()))?;
        let mut request = Request::new(message);
        let mut bearer = metadata(&format!("Bearer {}", token.text))?;
        // Kept out of HTTP/2's compression table, and out of debug output.
        bearer.set_sensitive(true);
        request.metadata_mut().insert("authorization", bearer);
        request.metadata_mut().insert("clusterid", metadata(&self.config.cluster_id)?);
        let path = PathAndQuery::from_static(CREATE_CERTIFICATE);
        let codec = ProstCodec::<CertificateRequest, CertificateResponse>::default();
        Ok(client.unary(request, path, codec).await?.into_inner())
    }

    fn origin(&self) -> Result<Uri, Status> {
        let address = self.config.address.to_string();
        address.parse().map_err(|error| Status::internal(format!("{address} is no address: {error}")))
    }

    fn bad_answer(&self, problem: String) -> RemoteError {
        RemoteError::BadAnswer { address: self.config.address.to_string(), problem }
    }
}

impl Issuer for RemoteCa {
    fn sign<'a>(
        &'a self,
        id: &'a SpiffeId,
        request: &'a CertificateSigningRequestDer<'static>,
    ) -> BoxFuture<'a, Result<SignedChain, IssueError>> {
        Box::pin(async move { self.ask(id, request).await.map_err(|error| issue_error(id.clone(), error)) })
    }
}

fn issue_error(id: SpiffeId, error: RemoteError) -> IssueError {
    match error {
        RemoteError::BadAnswer { .. } => IssueError::Unusable { id, problem: error.to_string() },
        RemoteError::Answered { is_refusal: true, .. } => IssueError::Refused { id, problem: error.to_string() },
        RemoteError::File { .. }
        | RemoteError::Resolve { .. }
        | RemoteError::Connect { .. }
        | RemoteError::Tls { .. }
        | RemoteError::Broken { .. }
        | RemoteError::Timeout { .. }
        | RemoteError::TokenRefused { .. }
        | RemoteError::Answered { is_refusal: false, .. }
        | RemoteError::Abandoned { .. } => IssueError::Unreachable { id, source: Box::new(Arc::new(error)) },
    }
}

fn metadata(value: &str) -> Result<MetadataValue<Ascii>, Status> {
    // Not the value in the message: it may be the token.
    MetadataValue::try_from(value)
        .map_err(|_| Status::internal("a header's value has characters that no header may have"))
}

/// An authority has the API server review the token and signs; ten seconds are for one that is overloaded.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// A chain is a few kilobytes, and a bundle of roots some tens.
const LONGEST_ANSWER: usize = 512 * 1024;
