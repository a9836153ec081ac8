//! Reading: one object, lists, pages, selectors, versions, metadata only, discovery.

use anyhow::Result;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams};
use kube::discovery::Discovery;
use serde_json::json;

use super::setting::{Setting, names};

#[tokio::test]
async fn an_object_is_read_with_all_that_the_server_gave_it() -> Result<()> {
    let setting = Setting::new()?;
    let put = setting.put_pod("a", "one")?;
    let pod = setting.pods().await?.get("a").await?;
    assert_eq!(pod.metadata.uid.as_deref(), put["metadata"]["uid"].as_str());
    assert_eq!(pod.metadata.resource_version.unwrap().parse::<u64>()?, setting.server.resource_version());
    assert!(pod.metadata.creation_timestamp.is_some());
    assert_eq!(pod.spec.unwrap().node_name.as_deref(), Some("one"));
    let missing = setting.pods().await?.get("b").await.unwrap_err();
    let kube::Error::Api(status) = missing else { panic!("{missing:?}") };
    assert_eq!((status.code, status.reason.as_str(), status.details.unwrap().kind.as_str()), (404, "NotFound", "pods"));
    Ok(())
}

#[tokio::test]
async fn a_list_is_of_one_namespace_or_of_all_and_has_the_version_of_now() -> Result<()> {
    let setting = Setting::new()?;
    setting.server.put(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}))?;
    setting.put_pod("a", "one")?;
    let mut other = super::setting::pod("b", "one");
    other["metadata"]["namespace"] = json!("shop");
    setting.server.put(&other)?;
    let client = setting.client().await?;
    let all = Api::<Pod>::all(client.clone()).list(&ListParams::default()).await?;
    assert_eq!(all.items.len(), 2);
    assert_eq!(all.metadata.resource_version, Some(setting.server.resource_version().to_string()));
    let some = Api::<Pod>::namespaced(client, "shop").list(&ListParams::default()).await?;
    assert_eq!(some.items.len(), 1);
    let (_, list) = setting.get("/api/v1/pods")?;
    assert_eq!((list["kind"].as_str(), list["items"][0].get("kind")), (Some("PodList"), None), "items have no kind");
    Ok(())
}

#[tokio::test]
async fn selectors_choose() -> Result<()> {
    let setting = Setting::new()?;
    for (name, node) in [("a", "one"), ("b", "one"), ("c", "two")] {
        setting.put_pod(name, node)?;
    }
    let cases = [
        ("", "spec.nodeName=one", vec!["a", "b"]),
        ("", "spec.nodeName!=one", vec!["c"]),
        ("", "metadata.name==b,metadata.namespace=default", vec!["b"]),
        ("", "status.phase=Pending", vec![]),
        ("app in (a,c)", "", vec!["a", "c"]),
        ("app notin (a,c)", "", vec!["b"]),
        ("app!=a,app", "spec.nodeName=one", vec!["b"]),
        ("!app", "", vec![]),
    ];
    for (labels, fields, expected) in cases {
        let found = setting.pods().await?.list(&ListParams::default().labels(labels).fields(fields)).await?;
        let found: Vec<_> = found.items.iter().filter_map(|pod| pod.metadata.name.as_deref()).collect();
        assert_eq!(found, expected, "{labels} {fields}");
    }
    let (status, body) = setting.get("/api/v1/pods?fieldSelector=spec.color%3Dred")?;
    assert_eq!((status, body["reason"].as_str()), (400, Some("BadRequest")));
    Ok(())
}

#[tokio::test]
async fn pages_are_of_one_snapshot_until_it_is_compacted() -> Result<()> {
    let setting = Setting::new()?;
    for name in ["a", "b", "c", "d", "e"] {
        setting.put_pod(name, "one")?;
    }
    let (pods, page) = (setting.pods().await?, ListParams::default().limit(2));
    let first = pods.list(&page).await?;
    assert_eq!((first.items.len(), first.metadata.remaining_item_count), (2, Some(3)));
    setting.server.delete("Pod", "default", "c")?;
    setting.put_pod("bb", "one")?;
    let token = first.metadata.continue_.clone().unwrap();
    let second = pods.list(&page.clone().continue_token(&token)).await?;
    let found: Vec<_> = second.items.iter().filter_map(|pod| pod.metadata.name.as_deref()).collect();
    assert_eq!(found, ["c", "d"], "as it was");
    assert_eq!(second.metadata.resource_version, first.metadata.resource_version);
    let last = pods.list(&page.clone().continue_token(&second.metadata.continue_.unwrap())).await?;
    assert_eq!((last.items.len(), last.metadata.continue_.as_deref().unwrap_or_default()), (1, ""));

    setting.server.compact();
    let path = format!("/api/v1/namespaces/default/pods?limit=2&continue={token}");
    let (status, body) = setting.get(&path)?;
    assert_eq!((status, body["reason"].as_str()), (410, Some("Expired")));
    let fresh = body["metadata"]["continue"].as_str().unwrap();
    let (status, page) = setting.get(&format!("/api/v1/namespaces/default/pods?limit=2&continue={fresh}"))?;
    assert_eq!((status, names(&page)), (200, vec!["bb", "d"]), "the rest of now");
    Ok(())
}

