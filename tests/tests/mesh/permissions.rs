//! The manifests give to agents and to `heddle ca` what they use in the Kubernetes API, and nothing else.
//!
//! The API server of the tests refuses what the manifests do not grant. Here both do all that they do; then no request may have
//! been refused, and each right must have been used.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use anyhow::{Context, Result};
use heddle_tests::kubernetes::{ApiServer, Asked, Cut, Fault, Journal, Verb, rights};
use serde_json::{Value, json};

use crate::cluster_authority;
use crate::world::{SOON, World, connect, enrolled};

const WEBHOOK: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/manifests/ca/webhook.yaml");

/// With a root of a minute that is replaced below 90 percent, the next one is due within seconds.
const ROTATED: Duration = Duration::from_secs(60);

#[test]
fn the_manifests_grant_what_is_used_and_nothing_else() -> Result<()> {
    let root = json!({
        "namespace": "heddle-system", "name": "heddle-ca", "lifetime": "1m", "rotateBelowPercent": 90, "overlap": "10s",
    });
    let (world, _authority) = cluster_authority::world(
        "permissions",
        &json!({
            "leafLifetime": "10s", "root": {"secret": root},
            "admission": {"listen": "127.0.0.1:0", "webhook": "heddle"},
            "taintNodes": true, "agents": {"grace": "0s"},
        }),
    )?;
    let api = world.bed.api_server()?;
    api.put(&serde_saphyr::from_str(&std::fs::read_to_string(WEBHOOK)?)?)?;
    // An agent that is not ready yet: its node is tainted.
    api.put(&json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "starting", "namespace": "heddle-system", "labels": {"app.kubernetes.io/name": "heddle"}},
        "spec": {"nodeName": world.client.node().name()},
    }))?;
    let _server = world.far.serve("--listen 8080")?;
    assert!(connect(&world.client, &format!("--to {} --count 5", world.far.at(8080)))?.all_good(5));
    tell_of_a_rejected_document(api)?;
    list_again(&world, api)?;
    replace_the_root(api)?;
    seen(api, "a node was tainted or freed", SOON, Verb::Patch, "nodes", 1)?;
    seen(api, "the webhook has its caBundle", SOON, Verb::Patch, "validatingwebhookconfigurations", 1)?;

    let journal = api.journal();
    for account in ["heddle-agent", "heddle-ca"] {
        let user = format!("system:serviceaccount:heddle-system:{account}");
        let asked: Vec<&Asked> = journal.requests.iter().filter(|asked| asked.user == user).collect();
        let refused: Vec<&str> =
            asked.iter().filter(|asked| asked.status == Some(403)).map(|asked| &*asked.path).collect();
        assert_eq!(refused, [""; 0], "{account} asks for what it is not granted");
        let granted = granted_to(account)?;
        let unused: Vec<String> = granted
            .iter()
            .filter(|right| !asked.iter().any(|asked| right.covers(asked)))
            .map(Right::to_string)
            .collect();
        assert_eq!(unused, [""; 0], "{account} never uses that; what it asked:\n{}", journal.describe());
        assert!(granted.len() > 4, "{account}: {granted:?}");
    }
    Ok(())
}

/// An agent says so by an Event.
fn tell_of_a_rejected_document(api: &ApiServer) -> Result<()> {
    let text =
        "apiVersion: heddle.io/v1alpha1\nkind: Capture\nmetadata: {name: c}\nspec: {excludeOutboundPorts: [x]}\n";
    api.put(&json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "broken", "namespace": "default", "labels": {"heddle.io/config": "true"}},
        "data": {"mesh.yaml": text},
    }))?;
    seen(api, "an agent has written an Event", SOON, Verb::Create, "events", 1)
}

/// All watches expire: whoever followed them lists anew.
fn list_again(world: &World, api: &ApiServer) -> Result<()> {
    let before = answered(&api.journal(), Verb::List, "pods");
    api.fault(Fault::status(503).verb(Verb::Watch));
    api.cut_watches("", Cut::Reset);
    api.put(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "later"}}))?;
    api.compact();
    api.clear_faults();
    // Two agents and the authority.
    seen(api, "all have listed the pods again", SOON * 3, Verb::List, "pods", before + 3)?;
    enrolled(&world.a, 2)
}

/// The next root is written into the Secret, and its certificate published.
fn replace_the_root(api: &ApiServer) -> Result<()> {
    seen(api, "the next root was written", ROTATED, Verb::Update, "secrets", 1)?;
    seen(api, "the next root was published", ROTATED, Verb::Update, "configmaps", 1)
}

fn seen(api: &ApiServer, what: &str, within: Duration, verb: Verb, resource: &str, times: usize) -> Result<()> {
    api.wait_journal(what, within, |journal| answered(journal, verb, resource) >= times).map(drop)
}

fn answered(journal: &Journal, verb: Verb, resource: &str) -> usize {
    journal.of(verb, resource).iter().filter(|asked| asked.status.is_some_and(|status| status < 300)).count()
}

/// One verb on one resource, as one rule grants it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Right {
    verb: String,
    group: String,
    /// With its subresource, if it has one.
    resource: String,
    name: Option<String>,
    /// `None` for all, and for what is cluster-wide.
    namespace: Option<String>,
}

impl Right {
    fn covers(&self, asked: &Asked) -> bool {
        let resource = match asked.subresource.as_str() {
            "" => asked.resource.clone(),
            subresource => format!("{}/{subresource}", asked.resource),
        };
        asked.verb.to_string() == self.verb
            && (&asked.group, &resource) == (&self.group, &self.resource)
            && self.name.as_ref().is_none_or(|name| *name == asked.name)
            && self.namespace.as_ref().is_none_or(|namespace| *namespace == asked.namespace)
    }
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { verb, group, resource, name, namespace } = self;
        write!(f, "{verb} {resource} of group {group:?}, name {name:?}, namespace {namespace:?}")
    }
}

/// All rights of a service account.
fn granted_to(account: &str) -> Result<BTreeSet<Right>> {
    let objects = rights()?;
    let mut granted = BTreeSet::new();
    for binding in objects.iter().filter(|object| object["roleRef"].is_object()) {
        let subjects = binding["subjects"].as_array().context("a binding without subjects")?;
        if !subjects.iter().any(|subject| subject["name"] == account) {
            continue;
        }
        let role = objects.iter().find(|object| {
            (&object["kind"], &object["metadata"]["name"]) == (&binding["roleRef"]["kind"], &binding["roleRef"]["name"])
        });
        let namespace = binding["metadata"]["namespace"].as_str().map(str::to_owned);
        let rules = role.context("a binding to a role that is not there")?["rules"].as_array();
        granted.extend(rules.into_iter().flatten().flat_map(|rule| of_rule(rule, namespace.as_ref())));
    }
    Ok(granted)
}

fn of_rule(rule: &Value, namespace: Option<&String>) -> Vec<Right> {
    let words = |key: &str| -> Vec<String> {
        rule[key].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let names = match words("resourceNames") {
        names if names.is_empty() => vec![None],
        names => names.into_iter().map(Some).collect(),
    };
    let mut rights = Vec::new();
    for (group, resource) in
        words("apiGroups").iter().flat_map(|group| words("resources").into_iter().map(move |r| (group, r)))
    {
        for verb in words("verbs") {
            rights.extend(names.iter().map(|name| Right {
                verb: verb.clone(),
                group: group.clone(),
                resource: resource.clone(),
                name: name.clone(),
                namespace: namespace.cloned(),
            }));
        }
    }
    rights
}
