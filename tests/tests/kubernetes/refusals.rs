//! Who is let in, what a token stands for, and what the journal keeps of all that.

use anyhow::Result;
use heddle_tests::kubernetes::{ApiServer, TokenUser, Verb};
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec};
use kube::api::{Api, PostParams};
use serde_json::json;

use super::raw::Raw;
use super::setting::{Setting, client};

#[tokio::test]
async fn without_a_valid_token_there_is_401_but_for_health_and_version() -> Result<()> {
    let setting = Setting::new()?;
    let mut anonymous = setting.raw()?.anonymous();
    anonymous.send("GET", "/api/v1/pods", "", "")?;
    let (status, _, body) = anonymous.answer()?;
    assert_eq!((status, body.contains("\"Unauthorized\"")), (401, true), "{body}");
    for (path, answer) in [("/healthz", "ok"), ("/livez", "ok"), ("/readyz", "ok"), ("/version", "gitVersion")] {
        anonymous.send("GET", path, "", "")?;
        let (status, _, body) = anonymous.answer()?;
        assert_eq!((status, body.contains(answer)), (200, true), "{path}: {body}");
    }
    let mut wrong = Raw::connect(setting.address, setting.server.ca_pem(), "wrong")?;
    wrong.send("GET", "/api/v1/pods", "", "")?;
    assert_eq!(wrong.answer()?.0, 401);
    Ok(())
}

#[tokio::test]
async fn tokens_come_and_go() -> Result<()> {
    let setting = Setting::new()?;
    setting.server.add_token("second", TokenUser::default().group("system:masters"));
    let kubeconfig = setting.server.kubeconfig_as(setting.address, "second")?;
    let pods: Api<k8s_openapi::api::core::v1::Pod> = Api::all(client(&kubeconfig).await?);
    pods.list(&Default::default()).await?;
    setting.server.revoke_token("second");
    let kube::Error::Api(status) = pods.list(&Default::default()).await.unwrap_err() else { panic!("no status") };
    assert_eq!(status.code, 401);
    setting.server.add_token("for-another", TokenUser::default().audience("heddle"));
    let mut raw = Raw::connect(setting.address, setting.server.ca_pem(), "for-another")?;
    raw.send("GET", "/api/v1/pods", "", "")?;
    assert_eq!(raw.answer()?.0, 401, "a token for another audience is no token here");
    Ok(())
}

