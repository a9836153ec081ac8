//! Tells the owners of ConfigMaps about documents that are refused, by Kubernetes Events.
//!
//! One at a time and slowly, so that neither a storm of changes nor a cluster of agents becomes one of Events. Nothing
//! queues: what has changed again before its turn is not told.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use tokio::{sync::watch, time::sleep};
use tracing::warn;

use crate::{
    mesh::{DocumentState, DocumentStatus, MeshState},
    objects::{EventWriter, Notice, Written},
    observe::{EventResult, Observer},
};

/// Between two Events; a random half more, so that of many agents one comes first and the others find its Event.
const PAUSE: Duration = Duration::from_secs(1);
/// A try that fails is repeated so often.
const TRIES: u32 = 3;

/// Follows the mesh for ever.
pub(super) async fn announce(
    writer: EventWriter,
    node: Arc<str>,
    mut mesh: watch::Receiver<MeshState>,
    observer: Observer,
) {
    let mut told: Arc<Vec<DocumentStatus>> = Arc::default();
    let mut failures = BTreeSet::new();
    loop {
        let documents = Arc::clone(&mesh.borrow_and_update().documents);
        for document in documents.iter().filter(|document| is_news(document, &told)) {
            sleep(PAUSE.mul_f64(1.0 + fastrand::f64() / 2.0)).await;
            if !mesh.borrow().documents.contains(document) {
                continue;
            }
            let result = write(&writer, &notice(document), &node, &mut failures).await;
            observer.metrics().event(result);
        }
        told = documents;
        if mesh.changed().await.is_err() {
            return;
        }
    }
}

/// A refused document of a ConfigMap; a file has nobody to be told.
fn is_news(document: &DocumentStatus, told: &[DocumentStatus]) -> bool {
    let is_refused = document.state != DocumentState::Accepted;
    is_refused && !document.config_map.namespace.is_empty() && !told.contains(document)
}

fn notice(document: &DocumentStatus) -> Notice {
    let reason = match document.state {
        DocumentState::Conflict { .. } => "DocumentConflict",
        DocumentState::Accepted | DocumentState::Rejected { .. } => "DocumentRejected",
    };
    let (config_map, uid) = (document.config_map.clone(), document.uid.clone());
    Notice { config_map, uid, reason, message: document.to_string() }
}

/// Each kind of failure is logged once.
async fn write(writer: &EventWriter, notice: &Notice, node: &str, failures: &mut BTreeSet<String>) -> EventResult {
    for attempt in 1..=TRIES {
        match writer.write(notice, node).await {
            Ok(Written::New) => return EventResult::Written,
            Ok(Written::Exists) => return EventResult::Exists,
            Err(error) => {
                let error = error.to_string();
                if failures.len() < 10 && failures.insert(error.clone()) {
                    warn!(config_map = %notice.config_map, %error, "write a Kubernetes Event");
                }
            }
        }
        if attempt < TRIES {
            sleep(PAUSE * attempt).await;
        }
    }
    EventResult::Failed
}
