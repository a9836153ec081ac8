//! Who may do what: whether the caller may install Heddle, and whether the accounts that are installed have their rights.
//!
//! The API server is asked about each right. Whoever makes a role must have all that it grants, or the verbs escalate and
//! bind: else it is refused, even to somebody who may make roles.

use k8s_openapi::api::{
    authorization::v1::{
        SelfSubjectAccessReview, SelfSubjectAccessReviewSpec, SubjectAccessReview, SubjectAccessReviewSpec,
        SubjectAccessReviewStatus,
    },
    core::v1::ServiceAccount,
};
use kube::{Api, Client, api::PostParams};

use super::{
    facts::Unanswered,
    rights::{AGENT, AUTHORITY, Account, NAMESPACE, Right},
};
use crate::check::Outcome;

const AUTHORIZATION: &str = "authorization.k8s.io";
const RBAC: &str = "rbac.authorization.k8s.io";

/// What the manifests create: group, plural, and whether it is in a namespace.
const INSTALLED: [(&str, &str, bool); 14] = [
    ("", "namespaces", false),
    ("", "serviceaccounts", true),
    ("", "configmaps", true),
    ("", "services", true),
    ("", "resourcequotas", true),
    ("admissionregistration.k8s.io", "validatingwebhookconfigurations", false),
    ("apps", "daemonsets", true),
    ("apps", "deployments", true),
    ("networking.k8s.io", "networkpolicies", true),
    ("policy", "poddisruptionbudgets", true),
    (RBAC, "clusterroles", false),
    (RBAC, "clusterrolebindings", false),
    (RBAC, "roles", true),
    (RBAC, "rolebindings", true),
];
/// What `kubectl apply` does.
const APPLIED_BY: [&str; 3] = ["get", "create", "patch"];

/// Asks about the caller and about the accounts.
pub(super) async fn check(client: &Client) -> Vec<Outcome> {
    vec![
        may_install(client).await,
        may_grant(client).await,
        account(client, AGENT).await,
        account(client, AUTHORITY).await,
    ]
}

async fn may_install(client: &Client) -> Outcome {
    let check = "right to install";
    let mut missing = Vec::new();
    for right in INSTALLED.iter().flat_map(|kind| APPLIED_BY.map(|verb| installing(verb, kind))) {
        match may(client, &right).await {
            Ok(true) => {}
            Ok(false) => missing.push(right.to_string()),
            Err(unanswered) => return unanswered.outcome(check),
        }
    }
    match missing.is_empty() {
        true => Outcome::ok(check, "you may apply all that the manifests have"),
        false => Outcome::error(
            check,
            format!("you may not {}", missing.join(", ")),
            "install as a user who may, such as one with the ClusterRole cluster-admin",
        ),
    }
}

fn installing(verb: &str, (group, plural, is_namespaced): &(&str, &str, bool)) -> Right {
    Right {
        verb: verb.to_owned(),
        group: (*group).to_owned(),
        resource: (*plural).to_owned(),
        name: None,
        namespace: is_namespaced.then(|| NAMESPACE.to_owned()),
    }
}

async fn may_grant(client: &Client) -> Outcome {
    let check = "right to grant";
    match grants(client).await {
        Ok(missing) if missing.is_empty() => Outcome::ok(check, "you may give the accounts of Heddle their rights"),
        Ok(missing) => Outcome::error(
            check,
            format!("you may not give rights that you do not have: {}", missing.join(", ")),
            "install as a user who has them, or who has the verbs escalate and bind on clusterroles and roles",
        ),
        Err(unanswered) => unanswered.outcome(check),
    }
}

/// The rights that the caller could not give; none where he may give any.
async fn grants(client: &Client) -> Result<Vec<String>, Unanswered> {
    let mut may_give_any = true;
    for verb in ["escalate", "bind"] {
        for kind in [(RBAC, "clusterroles", false), (RBAC, "roles", true)] {
            may_give_any = may_give_any && may(client, &installing(verb, &kind)).await?;
        }
    }
    let mut missing = Vec::new();
    if may_give_any {
        return Ok(missing);
    }
    for account in [AGENT, AUTHORITY] {
        for right in account.rights().unwrap_or_default() {
            if !may(client, &right).await? {
                missing.push(right.to_string());
            }
        }
    }
    Ok(missing)
}

