//! A server of keys, over real sockets and TLS, which does whatever a test wants.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use futures_util::{FutureExt, future::BoxFuture, stream};
use http::{HeaderMap, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{ServerConfig, crypto::aws_lc_rs, pki_types::PrivateKeyDer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
};
use tokio_rustls::TlsAcceptor;

use crate::{
    mesh::AddressFamily,
    names::{Answer, Lookup, LookupError, Question},
};

/// What is answered at a path.
#[derive(Clone)]
pub(super) enum Says {
    /// A status, headers and a body.
    Whole(u16, Vec<(&'static str, String)>, String),
    /// 200 and this many bytes, in pieces, without their sum in advance.
    Pieces(usize),
    /// 200 and a beginning, and then nothing more.
    Stops,
    /// 200 and a beginning, and then the connection ends.
    Breaks,
    /// Nothing.
    Hangs,
}

/// A server, until it is dropped.
pub(super) struct KeyServer {
    pub(super) address: SocketAddr,
    state: Arc<State>,
    task: tokio::task::JoinHandle<()>,
}

#[derive(Default)]
struct State {
    says: Mutex<HashMap<String, Says>>,
    requests: Mutex<Vec<(String, HeaderMap)>>,
}

impl Drop for KeyServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl KeyServer {
    pub(super) async fn plain(address: &str) -> Self {
        Self::start(address, None).await
    }

    pub(super) async fn tls(authority: &Authority, names: &[&str]) -> Self {
        Self::start("127.0.0.1:0", Some(authority.acceptor(names))).await
    }

    async fn start(address: &str, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let (address, state) = (listener.local_addr().unwrap(), Arc::new(State::default()));
        let shared = Arc::clone(&state);
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (state, tls) = (Arc::clone(&shared), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => serve(stream, state).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                serve(stream, state).await;
                            }
                        }
                    }
                });
            }
        });
        Self { address, state, task }
    }

    pub(super) fn says(&self, path: &str, says: Says) {
        self.state.says.lock().insert(path.to_owned(), says);
    }

    /// 200 with this text.
    pub(super) fn has(&self, path: &str, text: &str) {
        self.says(path, Says::Whole(200, vec![], text.to_owned()));
    }

    /// The targets that were asked for.
    pub(super) fn asked(&self) -> Vec<String> {
        self.state.requests.lock().iter().map(|(target, _)| target.clone()).collect()
    }

    /// A header of the last request.
    pub(super) fn last_header(&self, name: &str) -> Option<String> {
        let requests = self.state.requests.lock();
        requests.last()?.1.get(name).map(|value| value.to_str().unwrap().to_owned())
    }
}

async fn serve(io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, state: Arc<State>) {
    let answer = service_fn(move |request: Request<Incoming>| {
        let state = Arc::clone(&state);
        async move {
            let target = request.uri().to_string();
            state.requests.lock().push((target.clone(), request.headers().clone()));
            let says = state.says.lock().get(&target).cloned();
            answer(says.unwrap_or(Says::Whole(404, vec![], String::new()))).await
        }
    });
    let _ = http1::Builder::new().serve_connection(TokioIo::new(io), answer).await;
}

type AnyBody = BoxBody<Bytes, std::io::Error>;

async fn answer(says: Says) -> Result<Response<AnyBody>, std::io::Error> {
    let piece = |size| Ok(Frame::data(Bytes::from(vec![b' '; size])));
    let body = match says {
        Says::Whole(status, headers, text) => {
            let mut response = Response::builder().status(status);
            for (name, value) in headers {
                response = response.header(name, value);
            }
            let body = Full::new(Bytes::from(text)).map_err(|never| match never {}).boxed();
            return Ok(response.body(body).unwrap());
        }
        Says::Pieces(sum) => StreamBody::new(stream::iter((0..sum / 1000).map(move |_| piece(1000)))).boxed(),
        Says::Stops => {
            let silence = stream::pending::<Result<Frame<Bytes>, std::io::Error>>();
            StreamBody::new(futures_util::StreamExt::chain(stream::iter([piece(9)]), silence)).boxed()
        }
        Says::Breaks => {
            let end = Err(std::io::ErrorKind::BrokenPipe.into());
            StreamBody::new(stream::iter([piece(9), end])).boxed()
        }
        Says::Hangs => std::future::pending().await,
    };
    Ok(Response::new(body))
}

/// A root, and certificates of it.
pub(super) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(super) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(super) fn root(&self) -> String {
        self.0.pem()
    }

    fn acceptor(&self, names: &[&str]) -> TlsAcceptor {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        TlsAcceptor::from(Arc::new(config))
    }
}

/// Names and their addresses. What is not in it has none; `broken` is never answered.
#[derive(Clone, Default)]
pub(super) struct Hosts(pub(super) Vec<(&'static str, &'static str)>);

impl Lookup for Hosts {
    fn lookup(&self, question: &Question) -> BoxFuture<'static, Result<Answer, LookupError>> {
        let known = self.0.iter().filter(|(name, _)| *name == &*question.name);
        let addresses = known.map(|(_, address)| address.parse::<IpAddr>().unwrap());
        let family = question.family;
        let addresses = addresses.filter(|address| AddressFamily::of(*address) == family).collect();
        let answer = match &*question.name {
            "broken" => Err(LookupError::TimedOut(Duration::from_secs(1))),
            _ => Ok(Answer { addresses, time_to_live: Duration::from_secs(60) }),
        };
        async move { answer }.boxed()
    }
}
