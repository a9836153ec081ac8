//! `heddle-peer hbone`: an HBONE client with any certificate, or none, to see whom an agent lets in.
//!
//! It accepts whatever certificate the server shows and reports it: judging the server is the agents' business, and
//! theirs is under test.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use clap::Args;
use h2::client::SendRequest;
use http::{HeaderName, HeaderValue, Method, Request};
use rustls::ClientConfig;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::report::HboneReport;
use crate::rogue::{Minted, tls};

#[derive(Args)]
pub(super) struct Hbone {
    /// The agent: the pod's address and port 15008.
    #[arg(long)]
    to: SocketAddr,
    /// What to ask for: ip:port of the pod.
    #[arg(long)]
    authority: String,
    /// The method to ask with.
    #[arg(long, default_value = "CONNECT")]
    method: Method,
    /// The client's certificate chain in PEM; none without it.
    #[arg(long, requires = "key")]
    cert: Option<PathBuf>,
    /// Its key.
    #[arg(long, requires = "cert")]
    key: Option<PathBuf>,
    /// The protocol to offer by ALPN.
    #[arg(long, default_value = "h2")]
    alpn: String,
    /// Offer TLS 1.2 and nothing newer.
    #[arg(long)]
    tls12: bool,
    /// Send this through the tunnel and expect it back.
    #[arg(long, default_value = "through the tunnel")]
    send: String,
    /// A further header of the request, as NAME=VALUE; %XX in the value is that byte.
    #[arg(long, value_parser = parse_header)]
    header: Vec<(HeaderName, HeaderValue)>,
    /// A further header of so many bytes.
    #[arg(long, default_value_t = 0)]
    header_bytes: usize,
    /// Limit in seconds for everything.
    #[arg(long, default_value_t = 10)]
    limit: u64,
}

pub(super) fn run(hbone: &Hbone) -> Result<HboneReport> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut report = HboneReport::default();
    let begin = Instant::now();
    let tls = TlsConnector::from(Arc::new(client_config(hbone)?));
    let limit = Duration::from_secs(hbone.limit);
    let result = runtime.block_on(async { timeout(limit, attempt(hbone, tls, &mut report)).await });
    report.error = match result {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(format!("{error:#}")),
        Err(_) => Some(format!("timeout after {limit:?}")),
    };
    report.ms = begin.elapsed().as_secs_f64() * 1e3;
    Ok(report)
}

async fn attempt(hbone: &Hbone, tls: TlsConnector, report: &mut HboneReport) -> Result<()> {
    let tcp = TcpStream::connect(hbone.to).await.context("connect")?;
    report.connected = true;
    let stream = tls.connect(ServerName::from(hbone.to.ip()), tcp).await.context("handshake")?;
    let session = stream.get_ref().1;
    report.tls_version = session.protocol_version().map(|version| format!("{version:?}"));
    report.group = session.negotiated_key_exchange_group().map(|group| format!("{:?}", group.name()));
    report.server_identity = session.peer_certificates().and_then(|chain| spiffe_id(chain.first()?));
    let (client, connection) = h2::client::handshake(stream).await.context("http/2")?;
    // With TLS 1.3 a refused client certificate shows only here: the client's handshake is over before the server's.
    let driving = async { connection.await.context("connection") };
    let asking = ask(hbone, client, report);
    tokio::pin!(driving);
    tokio::select! {
        biased;
        result = asking => result,
        ended = &mut driving => { ended?; Err(anyhow::anyhow!("the connection ended")) }
    }
}

async fn ask(hbone: &Hbone, client: SendRequest<Bytes>, report: &mut HboneReport) -> Result<()> {
    let mut client = client.ready().await.context("ready")?;
    let mut request = Request::new(());
    *request.method_mut() = hbone.method.clone();
    let uri =
        if hbone.method == Method::CONNECT { hbone.authority.clone() } else { format!("http://{}/", hbone.authority) };
    *request.uri_mut() = uri.parse().with_context(|| format!("`{uri}` is no authority"))?;
    for (name, value) in &hbone.header {
        request.headers_mut().append(name, value.clone());
    }
    if hbone.header_bytes > 0 {
        request.headers_mut().insert("x-filler", HeaderValue::from_str(&"x".repeat(hbone.header_bytes))?);
    }
    let (response, mut sending) = client.send_request(request, false).context("request")?;
    let response = response.await.context("response")?;
    report.status = Some(response.status().as_u16());
    report.baggage = response.headers().get("baggage").and_then(|value| value.to_str().ok()).map(str::to_owned);
    if response.status() != 200 {
        return Ok(());
    }
    sending.send_data(Bytes::copy_from_slice(hbone.send.as_bytes()), true).context("sending")?;
    let mut body = response.into_body();
    let mut back = Vec::new();
    while let Some(chunk) = body.data().await {
        let chunk = chunk.context("receiving")?;
        body.flow_control().release_capacity(chunk.len()).context("receiving")?;
        back.extend_from_slice(&chunk);
        ensure!(back.len() <= hbone.send.len(), "more came back than was sent");
    }
    report.echoed = back == hbone.send.as_bytes();
    Ok(())
}

fn parse_header(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let (name, value) = text.split_once('=').ok_or_else(|| format!("`{text}` is not NAME=VALUE"))?;
    let mut bytes = Vec::new();
    let mut rest = value.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        let escaped = (*byte == b'%').then(|| after.first_chunk::<2>()).flatten();
        let escaped = escaped.and_then(|code| u8::from_str_radix(std::str::from_utf8(code).ok()?, 16).ok());
        bytes.push(escaped.unwrap_or(*byte));
        rest = if escaped.is_some() { &after[2..] } else { after };
    }
    let name = name.parse().map_err(|error| format!("`{name}`: {error}"))?;
    Ok((name, HeaderValue::from_bytes(&bytes).map_err(|error| format!("`{value}`: {error}"))?))
}

fn client_config(hbone: &Hbone) -> Result<ClientConfig> {
    let own = hbone.cert.clone().zip(hbone.key.clone()).map(|(cert, key)| Minted { cert, key });
    tls::client(own.as_ref(), if hbone.tls12 { tls::OLD } else { tls::NEW }, &hbone.alpn)
}

/// The SPIFFE id in a certificate, found as the text that it is in DER.
fn spiffe_id(certificate: &CertificateDer<'_>) -> Option<String> {
    const SCHEME: &[u8] = b"spiffe://";
    let at = certificate.windows(SCHEME.len()).position(|window| window == SCHEME)?;
    // The length byte of the name stands before it; SPIFFE ids of tests are shorter than 128 bytes.
    let length = usize::from(*certificate.get(at.checked_sub(1)?)?);
    String::from_utf8(certificate.get(at..at + length)?.to_vec()).ok()
}