async fn account(client: &Client, account: Account) -> Outcome {
    let check = format!("rights of {}", account.name);
    let accounts = Api::<ServiceAccount>::namespaced(client.clone(), NAMESPACE);
    match accounts.get_opt(account.name).await {
        Ok(Some(_)) => {}
        Ok(None) => return Outcome::ok(check, "it is not installed yet"),
        Err(error) => return Unanswered::new("get", "serviceaccounts", "", &error).outcome(&check),
    }
    let (mut missing, rights) = (Vec::new(), account.rights().unwrap_or_default());
    for right in &rights {
        match has(client, account, right).await {
            Ok(true) => {}
            Ok(false) => missing.push(right.to_string()),
            Err(unanswered) => return unanswered.outcome(&check),
        }
    }
    match missing.is_empty() {
        true => Outcome::ok(check, format!("it has all {} that it needs", rights.len())),
        false => Outcome::error(
            check,
            format!("it may not {}", missing.join(", ")),
            "apply the roles and bindings of this version again",
        ),
    }
}

async fn may(client: &Client, right: &Right) -> Result<bool, Unanswered> {
    let spec = SelfSubjectAccessReviewSpec {
        resource_attributes: Some(right.attributes()),
        ..SelfSubjectAccessReviewSpec::default()
    };
    let review = SelfSubjectAccessReview { spec, ..SelfSubjectAccessReview::default() };
    let reviews = Api::<SelfSubjectAccessReview>::all(client.clone());
    let answer = reviews.create(&PostParams::default(), &review).await;
    let answer = answer.map_err(|error| unreviewed("selfsubjectaccessreviews", &error))?;
    Ok(is_allowed(answer.status))
}

async fn has(client: &Client, account: Account, right: &Right) -> Result<bool, Unanswered> {
    let groups = ["system:serviceaccounts", &format!("system:serviceaccounts:{NAMESPACE}"), "system:authenticated"];
    let spec = SubjectAccessReviewSpec {
        user: Some(format!("system:serviceaccount:{NAMESPACE}:{}", account.name)),
        groups: Some(groups.map(str::to_owned).into()),
        resource_attributes: Some(right.attributes()),
        ..SubjectAccessReviewSpec::default()
    };
    let review = SubjectAccessReview { spec, ..SubjectAccessReview::default() };
    let reviews = Api::<SubjectAccessReview>::all(client.clone());
    let answer = reviews.create(&PostParams::default(), &review).await;
    let answer = answer.map_err(|error| unreviewed("subjectaccessreviews", &error))?;
    Ok(is_allowed(answer.status))
}

fn unreviewed(plural: &str, error: &kube::Error) -> Unanswered {
    Unanswered::new("create", plural, AUTHORIZATION, error)
}

fn is_allowed(status: Option<SubjectAccessReviewStatus>) -> bool {
    status.is_some_and(|status| status.allowed)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::{fs, path::Path};

    use serde_json::Value;

    use super::*;

    /// Group and plural of each object in the YAML files below a folder.
    fn kinds_below(folder: &Path) -> Vec<(String, String)> {
        let mut kinds = Vec::new();
        for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                kinds.extend(kinds_below(&path));
            } else if path.extension().is_some_and(|extension| extension == "yaml") {
                let objects: Vec<Value> = serde_saphyr::from_multiple(&fs::read_to_string(&path).unwrap()).unwrap();
                kinds.extend(objects.iter().filter_map(kind_of));
            }
        }
        kinds
    }

    /// `None` for what is kustomize's own.
    fn kind_of(object: &Value) -> Option<(String, String)> {
        let version = object["apiVersion"].as_str()?;
        let group = version.split_once('/').map_or("", |(group, _)| group);
        let kind = object["kind"].as_str()?.to_lowercase();
        let plural = kind.strip_suffix('y').map_or_else(|| format!("{kind}s"), |stem| format!("{stem}ies"));
        (group != "kustomize.config.k8s.io").then(|| (group.to_owned(), plural))
    }

    #[test]
    fn every_kind_of_the_manifests_is_asked_about() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/manifests");
        let kinds = kinds_below(&folder);
        assert!(kinds.contains(&(RBAC.to_owned(), "clusterroles".to_owned())), "{kinds:?}");
        for (group, plural) in kinds {
            assert!(INSTALLED.iter().any(|kind| (kind.0, kind.1) == (&*group, &*plural)), "{plural} of {group:?}");
        }
    }
}
