//! Bad answers: none of them becomes an identity, and each says what it was.

use anyhow::Result;
use heddle::identify::IssueError;
use heddle_tests::authority::{Fault, Spoiled};

use super::setting::Setting;

#[tokio::test]
async fn a_spoiled_answer_is_no_certificate() -> Result<()> {
    let setting = Setting::new()?;
    let client = setting.client();
    for (spoiled, expected) in [
        (Spoiled::Garbage, "not an X.509 certificate"),
        (Spoiled::NoRoot, "no root"),
        (Spoiled::OtherRoot, "UnknownIssuer"),
        (Spoiled::OtherKey, "keys"),
        (Spoiled::OtherName, "spiffe://cluster.local/ns/shop/sa/web-else answered where"),
        (Spoiled::Expired, "expired"),
    ] {
        setting.authority.order(Fault::Spoiled(spoiled));
        let error = client.fails().await;
        assert!(matches!(error, IssueError::Unusable { .. }), "{spoiled:?}: {error}");
        assert!(error.to_string().to_lowercase().contains(&expected.to_lowercase()), "{spoiled:?}: {error}");
    }
    client.issue().await?;
    assert_eq!(setting.authority.connections(), 1, "a bad answer is no reason to connect again");
    Ok(())
}

#[tokio::test]
async fn an_answer_without_end_is_not_read_to_its_end() -> Result<()> {
    let setting = Setting::new()?;
    let client = setting.client();
    setting.authority.order(Fault::Spoiled(Spoiled::Huge));
    let told = client.fails().await.to_string();
    assert!(told.contains("too large"), "{told}");
    client.issue().await?;
    Ok(())
}

#[tokio::test]
async fn a_refusal_is_told_apart_from_an_authority_that_is_away() -> Result<()> {
    let setting = Setting::new()?;
    let client = setting.client();
    for (code, is_refusal, expected) in [
        (7, true, "PermissionDenied: no such pod; it signs for those that it sees running on this node"),
        (3, true, "InvalidArgument: no such pod"),
        (
            12,
            true,
            "Unimplemented: no such pod; check that ca.remote.address serves istio.v1.auth.IstioCertificateService",
        ),
        (14, false, "Unavailable: no such pod"),
        (13, false, "Internal: no such pod"),
        (8, false, "ResourceExhausted: no such pod"),
    ] {
        setting.authority.order(Fault::Status(code, "no such\npod"));
        let error = client.fails().await;
        assert_eq!(error.is_refusal(), is_refusal, "{code}: {error}");
        assert!(error.to_string().contains(expected), "{code}: {error}");
        assert!(error.to_string().contains(&setting.config.address.to_string()), "{code}: {error}");
    }
    for (status, is_refusal) in [(503, false), (502, false), (403, true), (404, true)] {
        setting.authority.order(Fault::Http(status));
        let error = client.fails().await;
        assert_eq!(error.is_refusal(), is_refusal, "{status}: {error}");
    }
    client.issue().await?;
    assert_eq!(setting.authority.connections(), 1);
    Ok(())
}
