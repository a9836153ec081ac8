//! Who gets which certificate, and who does not.

use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};
use heddle_tests::kubernetes::{Fault, TokenUser, Verb};
use serde_json::json;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::client::{Ask, Refused, csr};
use super::setting::{Setting, id, wait};

const INVALID_ARGUMENT: u32 = 3;
const PERMISSION_DENIED: u32 = 7;
const UNIMPLEMENTED: u32 = 12;
const UNAVAILABLE: u32 = 14;
const UNAUTHENTICATED: u32 = 16;

fn web() -> Ask {
    Ask::new("secret-node-a", &id("shop", "web"))
}

/// Code and message of a refusal.
fn refused(answer: super::client::Answer) -> (u32, String) {
    let Refused { code, message } = answer.unwrap_err();
    (code, message)
}

#[tokio::test]
async fn a_pod_of_the_agents_node_gets_a_chain_that_peers_accept() -> Result<()> {
    let setting = Setting::new()?;
    let authority = setting.authority(&json!({}))?;
    let signed = setting.ask(&authority, &web()).await?.unwrap();
    assert!(signed.verifies_with(&signed.roots));
    assert_eq!((signed.chain.len(), signed.roots.len()), (1, 1));
    let (_, leaf) = X509Certificate::from_der(&signed.chain[0])?;
    let names = leaf.subject_alternative_name()?.context("no names")?;
    assert!(names.critical);
    assert_eq!(names.value.general_names, [GeneralName::URI(&id("shop", "web"))]);
    let now = i64::try_from(SystemTime::UNIX_EPOCH.elapsed()?.as_secs())?;
    let left = leaf.validity().not_after.timestamp() - now;
    assert!((86_000..=86_400).contains(&left), "{left}");

    let line = wait("the audit line", || authority.audit().pop().context("none"))?;
    let serial: String = leaf.raw_serial().iter().map(|byte| format!("{byte:02X}")).collect();
    for (key, value) in [
        ("outcome", "signed"),
        ("caller", "heddle-system/heddle-agent"),
        ("pod", "agent-node-a"),
        ("node", "node-a"),
        ("identity", &id("shop", "web")),
        ("serial", &serial),
    ] {
        assert_eq!(line[key], value, "{line}");
    }
    assert!(line["not_after"].is_string());
    assert_eq!(authority.metric("heddle_ca_requests_total{result=\"ok\"}")?, 1.0);
    assert_eq!(authority.metric("heddle_ca_certificates_total{for=\"workload\"}")?, 1.0);
    assert_eq!(authority.metric("heddle_ca_roots_trusted")?, 1.0);
    assert!(authority.metric("heddle_ca_root_expiry_seconds")? > 9.0 * 365.0 * 86_400.0);
    let told = authority.process.stderr().join("\n");
    assert!(!told.contains("secret-node-a") && !told.contains("PRIVATE KEY"), "{told}");
    Ok(())
}

#[tokio::test]
async fn a_shorter_life_is_given_and_a_longer_one_is_not() -> Result<()> {
    let setting = Setting::new()?;
    let authority = setting.authority(&json!({"leafLifetime": "1h"}))?;
    let client = setting.client(&authority).await?;
    for (asked, expected) in [(600, 600), (7200, 3600), (-5, 3600), (i64::MAX, 3600)] {
        let signed = client.ask(&web().seconds(asked)).await?.unwrap();
        let (_, leaf) = X509Certificate::from_der(&signed.chain[0])?;
        let now = i64::try_from(SystemTime::UNIX_EPOCH.elapsed()?.as_secs())?;
        let left = leaf.validity().not_after.timestamp() - now;
        assert!((expected - 60..=expected).contains(&left), "asked for {asked}: {left}");
    }
    Ok(())
}

#[tokio::test]
async fn a_caller_that_names_nobody_gets_its_own_identity() -> Result<()> {
    let setting = Setting::new()?;
    let authority = setting.authority(&json!({}))?;
    let own = id("shop", "web");
    let uid = setting.pod("shop", "web-1", "web", "node-a")?;
    let user = TokenUser::service_account("shop", "web").of_pod("web-1", &uid).audience("heddle-ca");
    setting.server.add_token("web-token", user);
    let ask = Ask { tokens: vec!["web-token".to_owned()], csr: csr(&[&own]), ..Ask::default() };
    assert!(setting.ask(&authority, &ask).await?.is_ok());
    let other = ask.csr(csr(&[&id("shop", "db")]));
    assert_eq!(refused(setting.ask(&authority, &other).await?).0, INVALID_ARGUMENT);
    Ok(())
}

