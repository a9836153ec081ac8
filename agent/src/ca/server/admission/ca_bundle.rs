//! The `caBundle` of the ValidatingWebhookConfiguration: by it API servers know the webhook.
//!
//! It is given all trusted roots, as the ConfigMap of roots is: whenever they change, and again and again, since whoever
//! applies the manifest may empty it. Only the entry [`ENTRY`] is touched, and only this field.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::STANDARD};
use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject, Patch, PatchParams},
};
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};
use tracing::{error, info};

use crate::{
    ca::{
        pem,
        server::{cluster::in_words, roots::Roots},
    },
    identify::Clock,
    observe::AuthorityMetrics,
};

/// The entry of the webhook, as the manifest names it.
const ENTRY: &str = "documents.heddle.io";

/// Keeps it.
pub struct CaBundle {
    /// The API server.
    pub client: Client,
    /// The object.
    pub webhook: String,
    /// Says when now is.
    pub clock: Clock,
    /// Where it is told.
    pub metrics: AuthorityMetrics,
}

/// What a look came to.
enum Look {
    Right,
    Written,
    /// Somebody else wrote it at the same time.
    Raced,
}

impl CaBundle {
    /// Keeps it for ever.
    pub async fn keep(self, roots: Roots) {
        let (mut changes, mut last) = (roots.changes(), None::<String>);
        loop {
            changes.borrow_and_update();
            let pause = match self.look(&roots).await {
                Ok(look) => {
                    self.metrics.set_webhook_problem(false);
                    if last.take().is_some() || matches!(look, Look::Written) {
                        info!(webhook = self.webhook, "API servers know the webhook by the trusted roots");
                    }
                    if matches!(look, Look::Raced) { AFTER_RACE } else { LOOK_EVERY }
                }
                Err(problem) => {
                    self.metrics.set_webhook_problem(true);
                    // Once for each problem, not with every look.
                    if last.as_ref() != Some(&problem) {
                        error!("keeping the caBundle of ValidatingWebhookConfiguration {}: {problem}", self.webhook);
                    }
                    last = Some(problem);
                    AFTER_PROBLEM
                }
            };
            tokio::select! {
                _ = changes.changed() => {}
                () = sleep(pause) => {}
            }
        }
    }

    async fn look(&self, roots: &Roots) -> Result<Look, String> {
        // Without a usable root there is nothing to say; the roots' own log says why.
        let Ok(keyring) = roots.current(&self.clock) else { return Ok(Look::Raced) };
        let bundle = STANDARD.encode(pem::certificates(keyring.roots()));
        let looking = timeout(ANSWER_WITHIN, self.bring_up_to(&bundle));
        looking.await.unwrap_or_else(|_| Err(format!("no answer of the API server within {ANSWER_WITHIN:?}")))
    }

    async fn bring_up_to(&self, bundle: &str) -> Result<Look, String> {
        let grant = format!(
            "grant get and patch on validatingwebhookconfigurations of API group admissionregistration.k8s.io, \
             resourceNames [{}]",
            self.webhook
        );
        let objects: Api<DynamicObject> = Api::all_with(self.client.clone(), &resource());
        let found = objects.get_opt(&self.webhook).await.map_err(|error| in_words(&error, &grant))?;
        let Some(found) = found else {
            return Err("it is not there; apply the manifest of the webhook, or empty admission.webhook".to_owned());
        };
        let Some(entries) = with_bundle(&found.data["webhooks"], bundle)? else { return Ok(Look::Right) };
        // A list is replaced whole, so it must still be the one that was read.
        let patch = json!({"metadata": {"resourceVersion": found.metadata.resource_version}, "webhooks": entries});
        match objects.patch(&self.webhook, &PatchParams::default(), &Patch::Merge(patch)).await {
            Ok(_) => Ok(Look::Written),
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(Look::Raced),
            Err(error) => Err(in_words(&error, &grant)),
        }
    }
}

/// The entries with the bundle in ours; `None` where it is there already.
pub(super) fn with_bundle(entries: &Value, bundle: &str) -> Result<Option<Value>, String> {
    let mut entries = entries.clone();
    let ours = entries.as_array_mut().into_iter().flatten().find(|entry| entry["name"] == ENTRY);
    let Some(config) = ours.and_then(|entry| entry.get_mut("clientConfig")?.as_object_mut()) else {
        return Err(format!("it has no entry {ENTRY} with a clientConfig; apply the manifest of the webhook"));
    };
    if config.get("caBundle").and_then(Value::as_str) == Some(bundle) {
        return Ok(None);
    }
    config.insert("caBundle".to_owned(), bundle.into());
    Ok(Some(entries))
}

fn resource() -> ApiResource {
    ApiResource {
        group: "admissionregistration.k8s.io".to_owned(),
        version: "v1".to_owned(),
        api_version: "admissionregistration.k8s.io/v1".to_owned(),
        kind: "ValidatingWebhookConfiguration".to_owned(),
        plural: "validatingwebhookconfigurations".to_owned(),
    }
}

/// A manifest that was applied anew without the bundle leaves the webhook unknown for no longer.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// Somebody else is writing, or the roots are not there yet.
const AFTER_RACE: Duration = Duration::from_secs(1);

/// The manifest may be applied after this has started.
const AFTER_PROBLEM: Duration = Duration::from_secs(5);

/// Two requests, which take milliseconds.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