#[test]
fn roles_and_bindings_decide_what_a_service_account_may_do() -> Result<()> {
    let setting = Setting::new()?;
    let role = |kind: &str, rules: serde_json::Value| {
        let metadata =
            json!({"name": "reader", "namespace": if kind == "Role" { json!("default") } else { json!(null) }});
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind, "metadata": metadata, "rules": rules})
    };
    let binding = |kind: &str| {
        let mut binding = role(&format!("{kind}Binding"), json!(null));
        binding["metadata"]["namespace"] = if kind == "Role" { json!("default") } else { json!(null) };
        binding["roleRef"] = json!({"kind": kind, "name": "reader"});
        binding["subjects"] = json!([{"kind": "ServiceAccount", "namespace": "default", "name": "reader"}]);
        binding
    };
    let secret = json!([{"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["one"], "verbs": ["get"]}]);
    let nodes = json!([{"apiGroups": [""], "resources": ["nodes"], "verbs": ["list"]}]);
    for object in [role("Role", secret), binding("Role"), role("ClusterRole", nodes), binding("ClusterRole")] {
        setting.server.put(&object)?;
    }
    let mut raw =
        Raw::connect(setting.address, setting.server.ca_pem(), &setting.server.token_of("default", "reader"))?;
    for (path, expected, words) in [
        ("/api/v1/nodes", 200, ""),
        (
            "/api/v1/nodes?watch=1",
            403,
            "cannot watch resource \\\"nodes\\\" in API group \\\"\\\" at the cluster scope",
        ),
        ("/api/v1/namespaces/default/secrets/one", 404, ""),
        ("/api/v1/namespaces/default/secrets/two", 403, "secrets \\\"two\\\" is forbidden"),
        ("/api/v1/namespaces/default/secrets", 403, "in the namespace \\\"default\\\""),
        (
            "/api/v1/namespaces/kube-system/secrets/one",
            403,
            "User \\\"system:serviceaccount:default:reader\\\" cannot get",
        ),
        ("/apis", 200, ""),
    ] {
        raw.send("GET", path, "", "")?;
        let (status, _, body) = raw.answer()?;
        assert_eq!((status, body.contains(words)), (expected, true), "{path}: {body}");
    }
    for (verb, allowed) in [("list", true), ("watch", false)] {
        let review = json!({"spec": {"resourceAttributes": {"verb": verb, "resource": "nodes"}}}).to_string();
        raw.send("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", "application/json", &review)?;
        let (status, _, body) = raw.answer()?;
        assert_eq!((status, body.contains(&format!("\"allowed\":{allowed}"))), (201, true), "{body}");
    }
    raw.send("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", "application/json", "{}")?;
    assert_eq!(raw.answer()?.0, 403, "to ask about others is a right");
    Ok(())
}

#[test]
fn a_client_that_does_not_trust_the_authority_does_not_connect() -> Result<()> {
    let setting = Setting::new()?;
    let other = ApiServer::start()?;
    let mut raw = Raw::connect(setting.address, other.ca_pem(), setting.server.token())?;
    assert!(raw.send("GET", "/version", "", "").and_then(|()| raw.answer().map(drop)).is_err());
    assert_eq!(setting.server.journal().requests.len(), 0);
    Ok(())
}

#[tokio::test]
async fn token_reviews_say_whose_a_token_is_and_for_whom() -> Result<()> {
    let setting = Setting::new()?;
    let pod = setting.put_pod("web-0", "node-a")?;
    let uid = pod["metadata"]["uid"].as_str().unwrap_or_default();
    let user = TokenUser::service_account("default", "seller").of_pod("web-0", uid).on_node("node-a");
    let user = user.audience("heddle").audience("vault");
    setting.server.add_token("good", user.clone());
    setting.server.add_token("ended", user.ending(std::time::SystemTime::now()));
    let reviews: Api<TokenReview> = Api::all(setting.client().await?);
    let review = async |token: &str, audiences: &[&str]| -> Result<_> {
        let audiences = audiences.iter().map(|audience| (*audience).to_owned()).collect();
        let spec = TokenReviewSpec { token: token.to_owned(), audiences: Some(audiences) };
        let asked = TokenReview { spec, ..TokenReview::default() };
        Ok(reviews.create(&PostParams::default(), &asked).await?.status.unwrap())
    };
    let status = review("good", &["heddle", "other"]).await?;
    assert_eq!((status.authenticated, status.audiences), (Some(true), Some(vec!["heddle".to_owned()])));
    let user = status.user.unwrap();
    assert_eq!(user.username.as_deref(), Some("system:serviceaccount:default:seller"));
    assert!(user.groups.unwrap().contains(&"system:serviceaccounts:default".to_owned()));
    let extra = user.extra.unwrap();
    assert_eq!(extra["authentication.kubernetes.io/pod-name"], ["web-0"]);
    assert_eq!(extra["authentication.kubernetes.io/node-name"], ["node-a"]);
    for (token, audiences) in [("good", &["other"][..]), ("good", &[]), ("bad", &["heddle"]), ("ended", &["heddle"])] {
        let status = review(token, audiences).await?;
        assert_ne!(status.authenticated, Some(true), "{token} {audiences:?}");
        assert!(status.error.is_some());
    }
    assert_eq!(setting.get("/apis/authentication.k8s.io/v1/tokenreviews")?.0, 405);
    // Another pod of the same name is not the one that the token is bound to.
    setting.server.delete("Pod", "default", "web-0")?;
    assert_ne!(review("good", &["heddle"]).await?.authenticated, Some(true));
    setting.put_pod("web-0", "node-a")?;
    assert_ne!(review("good", &["heddle"]).await?.authenticated, Some(true));
    Ok(())
}

#[test]
fn the_journal_keeps_what_was_asked_and_answered() -> Result<()> {
    let setting = Setting::new()?;
    setting.get("/api/v1/namespaces/shop/pods?limit=7&labelSelector=a%3Db")?;
    setting.get("/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices/x")?;
    setting.ask("POST", "/api/v1/namespaces", "application/json", &json!({"metadata": {"name": "n"}}).to_string())?;
    let journal = setting.server.journal();
    let lines: Vec<_> = journal.requests.iter().map(|asked| (asked.verb, &*asked.resource, asked.status)).collect();
    let (list, get, create) = (Verb::List, Verb::Get, Verb::Create);
    assert_eq!(
        lines,
        [(list, "pods", Some(200)), (get, "endpointslices", Some(404)), (create, "namespaces", Some(201))]
    );
    let list = journal.last(Verb::List, "pods").unwrap();
    assert_eq!((&*list.namespace, list.parameter("limit"), list.parameter("labelSelector")), ("shop", "7", "a=b"));
    assert_eq!((&*list.user_agent, &*journal.requests[1].group), ("raw/1", "discovery.k8s.io"));
    assert!(journal.describe().contains("create /api/v1/namespaces {}: 201"), "{}", journal.describe());
    setting.server.forget_journal();
    assert_eq!(setting.server.journal().requests.len(), 0);
    Ok(())
}
