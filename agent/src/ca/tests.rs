//! What the embedded authority signs and refuses, and the directory that agents share.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::Path,
    sync::Barrier,
    thread,
    time::{Duration, SystemTime},
};

use rcgen::{CertificateParams, DistinguishedName, ExtendedKeyUsagePurpose, IsCa, KeyPair, PublicKeyData, SanType};
use rustls::pki_types::CertificateSigningRequestDer;
use x509_parser::prelude::{FromDer, GeneralName, ParsedExtension, X509Certificate};

use super::{CaError, LocalCa, LocalCaSettings};
use crate::{
    identify::{Clock, IssueError, Issuer},
    mesh::SpiffeId,
};

const NAME: &str = "spiffe://mesh.example/ns/shop/sa/web";

#[tokio::test]
async fn a_leaf_is_what_x509_svid_asks_for() {
    let ca = LocalCa::in_memory(settings("mesh.example")).unwrap();
    let key = KeyPair::generate().unwrap();
    let signed = ca.sign(&id(), &request(&key, |_| {})).await.unwrap();
    assert_eq!(signed.roots, [ca.root_certificate().clone()]);
    assert_eq!(signed.chain.len(), 1);
    let (_, leaf) = X509Certificate::from_der(&signed.chain[0]).unwrap();
    let (_, root) = X509Certificate::from_der(ca.root_certificate()).unwrap();

    leaf.verify_signature(Some(root.public_key())).unwrap();
    assert_eq!(leaf.public_key().raw, key.subject_public_key_info());
    assert_eq!(leaf.subject().iter().count(), 0);
    let names = leaf.subject_alternative_name().unwrap().unwrap();
    assert!(names.critical);
    assert_eq!(names.value.general_names, [GeneralName::URI(NAME)]);
    assert!(!leaf.is_ca());
    let purposes = leaf.extended_key_usage().unwrap().unwrap().value;
    assert!(purposes.client_auth && purposes.server_auth && !purposes.any);
    let usage = leaf.key_usage().unwrap().unwrap().value;
    assert!(usage.digital_signature() && !usage.key_cert_sign());

    let key_id = |certificate: &X509Certificate<'_>| {
        certificate.extensions().iter().find_map(|e| match e.parsed_extension() {
            ParsedExtension::SubjectKeyIdentifier(identifier) => Some(identifier.0.to_vec()),
            _ => None,
        })
    };
    let issuer_id = leaf.extensions().iter().find_map(|e| match e.parsed_extension() {
        ParsedExtension::AuthorityKeyIdentifier(aki) => aki.key_identifier.as_ref().map(|k| k.0.to_vec()),
        _ => None,
    });
    assert_eq!(key_id(&leaf).unwrap().len(), 20);
    assert_ne!(key_id(&leaf), key_id(&root));
    assert_eq!(issuer_id, key_id(&root));
}

#[tokio::test]
async fn a_leaf_lives_a_day_and_a_minute_and_serials_differ() {
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    tokio::time::pause();
    let clock = Clock::steered(now);
    let ca = LocalCa::in_memory(LocalCaSettings { clock, ..settings("mesh.example") }).unwrap();
    let mut serials = vec![];
    let key = KeyPair::generate().unwrap();
    for _ in 0..2 {
        let signed = ca.sign(&id(), &request(&key, |_| {})).await.unwrap();
        let (_, leaf) = X509Certificate::from_der(&signed.chain[0]).unwrap();
        assert_eq!(leaf.validity().not_before.timestamp(), 1_800_000_000 - 60);
        assert_eq!(leaf.validity().not_after.timestamp(), 1_800_000_000 + 86_400);
        assert_eq!(leaf.raw_serial().len(), 16);
        serials.push(leaf.raw_serial().to_vec());
    }
    assert_ne!(serials[0], serials[1]);
}

#[tokio::test]
async fn a_leaf_does_not_outlive_the_root() {
    let leaf_lifetime = Duration::from_secs(20 * 365 * 86_400);
    let ca = LocalCa::in_memory(LocalCaSettings { leaf_lifetime, ..settings("mesh.example") }).unwrap();
    let signed = ca.sign(&id(), &request(&KeyPair::generate().unwrap(), |_| {})).await.unwrap();
    let (_, leaf) = X509Certificate::from_der(&signed.chain[0]).unwrap();
    let end = SystemTime::UNIX_EPOCH + Duration::from_secs(leaf.validity().not_after.timestamp().try_into().unwrap());
    assert_eq!(end, ca.root_not_after());
    let years = ca.root_not_after().duration_since(SystemTime::now()).unwrap().as_secs() / (365 * 86_400);
    assert_eq!(years, 10);
}

