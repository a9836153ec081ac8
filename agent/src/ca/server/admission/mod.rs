//! The webhook that reads mesh ConfigMaps before the API server stores them.
//!
//! One review, in the order of the files: here HTTP and its bounds, `review` (what is asked and answered), `judge` (what
//! agents would say of the ConfigMap). `ca_bundle` keeps what API servers trust the webhook by.
//!
//! Anybody who reaches the port may ask, since API servers do not say who they are: nothing is told but what the asker
//! sent, and what it costs is bounded. A ConfigMap that is let through, here or by an outage, is judged again by each agent,
//! which keeps the last good version; so an error of this side is an HTTP error, and `failurePolicy` decides.

mod ca_bundle;
mod judge;
mod review;
#[cfg(test)]
mod tests;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use tokio::{sync::Semaphore, time::timeout};
use tonic::body::Body;
use tracing::info;

use self::{
    judge::judge,
    review::{Answer, Asked, BadReview, Review},
};
use super::connections::Answering;
use crate::{
    mesh::MeshSettings,
    observe::{AdmissionResult, AuthorityMetrics},
};

pub use ca_bundle::CaBundle;

/// The webhook.
pub struct Admission {
    settings: MeshSettings,
    metrics: AuthorityMetrics,
    bodies: Semaphore,
    judges: Arc<Semaphore>,
}

/// Why there is no review in the answer: an error of the call, by which `failurePolicy` is followed.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("{0} is not served here; POST {PATH} is")]
    NoSuchPath(String),
    #[error("the body has more than {LARGEST_BODY} bytes, which no review of a ConfigMap has")]
    TooLarge,
    #[error("reading the body failed: {0}")]
    Broken(Box<dyn std::error::Error + Send + Sync>),
    #[error(transparent)]
    BadReview(#[from] BadReview),
    #[error("not answered within {ANSWER_WITHIN:?}: the body is slow, or too much is judged at once")]
    TimedOut,
    #[error("judging the ConfigMap broke off, which is a defect of this build")]
    BrokeOff,
}

impl Admission {
    /// Judges as agents with these settings do.
    pub fn new(settings: MeshSettings, metrics: AuthorityMetrics) -> Self {
        Self {
            settings,
            metrics,
            bodies: Semaphore::new(BODIES_AT_ONCE),
            judges: Arc::new(Semaphore::new(JUDGED_AT_ONCE)),
        }
    }

    async fn review(self: &Arc<Self>, request: Request<Incoming>) -> Result<Answer, Failure> {
        if request.uri().path() != PATH || request.method() != Method::POST {
            return Err(Failure::NoSuchPath(format!("{} {}", request.method(), request.uri().path())));
        }
        let _place = self.bodies.acquire().await.map_err(|_| Failure::BrokeOff)?;
        let body =
            Limited::new(request.into_body(), LARGEST_BODY).collect().await.map_err(Failure::of_body)?.to_bytes();
        let judging = Arc::clone(&self.judges).acquire_owned().await.map_err(|_| Failure::BrokeOff)?;
        let this = Arc::clone(self);
        // The place is kept until it is done, also when nobody waits for it any more.
        let judged = tokio::task::spawn_blocking(move || {
            let _judging = judging;
            this.decide(&body)
        });
        judged.await.map_err(|_| Failure::BrokeOff)?
    }

    fn decide(&self, body: &[u8]) -> Result<Answer, Failure> {
        let Review { uid, asked } = Review::read(body)?;
        let (map, about) = match asked {
            Asked::NothingToJudge => return Ok(Answer::not_judged(uid)),
            Asked::Unusable(problem) => return Ok(Answer::unusable(uid, &problem)),
            Asked::ConfigMap { map, about } => (map, about),
        };
        let name = map.name.clone();
        let verdict = judge(map, &self.settings, about.was_so_before);
        if let Some(refusal) = &verdict.refusal {
            let (operation, user, dry_run) = (&about.operation, &about.user, about.dry_run);
            let (errors, first) = (refusal.errors, &refusal.first);
            info!(config_map = %name, ?operation, ?user, dry_run, errors, ?first, "mesh configuration refused");
        }
        Ok(Answer::of(uid, verdict))
    }
}

impl Answering for Admission {
    const HTTP1: bool = true;

    async fn answer(self: Arc<Self>, _client: SocketAddr, request: Request<Incoming>) -> Response<Body> {
        let outcome = timeout(ANSWER_WITHIN, self.review(request)).await.unwrap_or(Err(Failure::TimedOut));
        match outcome {
            Ok(answer) => {
                self.metrics.admission(answer.result());
                respond(StatusCode::OK, "application/json", answer.into_json())
            }
            Err(failure) => {
                self.metrics.admission(failure.result());
                respond(failure.status(), "text/plain; charset=utf-8", format!("{failure}\n"))
            }
        }
    }
}

impl Failure {
    fn of_body(error: Box<dyn std::error::Error + Send + Sync>) -> Self {
        if error.is::<LengthLimitError>() { Self::TooLarge } else { Self::Broken(error) }
    }

    fn result(&self) -> AdmissionResult {
        match self {
            Self::NoSuchPath(_) | Self::Broken(_) | Self::BadReview(_) => AdmissionResult::BadReview,
            Self::TooLarge => AdmissionResult::TooLarge,
            Self::TimedOut => AdmissionResult::TimedOut,
            Self::BrokeOff => AdmissionResult::Failed,
        }
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::NoSuchPath(_) => StatusCode::NOT_FOUND,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Broken(_) | Self::BadReview(_) => StatusCode::BAD_REQUEST,
            Self::TimedOut => StatusCode::SERVICE_UNAVAILABLE,
            Self::BrokeOff => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

fn respond(status: StatusCode, content_type: &'static str, text: String) -> Response<Body> {
    let mut response = Response::new(Body::new(Full::new(Bytes::from(text))));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(content_type));
    response
}

/// API servers are few and keep their connections; one address has 64 of these at most.
pub const CONNECTIONS: usize = 128;

/// The path that the ValidatingWebhookConfiguration names.
const PATH: &str = "/validate";

/// The old and the new ConfigMap, of 1 MiB each, written as JSON, with room for what controllers add to their metadata.
const LARGEST_BODY: usize = 8 << 20;

/// Bodies that are in memory at once; further requests wait.
const BODIES_AT_ONCE: usize = 8;

/// Signing must go on meanwhile.
const JUDGED_AT_ONCE: usize = 2;

/// The manifest has API servers wait for 5 s: they are answered while they still listen.
const ANSWER_WITHIN: Duration = Duration::from_millis(4_500);
