//! Creating, replacing, patching and deleting, as clients do it.

use anyhow::Result;
use heddle_tests::kubernetes::Resource;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::{Api, DeleteParams, ObjectMeta, Patch, PatchParams, PostParams, Preconditions};
use serde_json::{Value, json};

use super::setting::{Setting, pod};

fn config_map(name: &str, value: &str) -> ConfigMap {
    let metadata = ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() };
    ConfigMap { metadata, data: Some([("key".to_owned(), value.to_owned())].into()), ..ConfigMap::default() }
}

async fn config_maps(setting: &Setting) -> Result<Api<ConfigMap>> {
    Ok(Api::namespaced(setting.client().await?, "default"))
}

/// The code and the reason of a refusal.
fn refused<T: std::fmt::Debug>(result: kube::Result<T>) -> (u16, String) {
    match result.unwrap_err() {
        kube::Error::Api(status) => (status.code, status.reason.clone()),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn the_server_gives_a_new_object_its_uid_its_time_and_its_version() -> Result<()> {
    let setting = Setting::new()?;
    let maps = config_maps(&setting).await?;
    let mut given = config_map("a", "1");
    given.metadata.uid = Some("mine".to_owned());
    let created = maps.create(&PostParams::default(), &given).await?;
    assert_ne!(created.metadata.uid.as_deref(), Some("mine"));
    assert_eq!(created.metadata.uid.unwrap().len(), 36);
    assert!(created.metadata.creation_timestamp.is_some());
    assert_eq!(created.metadata.resource_version, Some(setting.server.resource_version().to_string()));
    assert_eq!(created.metadata.namespace.as_deref(), Some("default"));
    let again = maps.create(&PostParams::default(), &config_map("a", "1")).await;
    assert_eq!(refused(again), (409, "AlreadyExists".to_owned()));
    let mut generated = config_map("", "1");
    generated.metadata = ObjectMeta { generate_name: Some("map-".to_owned()), ..ObjectMeta::default() };
    let name = maps.create(&PostParams::default(), &generated).await?.metadata.name.unwrap();
    assert!(name.starts_with("map-") && name.len() == 9, "{name}");
    Ok(())
}

#[test]
fn what_cannot_be_created_is_refused() -> Result<()> {
    let setting = Setting::new()?;
    let maps = "/api/v1/namespaces/default/configmaps";
    let cases = [
        (maps, json!({"metadata": {}}), 422),
        (maps, json!({"metadata": {"name": "a", "resourceVersion": "5"}}), 400),
        (maps, json!({"metadata": {"name": "a", "namespace": "other"}}), 400),
        (maps, json!({"kind": "Secret", "apiVersion": "v1", "metadata": {"name": "a"}}), 400),
        (maps, json!([]), 400),
        ("/api/v1/namespaces/none/configmaps", json!({"metadata": {"name": "a"}}), 404),
        ("/api/v1/namespaces/default/configmaps/a", json!({"metadata": {"name": "a"}}), 405),
        ("/api/v1/namespaces/default/configmaps?dryRun=All", json!({"metadata": {"name": "a"}}), 400),
    ];
    for (path, body, expected) in cases {
        let (status, answer) = setting.ask("POST", path, "application/json", &body.to_string())?;
        assert_eq!((status, &answer["kind"]), (expected, &json!("Status")), "{path} {body}: {answer}");
    }
    assert_eq!(setting.ask("POST", maps, "text/plain", "{}")?.0, 415);
    assert_eq!(setting.ask("POST", maps, "application/json", "{")?.0, 400);
    assert_eq!(setting.server.list("ConfigMap", "")?, Vec::<Value>::new());
    Ok(())
}

#[tokio::test]
async fn a_stale_replacement_is_a_conflict_and_changes_nothing() -> Result<()> {
    let setting = Setting::new()?;
    let maps = config_maps(&setting).await?;
    let first = maps.create(&PostParams::default(), &config_map("a", "1")).await?;
    let mut changed = first.clone();
    changed.data = config_map("a", "2").data;
    let second = maps.replace("a", &PostParams::default(), &changed).await?;
    assert_eq!(second.metadata.uid, first.metadata.uid);
    assert_eq!(refused(maps.replace("a", &PostParams::default(), &first).await), (409, "Conflict".to_owned()));
    assert_eq!(maps.get("a").await?.data.unwrap()["key"], "2");
    let unconditional = maps.replace("a", &PostParams::default(), &config_map("a", "3")).await?;
    assert_eq!(unconditional.data.unwrap()["key"], "3");
    let version = setting.server.resource_version();
    maps.replace("a", &PostParams::default(), &config_map("a", "3")).await?;
    assert_eq!(setting.server.resource_version(), version, "the same again is no change");
    let missing = maps.replace("b", &PostParams::default(), &config_map("b", "1")).await;
    assert_eq!(refused(missing), (404, "NotFound".to_owned()));
    let mut other = config_map("a", "4");
    other.metadata.uid = Some("another".to_owned());
    assert_eq!(refused(maps.replace("a", &PostParams::default(), &other).await).0, 409);
    Ok(())
}

#[tokio::test]
async fn the_status_is_written_on_its_own() -> Result<()> {
    let setting = Setting::new()?;
    let pods = setting.pods().await?;
    let given: Pod = serde_json::from_value(pod("a", "one"))?;
    let created = pods.create(&PostParams::default(), &given).await?;
    let phase = |pod: &Pod| pod.status.as_ref().and_then(|status| status.phase.clone()).unwrap_or_default();
    assert_eq!(phase(&created), "Pending", "a new pod's status is the server's");
    let mut running = created.clone();
    running.status = given.status.clone();
    running.spec.as_mut().unwrap().node_name = Some("two".to_owned());
    let node = |pod: &Pod| pod.spec.as_ref().and_then(|spec| spec.node_name.clone()).unwrap_or_default();
    let replaced = pods.replace_status("a", &PostParams::default(), &running).await?;
    assert_eq!((phase(&replaced), node(&replaced)), ("Running".to_owned(), "one".to_owned()));
    let patch = Patch::Merge(json!({"status": {"phase": "Failed"}, "spec": {"nodeName": "three"}}));
    let patched = pods.patch_status("a", &PatchParams::default(), &patch).await?;
    assert_eq!((phase(&patched), node(&patched)), ("Failed".to_owned(), "one".to_owned()));
    let patched = pods.patch("a", &PatchParams::default(), &patch).await?;
    assert_eq!((phase(&patched), node(&patched)), ("Failed".to_owned(), "three".to_owned()));
    let (status, _) = setting.get("/api/v1/namespaces/default/configmaps/a/status")?;
    assert_eq!(status, 404, "not every kind has one");
    Ok(())
}

#[tokio::test]
async fn patches_merge_and_may_carry_a_version() -> Result<()> {
    let setting = Setting::new()?;
    let maps = config_maps(&setting).await?;
    let created = maps.create(&PostParams::default(), &config_map("a", "1")).await?;
    let patch = Patch::Merge(json!({"data": {"key": null, "more": "2"}}));
    let data = maps.patch("a", &PatchParams::default(), &patch).await?.data.unwrap();
    assert_eq!(data, [("more".to_owned(), "2".to_owned())].into());
    let stale = json!({"metadata": {"resourceVersion": created.metadata.resource_version}, "data": {"more": "3"}});
    assert_eq!(refused(maps.patch("a", &PatchParams::default(), &Patch::Merge(stale)).await).0, 409);
    let strategic = maps.patch("a", &PatchParams::default(), &Patch::Strategic(json!({}))).await;
    assert_eq!(refused(strategic), (415, "UnsupportedMediaType".to_owned()));
    Ok(())
}

#[tokio::test]
async fn to_apply_creates_or_merges() -> Result<()> {
    let setting = Setting::new()?;
    let maps = config_maps(&setting).await?;
    let object = |key: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {key: "1"}});
    let params = PatchParams::apply("test");
    maps.patch("a", &params, &Patch::Apply(object("x"))).await?;
    let applied = maps.patch("a", &params, &Patch::Apply(object("y"))).await?;
    assert_eq!(applied.data.unwrap().len(), 2);
    let yaml = "apiVersion: v1\nkind: ConfigMap\ndata: {z: '1'}\n";
    let path = "/api/v1/namespaces/default/configmaps/b";
    assert_eq!(setting.ask("PATCH", path, "application/apply-patch+yaml", yaml)?.0, 400, "whose fields are they?");
    let path = format!("{path}?fieldManager=me");
    assert_eq!(setting.ask("PATCH", &path, "application/apply-patch+yaml", yaml)?.0, 201);
    assert_eq!(setting.ask("PATCH", &path, "application/apply-patch+yaml", yaml)?.0, 200);
    Ok(())
}

