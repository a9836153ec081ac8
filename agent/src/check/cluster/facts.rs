//! What a cluster says about itself, asked once: the judges read it and ask nothing.

use k8s_openapi::{
    api::{
        apps::v1::DaemonSet,
        core::v1::{ConfigMap, Namespace, Node},
        networking::v1::NetworkPolicy,
    },
    serde::de::DeserializeOwned,
};
use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject, ListParams},
};

use crate::check::Outcome;

/// Objects in one answer.
const PAGE: u32 = 500;

/// What a question brought.
pub(super) type Answer<T> = Result<T, Unanswered>;

/// A question that the API server did not answer.
#[derive(Clone, Debug)]
pub(super) struct Unanswered {
    /// A verb and a resource, as `list daemonsets of API group "apps"`.
    asked: String,
    why: String,
    is_forbidden: bool,
}

/// The answers.
#[derive(Debug)]
pub(super) struct Facts {
    pub(super) nodes: Answer<Vec<Node>>,
    pub(super) namespaces: Answer<Vec<Namespace>>,
    pub(super) daemon_sets: Answer<Vec<DaemonSet>>,
    pub(super) policies: Answer<Vec<NetworkPolicy>>,
    /// `kube-system/cilium-config`.
    pub(super) cilium: Answer<Option<ConfigMap>>,
    /// `kube-system/kube-proxy`, as kubeadm makes it.
    pub(super) kube_proxy: Answer<Option<ConfigMap>>,
    /// Calico's FelixConfiguration `default`.
    pub(super) felix: Answer<Option<DynamicObject>>,
}

impl Unanswered {
    pub(super) fn new(verb: &str, plural: &str, group: &str, error: &kube::Error) -> Self {
        let asked = format!("{verb} {plural} of API group {group:?}");
        let (why, is_forbidden) = match error {
            kube::Error::Api(status) => (format!("{} ({})", status.message, status.code), status.code == 403),
            other => (other.to_string(), false),
        };
        Self { asked, why, is_forbidden }
    }

    /// The check that goes without the answer.
    pub(super) fn outcome(&self, check: &str) -> Outcome {
        let remedy = match self.is_forbidden {
            true => format!("check as a user who may {}", self.asked),
            false => "try again when the API server answers that".to_owned(),
        };
        Outcome::not_checked(check, format!("cannot {}: {}", self.asked, self.why), remedy)
    }
}

impl Facts {
    /// Asks everything.
    pub(super) async fn gather(client: &Client) -> Self {
        let system = Api::<ConfigMap>::namespaced(client.clone(), "kube-system");
        Self {
            nodes: list(client, "nodes", "").await,
            namespaces: list(client, "namespaces", "").await,
            daemon_sets: list(client, "daemonsets", "apps").await,
            policies: list(client, "networkpolicies", "networking.k8s.io").await,
            cilium: get(&system, "cilium-config", "configmaps", "").await,
            kube_proxy: get(&system, "kube-proxy", "configmaps", "").await,
            felix: get(&felix(client), "default", "felixconfigurations", FELIX_GROUP).await,
        }
    }
}

const FELIX_GROUP: &str = "crd.projectcalico.org";

fn felix(client: &Client) -> Api<DynamicObject> {
    let resource = ApiResource {
        group: FELIX_GROUP.to_owned(),
        version: "v1".to_owned(),
        api_version: format!("{FELIX_GROUP}/v1"),
        kind: "FelixConfiguration".to_owned(),
        plural: "felixconfigurations".to_owned(),
    };
    Api::all_with(client.clone(), &resource)
}

async fn list<K>(client: &Client, plural: &str, group: &str) -> Answer<Vec<K>>
where
    K: kube::Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug,
{
    let api = Api::<K>::all(client.clone());
    let (mut objects, mut params) = (Vec::new(), ListParams::default().limit(PAGE));
    loop {
        let page = api.list(&params).await.map_err(|error| Unanswered::new("list", plural, group, &error))?;
        objects.extend(page.items);
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => return Ok(objects),
        }
    }
}

/// An object that may be absent, and so may its kind.
async fn get<K>(api: &Api<K>, name: &str, plural: &str, group: &str) -> Answer<Option<K>>
where
    K: Clone + DeserializeOwned + std::fmt::Debug,
{
    api.get_opt(name).await.map_err(|error| Unanswered::new("get", plural, group, &error))
}
