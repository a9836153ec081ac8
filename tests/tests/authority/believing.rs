//! Whether the authority is the one that it should be.

use std::net::TcpListener;

use anyhow::Result;
use heddle::identify::IssueError;
use heddle_tests::authority::{Authority, Flaw};

use super::setting::Setting;

#[tokio::test]
async fn an_authority_that_does_not_prove_itself_is_not_asked_and_the_reason_is_told() -> Result<()> {
    let setting = Setting::new()?;
    let client = setting.client();
    for (flaw, expected) in [
        (Flaw::Expired, "its certificate is not valid now"),
        (Flaw::OtherName, "its certificate is not for heddle-ca.heddle-system.svc; set ca.remote.serverName"),
        (Flaw::OtherRoot, "no root in the file of ca.remote.roots vouches for its certificate"),
        (Flaw::OldTls, "ProtocolVersion"),
    ] {
        setting.authority.serve_with(Some(flaw))?;
        let error = client.fails().await;
        assert!(matches!(error, IssueError::Unreachable { .. }), "{flaw:?}: {error}");
        assert!(error.to_string().contains(expected), "{flaw:?}: {error}");
    }
    assert!(setting.authority.calls().is_empty(), "no token was sent");
    setting.authority.serve_with(None)?;
    client.issue().await?;
    Ok(())
}

#[tokio::test]
async fn the_roots_are_read_again_when_their_file_changes() -> Result<()> {
    let setting = Setting::new()?;
    let client = setting.client();
    client.issue().await?;
    let stranger = Authority::start()?;
    setting.write_roots(stranger.server_root_pem())?;
    let told = client.fails().await.to_string();
    assert!(told.contains("vouches"), "an open connection is not used on: {told}");
    setting.write_roots(&(stranger.server_root_pem().to_owned() + setting.authority.server_root_pem()))?;
    client.issue().await?;
    client.issue().await?;
    // The first, the refused one, and the one that both later calls used.
    assert_eq!(setting.authority.connections(), 3);
    Ok(())
}

#[tokio::test]
async fn roots_that_are_missing_are_told_and_nobody_is_asked() -> Result<()> {
    let setting = Setting::new()?;
    std::fs::remove_file(&setting.config.roots)?;
    let told = setting.client().fails().await.to_string();
    assert!(told.contains("ca.remote.roots") && told.contains("No such file"), "{told}");
    assert_eq!(setting.authority.connections(), 0);
    Ok(())
}

#[tokio::test]
async fn an_authority_that_is_not_there_or_has_no_name_is_told_as_that() -> Result<()> {
    let mut setting = Setting::new()?;
    let unused = TcpListener::bind("127.0.0.1:0")?;
    setting.config.address.port = unused.local_addr()?.port();
    drop(unused);
    let told = setting.client().fails().await.to_string();
    assert!(told.contains("connect to the authority https://localhost") && told.contains("refused"), "{told}");
    setting.config.address.host = "no-such-name.invalid".to_owned();
    let told = setting.client().fails().await.to_string();
    assert!(told.contains("\"no-such-name.invalid\" of the authority was not found"), "{told}");
    Ok(())
}
