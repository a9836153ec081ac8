//! What the client reads and takes apart. Calls over real sockets, with every fault, are in the tests crate.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::time::{Duration, SystemTime};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, KeyPair};
use rustls::pki_types::CertificateDer;

use super::{answer::split, error::RemoteError, files};

type Signer = CertifiedIssuer<'static, KeyPair>;

fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
}

fn root(name: &str) -> Signer {
    CertifiedIssuer::self_signed(named(name), KeyPair::generate().unwrap()).unwrap()
}

fn below(issuer: &Signer, name: &str) -> Signer {
    CertifiedIssuer::signed_by(named(name), KeyPair::generate().unwrap(), issuer).unwrap()
}

fn leaf(issuer: &Signer) -> rcgen::Certificate {
    let mut params = named("");
    params.distinguished_name = DistinguishedName::new();
    params.is_ca = IsCa::ExplicitNoCa;
    params.signed_by(&KeyPair::generate().unwrap(), issuer).unwrap()
}

fn now() -> SystemTime {
    SystemTime::now()
}

/// The chain and the roots, as places in `all`.
fn places(entries: &[String], all: &[&CertificateDer<'static>]) -> (Vec<usize>, Vec<usize>) {
    let signed = split(entries, now()).unwrap();
    let place = |wanted: &CertificateDer<'static>| all.iter().position(|one| *one == wanted).unwrap();
    (signed.chain.iter().map(place).collect(), signed.roots.iter().map(place).collect())
}

#[test]
fn the_chain_ends_where_the_roots_begin() {
    let (root_a, root_b) = (root("a"), root("b"));
    let (middle, lower);
    middle = below(&root_a, "middle");
    lower = below(&middle, "lower");
    let cross = CertifiedIssuer::signed_by(named("b"), KeyPair::generate().unwrap(), &root_a).unwrap();
    let (by_root, by_lower) = (leaf(&root_a), leaf(&lower));
    let (leaf_1, leaf_2) = (by_root.der().clone(), by_lower.der().clone());
    let all = [&leaf_1, &leaf_2, lower.der(), middle.der(), root_a.der(), root_b.der(), cross.der()];
    let pem = |of: &[&dyn Fn() -> String]| of.iter().map(|one| one()).collect::<Vec<_>>();
    let (one, two) = (|| by_root.pem(), || by_lower.pem());
    let (l, m, a, b, c) = (|| lower.pem(), || middle.pem(), || root_a.pem(), || root_b.pem(), || cross.pem());

    assert_eq!(places(&pem(&[&one, &a]), &all), (vec![0], vec![4]), "a leaf and its root");
    assert_eq!(places(&pem(&[&two, &l, &m, &a]), &all), (vec![1, 2, 3], vec![4]), "with intermediates");
    assert_eq!(places(&pem(&[&two, &l, &m, &a, &b]), &all), (vec![1, 2, 3], vec![4, 5]), "with two roots");
    assert_eq!(places(&pem(&[&two, &l, &m, &b, &a]), &all), (vec![1, 2, 3], vec![5, 4]), "in either order");
    assert_eq!(places(&[two() + &l() + &m(), a() + &b()], &all), (vec![1, 2, 3], vec![4, 5]), "several in one entry");
    assert_eq!(places(&pem(&[&two, &l, &m]), &all), (vec![1, 2], vec![3]), "the last is the root, whoever signed it");
    assert_eq!(places(&pem(&[&one, &c]), &all), (vec![0], vec![6]), "what does not belong to the chain is a root");
    assert_eq!(places(&pem(&[&one, &c, &a]), &all), (vec![0], vec![4]), "no intermediate is trusted beside a root");
}

#[test]
fn answers_that_nothing_can_be_verified_with_are_refused_with_the_reason() {
    let (good, other) = (root("a"), root("b"));
    let leaf = leaf(&good).pem();
    let mut no_ca = named("c");
    no_ca.is_ca = IsCa::ExplicitNoCa;
    let no_ca = no_ca.self_signed(&KeyPair::generate().unwrap()).unwrap().pem();
    let mut past = named("d");
    past.not_after = (now() - Duration::from_secs(3600)).into();
    past.not_before = (now() - Duration::from_secs(7200)).into();
    let past = past.self_signed(&KeyPair::generate().unwrap()).unwrap().pem();
    let garbage = "-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n".to_owned();
    let no_certificate = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_owned();
    let cases: [(&str, Vec<String>, &str); 8] = [
        ("nothing", vec![], "no certificate"),
        ("no root", vec![leaf.clone()], "no root"),
        ("not PEM", vec![leaf.clone(), "hello".to_owned()], "entry 2 has no certificate"),
        ("broken PEM", vec![leaf.clone(), garbage], "entry 2 is not PEM"),
        ("not a certificate", vec![leaf.clone(), no_certificate], "certificate 2 is not an X.509 certificate"),
        ("a root that may not sign", vec![leaf.clone(), no_ca], "may not sign"),
        ("a root of the past", vec![leaf.clone(), past.clone()], "has passed"),
        ("endless", vec![good.pem().repeat(101)], "more than 100"),
    ];
    for (what, entries, expected) in cases {
        let problem = split(&entries, now()).unwrap_err();
        assert!(problem.contains(expected), "{what}: {problem}");
    }
    let signed = split(&[leaf, past, other.pem(), good.pem()], now()).unwrap();
    assert_eq!(signed.roots, [other.der().clone(), good.der().clone()], "a root of the past is left out");
}

#[tokio::test]
async fn a_token_is_read_with_what_is_wrong_with_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("token");
    let problem = async || files::token(&path).await.err().unwrap().to_string();
    let missing = problem().await;
    assert!(
        missing.starts_with(&format!("ca.remote.token: {} cannot be read: No such file", path.display())),
        "{missing}"
    );
    assert!(missing.ends_with("mount the agent's projected service account token there"), "{missing}");
    for bad in ["", " \n", "two words", "bell\x07"] {
        std::fs::write(&path, bad).unwrap();
        assert!(problem().await.contains("no token of printable characters"), "{bad:?}");
    }
    std::fs::write(&path, vec![b'a'; (1 << 20) + 1]).unwrap();
    assert!(problem().await.contains("longer than"));
    std::fs::write(&path, "opaque\n").unwrap();
    let token = files::token(&path).await.unwrap();
    assert_eq!(token.text, "opaque");
    assert!(token.describe(now()).contains("check its audience"));
}

