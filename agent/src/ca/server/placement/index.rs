//! Pods by node and service account, with counts: what is kept of each pod is where it is and whose.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use k8s_openapi::api::core::v1::Pod;

use crate::config::authority::AccountName;

/// What matters of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PlacedPod {
    key: PodKey,
    uid: Arc<str>,
    /// `None` where it is on no node, or has ended.
    place: Option<Place>,
}

type PodKey = (Arc<str>, Arc<str>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    node: Arc<str>,
    account: AccountName,
}

/// All pods on nodes.
#[derive(Debug, Default)]
pub(super) struct Index {
    pods: HashMap<PodKey, (Arc<str>, Place)>,
    nodes: HashMap<Arc<str>, HashMap<AccountName, usize>>,
    /// Each text once: a namespace, a node or an account is named by many pods.
    texts: HashSet<Arc<str>>,
}

impl PlacedPod {
    pub(super) fn of(pod: &Pod) -> Self {
        let text = |text: &Option<String>| Arc::<str>::from(text.as_deref().unwrap_or_default());
        let (spec, phase) = (pod.spec.as_ref(), pod.status.as_ref().and_then(|status| status.phase.as_deref()));
        let namespace = text(&pod.metadata.namespace);
        let node = spec.and_then(|spec| spec.node_name.as_deref()).filter(|node| !node.is_empty());
        let ended = matches!(phase, Some("Succeeded" | "Failed"));
        // The API server fills in the account; files of tests may leave it out.
        let account = spec.and_then(|spec| spec.service_account_name.as_deref()).filter(|name| !name.is_empty());
        let place = node.filter(|_| !ended).map(|node| Place {
            node: node.into(),
            account: AccountName { namespace: Arc::clone(&namespace), name: account.unwrap_or("default").into() },
        });
        Self { key: (namespace, text(&pod.metadata.name)), uid: text(&pod.metadata.uid), place }
    }

    /// Whether it is on `node` and of `account`.
    pub(super) fn is_of(&self, node: &str, account: &AccountName) -> bool {
        self.place.as_ref().is_some_and(|place| *place.node == *node && place.account == *account)
    }
}

impl Index {
    /// A pod as it is now.
    pub(super) fn put(&mut self, pod: PlacedPod) {
        self.remove(&pod);
        let PlacedPod { key: (namespace, name), uid, place: Some(place) } = pod else { return };
        let account =
            AccountName { namespace: self.shared(place.account.namespace), name: self.shared(place.account.name) };
        let place = Place { node: self.shared(place.node), account };
        let accounts = self.nodes.entry(Arc::clone(&place.node)).or_default();
        *accounts.entry(place.account.clone()).or_default() += 1;
        let key = (self.shared(namespace), name);
        self.pods.insert(key, (uid, place));
    }

    /// A pod is gone, under whatever uid.
    pub(super) fn remove(&mut self, pod: &PlacedPod) {
        let Some((_, place)) = self.pods.remove(&pod.key) else { return };
        let Some(accounts) = self.nodes.get_mut(&place.node) else { return };
        if let Some(count) = accounts.get_mut(&place.account) {
            *count -= 1;
            if *count == 0 {
                accounts.remove(&place.account);
            }
        }
        if accounts.is_empty() {
            self.nodes.remove(&place.node);
            // A node that comes and goes, with its accounts, must not stay in memory for ever.
            self.texts.retain(|text| Arc::strong_count(text) > 1);
        }
    }

    pub(super) fn runs_on(&self, node: &str, account: &AccountName) -> bool {
        self.nodes.get(node).is_some_and(|accounts| accounts.contains_key(account))
    }

    /// Where the pod of this very uid is.
    pub(super) fn node_of(&self, namespace: &Arc<str>, name: &Arc<str>, uid: &str) -> Option<Arc<str>> {
        let (found, place) = self.pods.get(&(Arc::clone(namespace), Arc::clone(name)))?;
        (**found == *uid).then(|| Arc::clone(&place.node))
    }

    pub(super) fn len(&self) -> usize {
        self.pods.len()
    }

    fn shared(&mut self, text: Arc<str>) -> Arc<str> {
        if let Some(known) = self.texts.get(&text) {
            return Arc::clone(known);
        }
        self.texts.insert(Arc::clone(&text));
        text
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn pod(name: &str, node: &str, account: &str, phase: &str) -> PlacedPod {
        let pod: Pod = serde_json::from_value(serde_json::json!({
            "metadata": {"namespace": "shop", "name": name, "uid": format!("uid-{name}")},
            "spec": {"nodeName": node, "serviceAccountName": account, "containers": []},
            "status": {"phase": phase},
        }))
        .unwrap();
        PlacedPod::of(&pod)
    }

    fn account(name: &str) -> AccountName {
        AccountName { namespace: "shop".into(), name: name.into() }
    }

    #[test]
    fn an_account_is_on_a_node_from_its_first_pod_to_its_last() {
        let mut index = Index::default();
        index.put(pod("a", "one", "web", "Running"));
        index.put(pod("b", "one", "web", "Pending"));
        assert!(index.runs_on("one", &account("web")));
        assert!(!index.runs_on("two", &account("web")) && !index.runs_on("one", &account("db")));
        let elsewhere = AccountName { namespace: "other".into(), name: "web".into() };
        assert!(!index.runs_on("one", &elsewhere));
        index.remove(&pod("a", "one", "web", "Running"));
        assert!(index.runs_on("one", &account("web")));
        index.remove(&pod("b", "one", "web", "Running"));
        assert!(!index.runs_on("one", &account("web")));
        assert_eq!((index.len(), index.nodes.len()), (0, 0));
    }

    #[test]
    fn a_pod_that_is_told_twice_counts_once_and_one_that_changes_leaves_its_old_place() {
        let mut index = Index::default();
        index.put(pod("a", "one", "web", "Running"));
        index.put(pod("a", "one", "web", "Running"));
        index.put(pod("a", "two", "db", "Running"));
        assert!(!index.runs_on("one", &account("web")) && index.runs_on("two", &account("db")));
        assert_eq!(index.len(), 1);
    }

    #[test]
    fn what_has_ended_or_is_on_no_node_does_not_count() {
        let mut index = Index::default();
        for (name, node, phase) in [("a", "one", "Succeeded"), ("b", "one", "Failed"), ("c", "", "Pending")] {
            index.put(pod(name, node, "web", phase));
        }
        assert!(!index.runs_on("one", &account("web")));
        index.put(pod("d", "one", "web", "Running"));
        index.put(pod("d", "one", "web", "Succeeded"));
        assert!(!index.runs_on("one", &account("web")));
        assert!(!pod("d", "one", "web", "Failed").is_of("one", &account("web")));
        assert!(pod("d", "one", "", "Running").is_of("one", &account("default")));
    }

    #[test]
    fn the_node_of_a_pod_is_told_only_for_its_own_uid() {
        let mut index = Index::default();
        index.put(pod("a", "one", "web", "Running"));
        let of = |uid: &str| index.node_of(&"shop".into(), &"a".into(), uid);
        assert_eq!(of("uid-a").as_deref(), Some("one"));
        assert_eq!(of("uid-of-an-earlier-pod"), None);
    }

    #[test]
    fn texts_of_nodes_that_are_gone_are_forgotten() {
        let mut index = Index::default();
        for n in 0..100 {
            let placed = pod(&format!("p{n}"), &format!("node-{n}"), &format!("account-{n}"), "Running");
            index.put(placed.clone());
            index.remove(&placed);
        }
        assert!(index.texts.len() < 5, "{}", index.texts.len());
    }
}
