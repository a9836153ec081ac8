//! One authority, its files, and a client of it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use heddle::ca::RemoteCa;
use heddle::config::{CaAddress, RemoteCaConfig};
use heddle::identify::{Certificates, Clock, Identity, IssueError, TlsSettings, TrustDomains, issue};
use heddle::mesh::SpiffeId;
use heddle_tests::authority::Authority;
use tempfile::TempDir;

pub(super) const TOKEN: &str = "first-token";
pub(super) const WEB: &str = "spiffe://cluster.local/ns/shop/sa/web";
/// Nothing here takes longer unless it is broken, or the machine is very busy.
pub(super) const SOON: Duration = Duration::from_secs(20);

pub(super) struct Setting {
    pub(super) authority: Authority,
    pub(super) config: RemoteCaConfig,
    pub(super) directory: TempDir,
}

impl Setting {
    pub(super) fn new() -> Result<Self> {
        let authority = Authority::start()?;
        authority.accept_token(TOKEN);
        let directory = tempfile::tempdir()?;
        let address = authority.listen()?;
        let config = RemoteCaConfig {
            address: CaAddress { host: "localhost".to_owned(), port: address.port() },
            roots: directory.path().join("roots.pem"),
            token: directory.path().join("token"),
            server_name: "heddle-ca.heddle-system.svc".to_owned(),
            lifetime: Duration::from_secs(3600),
            cluster_id: "east".to_owned(),
            impersonate: true,
        };
        let setting = Self { authority, config, directory };
        setting.write_token(TOKEN)?;
        setting.write_roots(setting.authority.server_root_pem())?;
        Ok(setting)
    }

    pub(super) fn write_token(&self, token: &str) -> Result<()> {
        Ok(std::fs::write(&self.config.token, token)?)
    }

    pub(super) fn write_roots(&self, pem: &str) -> Result<()> {
        Ok(std::fs::write(&self.config.roots, pem)?)
    }

    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(super) fn client(&self) -> Client {
        let tls = tls();
        Client { ca: Arc::new(RemoteCa::new(&self.config, &tls)), tls }
    }
}

pub(super) struct Client {
    pub(super) ca: Arc<RemoteCa>,
    tls: TlsSettings,
}

impl Client {
    /// A key, a request, an answer, and the checks of it, as the agent does it.
    pub(super) async fn issue(&self) -> Result<Identity, IssueError> {
        issue(&*self.ca, &id(WEB), &self.tls).await
    }

    /// The error that it must end with.
    pub(super) async fn fails(&self) -> IssueError {
        self.issue().await.unwrap_err()
    }

    /// A store that is filled and renewed until the test ends.
    pub(super) fn store(&self) -> Certificates {
        let (store, renewal) = Certificates::new(self.ca.clone(), self.tls.clone());
        tokio::spawn(renewal.run());
        store
    }
}

fn tls() -> TlsSettings {
    TlsSettings::new(TrustDomains::new("cluster.local".parse().unwrap(), []), Clock::system())
}

pub(super) fn id(text: &str) -> SpiffeId {
    text.parse().unwrap()
}

/// Waits until a condition holds.
pub(super) async fn eventually(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + SOON;
    while !holds() {
        assert!(Instant::now() < deadline, "not within {SOON:?}: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
