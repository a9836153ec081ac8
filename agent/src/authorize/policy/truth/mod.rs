//! The table of truth: policies as people write them, what is known of a connection or request, and what is decided. The
//! cases are written from Istio's documentation of each field; where this mesh differs, the case says so.
//!
//! A file is a list of groups. A group's policies are by name (`shop` unless a namespace is named) and hold what stands
//! below `spec`; they go through the reader, the rules of acceptance and the index of the snapshot. A case is the facts
//! that matter, and what must come of them: `allowed` (nothing restricts), `allowed p.0` (by that rule), `denied p.0`,
//! `denied` (nothing allows).

#![expect(clippy::unwrap_used, reason = "tests")]

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::SystemTime,
};

use serde::Deserialize;
use serde_json::{Map, Value};

use super::{
    Hit, RuleRef, Ruling, decide, explain, reference,
    testing::{OwnedFacts, OwnedRequest, headers, identity},
};
use crate::{
    identify::TrustDomains,
    mesh::{MeshSettings, Snapshot, Workload, compile},
    objects::{ConfigMap, Object, ObjectName, ObjectSet, Pod},
};

const FILES: [(&str, &str); 8] = [
    ("actions", include_str!("actions.yaml")),
    ("addresses", include_str!("addresses.yaml")),
    ("conditions", include_str!("conditions.yaml")),
    ("identities", include_str!("identities.yaml")),
    ("opaque", include_str!("opaque.yaml")),
    ("operations", include_str!("operations.yaml")),
    ("scope", include_str!("scope.yaml")),
    ("tokens", include_str!("tokens.yaml")),
];

/// So that a file that is read as nothing is noticed.
const FEWEST_CASES: usize = 400;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Group {
    about: String,
    #[serde(default)]
    policies: BTreeMap<String, String>,
    #[serde(default)]
    dry_run: BTreeSet<String>,
    #[serde(default)]
    trust_domain: Option<String>,
    #[serde(default)]
    aliases: Vec<String>,
    cases: Vec<Case>,
}

/// What is not said is that of a client `shop/web` in plain TCP; `http` makes it a request.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Case {
    is: String,
    #[serde(default)]
    hits: Vec<String>,
    #[serde(default)]
    on_trial: Option<String>,
    #[serde(default)]
    plaintext: bool,
    #[serde(default)]
    identity: Option<String>,
    #[serde(default)]
    source: Option<IpAddr>,
    #[serde(default)]
    remote: Option<IpAddr>,
    #[serde(default)]
    destination: Option<SocketAddr>,
    #[serde(default)]
    sni: Option<String>,
    /// `METHOD HOST/PATH`.
    #[serde(default)]
    http: Option<String>,
    #[serde(default)]
    headers: Vec<String>,
    #[serde(default)]
    token: Option<Map<String, Value>>,
    #[serde(default)]
    space_delimited: Vec<String>,
    /// Of the workload.
    #[serde(default)]
    namespace: Option<String>,
    /// Of the workload.
    #[serde(default)]
    labels: Option<BTreeMap<String, String>>,
}

