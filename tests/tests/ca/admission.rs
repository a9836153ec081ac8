//! Mesh ConfigMaps are read before they are stored: over the API server, and by clients that mean no good.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use heddle_tests::kubernetes::{Fault, Verb};
use http::Request;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{DeleteParams, ObjectMeta, Patch, PatchParams, PostParams};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::client::Ask;
use super::setting::{Authority, SOON, Setting, id, wait};
use super::webhook::{bundle, configuration, install, on, post, review, tls};

const GOOD: &str = "\
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default}
spec: {mtls: {mode: STRICT}}
";

fn config_map(text: &str) -> ConfigMap {
    let labels = [("heddle.io/config".to_owned(), "true".to_owned())];
    let metadata = ObjectMeta { name: Some("rules".to_owned()), labels: Some(labels.into()), ..ObjectMeta::default() };
    ConfigMap { metadata, data: Some([("mesh.yaml".to_owned(), text.to_owned())].into()), ..ConfigMap::default() }
}

fn refusal<T: std::fmt::Debug>(result: kube::Result<T>) -> Result<(u16, String)> {
    match result {
        Err(kube::Error::Api(status)) => Ok((status.code, status.message.clone())),
        other => anyhow::bail!("it was not refused by the API server: {other:?}"),
    }
}

fn reviews(authority: &Authority, result: &str) -> Result<f64> {
    authority.metric(&format!("heddle_ca_admission_reviews_total{{result=\"{result}\"}}"))
}

#[tokio::test]
async fn a_bad_mesh_config_map_is_refused_at_apply() -> Result<()> {
    let setting = Setting::new()?;
    let authority = setting.authority(&on())?;
    install(&setting, &authority, Some("Fail"))?;
    let kept = configuration(&setting)?;
    assert_eq!(kept["webhooks"][1]["clientConfig"]["caBundle"], "b3RoZXI=", "another's entry is left alone");
    assert_eq!(kept["webhooks"][0]["objectSelector"], json!({"matchLabels": {"heddle.io/config": "true"}}));
    let maps: Api<ConfigMap> = Api::namespaced(setting.kubernetes().await?, "shop");
    let bad = GOOD.replace("STRICT", "STRIKT");

    let (code, message) = refusal(maps.create(&PostParams::default(), &config_map(&bad)).await)?;
    assert_eq!(code, 422, "{message}");
    for part in [
        "admission webhook \"documents.heddle.io\" denied the request: agents would reject ConfigMap shop/rules",
        "error: PeerAuthentication shop/default: spec.mtls.mode: found \"STRIKT\"",
        "did you mean STRICT?\n  --> ConfigMap shop/rules, key mesh.yaml:4:21\n  4 | spec:",
    ] {
        assert!(message.contains(part), "no {part:?} in {message}");
    }
    assert_eq!(setting.server.get("ConfigMap", "shop", "rules"), None);

    maps.create(&PostParams::default(), &config_map(GOOD)).await?;
    let patch = json!({"data": {"mesh.yaml": bad}});
    let (code, _) = refusal(maps.patch("rules", &PatchParams::default(), &Patch::Merge(patch)).await)?;
    let applied = PatchParams::apply("kubectl");
    let mut whole = serde_json::to_value(config_map("kind: {"))?;
    whole["apiVersion"] = json!("v1");
    whole["kind"] = json!("ConfigMap");
    let (of_apply, message) = refusal(maps.patch("rules", &applied, &Patch::Apply(whole)).await)?;
    assert_eq!((code, of_apply), (422, 422));
    assert!(message.contains("cannot be read as YAML"), "{message}");
    let stored = setting.server.get("ConfigMap", "shop", "rules").context("it is gone")?;
    assert_eq!(stored["data"]["mesh.yaml"], GOOD, "what was good is what is stored");
    // What is none of the mesh's is not asked about.
    let asked = reviews(&authority, "refused")?;
    let mut foreign = config_map(&bad);
    (foreign.metadata.name, foreign.metadata.labels) = (Some("foreign".to_owned()), None);
    maps.create(&PostParams::default(), &foreign).await?;
    maps.delete("rules", &DeleteParams::default()).await?;
    assert_eq!((asked, reviews(&authority, "refused")?, reviews(&authority, "allowed")?), (3.0, 3.0, 1.0));
    let told = authority.process.stderr();
    let refused = told.iter().filter(|line| line.contains("mesh configuration refused")).count();
    assert_eq!(refused, 3, "{told:#?}");
    Ok(())
}

