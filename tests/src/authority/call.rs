//! One call of the signing protocol: what was asked, and the answer.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use bytes::{BufMut, Bytes, BytesMut};
use h2::server::SendResponse;
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Request, Response};
use prost::Message;
use prost_types::Struct;
use prost_types::value::Kind;
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::sleep;

use super::Shared;
use super::fault::Fault;
use super::serve::Order;
use super::sign;

/// What the authority was asked.
#[derive(Clone, Debug, Default)]
pub struct Call {
    /// `:path`.
    pub path: String,
    /// The bearer token.
    pub token: String,
    /// `clusterid`.
    pub cluster_id: String,
    /// Whom the request was made for, where it says.
    pub impersonated: Option<String>,
    /// The name in the signing request.
    pub name: String,
    /// Seconds that the certificate was to be valid.
    pub validity_duration: i64,
}

#[derive(Clone, PartialEq, Message)]
struct CertificateRequest {
    #[prost(string, tag = "1")]
    csr: String,
    #[prost(int64, tag = "3")]
    validity_duration: i64,
    #[prost(message, optional, tag = "4")]
    metadata: Option<Struct>,
}

#[derive(Clone, PartialEq, Message)]
struct CertificateResponse {
    #[prost(string, repeated, tag = "1")]
    cert_chain: Vec<String>,
}

/// A status of gRPC that is not zero.
type Refusal = (u8, String);

/// Reads a call, writes it down, and answers it as ordered.
pub(super) async fn answer(
    request: Request<RecvStream>,
    respond: SendResponse<Bytes>,
    shared: Arc<Shared>,
    orders: UnboundedSender<Order>,
) {
    // The client may have gone, which is no matter of ours.
    let _ = try_answer(request, respond, &shared, &orders).await;
}

async fn try_answer(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    shared: &Shared,
    orders: &UnboundedSender<Order>,
) -> Result<()> {
    let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let mut call = Call {
        path: request.uri().path().to_owned(),
        token: header("authorization").strip_prefix("Bearer ").unwrap_or_default().to_owned(),
        cluster_id: header("clusterid").to_owned(),
        ..Call::default()
    };
    let message = read(request.into_body()).await?;
    call.name = sign::name_in(&message.csr)?;
    call.validity_duration = message.validity_duration;
    call.impersonated = message.metadata.as_ref().and_then(impersonated);
    shared.calls.lock().push(call.clone());

    let fault = shared.faults.lock().pop_front();
    match fault {
        Some(Fault::Slow(pause)) => sleep(pause).await,
        Some(Fault::Hang) => return std::future::pending().await,
        Some(Fault::Status(code, text)) => return refuse(&mut respond, code, text),
        Some(Fault::Http(status)) => {
            respond.send_response(Response::builder().status(status).body(())?, true)?;
            return Ok(());
        }
        Some(Fault::CutBeforeAnswer) => return Ok(orders.send(Order::Cut)?),
        Some(Fault::GoAwayBefore) => return Ok(orders.send(Order::GoAwayBefore)?),
        Some(Fault::Spoiled(_) | Fault::CutInAnswer | Fault::GoAwayAfter) | None => {}
    }
    let chain = match judge(shared, &call, &message, fault.as_ref()) {
        Ok(chain) => chain,
        Err((code, text)) => return refuse(&mut respond, code, &text),
    };
    let mut stream = respond.send_response(grpc_response()?, false)?;
    let body = framed(&CertificateResponse { cert_chain: chain });
    if matches!(fault, Some(Fault::CutInAnswer)) {
        stream.send_data(body.slice(..body.len() / 2), false)?;
        // Sent first, or the client would see nothing of the answer.
        sleep(std::time::Duration::from_millis(50)).await;
        return Ok(orders.send(Order::Cut)?);
    }
    finish(&mut stream, body)?;
    if matches!(fault, Some(Fault::GoAwayAfter)) {
        orders.send(Order::GoAwayAfter)?;
    }
    Ok(())
}

fn judge(
    shared: &Shared,
    call: &Call,
    message: &CertificateRequest,
    fault: Option<&Fault>,
) -> Result<Vec<String>, Refusal> {
    if !shared.tokens.lock().contains(&call.token) {
        return Err((16, "authentication failure: unknown token".to_owned()));
    }
    let id = call.impersonated.as_ref().unwrap_or(&call.name);
    let spoiled = if let Some(Fault::Spoiled(spoiled)) = fault { Some(*spoiled) } else { None };
    let signed = shared.signer.lock().sign(&message.csr, id, message.validity_duration, spoiled);
    signed.map_err(|error| (3, format!("{error:#}")))
}

/// One message: a byte that says it is not compressed, its length, its bytes.
async fn read(mut body: RecvStream) -> Result<CertificateRequest> {
    let mut bytes = BytesMut::new();
    while let Some(part) = body.data().await {
        let part = part?;
        body.flow_control().release_capacity(part.len())?;
        bytes.extend_from_slice(&part);
    }
    ensure!(bytes.len() >= 5 && bytes[0] == 0, "not one plain message");
    CertificateRequest::decode(&bytes[5..]).context("reading the message")
}

fn impersonated(metadata: &Struct) -> Option<String> {
    match metadata.fields.get("ImpersonatedIdentity")?.kind.as_ref()? {
        Kind::StringValue(id) => Some(id.clone()),
        _ => None,
    }
}

fn framed(message: &CertificateResponse) -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_u8(0);
    bytes.put_u32(u32::try_from(message.encoded_len()).unwrap_or(u32::MAX));
    bytes.extend_from_slice(&message.encode_to_vec());
    bytes.freeze()
}

fn grpc_response() -> Result<Response<()>> {
    Ok(Response::builder().header("content-type", "application/grpc").body(())?)
}

fn finish(stream: &mut SendStream<Bytes>, body: Bytes) -> Result<()> {
    stream.send_data(body, false)?;
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", "0".parse()?);
    Ok(stream.send_trailers(trailers)?)
}

/// Without a body the status is in the headers.
fn refuse(respond: &mut SendResponse<Bytes>, code: u8, text: &str) -> Result<()> {
    let mut response = grpc_response()?;
    response.headers_mut().insert("grpc-status", code.to_string().parse()?);
    response.headers_mut().insert("grpc-message", text.replace('%', "%25").replace('\n', "%0A").parse()?);
    respond.send_response(response, true)?;
    Ok(())
}
