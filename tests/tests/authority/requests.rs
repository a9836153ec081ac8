//! What the authority is asked, and with which token.

use anyhow::Result;
use heddle::identify::IssueError;

use super::setting::{Setting, TOKEN, WEB};

#[tokio::test]
async fn a_request_says_for_whom_how_long_and_from_which_cluster() -> Result<()> {
    let setting = Setting::new()?;
    let identity = setting.client().issue().await?;
    assert_eq!(identity.id().to_string(), WEB);
    let calls = setting.authority.calls();
    assert_eq!(calls.len(), 1);
    let call = &calls[0];
    assert_eq!(call.path, "/istio.v1.auth.IstioCertificateService/CreateCertificate");
    assert_eq!((call.token.as_str(), call.cluster_id.as_str()), (TOKEN, "east"));
    assert_eq!((call.impersonated.as_deref(), call.name.as_str()), (Some(WEB), WEB));
    assert_eq!(call.validity_duration, 3600);
    let left = identity.not_after().duration_since(std::time::SystemTime::now())?.as_secs();
    assert!((3500..=3600).contains(&left), "{left}");
    Ok(())
}

#[tokio::test]
async fn nobody_is_impersonated_where_the_configuration_says_so() -> Result<()> {
    let mut setting = Setting::new()?;
    setting.config.impersonate = false;
    setting.client().issue().await?;
    assert_eq!(setting.authority.calls()[0].impersonated, None);
    Ok(())
}

#[tokio::test]
async fn the_token_is_read_for_every_request() -> Result<()> {
    let setting = Setting::new()?;
    let client = setting.client();
    client.issue().await?;
    setting.write_token("second-token\n")?;
    setting.authority.revoke_token(TOKEN);
    setting.authority.accept_token("second-token");
    client.issue().await?;
    let tokens: Vec<_> = setting.authority.calls().into_iter().map(|call| call.token).collect();
    assert_eq!(tokens, [TOKEN, "second-token"]);
    assert_eq!(setting.authority.connections(), 1, "the connection is the same");
    Ok(())
}

#[tokio::test]
async fn a_token_that_is_not_accepted_is_told_with_its_file_and_never_itself() -> Result<()> {
    let setting = Setting::new()?;
    let client = setting.client();
    setting.authority.revoke_token(TOKEN);
    let error = client.fails().await;
    let told = error.to_string();
    assert!(matches!(error, IssueError::Unreachable { .. }), "asked again soon, since tokens are replaced: {told}");
    assert!(told.contains("does not accept the token") && told.contains("unknown token"), "{told}");
    assert!(told.contains(&setting.config.token.display().to_string()) && !told.contains(TOKEN), "{told}");
    setting.authority.accept_token(TOKEN);
    client.issue().await?;
    Ok(())
}

#[tokio::test]
async fn a_missing_token_is_told_and_asks_nobody() -> Result<()> {
    let setting = Setting::new()?;
    let client = setting.client();
    std::fs::remove_file(&setting.config.token)?;
    let told = client.fails().await.to_string();
    assert!(told.contains("ca.remote.token") && told.contains("No such file"), "{told}");
    assert_eq!(setting.authority.connections(), 0);
    setting.write_token(TOKEN)?;
    client.issue().await?;
    Ok(())
}
