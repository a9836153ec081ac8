//! `heddle check --kube` without PATH: whether Heddle can be installed in a cluster.

use std::time::Duration;

use anyhow::Result;
use heddle_tests::bed::{Finished, Process, binary};
use heddle_tests::kubernetes::{ApiServer, Fault, Verb};
use serde_json::{Value, json};

use super::said::Said;

const SOON: Duration = Duration::from_secs(60);
const RBAC: &str = "rbac.authorization.k8s.io";

struct Setting {
    server: ApiServer,
    directory: tempfile::TempDir,
    address: std::net::SocketAddr,
}

impl Setting {
    /// A cluster of one node, with nothing of Heddle in it.
    fn new() -> Result<Self> {
        let server = ApiServer::start()?;
        let address = server.listen()?;
        let setting = Self { server, directory: tempfile::tempdir()?, address };
        setting.node("node-a", "6.8.0-31-generic")?;
        Ok(setting)
    }

    fn node(&self, name: &str, kernel: &str) -> Result<()> {
        self.put(&json!({
            "apiVersion": "v1", "kind": "Node", "metadata": {"name": name},
            "status": {"nodeInfo": {
                "architecture": "amd64", "operatingSystem": "linux", "kernelVersion": kernel, "kubeletVersion": "v1.33.1",
                "containerRuntimeVersion": "containerd://2.1.4",
            }},
        }))
    }

    fn namespace(&self, name: &str, labels: &Value) -> Result<()> {
        self.put(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}))
    }

    fn put(&self, object: &Value) -> Result<()> {
        self.server.put(object).map(drop)
    }

    /// As somebody who may do everything.
    fn check(&self) -> Result<Said> {
        Said::of(&self.run(self.server.token(), &["-o", "json"])?)
    }

    /// As a service account that may do what these rules say.
    fn check_as(&self, rules: &Value) -> Result<Said> {
        self.put(&json!({
            "apiVersion": format!("{RBAC}/v1"), "kind": "ClusterRole", "metadata": {"name": "caller"}, "rules": rules,
        }))?;
        self.put(&json!({
            "apiVersion": format!("{RBAC}/v1"), "kind": "ClusterRoleBinding", "metadata": {"name": "caller"},
            "roleRef": {"kind": "ClusterRole", "name": "caller"},
            "subjects": [{"kind": "ServiceAccount", "namespace": "default", "name": "caller"}],
        }))?;
        Said::of(&self.run(&self.server.token_of("default", "caller"), &["-o", "json"])?)
    }

    fn run(&self, token: &str, words: &[&str]) -> Result<Finished> {
        let kubeconfig = self.directory.path().join("kubeconfig");
        std::fs::write(&kubeconfig, self.server.kubeconfig_as(self.address, token)?)?;
        let path = kubeconfig.display().to_string();
        let words: Vec<&str> =
            ["check", "--kube", "--kubeconfig", &path].into_iter().chain(words.iter().copied()).collect();
        let words: Vec<&std::ffi::OsStr> = words.into_iter().map(AsRef::as_ref).collect();
        Process::start("heddle check", &binary("heddle")?, &words)?.wait(SOON)
    }
}

/// Rules over everything.
fn rule(groups: &[&str], resources: &[&str], verbs: &[&str]) -> Value {
    json!({"apiGroups": groups, "resources": resources, "verbs": verbs})
}

#[test]
fn a_cluster_as_it_should_be_passes_with_a_line_for_each_check() -> Result<()> {
    let setting = Setting::new()?;
    let said = setting.check()?;
    assert_eq!((said.code, said.checks.len()), (Some(0), said.standing("ok").len()), "{:?}", said.checks);
    let checks = [
        "API server",
        "right to install",
        "right to grant",
        "rights of heddle-agent",
        "rights of heddle-ca",
        "operating system",
        "kernel",
        "architecture",
        "container runtime",
        "kubelet",
        "network plugin",
        "Cilium",
        "Calico",
        "kube-proxy",
        "other meshes",
        "ports of the nodes",
        "pod security",
        "network policies",
    ];
    assert_eq!(said.standing("ok"), checks);

    setting.server.install_rights()?;
    let said = setting.check()?;
    assert_eq!((said.code, said.standing("ok")), (Some(0), checks.to_vec()), "{:?}", said.checks);
    assert!(said.words("rights of heddle-agent").contains("it has all"), "{:?}", said.checks);

    let text = setting.run(setting.server.token(), &[])?.stdout;
    assert!(text[0].starts_with("ok           API server: Kubernetes v1.34"), "{text:?}");
    let lines = text.iter().filter(|line| line.starts_with("ok  ")).count();
    assert_eq!((lines, text.iter().any(|line| line.contains('\x1b'))), (checks.len(), false), "{text:?}");
    Ok(())
}