#[test]
fn a_version_means_what_its_match_says() -> Result<()> {
    let setting = Setting::new()?;
    setting.put_pod("a", "one")?;
    let then = setting.server.resource_version();
    setting.put_pod("b", "one")?;
    let now = setting.server.resource_version();
    let list = |query: String| setting.get(&format!("/api/v1/pods?{query}"));
    let expect = |query: String, expected: &[&str], version: u64| -> Result<()> {
        let (status, body) = list(query.clone())?;
        assert_eq!((status, names(&body)), (200, expected.to_vec()), "{query}");
        assert_eq!(body["metadata"]["resourceVersion"], version.to_string(), "{query}");
        Ok(())
    };
    expect("resourceVersion=0".to_owned(), &["a", "b"], now)?;
    expect("resourceVersion=0&resourceVersionMatch=NotOlderThan".to_owned(), &["a", "b"], now)?;
    expect(format!("resourceVersion={then}"), &["a", "b"], now)?;
    expect(format!("resourceVersion={then}&resourceVersionMatch=NotOlderThan"), &["a", "b"], now)?;
    expect(format!("resourceVersion={then}&resourceVersionMatch=Exact"), &["a"], then)?;
    expect(format!("resourceVersion={then}&limit=5"), &["a"], then)?;

    let (status, body) = list(format!("resourceVersion={}", now + 1))?;
    let cause = body["details"]["causes"][0]["reason"].as_str();
    assert_eq!((status, body["reason"].as_str(), cause), (504, Some("Timeout"), Some("ResourceVersionTooLarge")));
    for query in [
        "resourceVersionMatch=Exact",
        "resourceVersion=0&resourceVersionMatch=Exact",
        "resourceVersion=5&resourceVersionMatch=Best",
        "sendInitialEvents=true",
    ] {
        assert_eq!(list(query.to_owned())?.0, 422, "{query}");
    }
    assert_eq!(list("resourceVersion=x".to_owned())?.0, 400);
    setting.server.compact_to(now);
    let (status, body) = list(format!("resourceVersion={then}&resourceVersionMatch=Exact"))?;
    assert_eq!((status, body["reason"].as_str()), (410, Some("Expired")));
    Ok(())
}

#[tokio::test]
async fn metadata_can_be_had_without_the_rest() -> Result<()> {
    let setting = Setting::new()?;
    setting.put_pod("a", "one")?;
    let list = setting.pods().await?.list_metadata(&ListParams::default()).await?;
    assert_eq!(list.items[0].metadata.name.as_deref(), Some("a"));
    let mut raw = setting.raw()?;
    let accept = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
    raw.send_accepting("GET", "/api/v1/namespaces/default/pods/a", "", "", accept)?;
    let (status, _, body) = raw.answer()?;
    assert_eq!((status, body.contains("PartialObjectMetadata"), body.contains("nodeName")), (200, true, false));
    raw.send_accepting("GET", "/api/v1/pods", "", "", "application/vnd.kubernetes.protobuf")?;
    assert_eq!(raw.answer()?.0, 406);
    Ok(())
}

#[tokio::test]
async fn a_client_discovers_what_is_served() -> Result<()> {
    let setting = Setting::new()?;
    let client = setting.client().await?;
    let discovery = Discovery::new(client.clone()).run().await?;
    let (slices, capabilities) = discovery.get("discovery.k8s.io").unwrap().recommended_kind("EndpointSlice").unwrap();
    assert_eq!(slices.plural, "endpointslices");
    assert!(capabilities.supports_operation("watch"));
    assert!(discovery.get("").unwrap().recommended_kind("Pod").is_some());
    assert_eq!(client.apiserver_version().await?.major, "1");
    let (_, resources) = setting.get("/api/v1")?;
    let all = resources["resources"].as_array().unwrap();
    assert!(all.iter().any(|resource| resource["name"] == "pods/status"), "{resources}");
    for path in ["/api/v2", "/apis/none.example", "/apis/batch/v1", "/openapi/v2", "/apis/apps/v1/deployments"] {
        assert_eq!(setting.get(path)?.0, 404, "{path}");
    }
    Ok(())
}
