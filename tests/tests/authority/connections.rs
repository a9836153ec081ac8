//! One connection, kept while it is good, and its ends.

use std::time::{Duration, Instant};

use anyhow::Result;
use futures_util::future::join_all;
use heddle_tests::authority::Fault;

use super::setting::{Setting, eventually};

#[tokio::test]
async fn requests_share_one_connection() -> Result<()> {
    let setting = Setting::new()?;
    let client = setting.client();
    for outcome in join_all((0..20).map(|_| client.issue())).await {
        outcome?;
    }
    client.issue().await?;
    assert_eq!((setting.authority.calls().len(), setting.authority.connections()), (21, 1));
    Ok(())
}

#[tokio::test]
async fn requests_that_wait_for_one_connection_fail_together() -> Result<()> {
    let mut setting = Setting::new()?;
    // Accepts and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0")?;
    setting.config.address.port = silent.local_addr()?.port();
    let client = setting.client();
    let started = Instant::now();
    for outcome in join_all((0..16).map(|_| client.issue())).await {
        let told = outcome.unwrap_err().to_string();
        assert!(told.contains("no connection from the authority") && told.contains("within 8s"), "{told}");
    }
    // One after the other they would take two minutes.
    assert!(started.elapsed() < Duration::from_secs(30), "{:?}", started.elapsed());
    Ok(())
}

#[tokio::test]
async fn a_connection_that_ended_while_nobody_used_it_costs_no_request() -> Result<()> {
    let setting = Setting::new()?;
    let client = setting.client();
    client.issue().await?;
    setting.authority.go_down()?;
    setting.authority.come_back()?;
    client.issue().await?;
    assert_eq!(setting.authority.calls().len(), 2);
    Ok(())
}

#[tokio::test]
async fn a_connection_that_nobody_uses_is_closed_after_a_minute_and_opened_again() -> Result<()> {
    let setting = Setting::new()?;
    let client = setting.client();
    client.issue().await?;
    // The authority's clock is another one, and runs on.
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(50)).await;
    tokio::time::resume();
    client.issue().await?;
    assert_eq!(setting.authority.connections(), 1, "the control");
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(50)).await;
    tokio::time::advance(Duration::from_secs(11)).await;
    tokio::time::resume();
    eventually("the authority has seen its end", || setting.authority.open_connections() == 0).await;
    client.issue().await?;
    assert_eq!(setting.authority.connections(), 2);
    Ok(())
}

#[tokio::test]
async fn a_connection_that_goes_away_is_replaced_without_a_failed_request() -> Result<()> {
    let setting = Setting::new()?;
    let client = setting.client();
    client.issue().await?;
    for fault in [Fault::GoAwayAfter, Fault::GoAwayBefore, Fault::CutBeforeAnswer, Fault::CutInAnswer] {
        // On a connection that is open already each of them may be the end of that connection only.
        let before = setting.authority.connections();
        setting.authority.order(fault.clone());
        client.issue().await?;
        client.issue().await?;
        assert_eq!(setting.authority.connections(), before + 1, "{fault:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_connection_that_is_cut_at_once_again_is_a_failure() -> Result<()> {
    let setting = Setting::new()?;
    let client = setting.client();
    for fault in [Fault::GoAwayBefore, Fault::CutBeforeAnswer, Fault::CutInAnswer] {
        client.issue().await?;
        setting.authority.order_many(&fault, 2);
        let error = client.fails().await;
        assert!(!error.is_refusal() && error.to_string().contains("broke"), "{fault:?}: {error}");
    }
    client.issue().await?;
    Ok(())
}

#[tokio::test]
async fn a_slow_answer_is_waited_for_beside_others() -> Result<()> {
    let setting = Setting::new()?;
    let client = setting.client();
    client.issue().await?;
    setting.authority.order(Fault::Slow(Duration::from_secs(3)));
    let started = Instant::now();
    let slow = async {
        client.issue().await.unwrap();
        started.elapsed()
    };
    let quick = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        client.issue().await.unwrap();
        started.elapsed()
    };
    let (slow, quick) = tokio::join!(slow, quick);
    assert!(quick < slow && slow >= Duration::from_secs(3), "{quick:?} {slow:?}");
    Ok(())
}

#[tokio::test]
async fn an_authority_that_hangs_is_given_up_and_the_next_request_takes_another_connection() -> Result<()> {
    let setting = Setting::new()?;
    let client = setting.client();
    setting.authority.order(Fault::Hang);
    let told = client.fails().await.to_string();
    assert!(told.contains("no answer from the authority") && told.contains("within 10s"), "{told}");
    client.issue().await?;
    assert_eq!(setting.authority.connections(), 2);
    Ok(())
}

#[tokio::test]
async fn requests_may_be_given_up_and_leave_the_connection_good() -> Result<()> {
    let setting = Setting::new()?;
    let client = setting.client();
    client.issue().await?;
    setting.authority.order(Fault::Hang);
    assert!(tokio::time::timeout(Duration::from_millis(500), client.issue()).await.is_err());
    eventually("the hanging call was seen", || setting.authority.calls().len() == 2).await;
    client.issue().await?;
    assert_eq!(setting.authority.connections(), 1);
    Ok(())
}
