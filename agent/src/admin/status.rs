//! The shape of `/status`: what an operator asks first, in one answer. `heddle status` reads it too.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Missing;

/// How an agent stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// The node's name.
    pub node: String,
    /// The running build.
    pub version: String,
    /// Whether new traffic should come.
    pub ready: bool,
    /// What is missing for that.
    pub missing: Vec<Missing>,
    /// Generation of the snapshot in force.
    pub generation: u64,
    /// Where the objects come from.
    pub source: Source,
    /// Objects by kind.
    pub objects: BTreeMap<String, usize>,
    /// What is wrong with objects, each in words.
    pub problems: Vec<String>,
    /// Mesh documents.
    pub documents: Vec<Document>,
    /// The kubelet's cgroup; absent where none is known, and its probes are taken for any plaintext.
    pub kubelet: Option<String>,
    /// The pods of this node that are in the mesh.
    pub pods: Vec<Pod>,
    /// The certificates that this node holds.
    pub certificates: Vec<Certificate>,
    /// The roots that vouch for peers.
    pub roots: Vec<Root>,
    /// The revocation lists, where a file of them is configured.
    pub revocation: Option<Revocation>,
}

/// The source of objects.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Source {
    /// Whether the objects in force are those that the source has now.
    pub live: bool,
    /// While the state on disk serves: how long ago it was saved.
    pub state_age_seconds: Option<u64>,
    /// What goes wrong with which kind.
    pub errors: BTreeMap<String, String>,
}

/// A mesh document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Document {
    /// What it defines, as `HTTPRoute shop/web`; absent where that cannot be read.
    pub rule: Option<String>,
    /// `ConfigMap shop/routes, key a.yaml`, or a file.
    pub place: String,
    /// Line of that text, from 1.
    pub line: usize,
    /// `accepted`, `rejected` or `conflict`.
    pub state: String,
    /// What is the matter; absent where nothing is.
    pub message: Option<String>,
    /// A workload may be open to more clients than its owner wrote.
    pub leaves_workloads_open: bool,
}

/// A pod of this node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pod {
    /// `namespace/name`.
    pub name: String,
    /// Its SPIFFE identity.
    pub identity: String,
    /// Ports that the kubelet probes past the agent.
    pub probed_ports: Vec<u16>,
    /// Why it is not enrolled; absent where it is.
    pub missing: Option<String>,
}

/// A certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Certificate {
    /// Whose.
    pub identity: String,
    /// `valid`, `pending`, `renewal_failing`, `failing` or `expired`.
    pub state: String,
    /// Until it ends; negative when it has; absent while there is none.
    pub expires_in_seconds: Option<i64>,
    /// Why the last request failed.
    pub last_error: Option<String>,
}

/// A root that is trusted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Root {
    /// Its short name, as metrics and logs have it.
    pub name: String,
    /// Its subject.
    pub subject: String,
    /// Until it ends; negative when it has.
    pub expires_in_seconds: i64,
}

/// The file of revocation lists.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Revocation {
    /// The file.
    pub path: String,
    /// Certificates that it names.
    pub entries: usize,
    /// Until the first list should be replaced; negative when it is late.
    pub next_update_in_seconds: Option<i64>,
    /// Issuers of lists that no known issuer has signed: they revoke nothing.
    pub unverified: Vec<String>,
    /// Why the file as it is now is not in force; what was read before is.
    pub last_error: Option<String>,
}

impl Revocation {
    fn concerns(&self) -> Vec<String> {
        let late = self.next_update_in_seconds.is_some_and(|seconds| seconds < 0);
        let late =
            late.then(|| format!("{}: a list is past its next update; have the authority write it anew", self.path));
        let unverified = self
            .unverified
            .iter()
            .map(|issuer| format!("{}: the list of {issuer} is signed by no known issuer", self.path));
        late.into_iter().chain(unverified).chain(self.last_error.clone()).collect()
    }
}

