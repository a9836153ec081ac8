//! A small API server for tests: lists in pages, watches that resume by version, and whatever failure is asked for.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::{Body, Frame};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::mpsc};
use tokio_rustls::TlsAcceptor;

#[derive(Clone)]
pub(super) struct Server {
    pub(super) address: SocketAddr,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    objects: BTreeMap<&'static str, BTreeMap<String, Value>>,
    version: u64,
    /// What a watch from before this version is answered with is 410.
    forgotten: u64,
    history: Vec<(u64, &'static str, String)>,
    watches: Vec<(&'static str, mpsc::UnboundedSender<Result<Bytes, std::io::Error>>)>,
    failing: BTreeMap<&'static str, u16>,
    /// Every watch ends as soon as it has begun.
    ends_watches: bool,
    requests: Vec<String>,
    authorizations: Vec<String>,
}

const PLURALS: [&str; 7] =
    ["namespaces", "pods", "services", "endpointslices", "nodes", "serviceaccounts", "configmaps"];

fn plural(of: &str) -> &'static str {
    PLURALS.into_iter().find(|plural| *plural == of).unwrap()
}

/// A body that is sent as it comes; an error breaks the connection.
struct Channel(mpsc::UnboundedReceiver<Result<Bytes, std::io::Error>>);

impl Body for Channel {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.0.poll_recv(context).map(|bytes| bytes.map(|bytes| bytes.map(Frame::data)))
    }
}

impl Server {
    pub(super) async fn start() -> Self {
        Self::start_with(None).await
    }