#[tokio::test]
async fn an_outage_of_the_webhook_does_not_hold_up_a_change() -> Result<()> {
    let setting = Setting::new()?;
    let authority = setting.authority(&on())?;
    install(&setting, &authority, None)?;
    let maps: Api<ConfigMap> = Api::namespaced(setting.kubernetes().await?, "shop");
    let bad = config_map("kind: {");
    refusal(maps.create(&PostParams::default(), &bad).await)?;
    authority.end()?;
    maps.create(&PostParams::default(), &bad).await?;
    Ok(())
}

#[tokio::test]
async fn http2_is_spoken_and_warnings_are_given() -> Result<()> {
    let setting = Setting::new()?;
    let authority = setting.authority(&on())?;
    install(&setting, &authority, None)?;
    let policy = "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: p}\n\
                  spec: {rules: [{from: [{source: {principals: [x]}}]}]}\n";
    let stream = tls(authority.webhook.context("no webhook")?, &bundle(&setting)?, &["h2", "http/1.1"]).await?;
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (requests, connection) = h2::client::handshake(stream).await?;
    tokio::spawn(async { connection.await.is_ok() });
    let request = Request::post("https://heddle-ca.heddle-system.svc/validate?timeout=5s").body(())?;
    let (response, mut body) = requests.ready().await?.send_request(request, false)?;
    body.send_data(Bytes::from(review(policy).to_string()), true)?;
    let response = timeout(SOON, response).await??;
    assert_eq!(
        (response.status(), &response.headers()["content-type"]),
        (http::StatusCode::OK, &"application/json".parse()?)
    );
    let answer: Value = serde_json::from_slice(&response.into_body().data().await.context("no body")??)?;
    assert_eq!((&answer["response"]["allowed"], &answer["response"]["uid"]), (&json!(true), &json!("u-1")));
    let warnings = answer["response"]["warnings"].as_array().context("no warnings")?;
    assert!(warnings[0].as_str().unwrap().starts_with("mesh.yaml:4: AuthorizationPolicy shop/p: "), "{answer}");
    Ok(())
}

