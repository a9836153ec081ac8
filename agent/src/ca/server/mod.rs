//! `heddle ca`: signs for the agents of a cluster, over Istio's protocol.
//!
//! One request, in the order of the files: `connections` (TLS, HTTP/2 and their bounds), `service`, then `tokens` (who
//! calls: TokenReview), `placement` (may the caller have that identity: a pod with it runs on the caller's node), the
//! signature, and `audit`. What it signs with is in `roots`: out of a Secret (`secret`, `state`, `rotation`) or of files
//! (`files`, `trial`). It keeps nothing but the roots.
//!
//! Beside that, where it is asked to: `admission` reads mesh documents before the API server stores them, and `tainting`
//! keeps new pods away from nodes without an agent.

mod admission;
mod audit;
mod clients;
mod cluster;
mod connections;
mod files;
mod placement;
mod publish;
mod refusal;
mod roots;
mod rotation;
mod secret;
mod service;
mod serving;
mod state;
mod tainting;
#[cfg(test)]
mod tests;
mod tokens;
mod trial;

use std::time::{Duration, SystemTime};

use x509_parser::prelude::X509Certificate;

pub use admission::{Admission, CONNECTIONS as ADMISSION_CONNECTIONS, CaBundle};
pub use connections::{Answering, serve};
pub use placement::Placement;
pub use roots::{RootError, RootSource, Roots};
pub use service::{Service, ServicePolicy};
pub use serving::ServingCertificate;
pub use tainting::Tainting;
pub use tokens::Tokens;

/// From when to when a certificate is valid.
fn certificate_times(certificate: &X509Certificate<'_>) -> (SystemTime, SystemTime) {
    let time = |seconds: i64| SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or_default());
    let validity = certificate.validity();
    (time(validity.not_before.timestamp()), time(validity.not_after.timestamp()))
}
