//! The Secret that holds the roots, which all replicas share.
//!
//! Every look reads it, does what is due, and writes it under the version that was read: of two replicas that do the same
//! at once, one is refused and reads again. So there is one history of roots, and it is in the Secret alone.

use std::{collections::BTreeMap, path::Path, time::SystemTime};

use k8s_openapi::{ByteString, api::core::v1::Secret};
use kube::{
    Api, Client,
    api::{ObjectMeta, PostParams},
};
use tracing::{info, warn};

use super::{
    cluster::in_words,
    rotation::{Policy, Step},
    state::RootState,
};
use crate::ca::{error::CaError, signing::Keyring};

/// The key with everything.
pub(super) const STATE_KEY: &str = "roots.json";
/// The key with the certificates alone, for people.
const BUNDLE_KEY: &str = "root-cert.pem";
/// Its type: no other controller takes it for its own.
const TYPE: &str = "heddle.io/ca-roots";
/// Replicas that lose so many races in a row are not racing.
const ATTEMPTS: usize = 8;

/// Why the roots of the Secret are not known.
#[derive(Debug, thiserror::Error)]
pub(super) enum SecretError {
    /// The API server does not answer, or refuses.
    #[error("{action} Secret {place} failed: {problem}")]
    Api {
        /// What was tried.
        action: &'static str,
        /// The Secret.
        place: String,
        /// What happened, and what to do.
        problem: String,
    },
    /// What the Secret holds cannot be used.
    #[error(
        "Secret {place}: {STATE_KEY} is unusable: {problem}; restore it, or delete the Secret to have a new root made, which no peer trusts yet"
    )]
    Content {
        /// The Secret.
        place: String,
        /// What is wrong.
        problem: String,
    },
    /// A root could not be made or used.
    #[error(transparent)]
    Root(#[from] CaError),
    /// Others write it all the time.
    #[error("Secret {place} was changed by others {ATTEMPTS} times while it was to be written")]
    Raced {
        /// The Secret.
        place: String,
    },
}

/// Reads the Secret, does what is due, and gives back what is to be signed with and trusted.
pub(super) async fn look(client: &Client, policy: &Policy<'_>, now: SystemTime) -> Result<Keyring, SecretError> {
    let place = &policy.settings.place;
    let secrets: Api<Secret> = Api::namespaced(client.clone(), &place.namespace);
    for _ in 0..ATTEMPTS {
        let found = secrets.get_opt(&place.name).await.map_err(|error| api("reading", policy, "get", &error))?;
        let (state, steps) = match &found {
            None => (policy.begin(now)?, vec![Step::Made]),
            Some(secret) => {
                let mut state = state_of(secret, policy)?;
                let steps = policy.advance(&mut state, now)?;
                (state, steps)
            }
        };
        // Before it is written: a state that cannot be used must not replace one that can.
        let keyring = policy.keyring(&state, Path::new(STATE_KEY), now)?;
        if steps.is_empty() || write(&secrets, policy, found, &state).await? {
            steps.iter().for_each(|step| tell(*step, policy));
            return Ok(keyring);
        }
    }
    Err(SecretError::Raced { place: place.to_string() })
}

/// False if somebody else has written it since it was read.
async fn write(
    secrets: &Api<Secret>,
    policy: &Policy<'_>,
    found: Option<Secret>,
    state: &RootState,
) -> Result<bool, SecretError> {
    let name = &policy.settings.place.name;
    let unwritable = |error: serde_json::Error| SecretError::Content {
        place: policy.settings.place.to_string(),
        problem: format!("it cannot be written: {error}"),
    };
    let data = BTreeMap::from([
        (STATE_KEY.to_owned(), ByteString(state.to_json().map_err(unwritable)?)),
        (BUNDLE_KEY.to_owned(), ByteString(state.bundle().into_bytes())),
    ]);
    let written = match found {
        None => {
            let labels = BTreeMap::from([("app.kubernetes.io/managed-by".to_owned(), "heddle".to_owned())]);
            let metadata = ObjectMeta { name: Some(name.clone()), labels: Some(labels), ..ObjectMeta::default() };
            let secret = Secret { metadata, data: Some(data), type_: Some(TYPE.to_owned()), ..Secret::default() };
            secrets.create(&PostParams::default(), &secret).await
        }
        // With the metadata that was read, and so with its resourceVersion.
        Some(secret) => {
            let mut kept = secret.data.clone().unwrap_or_default();
            kept.extend(data);
            secrets.replace(name, &PostParams::default(), &Secret { data: Some(kept), ..secret }).await
        }
    };
    match written {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
        Err(error) => Err(api("writing", policy, "create and update", &error)),
    }
}

fn state_of(secret: &Secret, policy: &Policy<'_>) -> Result<RootState, SecretError> {
    let place = policy.settings.place.to_string();
    let json = secret.data.as_ref().and_then(|data| data.get(STATE_KEY));
    let Some(ByteString(json)) = json else {
        let problem = "it is not there, so this is a Secret of something else; set root.secret.name".to_owned();
        return Err(SecretError::Content { place, problem });
    };
    RootState::parse(json).map_err(|problem| SecretError::Content { place, problem })
}

fn api(action: &'static str, policy: &Policy<'_>, verbs: &str, error: &kube::Error) -> SecretError {
    let place = &policy.settings.place;
    let grant = format!("grant {verbs} on secrets in namespace {} to this service account", place.namespace);
    SecretError::Api { action, place: place.to_string(), problem: in_words(error, &grant) }
}

fn tell(step: Step, policy: &Policy<'_>) {
    let secret = &policy.settings.place;
    match step {
        Step::Made => info!(%secret, "made the root of this mesh"),
        Step::Published => {
            info!(%secret, "made the next root; it is trusted from now on, and signs when all peers know it");
        }
        Step::Promoted => {
            info!(%secret, "the next root signs from now on; the old one stays trusted until its leaves end");
        }
        Step::Dropped => info!(%secret, "an old root is no longer trusted: all that it signed has ended"),
        Step::Widened => info!(%secret, "the overlap of roots is longer from now on"),
        Step::Emergency => warn!(
            %secret,
            "the root has ended before another was trusted by all; a new one signs, and peers trust it as they renew"
        ),
    }
}
