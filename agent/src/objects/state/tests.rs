//! Tests of the state on disk.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::{os::unix::fs::MetadataExt, time::Duration};

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::{config::yaml::split, objects::objects_of};

const OBJECTS: &str = r#"
{apiVersion: v1, kind: Namespace, metadata: {name: shop, labels: {a: b}}}
---
{apiVersion: v1, kind: Node, metadata: {name: a}, status: {addresses: [{type: InternalIP, address: "fd00::9"}]}}
---
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: shop, uid: u, creationTimestamp: 2025-01-31T12:00:00.5Z, annotations: {x: y},
  ownerReferences: [{kind: ReplicaSet, name: web-1}]}
spec: {nodeName: a, serviceAccountName: web}
status: {phase: Pending, podIPs: [{ip: 10.0.0.1}]}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {type: NodePort, clusterIP: 10.96.0.1, selector: {a: b}, ports: [{port: 80, targetPort: x}, {name: u, port: 53, targetPort: 5, protocol: UDP}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web, namespace: shop}
addressType: IPv6
ports: [{port: null}]
endpoints: [{addresses: ["fd00::1"], zone: z, targetRef: {kind: Pod, name: web}}]
---
{apiVersion: v1, kind: ServiceAccount, metadata: {name: web, namespace: shop}}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: mesh, namespace: shop, labels: {heddle.io/config: "true"}}
data: {routes.yaml: "kind: x\n"}
"#;

fn objects() -> ObjectSet {
    let mut set = ObjectSet::default();
    for document in split(OBJECTS) {
        let node = document.parse("f", OBJECTS).unwrap();
        objects_of("f", OBJECTS, &node).into_iter().for_each(|object| drop(set.insert(object)));
    }
    assert!(set.counts().iter().all(|(_, count)| *count == 1), "one of each kind");
    set
}

fn encoded() -> Vec<u8> {
    encode(&Kept { saved: SystemTime::UNIX_EPOCH + Duration::from_secs(7), objects: objects() }).unwrap()
}

#[test]
fn every_kind_comes_back_as_it_was() {
    let directory = TempDir::new().unwrap();
    let state = StateDirectory::new(directory.path().join("a/b"));
    assert_eq!(state.read().unwrap(), None);
    state.write(ObjectSet::default()).unwrap();
    state.write(objects()).unwrap();
    let kept = state.read().unwrap().unwrap();
    assert_eq!(kept.objects, objects());
    assert!(kept.saved.elapsed().unwrap() < Duration::from_secs(60));
}

#[test]
fn only_its_owner_can_read_it_and_nothing_is_left_beside_it() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("state");
    let state = StateDirectory::new(path.clone());
    // What an interrupted write, or somebody else, left there.
    fs::create_dir(&path).unwrap();
    fs::write(path.join(ASIDE), "junk").unwrap();
    fs::set_permissions(path.join(ASIDE), fs::Permissions::from_mode(0o666)).unwrap();
    state.write(objects()).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
    assert_eq!((mode(&path), mode(&path.join(FILE))), (0o700, 0o600));
    assert_eq!(fs::read_dir(&path).unwrap().count(), 1);
}

#[test]
fn what_is_no_state_is_named() {
    let good = encoded();
    let header_end = good.iter().position(|byte| *byte == b'\n').unwrap();
    let with_header = |header: &str| [header.as_bytes(), &good[header_end..]].concat();
    let header = std::str::from_utf8(&good[..header_end]).unwrap();
    let damaged = {
        let mut bytes = good.clone();
        *bytes.last_mut().unwrap() = b' ';
        bytes
    };
    let cases: [(&str, Vec<u8>, &str); 9] = [
        ("nothing", Vec::new(), "does not begin with a header"),
        ("no line", vec![b'x'; 5_000], "does not begin with a header"),
        ("other file", b"PK\x03\x04\n".to_vec(), "does not begin with a header"),
        ("no text", b"\xff\xfe\n".to_vec(), "does not begin with a header"),
        ("newer", with_header(&header.replacen(" 2 ", " 3 ", 1)), "is of format 3, this agent reads format 2"),
        ("more words", with_header(&format!("{header} x")), "does not begin with a header"),
        ("cut", good[..good.len() - 1].to_vec(), "cut short"),
        ("appended", [good.as_slice(), b"x"].concat(), "added to"),
        ("damaged", damaged, "it is damaged"),
    ];
    for (what, bytes, part) in cases {
        let error = decode(&bytes).unwrap_err().to_string();
        assert!(error.contains(part), "{what}: {error}");
    }
}

#[test]
fn a_body_of_another_shape_is_an_error_although_its_checksum_is_right() {
    for body in
        ["{}", "[]", "{\"saved\":1,\"objects\":[{\"Secret\":{}}]}", "{\"saved\":18446744073709551615,\"objects\":[]}"]
    {
        let sum: String = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, body.as_bytes())
            .as_ref()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let bytes = format!("heddle-state 2 {} {sum}\n{body}", body.len());
        assert!(matches!(decode(bytes.as_bytes()), Err(FormatError::Body(_))), "{body}");
    }
}

#[test]
fn an_unwritable_place_is_named_with_its_remedy() {
    let error = StateDirectory::new("/proc/heddle".into()).write(objects()).unwrap_err().to_string();
    assert!(error.starts_with("cannot write the state /proc/heddle/objects: "), "{error}");
    assert!(error.ends_with("or set state.path"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn one_flipped_bit_anywhere_is_noticed(place in 0.0..1.0f64, bit in 0..8u32) {
        let good = encoded();
        let mut bytes = good.clone();
        let index = (place * bytes.len() as f64) as usize;
        bytes[index] ^= 1 << bit;
        prop_assert!(decode(&good).is_ok());
        prop_assert!(decode(&bytes).is_err(), "bit {} of byte {}", bit, index);
    }

    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode(&bytes);
        let _ = decode(&[b"heddle-state 2 ".as_slice(), &bytes].concat());
    }
}
