//! Servers outside the mesh that the agent itself asks: whose certificates they must have, and what broke in words.

use std::{
    error::Error,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, pem::PemObject},
};
use tokio::task::spawn_blocking;

/// Whose certificates servers must have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Roots {
    /// The machine's, or those of the files that `SSL_CERT_FILE` and `SSL_CERT_DIR` name.
    #[default]
    Machine,
    /// Those in a file, and no others.
    File(PathBuf),
}

/// TLS 1.2 or 1.3 with every suite that rustls calls safe, since these servers are not ours. The roots are read anew: once for
/// each connection is seldom, and what was replaced is seen.
///
/// # Errors
/// In words, where there is no root.
pub async fn client_config(roots: &Roots, protocol: &[u8]) -> Result<ClientConfig, String> {
    let roots = roots.clone();
    let roots = spawn_blocking(move || roots.read()).await.unwrap_or_else(|error| Err(error.to_string()))?;
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().map_err(|error| error.to_string())?;
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![protocol.to_vec()];
    Ok(config)
}

/// With the causes, which hyper leaves out.
pub fn in_full(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

impl Roots {
    /// From a setting that is a path, or nothing for the machine's.
    pub fn of(path: Option<&Path>) -> Self {
        path.map_or(Self::Machine, |path| Self::File(path.to_owned()))
    }

    fn read(&self) -> Result<RootCertStore, String> {
        let (place, found) = match self {
            Self::Machine => ("the machine's certificates".to_owned(), rustls_native_certs::load_native_certs().certs),
            Self::File(path) => (path.display().to_string(), read_file(path)?),
        };
        let mut store = RootCertStore::empty();
        let (good, _) = store.add_parsable_certificates(found);
        match good {
            0 => Err(format!("{place}: found no certificate; name a file of them in PEM")),
            _ => Ok(store),
        }
    }
}

fn read_file(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let found = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    found.map_err(|error| format!("{}: {error}", path.display()))
}
