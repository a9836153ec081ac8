//! Roots in a Secret: made once, shared by replicas, and replaced without a moment in which peers disagree.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use heddle_tests::kubernetes::{Fault, Verb};
use rustls::pki_types::{CertificateDer, UnixTime};
use serde_json::{Value, json};

use super::client::{Ask, Client, Signed};
use super::setting::{Setting, id, wait};

const UNAVAILABLE: u32 = 14;

fn web() -> Ask {
    Ask::new("secret-node-a", &id("shop", "web"))
}

fn secret(setting: &Setting) -> Result<Value> {
    setting.server.get("Secret", "heddle-system", "heddle-ca").context("there is no Secret")
}

#[tokio::test]
async fn replicas_that_start_at_once_agree_on_one_root() -> Result<()> {
    let setting = Setting::new()?;
    // Both read that there is none before either has written.
    setting.server.fault(Fault::delay(Duration::from_secs(1)).verb(Verb::Create).resource("secrets").times(2));
    let (one, two) = (setting.start(&json!({}))?, setting.start(&json!({}))?);
    one.until_ready()?;
    two.until_ready()?;
    let (of_one, of_two) = (setting.ask(&one, &web()).await?.unwrap(), setting.ask(&two, &web()).await?.unwrap());
    assert_eq!((of_one.roots.len(), &of_one.roots), (1, &of_two.roots));
    assert!(of_one.verifies_with(&of_two.roots) && of_two.verifies_with(&of_one.roots));
    assert_eq!(secret(&setting)?["type"], "heddle.io/ca-roots");
    Ok(())
}

#[tokio::test]
async fn a_restart_keeps_the_root() -> Result<()> {
    let setting = Setting::new()?;
    let first = setting.authority(&json!({}))?;
    let before = setting.ask(&first, &web()).await?.unwrap();
    first.end()?;
    let kept = secret(&setting)?;
    let second = setting.authority(&json!({}))?;
    let after = setting.ask(&second, &web()).await?.unwrap();
    assert_eq!(before.roots, after.roots);
    assert_eq!(secret(&setting)?, kept, "and nothing else is written");
    Ok(())
}

#[tokio::test]
async fn a_secret_that_cannot_be_used_is_not_overwritten() -> Result<()> {
    let setting = Setting::new()?;
    let foreign = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "heddle-ca", "namespace": "heddle-system"},
        "data": {"password": "c2VjcmV0"},
    });
    setting.server.put(&foreign)?;
    let kept = secret(&setting)?;
    let authority = setting.start(&json!({}))?;
    wait("the problem is told", || {
        let text = authority.health("/healthz/ready")?.text();
        ensure!(text.contains("root known: Secret heddle-system/heddle-ca: roots.json is unusable"), "{text}");
        Ok(())
    })?;
    assert_eq!(secret(&setting)?, kept);
    Ok(())
}

/// What one answer showed, and when.
struct Seen {
    at: Duration,
    time: UnixTime,
    signed: Signed,
}

impl Seen {
    fn root(&self) -> &CertificateDer<'static> {
        &self.signed.roots[0]
    }
}

/// A whole rotation in real time, with two replicas, by the shortest times that ca.yaml allows.
#[tokio::test]
async fn a_next_root_is_trusted_long_before_it_signs_and_the_old_one_long_after() -> Result<()> {
    /// A leaf lives for ten seconds from a whole second on.
    const LEAF: Duration = Duration::from_secs(9);
    let setting = Setting::new()?;
    let root = json!({"secret": {
        "namespace": "heddle-system", "name": "heddle-ca", "lifetime": "1m", "rotateBelowPercent": 90, "overlap": "10s",
    }});
    let config = json!({"leafLifetime": "10s", "root": root});
    let (one, two) = (setting.authority(&config)?, setting.authority(&config)?);
    let first = setting.roots()?;
    // These connections last through all of it, and so through new certificates of the endpoints themselves.
    let clients = [Client::connect(one.address, &first).await?, Client::connect(two.address, &first).await?];
    let (begin, mut seen) = (Instant::now(), Vec::<Seen>::new());
    let gone = |seen: &[Seen]| {
        let last = seen.iter().rev().take(4).all(|one| !one.signed.roots.contains(seen[0].root()));
        seen.len() > 4 && last
    };
    while seen.is_empty() || !gone(&seen) {
        ensure!(begin.elapsed() < Duration::from_secs(100), "the first root is still trusted");
        for client in &clients {
            match client.ask(&web()).await? {
                Ok(signed) => seen.push(Seen { at: begin.elapsed(), time: UnixTime::now(), signed }),
                // On a machine that is so busy that a replica's look at the Secret comes late.
                Err(refused) => assert_eq!(refused.code, UNAVAILABLE, "{}", refused.message),
            }
        }
        tokio::time::sleep(Duration::from_millis(400)).await;
    }
    let roots: HashSet<_> = seen.iter().map(|one| one.root().to_vec()).collect();
    assert!(roots.len() >= 2, "another root has signed");
    // Whoever holds a leaf, with the roots that came with it, accepts every leaf that another got within its life.
    for old in &seen {
        for new in seen.iter().filter(|new| new.at >= old.at && new.at < old.at + LEAF) {
            let (old_at, new_at) = (old.at, new.at);
            assert!(
                new.signed.verified_at(new.time, &old.signed.roots),
                "a peer of {old_at:?} refuses one of {new_at:?}"
            );
            assert!(
                old.signed.verified_at(new.time, &new.signed.roots),
                "a peer of {new_at:?} refuses one of {old_at:?}"
            );
        }
    }
    assert!(one.metric("heddle_ca_certificates_total{for=\"own\"}")? >= 3.0, "its own certificate was renewed");
    assert_eq!(one.metric("heddle_ca_connections_dropped_total{reason=\"protocol\"}")?, 0.0);
    let kept = secret(&setting)?.to_string();
    assert!(!kept.contains("PRIVATE KEY"), "only base64 of it");
    Ok(())
}