#[tokio::test]
async fn deletion_honours_preconditions_and_finalizers() -> Result<()> {
    let setting = Setting::new()?;
    let maps = config_maps(&setting).await?;
    maps.create(&PostParams::default(), &config_map("a", "1")).await?;
    let preconditions = Preconditions { uid: Some("another".to_owned()), resource_version: None };
    let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
    assert_eq!(refused(maps.delete("a", &params).await).0, 409);
    assert!(maps.delete("a", &DeleteParams::default()).await?.is_right(), "a Status says that it is done");
    assert_eq!(refused(maps.delete("a", &DeleteParams::default()).await).0, 404);

    let mut held = config_map("b", "1");
    held.metadata.finalizers = Some(vec!["heddle.io/test".to_owned()]);
    maps.create(&PostParams::default(), &held).await?;
    let marked = maps.delete("b", &DeleteParams::default()).await?.left().unwrap();
    assert!(marked.metadata.deletion_timestamp.is_some());
    assert!(maps.get_opt("b").await?.is_some());
    let release = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    maps.patch("b", &PatchParams::default(), &release).await?;
    assert_eq!(maps.get_opt("b").await?, None);
    Ok(())
}

#[tokio::test]
async fn collections_and_namespaces_are_deleted_with_what_is_in_them() -> Result<()> {
    let setting = Setting::new()?;
    let maps = config_maps(&setting).await?;
    for name in ["a", "b", "c"] {
        maps.create(&PostParams::default(), &config_map(name, "1")).await?;
    }
    let (status, _) =
        setting.ask("DELETE", "/api/v1/namespaces/default/configmaps?fieldSelector=metadata.name!%3Dc", "", "")?;
    assert_eq!((status, setting.server.list("ConfigMap", "")?.len()), (200, 1));
    setting.server.put(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}))?;
    let mut inside = pod("a", "one");
    inside["metadata"]["namespace"] = json!("shop");
    setting.server.put(&inside)?;
    assert_eq!(setting.ask("DELETE", "/api/v1/namespaces/shop", "", "")?.0, 200);
    assert_eq!((setting.server.get("Pod", "shop", "a"), setting.server.get("Namespace", "", "shop")), (None, None));
    assert_eq!(setting.server.list("ConfigMap", "")?.len(), 1, "other namespaces stay");
    Ok(())
}

