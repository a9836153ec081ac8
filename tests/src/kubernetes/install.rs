//! What is in a cluster before the first agent starts: the service accounts of Heddle and their rights, as the manifests in
//! `deploy` give them.

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::api_server::ApiServer;
use super::fresh;
use super::tokens::TokenUser;

/// Where they are.
pub const SYSTEM_NAMESPACE: &str = "heddle-system";
/// Accounts, roles and bindings.
const MANIFESTS: [&str; 2] =
    [include_str!("../../../deploy/manifests/agent/rbac.yaml"), include_str!("../../../deploy/manifests/ca/rbac.yaml")];

impl ApiServer {
    /// Puts the rights of agents and of `heddle ca` into the cluster.
    pub fn install_rights(&self) -> Result<()> {
        if self.get("Namespace", "", SYSTEM_NAMESPACE).is_none() {
            let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SYSTEM_NAMESPACE}});
            self.put(&namespace)?;
        }
        rights()?.iter().try_for_each(|object| self.put(object).map(drop))
    }

    /// A new token of a service account: it may do what the account may.
    pub fn token_of(&self, namespace: &str, account: &str) -> String {
        let token = fresh::secret();
        self.add_token(&token, TokenUser::service_account(namespace, account));
        token
    }
}

/// The objects that give agents and `heddle ca` their rights.
pub fn rights() -> Result<Vec<Value>> {
    let objects = MANIFESTS.map(|text| serde_saphyr::from_multiple::<Value>(text).context("a manifest is no YAML"));
    Ok(objects.into_iter().collect::<Result<Vec<_>>>()?.concat())
}
