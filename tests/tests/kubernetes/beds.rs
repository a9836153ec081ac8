//! A bed whose objects are in the server: what its agents find there, and what their nodes and pods look like.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use heddle_tests::bed::{Bed, CgroupDriver};
use serde_json::{Value, json};

use super::raw::Raw;

fn server_of(kubeconfig: &Path) -> Result<SocketAddr> {
    let config: Value = serde_saphyr::from_str(&fs::read_to_string(kubeconfig)?)?;
    let server = config["clusters"][0]["cluster"]["server"].as_str().context("no server")?;
    Ok(server.strip_prefix("https://").context("no https")?.parse()?)
}

#[test]
fn every_node_reaches_the_server_on_its_own_loopback_and_nobody_else_does() -> Result<()> {
    let bed = Bed::with_api_server("api-loopback")?;
    let (a, b) = (bed.node("a")?, bed.node("b")?);
    let api = bed.api_server()?;
    for node in [&a, &b] {
        let address = server_of(&node.kubeconfig())?;
        assert!(address.ip().is_loopback());
        let (status, body) = node.netns().run(|| {
            let mut raw = Raw::connect(address, api.ca_pem(), api.token())?;
            raw.send("GET", &format!("/api/v1/nodes/{}", node.name()), "", "")?;
            let (status, _, body) = raw.answer()?;
            Ok((status, body))
        })?;
        assert_eq!(status, 200, "{body}");
        let outside = TcpStream::connect_timeout(&address, Duration::from_secs(2));
        assert!(outside.is_err(), "the host's loopback is another one");
    }
    api.go_down();
    let address = server_of(&a.kubeconfig())?;
    let connect = || a.netns().run(|| Ok(TcpStream::connect_timeout(&address, Duration::from_secs(2))?));
    assert!(connect().is_err());
    api.come_back()?;
    connect()?;
    bed.close()
}

#[test]
fn objects_are_in_the_server_and_follow_the_pods() -> Result<()> {
    let bed = Bed::with_api_server("api-objects")?;
    let node = bed.node("a")?;
    let pod = node.pod("web").namespace("shop").service_account("seller").start()?;
    let service = bed.service_in("shop", "web", &[(80, 8080)])?;
    service.backends(&[&pod])?;
    let api = bed.api_server()?;
    let stored = api.get("Pod", "shop", "web").context("no pod")?;
    assert_eq!((&stored["metadata"]["uid"], &stored["spec"]["nodeName"]), (&json!(pod.uid()), &json!("node-a")));
    assert_eq!(stored["metadata"]["annotations"], json!({}), "no annotation names the namespace");
    assert_eq!(
        api.get("Namespace", "", "shop").context("no namespace")?["metadata"]["labels"]["heddle.io/mesh"],
        "enabled"
    );
    assert!(api.get("ServiceAccount", "shop", "seller").is_some());
    assert_eq!(api.get("Node", "", "node-a").context("no node")?["spec"]["podCIDR"], "10.244.1.0/24");
    assert_eq!(api.list("EndpointSlice", "shop")?.len(), 2);
    pod.set_mesh(Some(false))?;
    let labels = api.get("Pod", "shop", "web").context("no pod")?["metadata"]["labels"].clone();
    assert_eq!(labels["heddle.io/mesh"], "disabled");
    bed.objects().put(&json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "mesh", "namespace": "heddle-system"},
    }))?;
    assert!(api.get("Namespace", "", "heddle-system").is_some(), "made on the way");
    assert_eq!(fs::read_dir(bed.objects().directory())?.count(), 0);
    assert!(bed.objects().put_text("x.yaml", "").is_err());
    service.remove()?;
    pod.delete()?;
    assert_eq!((api.get("Pod", "shop", "web"), api.list("EndpointSlice", "")?.len()), (None, 0));
    assert!(!pod.netns().path().exists() && !pod.cgroup().path().exists());
    assert!(Bed::new("files")?.api_server().is_err());
    Ok(())
}

#[test]
fn a_pod_is_found_by_its_uid_in_the_cgroup_tree_as_kubelet_makes_it() -> Result<()> {
    let bed = Bed::with_api_server("api-cgroups")?;
    let node = bed.node("a")?;
    let plain = node.pod("plain").start()?;
    let systemd = node.pod("systemd").cgroup_driver(CgroupDriver::Systemd).start()?;
    let slice = format!("kubepods-burstable-pod{}.slice", systemd.uid().replace('-', "_"));
    let cases = [
        (&plain, format!("kubepods/burstable/pod{}", plain.uid())),
        (&systemd, format!("kubepods.slice/kubepods-burstable.slice/{slice}")),
    ];
    for (pod, expected) in cases {
        assert_eq!(pod.cgroup().path(), node.cgroup().path().join(expected));
        let pause = pod.pause_pid().context("no pause process")?;
        let server = pod.serve("--listen 8080")?;
        for pid in [pause, server.pid()] {
            assert!(cgroup_of(pid)?.starts_with(pod.cgroup().path()), "{}", pod.name());
            assert_eq!(fs::metadata(format!("/proc/{pid}/ns/net"))?.ino(), fs::metadata(pod.netns().path())?.ino());
        }
        assert_ne!(cgroup_of(pause)?, cgroup_of(server.pid())?, "the sandbox and the container are two");
        assert!(cgroup_of(pause)?.parent() == Some(pod.cgroup().path()));
    }
    let pause = plain.pause_pid().context("no pause process")?;
    plain.delete()?;
    assert!(!Path::new(&format!("/proc/{pause}")).exists());
    bed.close()
}

#[test]
fn nothing_is_left_of_a_bed_with_a_server() -> Result<()> {
    let bed = Bed::with_api_server("api-clean")?;
    let (id, cgroup) = (bed.id().to_owned(), bed.cgroup().path().to_owned());
    let node = bed.node("a")?;
    let pod = node.pod("web").start()?;
    let pause = pod.pause_pid().context("no pause process")?;
    let objects = bed.objects().clone();
    let netns = fs::File::open(node.netns().path())?;
    let address = server_of(&node.kubeconfig())?;
    // The handles live on: the bed must not wait for them to be dropped.
    bed.close()?;
    assert!(!cgroup.exists() && !Path::new(&format!("/proc/{pause}")).exists());
    let names = fs::read_dir("/run/netns")?.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    assert_eq!(names.filter(|name| name.starts_with(&format!("{id}-"))).count(), 0);
    let refused = std::thread::scope(|scope| {
        let connect = || -> Result<_> {
            let kind = rustix::thread::LinkNameSpaceType::Network;
            rustix::thread::move_into_link_name_space(std::os::fd::AsFd::as_fd(&netns), Some(kind))?;
            Ok(TcpStream::connect_timeout(&address, Duration::from_secs(2)).is_err())
        };
        scope.spawn(connect).join()
    });
    assert!(refused.unwrap()?, "no socket of the server lives on in the node's namespace");
    drop((pod, node, objects));
    Ok(())
}

/// Where a process is in the cgroup tree.
fn cgroup_of(pid: u32) -> Result<std::path::PathBuf> {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
    let path = text.lines().find_map(|line| line.strip_prefix("0::")).context("no cgroup v2")?;
    let root = heddle_tests::bed::machine()?.cgroup2;
    Ok(root.join(path.trim_start_matches('/')))
}