    /// With TLS, by a certificate that is its own authority.
    pub(super) async fn start_tls(certificate: &rcgen::CertifiedKey<rcgen::KeyPair>) -> Self {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let key = rustls::pki_types::PrivatePkcs8KeyDer::from(certificate.signing_key.serialize_der()).into();
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.cert.der().clone()], key)
            .unwrap();
        Self::start_with(Some(TlsAcceptor::from(Arc::new(config)))).await
    }

    async fn start_with(tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self { address: listener.local_addr().unwrap(), state: Arc::default() };
        let serving = server.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let server = serving.clone();
                let service = service_fn(move |request| {
                    let response = server.answer(&request);
                    async { Ok::<_, Infallible>(response) }
                });
                let Some(tls) = tls.clone() else {
                    tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
                    continue;
                };
                tokio::spawn(async move {
                    // A client that does not trust us hangs up.
                    let Ok(stream) = tls.accept(stream).await else { return };
                    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        server
    }

    /// Puts an object, new or changed. `of` is the plural of its kind.
    pub(super) fn put(&self, of: &str, mut object: Value) {
        let mut state = self.state.lock();
        state.version += 1;
        object["metadata"]["resourceVersion"] = state.version.to_string().into();
        let name = format!("{}/{}", object["metadata"]["namespace"], object["metadata"]["name"]);
        let known = state.objects.entry(plural(of)).or_default().insert(name, object.clone()).is_some();
        state.tell(plural(of), &json!({"type": if known { "MODIFIED" } else { "ADDED" }, "object": object}));
    }

    /// Removes an object, and tells nobody if `silently`, as when it happens while a watch is interrupted for long.
    pub(super) fn remove(&self, of: &str, namespace: Option<&str>, name: &str, silently: bool) {
        let mut state = self.state.lock();
        state.version += 1;
        let key = format!("{}/{}", json!(namespace), json!(name));
        let mut object = state.objects.get_mut(plural(of)).unwrap().remove(&key).unwrap();
        object["metadata"]["resourceVersion"] = state.version.to_string().into();
        if !silently {
            state.tell(plural(of), &json!({"type": "DELETED", "object": object}));
        }
    }

    /// Sends a line to all who watch.
    pub(super) fn line(&self, of: &str, line: &Value) {
        let mut state = self.state.lock();
        let history = state.history.len();
        state.tell(plural(of), line);
        state.history.truncate(history);
    }

    /// Cuts the connections of all watches of a kind.
    pub(super) fn cut(&self, of: &str) {
        self.state.lock().watches.retain(|(plural, watch)| {
            if *plural == of {
                let _ = watch.send(Err(std::io::Error::other("cut")));
            }
            *plural != of
        });
    }

    /// Nobody can resume a watch from now or before.
    pub(super) fn forget(&self) {
        let mut state = self.state.lock();
        state.version += 1;
        state.forgotten = state.version;
        state.history.clear();
    }

    /// Answers everything about a kind with this status; 200 for well again.
    pub(super) fn fail(&self, of: &str, status: u16) {
        let mut state = self.state.lock();
        match status {
            200 => drop(state.failing.remove(plural(of))),
            _ => drop(state.failing.insert(plural(of), status)),
        }
    }

    pub(super) fn fail_all(&self, status: u16) {
        PLURALS.iter().for_each(|plural| self.fail(plural, status));
    }

    pub(super) fn end_watches_at_once(&self) {
        self.state.lock().ends_watches = true;
    }

    /// The requests so far that contain a text.
    pub(super) fn requests(&self, part: &str) -> Vec<String> {
        self.state.lock().requests.iter().filter(|request| request.contains(part)).cloned().collect()
    }

    /// What the clients said of themselves, request by request.
    pub(super) fn authorizations(&self) -> Vec<String> {
        self.state.lock().authorizations.clone()
    }

    fn answer(&self, request: &Request<Incoming>) -> Response<Channel> {
        let mut state = self.state.lock();
        state.requests.push(request.uri().to_string());
        let authorization = request.headers().get(http::header::AUTHORIZATION);
        state.authorizations.extend(authorization.map(|value| value.to_str().unwrap().to_owned()));
        let plural = plural(request.uri().path().rsplit('/').next().unwrap());
        let query = |key: &str| {
            let pairs = request.uri().query().unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='));
            pairs.into_iter().find(|(found, _)| *found == key).map(|(_, value)| value.to_owned())
        };
        if let Some(code) = state.failing.get(plural) {
            let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                                "message": format!("{plural} fails"), "reason": "Test", "code": code});
            return whole(*code, &status);
        }
        let selected = query("labelSelector").map(|selector| {
            assert_eq!(selector, "heddle.io%2Fconfig%3Dtrue");
        });
        if query("watch").is_some() {
            let from: u64 = query("resourceVersion").unwrap().parse().unwrap();
            assert_eq!(query("allowWatchBookmarks").as_deref(), Some("true"));
            return state.watch(plural, from);
        }
        let labelled =
            |object: &&Value| selected.is_none() || object["metadata"]["labels"]["heddle.io/config"] == "true";
        let all: Vec<_> = state.objects.get(plural).into_iter().flat_map(BTreeMap::values).filter(labelled).collect();
        let limit: usize = query("limit").unwrap().parse().unwrap();
        let offset: usize = query("continue").map_or(0, |token| token.parse().unwrap());
        let end = (offset + limit).min(all.len());
        let next = if end < all.len() { end.to_string() } else { String::new() };
        let metadata = json!({"resourceVersion": state.version.to_string(), "continue": next});
        whole(200, &json!({"kind": "List", "apiVersion": "v1", "metadata": metadata, "items": all[offset..end]}))
    }
}

impl State {
    fn tell(&mut self, plural: &'static str, line: &Value) {
        let text = format!("{line}\n");
        self.history.push((self.version, plural, text.clone()));
        self.watches.retain(|(of, watch)| *of != plural || watch.send(Ok(text.clone().into())).is_ok());
    }

    fn watch(&mut self, plural: &'static str, from: u64) -> Response<Channel> {
        if from < self.forgotten {
            let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                                "message": "too old resource version", "reason": "Expired", "code": 410});
            return whole(200, &json!({"type": "ERROR", "object": status}));
        }
        let (sender, receiver) = mpsc::unbounded_channel();
        for (version, of, line) in &self.history {
            if *of == plural && *version > from {
                sender.send(Ok(line.clone().into())).unwrap();
            }
        }
        if !self.ends_watches {
            self.watches.push((plural, sender));
        }
        Response::new(Channel(receiver))
    }
}

fn whole(status: u16, json: &Value) -> Response<Channel> {
    let (sender, receiver) = mpsc::unbounded_channel();
    sender.send(Ok(format!("{json}\n").into())).unwrap();
    let mut response = Response::new(Channel(receiver));
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    response
}