#[test]
fn what_is_in_the_way_has_its_line_and_its_remedy() -> Result<()> {
    let setting = Setting::new()?;
    setting.node("old", "5.10.0")?;
    setting.namespace("heddle-system", &json!({"pod-security.kubernetes.io/enforce": "restricted"}))?;
    setting.namespace("shop", &json!({"heddle.io/mesh": "enabled", "istio.io/dataplane-mode": "ambient"}))?;
    setting.put(&json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "cilium-config", "namespace": "kube-system"},
        "data": {"kube-proxy-replacement": "true"},
    }))?;
    setting.put(&json!({
        "apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "exporter", "namespace": "kube-system"},
        "spec": {"selector": {}, "template": {"spec": {
            "hostNetwork": true, "containers": [{"name": "c", "ports": [{"containerPort": 15020}]}],
        }}},
    }))?;
    setting.put(&json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "deny", "namespace": "shop"},
        "spec": {"podSelector": {}, "policyTypes": ["Ingress"]},
    }))?;
    let said = setting.check()?;
    assert_eq!(
        (said.code, said.standing("error")),
        (Some(1), vec!["kernel", "Cilium's balancing", "other meshes", "ports of the nodes", "pod security"]),
        "{:?}",
        said.checks
    );
    assert_eq!(said.standing("warning"), ["network policies"]);
    for (check, words) in [
        ("kernel", "on old"),
        ("Cilium's balancing", "socketLB.hostNamespaceOnly=true"),
        ("other meshes", "kubectl label namespace shop istio.io/dataplane-mode-"),
        ("ports of the nodes", "metrics.address"),
        ("pod security", "enforce=privileged"),
        ("network policies", "15008"),
    ] {
        assert!(said.words(check).contains(words), "{check}: {}", said.words(check));
    }
    Ok(())
}

#[test]
fn who_may_make_roles_and_has_not_their_rights_is_told_before_the_api_server_does() -> Result<()> {
    let setting = Setting::new()?;
    let everything = [
        rule(
            &["", "admissionregistration.k8s.io", "apps", "networking.k8s.io", "policy", RBAC],
            &["*"],
            &["get", "create", "patch"],
        ),
        rule(&["", "apps", "discovery.k8s.io", "networking.k8s.io"], &["*"], &["list"]),
    ];
    let said = setting.check_as(&json!(everything))?;
    assert!(said.standing("ok").contains(&"right to install"), "{:?}", said.checks);
    assert!(said.standing("error").contains(&"right to grant"), "{:?}", said.checks);
    assert!(said.words("right to grant").contains("watch pods"), "{}", said.words("right to grant"));

    let mut may_give_any = json!(everything);
    may_give_any.as_array_mut().unwrap().push(rule(&[RBAC], &["clusterroles", "roles"], &["escalate", "bind"]));
    let said = setting.check_as(&may_give_any)?;
    assert!(said.standing("ok").contains(&"right to grant"), "{:?}", said.checks);
    Ok(())
}

#[test]
fn what_may_not_be_asked_is_named_with_the_right_that_is_missing() -> Result<()> {
    let setting = Setting::new()?;
    let said = setting.check_as(&json!([]))?;
    assert_eq!(said.code, Some(2), "the objects cannot be read");
    assert!(said.stderr.contains("grant the verbs list and watch"), "{}", said.stderr);
    assert_eq!(said.standing("error"), ["right to install", "right to grant"]);
    let asked = ["nodes", "network plugin", "Cilium", "Calico", "kube-proxy", "other meshes", "ports of the nodes"];
    for check in asked.into_iter().chain(["pod security", "network policies", "rights of heddle-agent"]) {
        assert!(said.standing("notChecked").contains(&check), "{check}: {:?}", said.checks);
    }
    assert!(said.words("nodes").contains("check as a user who may list nodes of API group"), "{}", said.words("nodes"));
    Ok(())
}

#[test]
fn an_account_that_lost_a_right_is_named_with_it() -> Result<()> {
    let setting = Setting::new()?;
    setting.server.install_rights()?;
    let mut role = setting.server.get("ClusterRole", "", "heddle-agent").unwrap();
    role["rules"][0]["verbs"] = json!(["list"]);
    setting.put(&role)?;
    let said = setting.check()?;
    assert_eq!((said.code, said.standing("error")), (Some(1), vec!["rights of heddle-agent"]), "{:?}", said.checks);
    assert!(said.words("rights of heddle-agent").contains("watch pods"), "{:?}", said.checks);

    setting.server.fault(Fault::status(403).verb(Verb::Create).resource("subjectaccessreviews"));
    let said = setting.check()?;
    assert_eq!(said.standing("notChecked"), ["rights of heddle-agent", "rights of heddle-ca"]);
    assert!(said.words("rights of heddle-agent").contains("create subjectaccessreviews"), "{:?}", said.checks);
    Ok(())
}

#[test]
fn a_cluster_that_does_not_answer_is_a_call_that_cannot_be_done() -> Result<()> {
    let setting = Setting::new()?;
    setting.server.go_down();
    let said = setting.check()?;
    assert_eq!((said.code, said.checks.len()), (Some(2), 0));
    assert!(said.stderr.contains("ask the API server for its version"), "{}", said.stderr);
    Ok(())
}