impl Status {
    /// What an operator has to do something about, each in one line. Empty when all is well.
    pub fn concerns(&self) -> Vec<String> {
        let missing = self.missing.iter().map(|missing| format!("{}: {}", missing.condition, missing.reason));
        let errors = self.source.errors.iter().map(|(kind, error)| format!("objects of kind {kind}: {error}"));
        let first_line = |text: &str| text.lines().next().unwrap_or_default().to_owned();
        let problems = self.problems.iter().map(|problem| first_line(problem));
        let documents = self.documents.iter().filter_map(|document| document.message.as_deref()).map(first_line);
        let unusable = |state: &str| !matches!(state, "valid" | "pending");
        let certificates = self.certificates.iter().filter(|certificate| unusable(&certificate.state));
        let certificates = certificates.map(|certificate| {
            let why = certificate.last_error.as_deref().unwrap_or("see the agent's log");
            format!("certificate {}: {}: {why}", certificate.identity, certificate.state)
        });
        let ended = self.roots.iter().filter(|root| root.expires_in_seconds < 0);
        let ended = ended.map(|root| format!("root {} ({}) has expired; replace it", root.name, root.subject));
        let revocation = self.revocation.iter().flat_map(Revocation::concerns);
        let probed = self.pods.iter().filter(|pod| !pod.probed_ports.is_empty()).count();
        let kubelet = (self.kubelet.is_none() && probed > 0).then(|| {
            format!(
                "kubelet: its cgroup is not known, and STRICT refuses the probes of {probed} pods; set capture.kubelet"
            )
        });
        missing
            .chain(errors)
            .chain(problems)
            .chain(documents)
            .chain(certificates)
            .chain(ended)
            .chain(revocation)
            .chain(kubelet)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn well() -> Status {
        let certificate = Certificate {
            identity: "spiffe://t/ns/a/sa/b".into(),
            state: "valid".into(),
            expires_in_seconds: Some(7),
            last_error: None,
        };
        Status { ready: true, certificates: vec![certificate], ..Status::default() }
    }

    #[test]
    fn what_is_well_is_no_concern_and_everything_else_is_one_line() {
        assert_eq!(well().concerns(), [""; 0]);
        let mut status = well();
        status.missing.push(Missing { condition: "pod shop/web".into(), reason: "not enrolled yet".into() });
        status.source.errors.insert("Pod".into(), "forbidden".into());
        status.problems.push("a.yaml:1:2: is wrong\n  1 | x\n".into());
        status.certificates[0].state = "expired".into();
        let place = "ConfigMap shop/m, key a".to_owned();
        let message = Some("HTTPRoute shop/web is rejected\nmore".to_owned());
        let (rule, line, state) = (None, 1, "rejected".to_owned());
        let root = Root { name: "0a".into(), subject: "O=mesh".into(), expires_in_seconds: 5 };
        status.roots = vec![root.clone(), Root { expires_in_seconds: -5, ..root }];
        let revocation = Revocation {
            path: "/crl".into(),
            entries: 2,
            next_update_in_seconds: Some(-1),
            unverified: vec!["O=other".into()],
            last_error: Some("/crl cannot be read".into()),
        };
        status.revocation = Some(revocation);
        status.documents.push(Document { rule, place, line, state, message, leaves_workloads_open: false });
        assert_eq!(
            status.concerns(),
            [
                "pod shop/web: not enrolled yet",
                "objects of kind Pod: forbidden",
                "a.yaml:1:2: is wrong",
                "HTTPRoute shop/web is rejected",
                "certificate spiffe://t/ns/a/sa/b: expired: see the agent's log",
                "root 0a (O=mesh) has expired; replace it",
                "/crl: a list is past its next update; have the authority write it anew",
                "/crl: the list of O=other is signed by no known issuer",
                "/crl cannot be read",
            ]
        );
    }
}