#[test]
fn other_kinds_are_served_once_they_are_registered() -> Result<()> {
    let setting = Setting::new()?;
    let object = json!({
        "apiVersion": "heddle.io/v1", "kind": "Loom", "metadata": {"name": "a", "namespace": "default"}, "spec": {"n": 1},
    });
    assert!(setting.server.put(&object).is_err());
    setting.server.register(Resource::new("heddle.io/v1", "looms", "Loom"));
    setting.server.put(&object)?;
    let (status, found) = setting.get("/apis/heddle.io/v1/namespaces/default/looms/a")?;
    assert_eq!((status, &found["spec"]["n"]), (200, &json!(1)));
    Ok(())
}

#[test]
fn the_events_that_a_client_writes_are_seen_by_the_test() -> Result<()> {
    let setting = Setting::new()?;
    for (path, name) in [("/api/v1", "core"), ("/apis/events.k8s.io/v1", "new")] {
        let body = json!({"metadata": {"name": name}, "reason": "Rejected"}).to_string();
        assert_eq!(
            setting.ask("POST", &format!("{path}/namespaces/default/events"), "application/json", &body)?.0,
            201
        );
    }
    let seen: Vec<_> = setting.server.events().iter().map(|event| event["metadata"]["name"].clone()).collect();
    assert_eq!(seen, ["core", "new"]);
    Ok(())
}
