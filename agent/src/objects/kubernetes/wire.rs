//! Listens in on the client: every word of the API server, and every end of a watch, which `kube`'s watcher keeps to itself.
//!
//! It also keeps watches of one kind apart: the watcher resumes one that ended without an error at once, and a server or
//! proxy that ends every watch immediately would be asked thousands of times a second.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use http::{Request, Response, Uri};
use http_body::{Body, Frame, SizeHint};
use kube::client::Body as RequestBody;
use tower_layer::Layer;
use tower_service::Service;

use super::resource;
use crate::{
    objects::{Kind, SourceStatus},
    observe::RestartReason,
};

/// Two watches of one kind begin no closer to each other. A healthy one lives for minutes.
const WATCHES_APART: Duration = Duration::from_secs(1);

/// Puts a [`Listener`] around the client.
#[derive(Clone, Debug)]
pub(super) struct Listening {
    status: SourceStatus,
}

/// The client with an ear on it.
#[derive(Clone, Debug)]
pub(super) struct Listener<S> {
    inner: S,
    status: SourceStatus,
}

/// A request that is about one of our kinds.
#[derive(Clone, Debug)]
struct Exchange {
    kind: Kind,
    is_watch: bool,
    status: SourceStatus,
}

/// A response body with an ear on it.
#[derive(Debug)]
pub(super) struct Heard<B> {
    body: B,
    exchange: Option<Exchange>,
    ended: bool,
}

impl Listening {
    pub(super) fn new(status: SourceStatus) -> Self {
        Self { status }
    }
}

impl<S> Layer<S> for Listening {
    type Service = Listener<S>;

    fn layer(&self, inner: S) -> Listener<S> {
        Listener { inner, status: self.status.clone() }
    }
}

impl<S, B> Service<Request<RequestBody>> for Listener<S>
where
    S: Service<Request<RequestBody>, Response = Response<B>>,
    S::Future: Send + 'static,
{
    type Response = Response<Heard<B>>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<RequestBody>) -> Self::Future {
        let exchange = Exchange::of(request.uri(), &self.status);
        let pause = exchange.as_ref().map_or(Duration::ZERO, Exchange::pause);
        let response = self.inner.call(request);
        Box::pin(async move {
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
            let response = response.await?;
            let well = response.status().is_success();
            // The body of a refusal is no watch that could end.
            let exchange = exchange.map(|exchange| exchange.answered(well));
            Ok(response.map(|body| Heard { body, exchange, ended: false }))
        })
    }
}

impl Exchange {
    fn of(uri: &Uri, status: &SourceStatus) -> Option<Self> {
        let plural = uri.path().rsplit('/').next()?;
        let kind = Kind::ALL.into_iter().find(|kind| resource::path(*kind).2 == plural)?;
        let is_watch = uri.query().is_some_and(|query| query.split('&').any(|pair| pair == "watch=true"));
        Some(Self { kind, is_watch, status: status.clone() })
    }

    fn pause(&self) -> Duration {
        if self.is_watch { self.status.pause_before_watch(self.kind, WATCHES_APART) } else { Duration::ZERO }
    }

    fn answered(mut self, well: bool) -> Self {
        self.status.word(self.kind);
        self.is_watch &= well;
        if self.is_watch {
            self.status.connected(self.kind);
        }
        self
    }
}

impl<B: Body + Unpin> Body for Heard<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        let reason = match &frame {
            Poll::Ready(Some(Ok(_))) => {
                if let Some(exchange) = &self.exchange {
                    exchange.status.word(exchange.kind);
                }
                None
            }
            Poll::Ready(Some(Err(_))) => Some(RestartReason::Broken),
            Poll::Ready(None) => Some(RestartReason::Ended),
            Poll::Pending => None,
        };
        if let (Some(reason), Some(exchange)) = (reason, &self.exchange)
            && exchange.is_watch
            && !self.ended
        {
            exchange.status.restart(reason);
            self.ended = true;
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<B> Drop for Heard<B> {
    fn drop(&mut self) {
        if let Some(exchange) = self.exchange.as_ref().filter(|exchange| exchange.is_watch) {
            exchange.status.disconnected(exchange.kind);
        }
    }
}