#[tokio::test]
async fn denied_when_the_identity_is_not_on_the_callers_node() -> Result<()> {
    let setting = Setting::new()?;
    let authority = setting.authority(&json!({}))?;
    let (code, message) = refused(setting.ask(&authority, &Ask::new("secret-node-a", &id("shop", "db"))).await?);
    assert_eq!(code, PERMISSION_DENIED, "{message}");
    assert!(message.contains("shop/db") && message.contains("node-a"), "{message}");
    assert!(setting.ask(&authority, &Ask::new("secret-node-b", &id("shop", "db"))).await?.is_ok());
    let refusal = wait("the audit line", || {
        let all = authority.audit();
        all.into_iter().find(|line| line["outcome"] == "refused").context("none")
    })?;
    assert_eq!((&refusal["reason"], &refusal["node"]), (&json!("not_on_node"), &json!("node-a")), "{refusal}");
    assert_eq!(authority.metric("heddle_ca_requests_total{result=\"not_on_node\"}")?, 1.0);
    // The watch showed no such pod, so it was looked for.
    assert_eq!(authority.metric("heddle_ca_pod_looks_total{result=\"absent\"}")?, 1.0);
    Ok(())
}

#[tokio::test]
async fn an_identity_comes_and_goes_with_its_pods() -> Result<()> {
    let setting = Setting::new()?;
    let authority = setting.authority(&json!({}))?;
    let client = setting.client(&authority).await?;
    let ask = Ask::new("secret-node-a", &id("shop", "late"));
    assert_eq!(refused(client.ask(&ask).await?).0, PERMISSION_DENIED);
    tokio::time::sleep(Duration::from_millis(300)).await;
    setting.pod("shop", "late-0", "late", "node-a")?;
    assert!(client.ask(&ask).await?.is_ok(), "at once, whether the watch has shown it or not");
    setting.server.delete("Pod", "shop", "late-0")?;
    let deadline = std::time::Instant::now() + super::setting::SOON;
    while client.ask(&ask).await?.is_ok() {
        ensure!(std::time::Instant::now() < deadline, "still signed for a pod that is gone");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // The same for a pod that has ended and is still there.
    let mut job = setting.server.get("Pod", "shop", "web-0").context("no pod")?;
    job["status"]["phase"] = json!("Succeeded");
    setting.server.put(&job)?;
    while client.ask(&web()).await?.is_ok() {
        ensure!(std::time::Instant::now() < deadline, "still signed for a pod that has ended");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

#[tokio::test]
async fn denied_when_the_token_proves_nothing() -> Result<()> {
    let setting = Setting::new()?;
    let authority = setting.authority(&json!({}))?;
    let client = setting.client(&authority).await?;
    let agent = || TokenUser::service_account("heddle-system", "heddle-agent");
    let uid = setting.pod("heddle-system", "gone", "heddle-agent", "node-a")?;
    setting.server.delete("Pod", "heddle-system", "gone")?;
    let bound = |user: TokenUser, pod: &str, uid: &str| user.of_pod(pod, uid).on_node("node-a");
    let here = setting.pod("heddle-system", "here", "heddle-agent", "node-a")?;
    let stranger = setting.pod("shop", "stranger", "stranger", "node-a")?;
    let token = |name: &str, user: TokenUser| setting.server.add_token(name, user);
    token("other-audience", bound(agent(), "here", &here).audience("vault"));
    token("api-token", bound(agent(), "here", &here));
    token("ended", bound(agent(), "here", &here).audience("heddle-ca").ending(SystemTime::now()));
    token("of-a-gone-pod", bound(agent(), "gone", &uid).audience("heddle-ca"));
    token("unbound", agent().audience("heddle-ca"));
    token("node-without-pod", agent().on_node("node-a").audience("heddle-ca"));
    token(
        "a-user",
        TokenUser { username: "kubernetes-admin".to_owned(), ..TokenUser::default() }.audience("heddle-ca"),
    );
    let other = TokenUser::service_account("shop", "stranger");
    token("untrusted", bound(other, "stranger", &stranger).audience("heddle-ca"));
    let cases = [
        (&[][..], UNAUTHENTICATED, "no_token"),
        (&["secret-node-a", "secret-node-a"], UNAUTHENTICATED, "no_token"),
        (&["unknown"], UNAUTHENTICATED, "bad_token"),
        (&["other-audience"], UNAUTHENTICATED, "bad_token"),
        (&["api-token"], UNAUTHENTICATED, "bad_token"),
        (&["ended"], UNAUTHENTICATED, "bad_token"),
        (&["of-a-gone-pod"], UNAUTHENTICATED, "bad_token"),
        (&["unbound"], PERMISSION_DENIED, "unbound_token"),
        (&["node-without-pod"], PERMISSION_DENIED, "unbound_token"),
        (&["a-user"], PERMISSION_DENIED, "not_service_account"),
        (&["untrusted"], PERMISSION_DENIED, "untrusted_account"),
    ];
    for (tokens, expected, reason) in cases {
        let series = format!("heddle_ca_requests_total{{result=\"{reason}\"}}");
        let before = authority.metric(&series)?;
        let ask = Ask { tokens: tokens.iter().map(|token| (*token).to_owned()).collect(), ..web() };
        let (code, message) = refused(client.ask(&ask).await?);
        assert_eq!(code, expected, "{tokens:?}: {message}");
        assert_eq!(authority.metric(&series)?, before + 1.0, "{tokens:?} is not counted as {reason}");
        assert!(tokens.iter().all(|token| !message.contains(token)), "{message}");
    }
    assert_eq!(authority.metric("heddle_ca_requests_total{result=\"ok\"}")?, 0.0);
    // The node of a token without one is that of its pod (Kubernetes before 1.30).
    token("old-kubernetes", agent().of_pod("here", &here).audience("heddle-ca"));
    let ask = Ask { tokens: vec!["old-kubernetes".to_owned()], ..web() };
    let signed = client.ask(&ask).await?;
    assert!(signed.is_ok(), "{signed:?}");
    Ok(())
}

#[tokio::test]
async fn refused_when_the_request_is_not_for_that_one_name() -> Result<()> {
    let setting = Setting::new()?;
    let authority = setting.authority(&json!({}))?;
    let client = setting.client(&authority).await?;
    let (own, other) = (id("shop", "web"), id("shop", "db"));
    let tampered = {
        let good = csr(&[&own]);
        let place = good.len() / 2;
        let changed = if good.as_bytes()[place] == b'A' { "B" } else { "A" };
        format!("{}{changed}{}", &good[..place], &good[place + 1..])
    };
    let cases = [
        (web().csr(csr(&[&other])), INVALID_ARGUMENT),
        (web().csr(csr(&[&own, &other])), INVALID_ARGUMENT),
        (web().csr(csr(&[&own, &own])), INVALID_ARGUMENT),
        (web().csr(csr(&[])), INVALID_ARGUMENT),
        (web().csr(tampered), INVALID_ARGUMENT),
        (web().csr("nonsense".to_owned()), INVALID_ARGUMENT),
        (web().csr(String::new()), INVALID_ARGUMENT),
        (Ask { identity: Some("spiffe://cluster.local/ns/shop".to_owned()), ..web() }, INVALID_ARGUMENT),
        (Ask { identity: Some("SPIFFE://cluster.local/ns/shop/sa/web".to_owned()), ..web() }, INVALID_ARGUMENT),
        (Ask { identity: Some(String::new()), ..web() }, INVALID_ARGUMENT),
        (Ask::new("secret-node-a", "spiffe://evil.example/ns/shop/sa/web"), PERMISSION_DENIED),
        (Ask::new("secret-node-a", "spiffe://cluster.local/ns/shop/sa/*"), PERMISSION_DENIED),
    ];
    for (number, (ask, expected)) in cases.into_iter().enumerate() {
        let (code, message) = refused(client.ask(&ask).await?);
        assert_eq!(code, expected, "case {number}: {message}");
        // Looks for pods of one node are apart.
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    let (response, mut stream) = client.begin("/istio.v1.auth.IstioCertificateService/Other", &[]).await?;
    stream.send_data(bytes::Bytes::new(), true)?;
    let code = response.await?.headers()["grpc-status"].to_str()?.parse::<u32>()?;
    assert_eq!(code, UNIMPLEMENTED);
    assert!(client.ask(&web()).await?.is_ok(), "the connection still serves");
    Ok(())
}

#[tokio::test]
async fn a_token_is_asked_about_once_and_then_known_for_a_while() -> Result<()> {
    let setting = Setting::new()?;
    let authority = setting.authority(&json!({}))?;
    let client = setting.client(&authority).await?;
    for _ in 0..5 {
        assert!(client.ask(&web()).await?.is_ok());
    }
    let unknown = Ask { tokens: vec!["unknown".to_owned()], ..web() };
    for _ in 0..3 {
        assert_eq!(refused(client.ask(&unknown).await?).0, UNAUTHENTICATED);
    }
    assert_eq!(setting.server.journal().of(Verb::Create, "tokenreviews").len(), 2);
    assert_eq!(authority.metric("heddle_ca_token_cache_hits_total")?, 6.0);
    assert_eq!(authority.metric("heddle_ca_token_cache_entries")?, 2.0);
    Ok(())
}

#[tokio::test]
async fn nothing_is_signed_while_the_api_server_does_not_answer() -> Result<()> {
    let setting = Setting::new()?;
    let authority = setting.authority(&json!({}))?;
    let client = setting.client(&authority).await?;
    setting.server.go_down();
    let (code, message) = refused(client.ask(&web()).await?);
    assert_eq!(code, UNAVAILABLE, "{message}");
    setting.server.come_back()?;
    assert!(client.ask(&web()).await?.is_ok());
    let agent_b = Ask::new("secret-node-b", &id("shop", "db"));
    for code in [403, 429, 500] {
        setting.server.fault(Fault::status(code).verb(Verb::Create).resource("tokenreviews"));
        let (answer, message) = refused(client.ask(&agent_b).await?);
        assert_eq!(answer, UNAVAILABLE, "{code}: {message}");
        setting.server.clear_faults();
    }
    assert!(client.ask(&agent_b).await?.is_ok(), "a failure is not remembered");
    assert_eq!(authority.metric("heddle_ca_requests_total{result=\"api_unavailable\"}")?, 4.0);
    Ok(())
}