#[tokio::test]
async fn what_means_no_good_is_refused_and_honest_reviews_go_on() -> Result<()> {
    let setting = Setting::new()?;
    let authority = setting.authority(&on())?;
    install(&setting, &authority, None)?;
    let (address, roots) = (authority.webhook.context("no webhook")?, bundle(&setting)?);
    let ask = async |target: &str, body: &[u8]| post(address, &roots, target, body).await;
    for (target, body, status) in [
        ("GET /validate", &b""[..], 404),
        ("POST /", b"", 404),
        ("POST /validate", b"", 400),
        ("POST /validate", b"{\"kind\": \"AdmissionReview\"}", 400),
        ("POST /validate", &[b'['; 1 << 20], 400),
        ("POST /validate", &[b' '; (8 << 20) + 1], 413),
    ] {
        let answer = ask(target, body).await?;
        assert_eq!(answer.status, status, "{target} {:.40}: {}", String::from_utf8_lossy(body), answer.text());
    }
    assert_eq!((reviews(&authority, "bad_review")?, reviews(&authority, "too_large")?), (5.0, 1.0));

    // One line of a megabyte with a problem in every tenth byte.
    let keys: String = (0..90_000).map(|number| format!("k{number}: 1, ")).collect();
    let line = format!("{{apiVersion: security.istio.io/v1, kind: PeerAuthentication, spec: {{{keys}}}}}");
    let answer = ask("POST /validate", review(&line).to_string().as_bytes()).await?;
    assert!(answer.status == 503 || answer.text().contains("\"code\":422"), "{:.500}", answer.text());
    assert!(answer.body.len() < 64 << 10, "{} bytes", answer.body.len());

    // Bodies that never come take all places, for a while: an honest review waits, and is answered.
    let mut held = Vec::new();
    for _ in 0..8 {
        let mut stream = tls(address, &roots, &[]).await?;
        stream.write_all(b"POST /validate HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{").await?;
        held.push(stream);
    }
    let begin = Instant::now();
    let honest = wait_for_answer(async || ask("POST /validate", review(GOOD).to_string().as_bytes()).await).await?;
    assert!(honest.contains("\"allowed\":true"), "{honest}");
    assert!(begin.elapsed() < Duration::from_secs(20), "{:?}", begin.elapsed());
    let mut told = Vec::new();
    timeout(SOON, held[0].read_buf(&mut told)).await??;
    assert!(String::from_utf8_lossy(&told).starts_with("HTTP/1.1 503 "), "{:?}", String::from_utf8_lossy(&told));
    assert!(setting.ask(&authority, &Ask::new("secret-node-a", &id("shop", "web"))).await?.is_ok(), "and it signs");
    Ok(())
}

/// Asks again where too much was asked for at once.
async fn wait_for_answer(ask: impl AsyncFn() -> Result<heddle_tests::http::Response>) -> Result<String> {
    for _ in 0..4 {
        let answer = ask().await?;
        if answer.status != 503 {
            return Ok(answer.text());
        }
    }
    anyhow::bail!("it is busy all the time")
}

#[test]
fn a_ca_bundle_that_cannot_be_kept_is_told_and_signing_goes_on() -> Result<()> {
    let setting = Setting::new()?;
    setting.server.fault(Fault::status(403).verb(Verb::Get).resource("validatingwebhookconfigurations"));
    let mut authority = setting.authority(&on())?;
    let told = authority.process.wait_stderr(SOON, |line| line.contains("keeping the caBundle of"))?;
    let grant = "grant get and patch on validatingwebhookconfigurations of API group admissionregistration.k8s.io";
    assert!(told.contains(grant), "{told}");
    assert_eq!(authority.metric("heddle_ca_admission_webhook_problem")?, 1.0);
    setting.server.clear_faults();
    install(&setting, &authority, None)?;
    wait("it is well again", || {
        ensure!(authority.metric("heddle_ca_admission_webhook_problem")? == 0.0);
        Ok(())
    })
}

/// A rotation in real time, by the shortest times that ca.yaml allows: whoever trusts the caBundle of the moment, and
/// nothing else, is served at every moment.
#[tokio::test]
async fn the_ca_bundle_is_ahead_of_each_new_root() -> Result<()> {
    let setting = Setting::new()?;
    let mut config = on();
    config["leafLifetime"] = json!("10s");
    config["root"] = json!({"secret": {
        "namespace": "heddle-system", "name": "heddle-ca", "lifetime": "1m", "rotateBelowPercent": 90, "overlap": "10s",
    }});
    let authority = setting.authority(&config)?;
    install(&setting, &authority, None)?;
    let address = authority.webhook.context("no webhook")?;
    let first = bundle(&setting)?;
    assert_eq!(first, setting.roots()?, "it is what agents trust");
    let (begin, mut most) = (Instant::now(), 0);
    loop {
        ensure!(begin.elapsed() < Duration::from_secs(90), "no other root serves");
        let now = bundle(&setting)?;
        most = most.max(CertificateDer::pem_slice_iter(now.as_bytes()).count());
        tls(address, &now, &["h2"]).await.context("the caBundle of the moment is refused")?;
        if tls(address, &first, &["h2"]).await.is_err() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    assert!(most >= 2, "the next root was trusted before it served");
    Ok(())
}