#[tokio::test]
async fn what_a_request_asks_for_beyond_its_name_is_ignored() {
    let ca = LocalCa::in_memory(settings("mesh.example")).unwrap();
    let greedy = |params: &mut CertificateParams| {
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning];
        params.distinguished_name.push(rcgen::DnType::CommonName, "admin");
    };
    let signed = ca.sign(&id(), &request(&KeyPair::generate().unwrap(), greedy)).await.unwrap();
    let (_, leaf) = X509Certificate::from_der(&signed.chain[0]).unwrap();
    assert!(!leaf.is_ca());
    assert_eq!(leaf.subject().iter().count(), 0);
    assert!(!leaf.extended_key_usage().unwrap().unwrap().value.code_signing);
    assert!(!leaf.key_usage().unwrap().unwrap().value.key_cert_sign());
}

#[tokio::test]
async fn requests_for_anyone_else_are_refused() {
    let ca = LocalCa::in_memory(settings("mesh.example")).unwrap();
    let p256 = || KeyPair::generate().unwrap();
    let named = |names: &'static [&'static str]| {
        move |params: &mut CertificateParams| {
            params.subject_alt_names = names.iter().map(|name| SanType::URI((*name).try_into().unwrap())).collect();
        }
    };
    let mut tampered = request(&p256(), |_| {}).to_vec();
    let last = tampered.len() - 1;
    tampered[last] ^= 1;
    let p384 = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    for (what, request, problem) in [
        ("other name", request(&p256(), named(&["spiffe://mesh.example/ns/shop/sa/db"])), "sa/db"),
        ("two names", request(&p256(), named(&[NAME, NAME])), "2 names"),
        ("no name", request(&p256(), named(&[])), "0 names"),
        ("tampered", tampered.into(), "signature"),
        ("other curve", request(&p384, |_| {}), "P-256"),
        ("not a request", vec![0x30, 0x00].into(), "parse"),
    ] {
        let error = ca.sign(&id(), &request).await.err().unwrap();
        assert!(matches!(&error, IssueError::Refused { problem: p, .. } if p.contains(problem)), "{what}: {error}");
    }
    let foreign: SpiffeId = "spiffe://evil.example/ns/shop/sa/web".parse().unwrap();
    let error = ca.sign(&foreign, &request(&p256(), named(&["spiffe://evil.example/ns/shop/sa/web"]))).await;
    assert!(matches!(error.err().unwrap(), IssueError::TrustDomain { .. }));
}

