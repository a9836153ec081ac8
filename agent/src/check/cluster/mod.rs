//! What `heddle check --kube` finds about a cluster before Heddle is installed there, or afterwards.
//!
//! In: a client of its API server. Out: one outcome for each check. `facts` and `access` ask; the judges are pure. What the caller
//! may not ask is told as such, with the right that is missing.

mod access;
mod facts;
mod meshes;
mod namespaces;
mod network_plugin;
mod nodes;
mod ports;
mod rights;
mod server;

use kube::Client;

use self::facts::{Answer, Facts};
use super::{Outcome, version::Version};

/// Checks a cluster.
///
/// # Errors
/// It does not say which version it is: there is nobody to ask.
pub async fn check(client: &Client) -> Result<Vec<Outcome>, kube::Error> {
    let info = client.apiserver_version().await?;
    let mut outcomes = vec![server::judge(&info)];
    outcomes.extend(access::check(client).await);
    outcomes.extend(judge(&Facts::gather(client).await, Version::parse(&info.git_version)));
    Ok(outcomes)
}

fn judge(facts: &Facts, server: Option<Version>) -> Vec<Outcome> {
    let Facts { nodes, namespaces, daemon_sets, policies, cilium, kube_proxy, felix } = facts;
    [
        with("nodes", nodes, |nodes| nodes::judge(nodes, server)),
        with("network plugin", daemon_sets, |sets| vec![network_plugin::judge(sets)]),
        with("Cilium", cilium, |config| network_plugin::judge_cilium(config.as_ref())),
        with_both("Calico", felix, daemon_sets, |felix, sets| vec![network_plugin::judge_calico(felix.as_ref(), sets)]),
        with("kube-proxy", kube_proxy, |config| vec![network_plugin::judge_kube_proxy(config.as_ref())]),
        with_both("other meshes", daemon_sets, namespaces, |sets, namespaces| meshes::judge(sets, namespaces)),
        with("ports of the nodes", daemon_sets, |sets| ports::judge(sets)),
        with("pod security", namespaces, |namespaces| vec![namespaces::judge_pod_security(namespaces)]),
        with_both("network policies", namespaces, policies, |namespaces, policies| {
            namespaces::judge_policies(namespaces, policies)
        }),
    ]
    .concat()
}

fn with<T>(check: &str, answer: &Answer<T>, judge: impl FnOnce(&T) -> Vec<Outcome>) -> Vec<Outcome> {
    match answer {
        Ok(found) => judge(found),
        Err(unanswered) => vec![unanswered.outcome(check)],
    }
}

fn with_both<A, B>(
    check: &str,
    first: &Answer<A>,
    second: &Answer<B>,
    judge: impl FnOnce(&A, &B) -> Vec<Outcome>,
) -> Vec<Outcome> {
    with(check, first, |first| with(check, second, |second| judge(first, second)))
}
