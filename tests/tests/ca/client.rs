//! A client of Istio's protocol on bare HTTP/2, with messages of its own: nothing of the agent is in it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bytes::{BufMut, Bytes, BytesMut};
use h2::client::SendRequest;
use http::{HeaderMap, Request};
use prost::Message;
use rcgen::{CertificateParams, DistinguishedName, KeyPair, SanType};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::{TlsConnector, client::TlsStream};

/// The name in the authority's own certificate.
pub(super) const SERVER: &str = "heddle-ca.heddle-system.svc";
const PATH: &str = "/istio.v1.auth.IstioCertificateService/CreateCertificate";
/// Nothing here takes longer unless it is broken.
const SOON: Duration = Duration::from_secs(30);

#[derive(Clone, PartialEq, Message)]
struct CreateRequest {
    #[prost(string, tag = "1")]
    csr: String,
    #[prost(int64, tag = "3")]
    validity_duration: i64,
    #[prost(message, optional, tag = "4")]
    metadata: Option<prost_types::Struct>,
}

#[derive(Clone, PartialEq, Message)]
struct CreateResponse {
    #[prost(string, repeated, tag = "1")]
    cert_chain: Vec<String>,
}

/// What is asked for.
#[derive(Clone, Default)]
pub(super) struct Ask {
    pub(super) tokens: Vec<String>,
    pub(super) identity: Option<String>,
    pub(super) csr: String,
    pub(super) seconds: i64,
}

impl Ask {
    /// An honest request for an identity.
    pub(super) fn new(token: &str, identity: &str) -> Self {
        let identity = identity.to_owned();
        Self { tokens: vec![token.to_owned()], csr: csr(&[&identity]), identity: Some(identity), seconds: 0 }
    }

    pub(super) fn csr(mut self, csr: String) -> Self {
        self.csr = csr;
        self
    }

    pub(super) fn seconds(mut self, seconds: i64) -> Self {
        self.seconds = seconds;
        self
    }

    fn message(&self) -> Vec<u8> {
        let field = |name: &String| {
            let kind = Some(prost_types::value::Kind::StringValue(name.clone()));
            ("ImpersonatedIdentity".to_owned(), prost_types::Value { kind })
        };
        let metadata = self.identity.as_ref().map(|name| prost_types::Struct { fields: [field(name)].into() });
        CreateRequest { csr: self.csr.clone(), validity_duration: self.seconds, metadata }.encode_to_vec()
    }
}

/// A signing request for URIs, on P-256.
pub(super) fn csr(names: &[&str]) -> String {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.subject_alt_names = names.iter().map(|name| SanType::URI((*name).try_into().unwrap())).collect();
    params.serialize_request(&KeyPair::generate().unwrap()).unwrap().pem().unwrap()
}

/// An answer: the chain, or a gRPC status that is not OK.
pub(super) type Answer = Result<Signed, Refused>;

#[derive(Debug)]
pub(super) struct Refused {
    pub(super) code: u32,
    pub(super) message: String,
}

/// The leaf, what is between, and the roots of the last entry.
#[derive(Clone, Debug)]
pub(super) struct Signed {
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) roots: Vec<CertificateDer<'static>>,
}

impl Signed {
    fn read(entries: &[String]) -> Result<Self> {
        let (roots, chain) = entries.split_last().context("an answer without certificates")?;
        let roots: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(roots.as_bytes()).collect();
        let chain: Result<Vec<_>, _> = chain.iter().map(|pem| CertificateDer::from_pem_slice(pem.as_bytes())).collect();
        Ok(Self { chain: chain?, roots: roots? })
    }

