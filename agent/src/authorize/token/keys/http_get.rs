//! One GET of a key server: over TLS where the URL says so, on a connection of its own, within bounds of size and time.
//!
//! The connection is made from the namespace of the agent's process, which is the node's. Redirects are not followed: where they
//! lead was not written by whoever wrote the document. Nothing is sent but the request, and no proxy is used.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::join_all;
use http::{Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    task::JoinSet,
    time::timeout,
};
use tokio_rustls::TlsConnector;

use super::{address::AddressRule, fetch::FetchError};
use crate::{
    mesh::AddressFamily,
    names::{Lookup, Question},
    outside::{self, Roots},
};

/// Whoever can be asked over HTTP.
#[derive(Clone)]
pub(super) struct HttpGet {
    pub(super) resolver: Arc<dyn Lookup>,
    pub(super) roots: Roots,
    pub(super) may_dial: AddressRule,
}

/// An answer with status 200.
pub(super) struct Answer {
    pub(super) body: Bytes,
    /// `max-age` of `Cache-Control`.
    pub(super) good_for: Option<Duration>,
}

impl HttpGet {
    /// Asks once, and waits no longer than the limit.
    pub(super) async fn get(&self, uri: &Uri, limit: Duration) -> Result<Answer, FetchError> {
        timeout(limit, self.exchange(uri, limit)).await.unwrap_or(Err(FetchError::TimedOut(limit)))
    }

    async fn exchange(&self, uri: &Uri, limit: Duration) -> Result<Answer, FetchError> {
        let host = uri.host().unwrap_or_default();
        let secure = uri.scheme_str() == Some("https");
        let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let tcp = self.connect(host, port, limit).await?;
        match secure {
            false => ask(tcp, uri).await,
            true => {
                let name = host.trim_start_matches('[').trim_end_matches(']').to_owned();
                let name = ServerName::try_from(name).map_err(|_| FetchError::Name(host.to_owned()))?;
                let tls = outside::client_config(&self.roots, b"http/1.1").await.map_err(FetchError::Roots)?;
                let connector = TlsConnector::from(Arc::new(tls));
                let tls = connector.connect(name, tcp).await.map_err(FetchError::Tls)?;
                ask(tls, uri).await
            }
        }
    }

    /// To the first of the host's addresses that takes the connection.
    async fn connect(&self, host: &str, port: u16, limit: Duration) -> Result<TcpStream, FetchError> {
        let all = self.addresses(host).await?;
        let mut allowed: Vec<IpAddr> = all.iter().copied().filter(|address| (self.may_dial)(*address)).collect();
        allowed.truncate(MOST_ADDRESSES);
        let mut last = match all.first() {
            None => FetchError::NoAddress(host.to_owned()),
            Some(address) => FetchError::Forbidden(*address),
        };
        // One address that does not answer leaves time for the others.
        let share = limit / u32::try_from(allowed.len().max(1)).unwrap_or(1);
        for address in allowed {
            let target = SocketAddr::new(address, port);
            match timeout(share, TcpStream::connect(target)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(source)) => last = FetchError::Connect { target, source },
                Err(_) => last = FetchError::TimedOut(share),
            }
        }
        Err(last)
    }

    async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, FetchError> {
        if let Ok(address) = host.trim_start_matches('[').trim_end_matches(']').parse() {
            return Ok(vec![address]);
        }
        let ask = |family| self.resolver.lookup(&Question { name: host.into(), family });
        let answers = join_all([AddressFamily::V4, AddressFamily::V6].map(ask)).await;
        let (mut addresses, mut failure) = (Vec::new(), None);
        for answer in answers {
            match answer {
                Ok(answer) => addresses.extend(answer.addresses),
                Err(error) => failure = Some(error),
            }
        }
        match failure {
            Some(error) if addresses.is_empty() => Err(FetchError::Unresolved { host: host.to_owned(), source: error }),
            _ => Ok(addresses),
        }
    }
}

async fn ask(io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, uri: &Uri) -> Result<Answer, FetchError> {
    let mut client = hyper::client::conn::http1::Builder::new();
    client.max_buf_size(LONGEST_HEAD);
    let (mut sender, connection) = client.handshake(TokioIo::new(io)).await.map_err(FetchError::Http)?;
    // The set ends the connection when it is dropped, however this ends.
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    let target = uri.path_and_query().map_or("/", |target| target.as_str());
    let host = uri.authority().map(|authority| authority.as_str().rsplit('@').next().unwrap_or_default());
    let request = Request::get(target)
        .header(header::HOST, host.unwrap_or_default())
        .header(header::ACCEPT, "application/json, application/jwk-set+json")
        .header(header::USER_AGENT, concat!("heddle/", env!("CARGO_PKG_VERSION")))
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new());
    let request = request.map_err(|_| FetchError::Name(uri.to_string()))?;
    read(sender.send_request(request).await.map_err(FetchError::Http)?).await
}

async fn read(response: Response<Incoming>) -> Result<Answer, FetchError> {
    let text = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
    if response.status() != StatusCode::OK {
        let moved = text(header::LOCATION).map(str::to_owned);
        return Err(FetchError::Status { status: response.status(), moved });
    }
    let good_for = text(header::CACHE_CONTROL).and_then(max_age);
    match Limited::new(response.into_body(), LARGEST_ANSWER).collect().await {
        Ok(body) => Ok(Answer { body: body.to_bytes(), good_for }),
        Err(error) if error.is::<LengthLimitError>() => Err(FetchError::TooLarge(LARGEST_ANSWER)),
        Err(error) => match error.downcast::<hyper::Error>() {
            Ok(error) => Err(FetchError::Http(*error)),
            Err(_) => Err(FetchError::TooLarge(LARGEST_ANSWER)),
        },
    }
}

/// RFC 9111, section 5.2.2.1.
fn max_age(value: &str) -> Option<Duration> {
    let seconds = value.split(',').find_map(|directive| {
        let (name, seconds) = directive.trim().split_once('=')?;
        name.eq_ignore_ascii_case("max-age").then(|| seconds.trim_matches('"').parse().ok())?
    })?;
    Some(Duration::from_secs(seconds))
}

/// A hundred keys of 4096 bits with their certificate chains are about half of that.
pub(super) const LARGEST_ANSWER: usize = 1 << 20;
const LONGEST_HEAD: usize = 64 * 1024;
/// Of a host with many, these are enough to find one that answers.
const MOST_ADDRESSES: usize = 4;