#[tokio::test]
async fn the_end_of_a_token_is_told_when_it_is_not_accepted() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("token");
    // {"exp":1800000000}
    std::fs::write(&path, "e30.eyJleHAiOjE4MDAwMDAwMDB9.c2ln").unwrap();
    let token = files::token(&path).await.unwrap();
    let end = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    let status = tonic::Status::unauthenticated("no\nway");
    let told = |now| RemoteError::of_status("https://ca:1".to_owned(), &status, &token, now).to_string();
    let late = told(end + Duration::from_secs(90));
    assert!(late.contains("does not accept the token of this agent: no way; "), "{late}");
    assert!(late.contains("ended at 2027-01-15T08:00:00Z, 1m 30s ago"), "{late}");
    assert!(told(end - Duration::from_secs(90)).contains("is good until 2027-01-15T08:00:00Z"));
    assert!(!late.contains("eyJ"), "the token itself is never told");
}

#[tokio::test]
async fn roots_are_read_with_what_is_wrong_with_them_and_compared() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("roots.pem");
    let problem = async || files::roots(&path).await.err().unwrap().to_string();
    assert!(problem().await.contains("ca.remote.roots") && problem().await.contains("cannot be read"));
    for (bad, expected) in [
        ("", "has no certificate in it"),
        ("-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n", "is not PEM"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "is no root"),
    ] {
        std::fs::write(&path, bad).unwrap();
        let told = problem().await;
        assert!(told.contains(expected) && told.contains(&path.display().to_string()), "{bad:?}: {told}");
    }
    let (one, two) = (root("a").pem(), root("b").pem());
    std::fs::write(&path, &one).unwrap();
    let before = files::roots(&path).await.unwrap();
    assert!(before == files::roots(&path).await.unwrap());
    std::fs::write(&path, one + &two).unwrap();
    let after = files::roots(&path).await.unwrap();
    assert!(before != after);
    assert_eq!((before.store.len(), after.store.len()), (1, 2));
}
