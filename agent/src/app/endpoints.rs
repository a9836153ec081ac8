//! The agent's own endpoints: where they listen, and where their answers come from.

use std::sync::Arc;

use tokio::sync::watch;

use super::{questions::Questions, status::StatusSources};
use crate::{
    admin::{self, Addresses, Sources},
    config::Config,
    handover::Sockets,
    observe::{EventFeed, LogControl, Observer},
};

/// Binds what was not inherited, and serves.
pub(super) async fn serve(
    config: &Config,
    sources: &Sources,
    inherited: &mut Sockets,
    stopped: &watch::Receiver<bool>,
) -> anyhow::Result<admin::Endpoints> {
    let addresses = Addresses {
        metrics: config.metrics,
        health: config.health,
        admin: config.admin.address,
        socket: config.admin.socket.clone(),
    };
    let inherited = std::mem::take(&mut inherited.endpoints);
    Ok(admin::serve(addresses, inherited, sources.clone(), stopped.clone()).await?)
}

/// Where their answers come from.
pub(super) fn sources(
    config: &Config,
    (observer, log, feed): (&Observer, &LogControl, &EventFeed),
    (status, questions): (StatusSources, Questions),
) -> Sources {
    let (shown, readiness) = (config.clone(), status.readiness.clone());
    let (source, published) = (status.source.clone(), Arc::clone(&status.mesh));
    let view = move || {
        let mut view = serde_json::json!({"agent": shown, "source": source.report()});
        if let Some(mesh) = published.get() {
            let state = mesh.borrow();
            view["mesh"] = serde_json::json!(*state.snapshot);
            view["problems"] = serde_json::json!(state.problems());
        }
        view
    };
    let (observer, config) = (observer.clone(), Arc::new(view));
    let (log, events, status) = (log.clone(), feed.clone(), Arc::new(move || status.status()));
    Sources { observer, readiness, config, status, log, events, questions: Arc::new(questions) }
}
