//! AuthorizationPolicy: identities that nobody has, and ports where nobody listens.

use super::{Found, Input, pods};
use crate::{
    objects::{Kind, ObjectName},
    rules::{
        Rule, RuleKey, Spec,
        authorization_policy::{AccessRule, Condition, OWN_DOMAIN, ServiceAccountMatch, TextAttribute},
        value::StringMatch,
    },
};

pub(super) fn check(input: &Input<'_>, found: &mut Found) {
    for rule in input.rules() {
        let Spec::AuthorizationPolicy(policy) = &rule.spec else { continue };
        for (index, access) in policy.rules.iter().enumerate() {
            let path = format!("spec.rules[{index}]");
            identities(input, found, rule, &path, access);
            ports(input, found, rule, &path, access);
        }
    }
}

fn identities(input: &Input<'_>, found: &mut Found, rule: &Rule, path: &str, access: &AccessRule) {
    let mut judge = Judge { input, found, key: &rule.key };
    for (index, from) in access.from.iter().enumerate() {
        let path = format!("{path}.from[{index}].source");
        let source = &from.source;
        judge.principals(&format!("{path}.principals"), &source.principals);
        judge.principals(&format!("{path}.notPrincipals"), &source.not_principals);
        judge.namespaces(&format!("{path}.namespaces"), &source.namespaces);
        judge.namespaces(&format!("{path}.notNamespaces"), &source.not_namespaces);
        judge.accounts(&format!("{path}.serviceAccounts"), &source.service_accounts);
        judge.accounts(&format!("{path}.notServiceAccounts"), &source.not_service_accounts);
    }
    for (index, condition) in access.when.iter().enumerate() {
        let (values, not_values) = (format!("{path}.when[{index}].values"), format!("{path}.when[{index}].notValues"));
        match condition {
            Condition::Text(TextAttribute::SourcePrincipal, of) => {
                judge.principals(&values, &of.values);
                judge.principals(&not_values, &of.not_values);
            }
            Condition::Text(TextAttribute::SourceNamespace, of) => {
                judge.namespaces(&values, &of.values);
                judge.namespaces(&not_values, &of.not_values);
            }
            Condition::ServiceAccount(of) => {
                judge.accounts(&values, &of.values);
                judge.accounts(&not_values, &of.not_values);
            }
            _ => {}
        }
    }
}

/// Looks at lists of identities of one document.
struct Judge<'a, 'b> {
    input: &'a Input<'b>,
    found: &'a mut Found,
    key: &'a RuleKey,
}

impl Judge<'_, '_> {
    fn principals(&mut self, path: &str, principals: &[StringMatch]) {
        for (index, principal) in principals.iter().enumerate() {
            let StringMatch::Exact(text) = principal else { continue };
            let path = format!("{path}[{index}]");
            let parts: Vec<&str> = text.split('/').collect();
            let [domain, "ns", namespace, "sa", account] = parts[..] else {
                let message = format!("{text:?} is no identity of a mesh: DOMAIN/ns/NAMESPACE/sa/ACCOUNT");
                self.input.warn(self.found, self.key, &path, message);
                continue;
            };
            let own = self.input.settings.trust_domain.as_str();
            if domain != own && domain != OWN_DOMAIN {
                let message = format!(
                    "nobody has an identity of {domain:?}, since this mesh's trust domain is {own:?}, unless agent.yaml has \
                     it among trustDomainAliases"
                );
                self.input.warn(self.found, self.key, &path, message);
                continue;
            }
            self.account(&path, namespace, account);
        }
    }

    fn namespaces(&mut self, path: &str, namespaces: &[StringMatch]) {
        for (index, namespace) in namespaces.iter().enumerate() {
            if let StringMatch::Exact(namespace) = namespace {
                self.namespace(&format!("{path}[{index}]"), namespace);
            }
        }
    }

    fn accounts(&mut self, path: &str, accounts: &[ServiceAccountMatch]) {
        for (index, account) in accounts.iter().enumerate() {
            let namespace = account.namespace.as_deref().unwrap_or(&self.key.name.namespace);
            self.account(&format!("{path}[{index}]"), namespace, &account.name);
        }
    }

    /// Whether a namespace is there; one that is not has been told then.
    fn namespace(&mut self, path: &str, namespace: &str) -> bool {
        let has_namespaces = self.input.has(Kind::Namespace, self.found);
        let is_there = !has_namespaces || self.input.objects.namespaces.contains_key(namespace);
        if !is_there {
            self.input.warn(self.found, self.key, path, format!("there is no Namespace {namespace}"));
        }
        is_there
    }

    fn account(&mut self, path: &str, namespace: &str, account: &str) {
        if !self.namespace(path, namespace) || !self.input.has(Kind::ServiceAccount, self.found) {
            return;
        }
        let name = ObjectName::new(namespace, account);
        // Kubernetes makes one of this name in each namespace.
        if account != "default" && !self.input.objects.service_accounts.contains_key(&name) {
            self.input.warn(self.found, self.key, path, format!("there is no ServiceAccount {name}"));
        }
    }
}

/// Ports are those of the pods, and often confused with those of their Services.
fn ports(input: &Input<'_>, found: &mut Found, rule: &Rule, path: &str, access: &AccessRule) {
    let named = access.to.iter().enumerate().flat_map(|(index, to)| {
        let path = format!("{path}.to[{index}].operation");
        let own = to.operation.ports.iter().enumerate().map(move |(at, port)| (index, at, port));
        own.map(move |(_, at, port)| (format!("{path}.ports[{at}]"), port.get()))
    });
    let named: Vec<(String, u16)> = named.collect();
    if named.is_empty() || !input.has(Kind::Pod, found) || !input.has(Kind::Service, found) {
        return;
    }
    let pods = pods::selected(input, rule);
    let Some(served) = pods::served_ports(input, &pods).filter(|_| !pods.is_empty()) else { return };
    for (path, port) in named.into_iter().filter(|(_, port)| !served.contains(port)) {
        let all: Vec<String> = served.iter().map(ToString::to_string).collect();
        let message = format!(
            "no Service leads to port {port} of the selected pods, but to {}; a pod's port is meant",
            all.join(", ")
        );
        input.warn(found, &rule.key, &path, message);
    }
}