#[test]
fn agents_that_start_at_once_agree_on_one_root() {
    for _ in 0..5 {
        let base = tempfile::tempdir().unwrap();
        let directory = base.path().join("deep/ca");
        let barrier = Barrier::new(8);
        let roots: Vec<_> = thread::scope(|scope| {
            let open = || {
                barrier.wait();
                open(&directory).unwrap().root_certificate().clone()
            };
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(open)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(roots.iter().all(|root| *root == roots[0]));
        let mut left: Vec<_> = fs::read_dir(&directory).unwrap().map(|e| e.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, [".lock", "root-cert.pem", "root-key.pem"]);
    }
}

#[test]
fn files_are_for_their_owner_and_the_root_is_found_again() {
    let base = tempfile::tempdir().unwrap();
    let directory = base.path().join("ca");
    let made = open(&directory).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(&directory), 0o700);
    assert_eq!(mode(&directory.join("root-key.pem")), 0o600);
    let found = open(&directory).unwrap();
    assert_eq!(found.root_certificate(), made.root_certificate());
    assert_eq!(found.root_not_after(), made.root_not_after());
}

#[test]
fn an_interrupted_write_aside_does_no_harm() {
    let base = tempfile::tempdir().unwrap();
    fs::set_permissions(base.path(), Permissions::from_mode(0o700)).unwrap();
    fs::write(base.path().join("root-key.pem.new"), "-----BEGIN PRIV").unwrap();
    open(base.path()).unwrap();
    assert!(!base.path().join("root-key.pem.new").exists());
}

#[test]
fn an_exposed_key_or_directory_is_refused_with_the_remedy() {
    for mode in [0o640, 0o604, 0o620] {
        let base = tempfile::tempdir().unwrap();
        let directory = base.path().join("ca");
        open(&directory).unwrap();
        let key = directory.join("root-key.pem");
        fs::set_permissions(&key, Permissions::from_mode(mode)).unwrap();
        let error = open(&directory).err().unwrap();
        assert!(matches!(&error, CaError::KeyExposed { mode: m, .. } if *m == mode), "{error}");
        assert!(error.to_string().contains(&format!("chmod 0600 {}", key.display())), "{error}");
        fs::set_permissions(&key, Permissions::from_mode(0o600)).unwrap();
        open(&directory).unwrap();
    }
    let base = tempfile::tempdir().unwrap();
    fs::set_permissions(base.path(), Permissions::from_mode(0o777)).unwrap();
    let error = open(base.path()).err().unwrap();
    assert!(matches!(error, CaError::DirectoryWritable { mode: 0o777, .. }), "{error}");
    assert!(fs::read_dir(base.path()).unwrap().next().is_none());
}

#[test]
fn a_half_written_directory_is_explained() {
    for (removed, left) in [("root-key.pem", "root-cert.pem"), ("root-cert.pem", "root-key.pem")] {
        let base = tempfile::tempdir().unwrap();
        let directory = base.path().join("ca");
        open(&directory).unwrap();
        fs::remove_file(directory.join(removed)).unwrap();
        let error = open(&directory).err().unwrap();
        assert!(
            matches!(&error, CaError::HalfWritten { present, absent, .. } if *present == left && *absent == removed),
            "{error}"
        );
        assert!(directory.join(left).exists());
    }
}

#[test]
fn files_that_do_not_fit_are_refused() {
    let base = tempfile::tempdir().unwrap();
    let (one, other) = (base.path().join("one"), base.path().join("other"));
    open(&one).unwrap();
    open(&other).unwrap();

    let error = LocalCa::open(&one, settings("evil.example")).err().unwrap();
    assert!(matches!(&error, CaError::TrustDomain { found, .. } if found == "spiffe://mesh.example"), "{error}");

    let late = Clock::steered(SystemTime::now() + Duration::from_secs(11 * 365 * 86_400));
    let error = LocalCa::open(&one, LocalCaSettings { clock: late, ..settings("mesh.example") }).err().unwrap();
    assert!(matches!(error, CaError::NotValidNow { .. }), "{error}");

    let problem = |expected: &str| {
        let error = open(&one).err().unwrap();
        assert!(matches!(&error, CaError::Content { problem, .. } if problem.contains(expected)), "{error}");
    };
    fs::copy(other.join("root-cert.pem"), one.join("root-cert.pem")).unwrap();
    problem("not the certificate of the key");
    fs::write(one.join("root-cert.pem"), "").unwrap();
    problem("not a PEM certificate");
    fs::copy(other.join("root-cert.pem"), one.join("root-cert.pem")).unwrap();
    fs::write(one.join("root-key.pem"), "nonsense").unwrap();
    problem("not a PKCS#8 private key");
}

#[test]
fn a_root_that_may_not_sign_is_refused() {
    let base = tempfile::tempdir().unwrap();
    let directory = base.path().join("ca");
    open(&directory).unwrap();
    let key = KeyPair::from_pem(&fs::read_to_string(directory.join("root-key.pem")).unwrap()).unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::ExplicitNoCa;
    params.not_before = (SystemTime::now() - Duration::from_secs(60)).into();
    fs::write(directory.join("root-cert.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
    let error = open(&directory).err().unwrap();
    assert!(matches!(&error, CaError::Content { problem, .. } if problem.contains("may not sign")), "{error}");
}

fn open(directory: &Path) -> Result<LocalCa, CaError> {
    LocalCa::open(directory, settings("mesh.example"))
}

fn settings(domain: &str) -> LocalCaSettings {
    LocalCaSettings::new(domain.parse().unwrap())
}

fn id() -> SpiffeId {
    NAME.parse().unwrap()
}

/// A request for [`NAME`], changed by `spoil`.
fn request(key: &KeyPair, spoil: impl Fn(&mut CertificateParams)) -> CertificateSigningRequestDer<'static> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.subject_alt_names = vec![SanType::URI(NAME.try_into().unwrap())];
    spoil(&mut params);
    params.serialize_request(key).unwrap().into()
}
