//! The client and the store of certificates together: what goes wrong is repeated, and what is held stays in use.

use anyhow::Result;
use heddle::identify::CertificateState;
use heddle_tests::authority::Fault;

use super::setting::{SOON, Setting, WEB, eventually, id};

#[tokio::test]
async fn an_authority_that_is_unavailable_for_some_tries_is_asked_again() -> Result<()> {
    let setting = Setting::new()?;
    setting.authority.order_many(&Fault::Status(14, "starting"), 3);
    let store = setting.client().store();
    store.hold(&id(WEB));
    tokio::time::timeout(SOON, store.wait_for(&id(WEB))).await?.unwrap();
    assert_eq!(setting.authority.calls().len(), 4);
    assert_eq!(store.status()[0].failures, 0);
    Ok(())
}

#[tokio::test]
async fn the_reason_is_shown_until_a_token_is_there() -> Result<()> {
    let setting = Setting::new()?;
    let aside = setting.file("aside");
    std::fs::rename(&setting.config.token, &aside)?;
    let store = setting.client().store();
    store.hold(&id(WEB));
    eventually("a request failed", || store.status()[0].state == CertificateState::Failing).await;
    assert!(store.status()[0].last_error.as_ref().unwrap().contains("ca.remote.token"));
    std::fs::rename(aside, &setting.config.token)?;
    tokio::time::timeout(SOON, store.wait_for(&id(WEB))).await?.unwrap();
    Ok(())
}

#[tokio::test]
async fn certificates_are_renewed_at_half_their_life_and_serve_through_an_outage() -> Result<()> {
    let mut setting = Setting::new()?;
    setting.config.lifetime = std::time::Duration::from_secs(24);
    let store = setting.client().store();
    store.hold(&id(WEB));
    let first = tokio::time::timeout(SOON, store.wait_for(&id(WEB))).await?.unwrap();
    setting.authority.go_down()?;
    // Due after about 12 s, and refused.
    eventually("a renewal failed", || store.status()[0].state == CertificateState::RenewalFailing).await;
    assert_eq!(store.get(&id(WEB)).unwrap().serial(), first.serial());
    setting.authority.come_back()?;
    eventually("it was renewed", || store.status()[0].state == CertificateState::Valid).await;
    assert_ne!(store.get(&id(WEB)).unwrap().serial(), first.serial());
    Ok(())
}