#[test]
fn what_is_decided_is_what_istio_documents() {
    let (mut count, mut wrong) = (0, Vec::new());
    for (file, text) in FILES {
        let groups: Vec<Group> = serde_saphyr::from_str(text).unwrap_or_else(|error| panic!("{file}.yaml: {error}"));
        for group in groups {
            for (index, case) in group.cases.iter().enumerate() {
                count += 1;
                if let Err(message) = group.check(case) {
                    wrong.push(format!("{file}.yaml, {:?}, case {index}: {message}", group.about));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {count} cases:\n{}", wrong.len(), wrong.join("\n"));
    assert!(count >= FEWEST_CASES, "{count}");
}

impl Group {
    fn check(&self, case: &Case) -> Result<(), String> {
        let own = self.trust_domain.as_deref().unwrap_or("cluster.local");
        let aliases = self.aliases.iter().map(|alias| alias.parse().unwrap());
        let domains = TrustDomains::new(own.parse().unwrap(), aliases);
        let (snapshot, workload) = self.mesh(case);
        let policies = snapshot.policies_of(&workload);
        let facts = case.facts();
        facts.ask(|facts| {
            let decision = decide(&policies, &domains, facts);
            let why = explain(&policies, &domains, facts);
            let same = |what: &str, found: String, expected: String| match found == expected {
                true => Ok(()),
                false => Err(format!("{what} is {found:?}, expected {expected:?}; it is explained as\n{why}")),
            };
            same("it", in_short(&decision.ruling), case.is.clone())?;
            same(
                "with the policies on trial it",
                decision.on_trial.as_ref().map(in_short).unwrap_or_default(),
                case.on_trial.clone().unwrap_or_default(),
            )?;
            same("what hits", decision.hits.iter().map(hit).collect::<Vec<_>>().join(", "), case.hits.join(", "))?;
            same("the explanation", why.decision.clone(), decision.ruling.to_string())?;
            same("the reference", in_short(&reference::decide(&policies, &domains, facts)), case.is.clone())
        })
    }

    /// The policies in force, and the workload that is asked for.
    fn mesh(&self, case: &Case) -> (Snapshot, Arc<Workload>) {
        let mut objects = ObjectSet::default();
        for (name, spec) in &self.policies {
            objects.insert(self.config_map(name, spec));
        }
        let namespace = case.namespace.as_deref().unwrap_or("shop");
        let labels = case.labels.clone().unwrap_or_else(|| [("app".to_owned(), "cart".to_owned())].into());
        objects.insert(Object::Pod(Arc::new(Pod {
            name: ObjectName::new(namespace, "pod"),
            labels: labels.into(),
            addresses: [case.destination().ip().to_canonical()].into(),
            ..Pod::default()
        })));
        let settings = MeshSettings {
            node: "a".into(),
            trust_domain: self.trust_domain.as_deref().unwrap_or("cluster.local").parse().unwrap(),
            root_namespace: "heddle-system".into(),
        };
        let compiled = compile(&objects, &settings);
        for document in &compiled.documents {
            assert_eq!(document.state.as_str(), "accepted", "{}: {document}", self.about);
        }
        assert_eq!(compiled.documents.len(), self.policies.len());
        let workload = Arc::clone(compiled.snapshot.workloads()[0]);
        (compiled.snapshot, workload)
    }

    fn config_map(&self, name: &str, spec: &str) -> Object {
        let (namespace, short) = name.split_once('/').unwrap_or(("shop", name));
        let annotations = match self.dry_run.contains(name) {
            true => ", annotations: {heddle.io/dry-run: \"true\"}",
            false => "",
        };
        let spec: String = spec.lines().map(|line| format!("  {line}\n")).collect();
        let text = format!(
            "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {{name: {short}{annotations}}}\nspec:\n{spec}"
        );
        Object::ConfigMap(Arc::new(ConfigMap {
            name: ObjectName::new(namespace, short),
            uid: None,
            created: Some(SystemTime::UNIX_EPOCH),
            data: BTreeMap::from([("a".to_owned(), text.into())]),
        }))
    }
}

impl Case {
    fn destination(&self) -> SocketAddr {
        self.destination.unwrap_or_else(|| SocketAddr::from(([10, 0, 1, 1], 8080)))
    }

    fn facts(&self) -> OwnedFacts {
        let source = self.source.unwrap_or_else(|| IpAddr::from([10, 0, 0, 9]));
        let request = self.http.as_ref().map(|line| {
            let (method, rest) = line.split_once(' ').unwrap();
            let (host, path) = rest.split_at(rest.find('/').unwrap());
            OwnedRequest {
                method: method.to_owned(),
                path: path.to_owned(),
                host: host.to_owned(),
                headers: headers(&self.headers),
                claims: self.token.clone(),
                space_delimited: self.space_delimited.clone(),
            }
        });
        assert!(request.is_some() || self.headers.is_empty() && self.token.is_none(), "{}", self.is);
        OwnedFacts {
            identity: (!self.plaintext).then(|| identity(self.identity.as_deref().unwrap_or("shop/web"))),
            source,
            remote: self.remote.unwrap_or(source),
            destination: self.destination(),
            sni: self.sni.clone(),
            request,
        }
    }
}

fn in_short(ruling: &Ruling<'_>) -> String {
    match ruling {
        Ruling::Unrestricted => "allowed".to_owned(),
        Ruling::AllowedBy(rule) => format!("allowed {}", place(rule)),
        Ruling::DeniedBy(rule) => format!("denied {}", place(rule)),
        Ruling::NothingAllows(_) => "denied".to_owned(),
    }
}

fn place(rule: &RuleRef<'_>) -> String {
    let name = rule.policy.to_string();
    format!("{}.{}", name.strip_prefix("shop/").unwrap_or(&name), rule.rule)
}

fn hit(hit: &Hit<'_>) -> String {
    format!("{}{} {}", hit.action, if hit.is_dry_run { " on trial" } else { "" }, place(&hit.rule))
}
