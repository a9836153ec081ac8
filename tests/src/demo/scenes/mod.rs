//! The scenes in the order in which they are played. Each takes the mesh as the one before left it.

mod agents_view;
mod applications_view;
mod canary;
mod fail_closed;
mod header_route;
mod metrics;
mod policy;
mod rate_limit;
mod request_policy;
mod retry;
mod shares;
mod stage;
mod strict;
mod traffic;
mod wire;

use anyhow::Result;
use serde_json::Value;

use super::cast::Cast;
use super::story::Story;

/// Plays one scene; an error means that it could not be played, which ends the demo.
type Scene = fn(&mut Story, &mut Cast<'_>) -> Result<()>;

pub(super) const ALL: [Scene; 14] = [
    stage::play,
    traffic::play,
    applications_view::play,
    agents_view::play,
    wire::play,
    metrics::play,
    canary::play,
    header_route::play,
    retry::play,
    rate_limit::play,
    fail_closed::play,
    strict::play,
    request_policy::play,
    policy::play,
];

/// An AuthorizationPolicy that refuses a client what `to` says at the servers; everything where that is empty.
fn deny(name: &str, principal: &str, to: &str) -> String {
    format!(
        "apiVersion: security.istio.io/v1\n\
         kind: AuthorizationPolicy\n\
         metadata: {{name: {name}}}\n\
         spec:\n\
         \x20 selector: {{matchLabels: {{app: server}}}}\n\
         \x20 action: DENY\n\
         \x20 rules:\n\
         \x20 - from: [{{source: {{principals: [{principal}]}}}}]\n{to}"
    )
}

/// A field of a log line.
fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("none")
}