    /// Whether peers that trust `roots` accept it as a client.
    pub(super) fn verifies_with(&self, roots: &[CertificateDer<'static>]) -> bool {
        self.verified_at(UnixTime::now(), roots)
    }

    /// Whether they did at a moment.
    pub(super) fn verified_at(&self, now: UnixTime, roots: &[CertificateDer<'static>]) -> bool {
        let (leaf, between) = self.chain.split_first().unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(store(roots)), provider).build().unwrap();
        verifier.verify_client_cert(leaf, between, now).is_ok()
    }
}

fn store(roots: &[CertificateDer<'static>]) -> RootCertStore {
    let mut store = RootCertStore::empty();
    roots.iter().for_each(|root| store.add(root.clone()).unwrap());
    store
}

/// TLS to the authority, which must prove its name to whom trusts the roots in PEM.
pub(super) async fn tls(address: SocketAddr, roots_pem: &str) -> Result<TlsStream<TcpStream>> {
    let roots: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(roots_pem.as_bytes()).collect();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[&rustls::version::TLS13])?;
    let mut config = config.with_root_certificates(store(&roots?)).with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let tcp = TcpStream::connect(address).await?;
    Ok(TlsConnector::from(Arc::new(config)).connect(ServerName::try_from(SERVER)?, tcp).await?)
}

/// One connection; requests on it may run at once.
#[derive(Clone)]
pub(super) struct Client {
    requests: SendRequest<Bytes>,
}

impl Client {
    pub(super) async fn connect(address: SocketAddr, roots_pem: &str) -> Result<Self> {
        let stream = timeout(SOON, tls(address, roots_pem)).await.context("no TLS in time")??;
        let (requests, connection) = h2::client::handshake(stream).await?;
        // Its end is seen by the requests.
        tokio::spawn(async { connection.await.is_ok() });
        Ok(Self { requests })
    }

    pub(super) async fn ask(&self, ask: &Ask) -> Result<Answer> {
        let message = ask.message();
        self.send(&ask.tokens, &framed(&message)).await
    }

    /// Sends bytes as the body.
    pub(super) async fn send(&self, tokens: &[String], body: &[u8]) -> Result<Answer> {
        timeout(SOON, self.exchange(tokens, body)).await.context("no answer in time")?
    }

    async fn exchange(&self, tokens: &[String], body: &[u8]) -> Result<Answer> {
        let (response, mut stream) = self.begin(PATH, tokens).await?;
        stream.send_data(Bytes::copy_from_slice(body), true)?;
        let response = response.await?;
        if let Some(refused) = status(response.headers()) {
            return Ok(Err(refused));
        }
        let mut body = response.into_body();
        let mut data = BytesMut::new();
        while let Some(chunk) = body.data().await {
            let chunk = chunk?;
            body.flow_control().release_capacity(chunk.len())?;
            data.put(chunk);
        }
        let trailers = body.trailers().await?.context("no trailers")?;
        if let Some(refused) = status(&trailers) {
            return Ok(Err(refused));
        }
        if data.len() < 5 || data[0] != 0 {
            bail!("the answer is no gRPC message: {data:?}");
        }
        Ok(Ok(Signed::read(&CreateResponse::decode(&data[5..])?.cert_chain)?))
    }

    /// Opens a request and sends no body yet.
    pub(super) async fn begin(
        &self,
        path: &str,
        tokens: &[String],
    ) -> Result<(h2::client::ResponseFuture, h2::SendStream<Bytes>)> {
        let mut request = Request::post(format!("https://{SERVER}{path}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        for token in tokens {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        Ok(self.requests.clone().ready().await?.send_request(request.body(())?, false)?)
    }

    /// The status of a request that never gets a body.
    pub(super) async fn ask_and_send_nothing(&self, tokens: &[String]) -> Result<Refused> {
        let (response, _stream) = self.begin(PATH, tokens).await?;
        let response = timeout(SOON, response).await.context("no answer in time")??;
        status(response.headers()).context("it was answered with success")
    }
}

/// The five bytes before each message, and the message.
pub(super) fn framed(message: &[u8]) -> Vec<u8> {
    let mut body = vec![0];
    body.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
    body.extend_from_slice(message);
    body
}

/// A status other than OK, if there is one.
fn status(headers: &HeaderMap) -> Option<Refused> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let code = text("grpc-status")?.parse().unwrap();
    let message = text("grpc-message").unwrap_or_default().replace("%20", " ").replace("%22", "\"");
    (code != 0).then_some(Refused { code, message })
}
