//! Validating admission webhooks: before an object is written, the server asks those that are configured for it.
//!
//! As the real server: labels of the new or the old object select, `failurePolicy` and `timeoutSeconds` hold, the webhook is
//! trusted by `caBundle` alone, its warnings become headers. Not done: webhooks behind Services, which need a network of the
//! cluster, `namespaceSelector`, `matchConditions`, and other rules than by the plural of the resource and the operation.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::Uri;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::failure::Failure;
use super::fresh;
use super::resource::Resource;
use super::server::Shared;
use super::write::key_of;

/// A write, before it is done.
pub(super) struct Write {
    pub(super) operation: &'static str,
    pub(super) object: Value,
    pub(super) before: Option<Arc<Value>>,
}

/// Asks every webhook that is for it; their warnings, if none refuses.
pub(super) async fn admit(shared: &Shared, resource: &Resource, write: &Write) -> Result<Vec<String>, Failure> {
    let mut warnings = Vec::new();
    for webhook in webhooks(shared) {
        if !is_for(&webhook, resource, write) {
            continue;
        }
        let name = webhook["name"].as_str().unwrap_or_default();
        let response = match ask(&webhook, &review(resource, write)).await {
            Ok(response) => response,
            Err(_) if webhook["failurePolicy"] == "Ignore" => continue,
            Err(error) => return Err(Failure::webhook_failed(name, &format!("{error:#}"))),
        };
        let texts = response["warnings"].as_array().into_iter().flatten();
        warnings.extend(texts.filter_map(|text| text.as_str().map(str::to_owned)));
        if response["allowed"] != true {
            return Err(Failure::denied(name, &response["status"]));
        }
    }
    Ok(warnings)
}

fn webhooks(shared: &Shared) -> Vec<Value> {
    let Some(resource) = shared.registry.called("ValidatingWebhookConfiguration") else { return Vec::new() };
    let all = shared.store.lock().list(&key_of(&resource, "", "").resource, "");
    all.into_values().flat_map(|object| object["webhooks"].as_array().cloned().unwrap_or_default()).collect()
}

fn is_for(webhook: &Value, resource: &Resource, write: &Write) -> bool {
    let has = |list: &Value, wanted: &str| list.as_array().is_some_and(|list| list.contains(&json!(wanted)));
    let rules = webhook["rules"].as_array().into_iter().flatten();
    let by_rule = rules.into_iter().any(|rule| {
        has(&rule["apiGroups"], &resource.group)
            && has(&rule["resources"], &resource.plural)
            && has(&rule["operations"], write.operation)
    });
    let labelled = |object: &Value| {
        let wanted = webhook["objectSelector"]["matchLabels"].as_object().into_iter().flatten();
        wanted.into_iter().all(|(key, value)| object["metadata"]["labels"].get(key) == Some(value))
    };
    by_rule && (labelled(&write.object) || write.before.as_deref().is_some_and(labelled))
}

fn review(resource: &Resource, write: &Write) -> Value {
    let Write { operation, object, before } = write;
    let kind = json!({"group": resource.group, "version": resource.version, "kind": resource.kind});
    json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": fresh::uid(), "kind": kind, "operation": operation, "dryRun": false,
            "resource": {"group": resource.group, "version": resource.version, "resource": resource.plural},
            "name": object["metadata"]["name"], "namespace": object["metadata"]["namespace"],
            "userInfo": {"username": "admin"}, "object": object, "oldObject": before.as_deref(), "options": null,
        },
    })
}

async fn ask(webhook: &Value, review: &Value) -> Result<Value> {
    let within = Duration::from_secs(webhook["timeoutSeconds"].as_u64().unwrap_or(10));
    let body = review.to_string();
    let answer = tokio::time::timeout(within, post(&webhook["clientConfig"], body.as_bytes()));
    let answer = answer.await.context("no answer in time")??;
    ensure!(answer.status == 200, "{}: {}", answer.status, answer.text());
    let answer: Value = serde_json::from_slice(&answer.body).context("the answer is no JSON")?;
    ensure!(answer["response"]["uid"] == review["request"]["uid"], "the answer is to another question: {answer}");
    Ok(answer["response"].clone())
}

async fn post(config: &Value, body: &[u8]) -> Result<crate::http::Response> {
    let url: Uri = config["url"].as_str().context("clientConfig has no url")?.parse()?;
    let (host, port) = (url.host().context("the url has no host")?.to_owned(), url.port_u16().unwrap_or(443));
    let mut roots = RootCertStore::empty();
    let bundle = STANDARD.decode(config["caBundle"].as_str().context("clientConfig has no caBundle")?)?;
    for root in CertificateDer::pem_slice_iter(&bundle) {
        roots.add(root?)?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let tls = TlsConnector::from(Arc::new(tls.with_root_certificates(roots).with_no_client_auth()));
    let stream = TcpStream::connect((host.as_str(), port)).await?;
    let mut stream = tls.connect(ServerName::try_from(host.clone())?, stream).await?;
    let head = format!(
        "POST {} HTTP/1.1\r\nhost: {host}:{port}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
         connection: close\r\n\r\n",
        url.path(),
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    crate::http::parse(&answer)
}
