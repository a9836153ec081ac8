//! A client of `heddle.test.Echo`: each call after the other on one connection.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use futures_util::stream;
use http::uri::PathAndQuery;
use tokio::sync::mpsc;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status, Streaming};
use tonic_prost::ProstCodec;

use super::message::{BIDI, CLIENT, Echo, SERVER, UNARY};
use super::{GrpcCall, GrpcReport};

#[derive(Args)]
pub(in crate::peer) struct Grpc {
    /// Where to.
    #[arg(long)]
    to: SocketAddr,
    /// Which method.
    #[arg(long, value_enum, default_value_t = Method::Unary)]
    method: Method,
    /// The text to send.
    #[arg(long, default_value = "hello")]
    text: String,
    /// Messages in a stream.
    #[arg(long, default_value_t = 3)]
    count: u32,
    /// The status that the server shall end with.
    #[arg(long, default_value_t = 0)]
    code: u32,
    /// Milliseconds that the server shall take for an answer.
    #[arg(long, default_value_t = 0)]
    delay_ms: u32,
    /// The call's deadline in milliseconds, which `grpc-timeout` tells the server.
    #[arg(long)]
    deadline_ms: Option<u64>,
    /// How many calls.
    #[arg(long, default_value_t = 1)]
    times: u32,
}

#[derive(Clone, Copy, ValueEnum)]
enum Method {
    Unary,
    Server,
    Client,
    Bidi,
}

type Stub = tonic::client::Grpc<Channel>;

pub(in crate::peer) fn run(grpc: &Grpc) -> Result<GrpcReport> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let endpoint = Endpoint::from_shared(format!("http://{}", grpc.to))?.tcp_nodelay(true);
        let channel = endpoint.connect().await.with_context(|| format!("connecting to {}", grpc.to))?;
        let (mut stub, mut report) = (Stub::new(channel), GrpcReport::default());
        for _ in 0..grpc.times {
            report.calls.push(call(grpc, &mut stub).await);
        }
        Ok(report)
    })
}

async fn call(grpc: &Grpc, stub: &mut Stub) -> GrpcCall {
    let (begin, mut call) = (Instant::now(), GrpcCall::default());
    let ended = match stub.ready().await {
        Ok(()) => send(grpc, stub, &mut call).await,
        Err(error) => Err(Status::unavailable(error.to_string())),
    };
    let status = ended.err();
    let code = status.as_ref().map_or(Code::Ok, Status::code);
    call.code = name(code).to_owned();
    call.message = status.map(|status| status.message().to_owned()).unwrap_or_default();
    call.ms = begin.elapsed().as_secs_f64() * 1e3;
    call
}

async fn send(grpc: &Grpc, stub: &mut Stub, call: &mut GrpcCall) -> Result<(), Status> {
    let codec = ProstCodec::<Echo, Echo>::default();
    let echo = |text: String| Echo { text, count: grpc.count, code: grpc.code, delay_ms: grpc.delay_ms };
    match grpc.method {
        Method::Unary => {
            let path = PathAndQuery::from_static(UNARY);
            let response = stub.unary(in_time(grpc, echo(grpc.text.clone())), path, codec).await?;
            call.server = server(response.metadata());
            call.replies.push(response.into_inner().text);
        }
        Method::Client => {
            let texts = (0..grpc.count).map(|number| echo(format!("{}{number}", grpc.text)));
            let all = stream::iter(texts.collect::<Vec<_>>());
            let path = PathAndQuery::from_static(CLIENT);
            let response = stub.client_streaming(in_time(grpc, all), path, codec).await?;
            call.server = server(response.metadata());
            call.replies.push(response.into_inner().text);
        }
        Method::Server => {
            let path = PathAndQuery::from_static(SERVER);
            let response = stub.server_streaming(in_time(grpc, echo(grpc.text.clone())), path, codec).await?;
            call.server = server(response.metadata());
            let mut replies = response.into_inner();
            while let Some(reply) = replies.message().await? {
                call.replies.push(reply.text);
            }
        }
        Method::Bidi => in_turns(grpc, stub, call).await?,
    }
    Ok(())
}

/// Sends each message only after the answer to the one before: whoever holds messages back makes it hang.
async fn in_turns(grpc: &Grpc, stub: &mut Stub, call: &mut GrpcCall) -> Result<(), Status> {
    let (sender, inbox) = mpsc::channel::<Echo>(1);
    let all = stream::unfold(inbox, |mut inbox| async move { inbox.recv().await.map(|echo| (echo, inbox)) });
    let path = PathAndQuery::from_static(BIDI);
    let response = stub.streaming(in_time(grpc, all), path, ProstCodec::<Echo, Echo>::default()).await?;
    call.server = server(response.metadata());
    let mut replies: Streaming<Echo> = response.into_inner();
    for number in 0..grpc.count {
        let text = format!("{}{number}", grpc.text);
        let echo = Echo { text, count: 0, code: grpc.code, delay_ms: grpc.delay_ms };
        sender.send(echo).await.map_err(|_| Status::aborted("the stream takes no more"))?;
        let reply = replies.message().await?.ok_or_else(|| Status::data_loss("the stream ended early"))?;
        call.replies.push(reply.text);
    }
    drop(sender);
    match replies.message().await? {
        None => Ok(()),
        Some(_) => Err(Status::data_loss("a message too many")),
    }
}

fn in_time<T>(grpc: &Grpc, content: T) -> Request<T> {
    let mut request = Request::new(content);
    if let Some(limit) = grpc.deadline_ms {
        request.set_timeout(Duration::from_millis(limit));
    }
    request
}

fn server(metadata: &tonic::metadata::MetadataMap) -> String {
    metadata.get("x-server").and_then(|name| name.to_str().ok()).unwrap_or_default().to_owned()
}

/// As the specification writes it.
fn name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}
