//! Reviews in, answers out; and what becomes of the entries of a ValidatingWebhookConfiguration.

#![expect(clippy::unwrap_used, reason = "tests")]

use serde_json::{Value, json};

use super::{Admission, ca_bundle::with_bundle, review::Review};
use crate::{
    mesh::MeshSettings,
    observe::{AdmissionResult, AuthorityMetrics},
};

fn admission() -> Admission {
    let settings = MeshSettings {
        node: "".into(),
        trust_domain: "cluster.local".parse().unwrap(),
        root_namespace: "heddle-system".into(),
    };
    Admission::new(settings, AuthorityMetrics::new().unwrap())
}

fn config_map(text: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap", "data": {"mesh.yaml": text},
        "metadata": {"name": "rules", "namespace": "shop", "labels": {"heddle.io/config": "true"}},
    })
}

fn review(operation: &str, object: &Value, old: &Value) -> Value {
    json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": "u-1", "kind": {"group": "", "version": "v1", "kind": "ConfigMap"}, "operation": operation,
            "userInfo": {"username": "ann"}, "dryRun": true, "object": object, "oldObject": old,
        },
    })
}

/// The result, and what is under `response`.
fn answered(review: &Value) -> (AdmissionResult, Value) {
    let answer = admission().decide(review.to_string().as_bytes()).unwrap();
    let result = answer.result();
    let mut json: Value = serde_json::from_str(&answer.into_json()).unwrap();
    assert_eq!((&json["apiVersion"], &json["kind"]), (&json!("admission.k8s.io/v1"), &json!("AdmissionReview")));
    assert_eq!(json["response"]["uid"], "u-1");
    (result, json["response"].take())
}

const GOOD: &str = "\
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default}
spec: {mtls: {mode: STRICT}}
";

#[test]
fn what_agents_would_reject_is_refused_with_place_and_remedy() {
    let text = GOOD.replace("mode: STRICT", "mode: STRIKT").replace("spec:", "spce: {}\nspec:");
    let (result, response) = answered(&review("CREATE", &config_map(&text), &Value::Null));
    assert_eq!(result, AdmissionResult::Refused);
    assert_eq!((&response["allowed"], &response["status"]["code"]), (&json!(false), &json!(422)));
    let message = response["status"]["message"].as_str().unwrap();
    assert!(message.starts_with("agents would reject ConfigMap shop/rules\nerror: "), "{message}");
    for part in [
        "PeerAuthentication shop/default: unknown key \"spce\"; did you mean \"spec\"?",
        "--> ConfigMap shop/rules, key mesh.yaml:4:1\n",
        "  4 | spce: {}\n    | ^\n",
        "STRIKT",
        "--> ConfigMap shop/rules, key mesh.yaml:5:",
    ] {
        assert!(message.contains(part), "no {part:?} in {message}");
    }
}

#[test]
fn what_is_good_refers_to_what_may_not_be_there_yet() {
    let route = "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: web}\n\
                 spec:\n  parentRefs: [{kind: Service, group: \"\", name: web, port: 80}]\n  \
                 rules: [{backendRefs: [{name: nowhere, port: 80}]}]\n";
    let (result, response) = answered(&review("CREATE", &config_map(&format!("{GOOD}---\n{route}")), &Value::Null));
    assert_eq!((result, response), (AdmissionResult::Allowed, json!({"uid": "u-1", "allowed": true})));
}

#[test]
fn what_is_surely_not_meant_is_a_few_short_warnings() {
    let policy = |number: usize| {
        format!(
            "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {{name: p{number}}}\n\
             spec: {{rules: [{{from: [{{source: {{principals: [x]}}}}]}}]}}\n"
        )
    };
    let all: Vec<_> = (0..9).map(policy).collect();
    let (result, response) = answered(&review("CREATE", &config_map(&all.join("---\n")), &Value::Null));
    assert_eq!((result, &response["allowed"]), (AdmissionResult::Warned, &json!(true)));
    let warnings: Vec<_> = response["warnings"].as_array().unwrap().iter().map(|one| one.as_str().unwrap()).collect();
    assert_eq!(warnings.len(), 5, "{warnings:#?}");
    assert!(warnings[0].starts_with("mesh.yaml:4: AuthorizationPolicy shop/p0: spec.rules[0]"), "{warnings:#?}");
    assert!(warnings.iter().all(|one| one.chars().count() <= 120 && !one.contains('\n')), "{warnings:#?}");
    assert_eq!(warnings[4], "and 5 more warnings; `heddle check` tells all of them");
}

