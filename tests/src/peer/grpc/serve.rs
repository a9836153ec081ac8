//! The service `heddle.test.Echo`, written out as tonic's generator would.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, Stream, StreamExt};
use tonic::body::Body;
use tonic::metadata::MetadataValue;
use tonic::server::{
    ClientStreamingService, Grpc, NamedService, ServerStreamingService, StreamingService, UnaryService,
};
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Code, Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;
use tower_service::Service;

use super::message::{BIDI, CLIENT, Echo, SERVER, UNARY};
use crate::peer::print;
use crate::peer::report::ServerEvent;

#[derive(Args)]
pub(in crate::peer) struct GrpcServe {
    /// The port to listen at.
    #[arg(long)]
    listen: u16,
    /// The name that it answers by.
    #[arg(long, default_value = "server")]
    name: String,
}

pub(in crate::peer) fn run(serve: &GrpcServe) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let address = SocketAddr::from(([0u16; 8], serve.listen));
        let incoming = TcpIncoming::bind(address).with_context(|| format!("listening on {address}"))?;
        print(&ServerEvent::Listening { addresses: vec![address] })?;
        let service = EchoService { name: serve.name.clone() };
        let serving = Server::builder().add_service(service).serve_with_incoming(incoming.with_nodelay(Some(true)));
        serving.await.context("serving")
    })
}

#[derive(Clone)]
struct EchoService {
    name: String,
}

impl NamedService for EchoService {
    const NAME: &'static str = "heddle.test.Echo";
}

impl Service<http::Request<Body>> for EchoService {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let this = self.clone();
        Box::pin(async move {
            let mut grpc = Grpc::new(ProstCodec::<Echo, Echo>::default());
            let path = request.uri().path().to_owned();
            Ok(match path.as_str() {
                UNARY => grpc.unary(this, request).await,
                SERVER => grpc.server_streaming(this, request).await,
                CLIENT => grpc.client_streaming(Collect(this), request).await,
                BIDI => grpc.streaming(this, request).await,
                _ => Status::unimplemented(format!("there is no {path}")).into_http(),
            })
        })
    }
}

/// A service has one method of a kind; this one takes the stream that the other answers to.
#[derive(Clone)]
struct Collect(EchoService);

type Answers = Pin<Box<dyn Stream<Item = Result<Echo, Status>> + Send>>;

impl EchoService {
    fn response<T>(&self, content: T) -> Response<T> {
        let mut response = Response::new(content);
        if let Ok(name) = MetadataValue::try_from(&self.name) {
            response.metadata_mut().insert("x-server", name);
        }
        response
    }
}

/// What one message is answered with.
async fn answer(echo: Echo) -> Result<Echo, Status> {
    tokio::time::sleep(Duration::from_millis(echo.delay_ms.into())).await;
    match echo.code {
        0 => Ok(echo),
        code => Err(Status::new(Code::from(i32::try_from(code).unwrap_or(2)), echo.text)),
    }
}

impl UnaryService<Echo> for EchoService {
    type Response = Echo;
    type Future = BoxFuture<'static, Result<Response<Echo>, Status>>;

    fn call(&mut self, request: Request<Echo>) -> Self::Future {
        let this = self.clone();
        Box::pin(async move { Ok(this.response(answer(request.into_inner()).await?)) })
    }
}

impl ServerStreamingService<Echo> for EchoService {
    type Response = Echo;
    type ResponseStream = Answers;
    type Future = BoxFuture<'static, Result<Response<Answers>, Status>>;

    fn call(&mut self, request: Request<Echo>) -> Self::Future {
        let echo = request.into_inner();
        let last = echo.code;
        let numbered = move |number| Echo { text: format!("{} {number}", echo.text), code: 0, ..echo.clone() };
        let all = stream::iter(0..numbered(0).count).map(numbered).then(answer);
        // A status comes after all messages.
        let end = stream::iter(
            (last != 0).then(|| Err(Status::new(Code::from(i32::try_from(last).unwrap_or(2)), "told to"))),
        );
        let answers: Answers = Box::pin(all.chain(end));
        let response = self.response(answers);
        Box::pin(async move { Ok(response) })
    }
}

impl ClientStreamingService<Echo> for Collect {
    type Response = Echo;
    type Future = BoxFuture<'static, Result<Response<Echo>, Status>>;

    fn call(&mut self, request: Request<Streaming<Echo>>) -> Self::Future {
        let this = self.0.clone();
        Box::pin(async move {
            let (mut all, mut texts) = (request.into_inner(), Vec::new());
            while let Some(echo) = all.message().await? {
                texts.push(answer(echo).await?.text);
            }
            Ok(this.response(Echo { text: texts.join(","), ..Echo::default() }))
        })
    }
}

impl StreamingService<Echo> for EchoService {
    type Response = Echo;
    type ResponseStream = Answers;
    type Future = BoxFuture<'static, Result<Response<Answers>, Status>>;

    fn call(&mut self, request: Request<Streaming<Echo>>) -> Self::Future {
        let answers: Answers = Box::pin(request.into_inner().then(|echo| async move { answer(echo?).await }));
        let response = self.response(answers);
        Box::pin(async move { Ok(response) })
    }
}
