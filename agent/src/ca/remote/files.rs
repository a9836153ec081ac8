//! The two files of a remote authority's client: the token that tells who this agent is, and the roots that vouch for the
//! authority. Both are replaced while the agent runs, so both are read for every request.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use humantime::{format_duration, format_rfc3339_seconds};
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};
use tokio::io::AsyncReadExt;

use super::error::RemoteError;

/// A bearer token. Without `Debug`, so that no log line can hold it.
pub(super) struct Token {
    pub(super) text: String,
    path: String,
    /// `exp`, where it is a JWT that says so.
    ends: Option<SystemTime>,
}

/// Roots as they are in the file, to be compared, and ready for TLS.
#[derive(Clone)]
pub(super) struct Roots {
    text: Arc<[u8]>,
    pub(super) store: Arc<RootCertStore>,
}

/// Reads the token.
pub(super) async fn token(path: &Path) -> Result<Token, RemoteError> {
    let failed = |problem: String| RemoteError::File { key: TOKEN, path: path.to_owned(), problem };
    let advice = "mount the agent's projected service account token there";
    let content = read(path).await.map_err(|error| failed(format!("cannot be read: {error}; {advice}")))?;
    let text = String::from_utf8(content).map_err(|_| failed(format!("is not text; {advice}")))?;
    let text = text.trim();
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(failed(format!("has no token of printable characters in it; {advice}")));
    }
    Ok(Token { text: text.to_owned(), path: path.display().to_string(), ends: end_of_jwt(text) })
}

/// Reads the roots.
pub(super) async fn roots(path: &Path) -> Result<Roots, RemoteError> {
    let failed = |problem: String| RemoteError::File { key: ROOTS, path: path.to_owned(), problem };
    let advice = "put the root certificates of the authority there, in PEM";
    let text = read(path).await.map_err(|error| failed(format!("cannot be read: {error}; {advice}")))?;
    let mut store = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&text) {
        let certificate = certificate.map_err(|error| failed(format!("is not PEM: {error}; {advice}")))?;
        store.add(certificate).map_err(|error| failed(format!("has a certificate that is no root: {error}")))?;
    }
    if store.is_empty() {
        return Err(failed(format!("has no certificate in it; {advice}")));
    }
    Ok(Roots { text: text.into(), store: Arc::new(store) })
}

impl Token {
    /// Where it is from and when it ends, for whoever has to find out why it is not accepted.
    pub(super) fn describe(&self, now: SystemTime) -> String {
        let path = &self.path;
        let Some(ends) = self.ends else {
            return format!("it is in {path}; check its audience, and that the authority knows this cluster");
        };
        let end = format_rfc3339_seconds(ends);
        match now.duration_since(ends) {
            Ok(ago) => {
                let ago = format_duration(Duration::from_secs(ago.as_secs()));
                format!("it is in {path} and ended at {end}, {ago} ago; the kubelet should have replaced it")
            }
            Err(_) => {
                format!("it is in {path} and is good until {end}; check its audience and the authority's cluster")
            }
        }
    }
}

impl PartialEq for Roots {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

async fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut content = Vec::new();
    let file = tokio::fs::File::open(path).await?;
    file.take(LONGEST_FILE + 1).read_to_end(&mut content).await?;
    if content.len() as u64 > LONGEST_FILE {
        return Err(std::io::Error::other(format!("it is longer than {LONGEST_FILE} bytes")));
    }
    Ok(content)
}

/// Only for messages: whether a token is good, the authority decides.
fn end_of_jwt(token: &str) -> Option<SystemTime> {
    let claims = token.split('.').nth(1)?;
    let claims: serde_json::Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()?;
    // A year with more than four digits cannot be shown.
    let end = claims["exp"].as_u64().filter(|seconds| *seconds < 253_402_300_800)?;
    Some(SystemTime::UNIX_EPOCH + Duration::from_secs(end))
}

const TOKEN: &str = "ca.remote.token";
const ROOTS: &str = "ca.remote.roots";
/// A bundle of a thousand roots; tokens are far shorter.
const LONGEST_FILE: u64 = 1 << 20;