#[test]
fn nothing_but_mesh_configuration_that_stays_is_judged() {
    let bad = config_map("kind: {");
    let with = |changed: fn(&mut Value)| {
        let mut map = bad.clone();
        changed(&mut map);
        map
    };
    let unlabelled = with(|map| map["metadata"]["labels"] = Value::Null);
    let leaving = with(|map| map["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z"));
    let mut secret = review("CREATE", &bad, &Value::Null);
    secret["request"]["kind"]["kind"] = json!("Secret");
    for review in [
        review("DELETE", &Value::Null, &bad),
        review("CREATE", &unlabelled, &Value::Null),
        review("UPDATE", &unlabelled, &bad),
        review("UPDATE", &leaving, &bad),
        secret,
    ] {
        let (result, response) = answered(&review);
        assert_eq!((result, &response["allowed"]), (AdmissionResult::NotJudged, &json!(true)), "{review}");
    }
    for review in [review("CREATE", &bad, &Value::Null), review("UPDATE", &bad, &unlabelled)] {
        assert_eq!(answered(&review).0, AdmissionResult::Refused, "{review}");
    }
}

#[test]
fn the_labels_of_a_configmap_may_change_while_its_bad_texts_stay() {
    let bad = config_map("kind: {");
    let mut labelled = bad.clone();
    labelled["metadata"]["labels"]["team"] = json!("a");
    let (result, response) = answered(&review("UPDATE", &labelled, &bad));
    assert_eq!((result, &response["allowed"]), (AdmissionResult::Warned, &json!(true)));
    assert!(response["warnings"][0].as_str().unwrap().contains("cannot be read as YAML"), "{response}");
    let (result, _) = answered(&review("UPDATE", &config_map("kind: ["), &bad));
    assert_eq!(result, AdmissionResult::Refused);
}

#[test]
fn a_review_that_makes_no_sense_is_refused_as_such() {
    let nameless = json!({"metadata": {"labels": {"heddle.io/config": "true"}}, "data": {}});
    let huge = config_map(&"x".repeat((1 << 20) + 1));
    for (object, why) in [(Value::Null, "has no object"), (nameless, "no namespace"), (huge, "which none can have")] {
        let (result, response) = answered(&review("UPDATE", &object, &Value::Null));
        assert_eq!((result, &response["status"]["code"]), (AdmissionResult::BadReview, &json!(400)));
        assert!(response["status"]["message"].as_str().unwrap().contains(why), "{response}");
    }
    let mut old = review("CREATE", &config_map(GOOD), &Value::Null);
    old["apiVersion"] = json!("admission.k8s.io/v1beta1");
    for body in ["", "{", "[]", "null", "{\"request\": 1}", &old.to_string(), &"[".repeat(100_000)] {
        assert!(Review::read(body.as_bytes()).is_err(), "{body:.60}");
    }
}

#[test]
fn texts_beyond_all_measure_are_judged_in_part_or_not_at_all() {
    let (result, response) = answered(&review("CREATE", &config_map(&"a\n---\n".repeat(2_001)), &Value::Null));
    assert_eq!(result, AdmissionResult::Warned);
    assert!(response["warnings"][0].as_str().unwrap().contains("more than 2000 documents"), "{response}");
    let comment = format!("# {}\n", "x".repeat(130 * 1024));
    let (result, response) = answered(&review("CREATE", &config_map(&format!("{comment}{GOOD}")), &Value::Null));
    assert_eq!(result, AdmissionResult::Warned);
    assert!(response["warnings"][0].as_str().unwrap().contains("only errors were looked for"), "{response}");
    let one_line = format!("{{apiVersion: a, kind: {}}}", "x".repeat(500_000));
    let (result, response) = answered(&review("CREATE", &config_map(&one_line), &Value::Null));
    assert_eq!(result, AdmissionResult::Refused);
    assert!(response.to_string().len() < 32 * 1024, "the answer stays small");
}

#[test]
fn only_the_ca_bundle_of_our_entry_is_written() {
    let entries = |bundle: Value| {
        json!([
            {"name": "other.example", "clientConfig": {"caBundle": "b3RoZXI="}, "futureField": null},
            {"name": "documents.heddle.io", "clientConfig": {"service": {"name": "heddle-ca"}, "caBundle": bundle}},
        ])
    };
    let changed = with_bundle(&entries(json!("b2xk")), "bmV3").unwrap();
    assert_eq!(changed, Some(entries(json!("bmV3"))));
    assert_eq!(with_bundle(&entries(json!("bmV3")), "bmV3").unwrap(), None);
    for none in [Value::Null, json!([]), json!([{"name": "other.example", "clientConfig": {}}])] {
        assert!(with_bundle(&none, "bmV3").unwrap_err().contains("no entry documents.heddle.io"), "{none}");
    }
}
