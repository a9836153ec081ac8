//! The webhook as API servers have it: the manifest, with the address of this test's authority in it, and HTTPS clients
//! that trust nothing but its `caBundle`.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use heddle_tests::http;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::client::SERVER;
use super::setting::{Authority, SOON, Setting, wait};

const MANIFEST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/manifests/ca/webhook.yaml");

/// What turns the webhook on.
pub(super) fn on() -> Value {
    json!({
        "admission": {"listen": "127.0.0.1:0"},
        "server": {"dnsNames": [SERVER, "127.0.0.1"]},
    })
}

/// Applies the manifest, beside the entry of another webhook, and waits until API servers can know ours.
pub(super) fn install(setting: &Setting, authority: &Authority, failure_policy: Option<&str>) -> Result<()> {
    let mut manifest: Value = serde_saphyr::from_str(&std::fs::read_to_string(MANIFEST)?)?;
    let address = authority.webhook.context("no webhook is served")?;
    let ours = &mut manifest["webhooks"][0];
    ensure!(ours["clientConfig"]["service"]["path"] == "/validate" && ours["clientConfig"]["caBundle"].is_null());
    ours["clientConfig"] = json!({"url": format!("https://{address}/validate")});
    if let Some(policy) = failure_policy {
        ours["failurePolicy"] = json!(policy);
    }
    let other = json!({"name": "other.example", "clientConfig": {"url": "https://192.0.2.1", "caBundle": "b3RoZXI="}});
    manifest["webhooks"].as_array_mut().context("no webhooks")?.push(other);
    setting.server.put(&manifest)?;
    wait("the caBundle is there", || bundle(setting).map(drop))
}

/// The configuration, as it is stored.
pub(super) fn configuration(setting: &Setting) -> Result<Value> {
    setting.server.get("ValidatingWebhookConfiguration", "", "heddle").context("the manifest is not applied")
}

/// The PEM that API servers know the webhook by.
pub(super) fn bundle(setting: &Setting) -> Result<String> {
    let configuration = configuration(setting)?;
    let bundle = configuration["webhooks"][0]["clientConfig"]["caBundle"].as_str().context("no caBundle yet")?;
    Ok(String::from_utf8(STANDARD.decode(bundle)?)?)
}

/// TLS to the webhook, known by certificates in PEM.
pub(super) async fn tls(address: SocketAddr, roots_pem: &str, protocols: &[&str]) -> Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    for root in CertificateDer::pem_slice_iter(roots_pem.as_bytes()) {
        roots.add(root?)?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    let tcp = TcpStream::connect(address).await?;
    Ok(TlsConnector::from(Arc::new(config)).connect(ServerName::try_from(SERVER)?, tcp).await?)
}

/// One request over HTTP/1.1 on a connection of its own.
pub(super) async fn post(address: SocketAddr, roots_pem: &str, target: &str, body: &[u8]) -> Result<http::Response> {
    timeout(SOON, exchange(address, roots_pem, target, body)).await.context("no answer in time")?
}

async fn exchange(address: SocketAddr, roots_pem: &str, target: &str, body: &[u8]) -> Result<http::Response> {
    let mut stream = tls(address, roots_pem, &["http/1.1"]).await?;
    let length = body.len();
    let head = format!("{target} HTTP/1.1\r\nhost: {SERVER}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await?;
    // Whoever is refused before all is sent has the answer all the same.
    let _ = stream.write_all(body).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    http::parse(&answer)
}

/// The review of a ConfigMap of mesh configuration with this text.
pub(super) fn review(text: &str) -> Value {
    let object = json!({
        "metadata": {"name": "rules", "namespace": "shop", "labels": {"heddle.io/config": "true"}},
        "data": {"mesh.yaml": text},
    });
    json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": "u-1", "kind": {"group": "", "version": "v1", "kind": "ConfigMap"}, "operation": "CREATE",
            "dryRun": true, "userInfo": {"username": "ann"}, "object": object, "oldObject": null,
        },
    })
}
