//! Lists by the right and the wrong signers, and a file that changes in every way.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::{fs, os::unix::fs::symlink, path::Path, sync::Arc, time::Duration};

use proptest::prelude::*;
use tempfile::TempDir;
use tokio::time::{sleep, timeout};

use super::{CrlError, CrlFile, Revocations, list::Lists};
use crate::{
    identify::{
        Certificates, Clock, Identity, TlsSettings, TrustDomains, issue,
        tests::authority::{Authority, id, named_authority},
    },
    observe::Observer,
};

const WEB: &str = "spiffe://mesh.example/ns/shop/sa/web";
/// Many times what anything here takes, for a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(30);

#[tokio::test]
async fn a_certificate_is_revoked_by_its_own_issuer_and_by_nobody_of_the_same_name() {
    let (ca, namesake) = (Authority::new(), Authority::new());
    let (one, other) = (identity(&ca).await, identity(&ca).await);
    let lists = parse(&ca.revoke(&[&one]));
    let revoked = lists.revoked(one.chain()).unwrap();
    assert_eq!(revoked.serial, one.serial());
    assert!(revoked.to_string().contains(&revoked.issuer.to_string()), "{revoked}");
    assert_eq!(lists.revoked(other.chain()), None);

    let forged = parse(&namesake.revoke(&[&one]));
    assert_eq!(forged.revoked(one.chain()), None);
    let signers = one.chain().signers();
    assert_eq!((lists.unverified(&signers).len(), forged.unverified(&signers).len()), (0, 1));
    // Beside each other, the true one counts, wherever it stands.
    for both in [[ca.revoke(&[&one]), namesake.revoke(&[])], [namesake.revoke(&[]), ca.revoke(&[&one])]] {
        assert!(parse(&both.concat()).revoked(one.chain()).is_some());
    }
}

#[tokio::test]
async fn a_revoked_intermediate_takes_all_below_it_along() {
    let ca = Authority::new();
    let (broken, sound) = (ca.below(named_authority("broken")), ca.below(named_authority("sound")));
    let (below_broken, below_sound) = (identity(&broken).await, identity(&sound).await);
    let lists = parse(&ca.list(&[&broken.serial()], time::Duration::HOUR));
    assert!(lists.revoked(below_broken.chain()).is_some());
    assert_eq!(lists.revoked(below_sound.chain()), None);
    let by_intermediate = parse(&sound.revoke(&[&below_sound]));
    assert!(by_intermediate.revoked(below_sound.chain()).is_some());
}

#[tokio::test]
async fn a_late_list_still_revokes() {
    let ca = Authority::new();
    let one = identity(&ca).await;
    let lists = parse(&ca.list(&[&one.chain().links()[0].serial], -time::Duration::MINUTE));
    assert!(lists.revoked(one.chain()).is_some());
    assert!(lists.next_update().unwrap() < std::time::SystemTime::now());
}

#[test]
fn all_problems_of_a_file_are_named() {
    let ca = Authority::new();
    let (good, other) = (ca.list(&[b"\x01\x02"], time::Duration::HOUR), ca.list(&[], time::Duration::HOUR));
    // The outermost tag is none of a list any more.
    let broken = other.replace("\nMI", "\nNI");
    assert_ne!(broken, other);
    let only_text = "-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n";
    for (text, named) in [
        (String::new(), &["no list in it"][..]),
        ("hello\n".to_owned(), &["no list in it"]),
        (good.replace("X509 CRL", "CERTIFICATE"), &["no list in it"]),
        ([&good, &broken, only_text].concat(), &["list 2: cannot be used", "list 3: cannot be used"]),
        (good.replace("-----END X509 CRL-----", ""), &["list 1: "]),
    ] {
        let problems = Lists::parse(text.as_bytes()).unwrap_err();
        assert_eq!(problems.len(), named.len(), "{problems:?}");
        assert!(problems.iter().zip(named).all(|(problem, named)| problem.starts_with(named)), "{problems:?}");
    }
    let lists = parse(&[good, other].concat());
    assert_eq!((lists.len(), lists.entries()), (2, 1));
}

proptest! {
    #[test]
    fn no_bytes_make_a_list_panic(at in any::<prop::sample::Index>(), byte: u8, junk in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut pem = Authority::new().list(&[b"\x01\x02"], time::Duration::HOUR).into_bytes();
        let at = at.index(pem.len());
        pem[at] = byte;
        // Most are refused; what is not must be as harmless as any list of an unknown signer.
        let _ = Lists::parse(&pem);
        prop_assert!(Lists::parse(&junk).is_err());
    }
}

#[test]
fn a_start_without_a_usable_file_is_refused_with_the_remedy() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("ca.crl");
    let error = CrlFile::open(&path).err().unwrap();
    assert!(matches!(error, CrlError::Read { .. }), "{error}");
    assert!(error.to_string().contains("take tls.crl out of agent.yaml"), "{error}");
    fs::write(&path, "no list").unwrap();
    let error = CrlFile::open(&path).err().unwrap().to_string();
    assert!(error.contains(path.to_str().unwrap()) && error.contains("BEGIN X509 CRL"), "{error}");
    fs::write(&path, vec![b'\n'; 17 << 20]).unwrap();
    assert!(matches!(CrlFile::open(&path).err().unwrap(), CrlError::Size { .. }));
}

#[tokio::test]
async fn a_file_is_followed_through_replacement_and_swap_and_the_last_good_lists_stay() {
    let bed = Bed::new().await;
    let (ca, one) = (&bed.ca, &bed.one);
    let mut revocations = bed.revocations.clone();
    assert!(revocations.revoked(one.chain()).is_none());

    // As an editor and kubectl do: a new file under the old name.
    bed.replace(&ca.revoke(&[one]));
    changed(&mut revocations).await;
    assert!(revocations.revoked(one.chain()).is_some());
    assert_eq!(revocations.status().entries, 1);

    // A broken file, and none at all, change nothing but the status.
    for broken in [Some("-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n"), None] {
        match broken {
            Some(text) => bed.replace(text),
            None => fs::remove_file(&bed.path).unwrap(),
        }
        let failed = bed.failed_loads();
        eventually(|| bed.failed_loads() > failed).await;
        assert!(revocations.status().last_error.is_some());
        assert!(revocations.revoked(one.chain()).is_some(), "{broken:?}");
    }

    // As a mounted ConfigMap does: a symbolic link to a symbolic link that is swapped.
    let volume = bed.directory.path().join("volume");
    for (version, text) in [("1", ca.revoke(&[])), ("2", ca.revoke(&[one]))] {
        fs::create_dir_all(volume.join(version)).unwrap();
        fs::write(volume.join(version).join("ca.crl"), text).unwrap();
    }
    symlink("1", volume.join("..data")).unwrap();
    symlink("volume/..data/ca.crl", &bed.path).unwrap();
    changed(&mut revocations).await;
    assert!(revocations.revoked(one.chain()).is_none());
    assert_eq!(revocations.status().last_error, None);
    symlink("2", volume.join("new")).unwrap();
    fs::rename(volume.join("new"), volume.join("..data")).unwrap();
    changed(&mut revocations).await;
    assert!(revocations.revoked(one.chain()).is_some());
}

#[tokio::test]
async fn a_forged_list_does_not_set_free_whom_the_real_one_names() {
    let bed = Bed::new().await;
    let (ca, one, mut revocations) = (&bed.ca, &bed.one, bed.revocations.clone());
    bed.certificates.hold(&id(WEB));
    bed.certificates.wait_for(&id(WEB)).await.unwrap();
    bed.replace(&ca.revoke(&[one]));
    changed(&mut revocations).await;
    bed.replace(&Authority::new().revoke(&[]));
    changed(&mut revocations).await;
    assert!(revocations.revoked(one.chain()).is_some());
    eventually(|| revocations.status().unverified.len() == 1).await;
    // A newer one by the true issuer takes its place.
    bed.replace(&ca.revoke(&[]));
    changed(&mut revocations).await;
    assert!(revocations.revoked(one.chain()).is_none());
    eventually(|| revocations.status().unverified.is_empty()).await;
}

#[tokio::test]
async fn a_certificate_of_our_own_that_is_revoked_is_replaced() {
    let bed = Bed::new().await;
    bed.certificates.hold(&id(WEB));
    let first = bed.certificates.wait_for(&id(WEB)).await.unwrap();
    bed.replace(&bed.ca.revoke(&[&first]));
    eventually(|| bed.certificates.get(&id(WEB)).is_some_and(|now| now.serial() != first.serial())).await;
    let second = bed.certificates.get(&id(WEB)).unwrap();
    assert!(bed.revocations.revoked(second.chain()).is_none());
    // It is no reason to ask again.
    sleep(Duration::from_secs(1)).await;
    assert_eq!(bed.certificates.get(&id(WEB)).unwrap().serial(), second.serial());
}

#[tokio::test]
async fn without_a_file_nobody_is_revoked_and_nothing_ever_changes() {
    let one = identity(&Authority::new()).await;
    let mut none = Revocations::none();
    assert_eq!(none.revoked(one.chain()), None);
    assert!(timeout(Duration::from_millis(50), none.changed()).await.is_err());
    assert_eq!(none.status().path, None);
}

fn parse(pem: &str) -> Lists {
    Lists::parse(pem.as_bytes()).unwrap()
}

fn settings() -> TlsSettings {
    TlsSettings::new(TrustDomains::new("mesh.example".parse().unwrap(), []), Clock::system())
}

async fn identity(ca: &Authority) -> Identity {
    issue(ca, &id(WEB), &settings()).await.unwrap()
}

async fn changed(revocations: &mut Revocations) {
    timeout(PATIENCE, revocations.changed()).await.unwrap();
}

async fn eventually(condition: impl Fn() -> bool) {
    let wait = async {
        while !condition() {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, wait).await.unwrap();
}

/// A file that is followed, an authority, and a store of certificates that it signs.
struct Bed {
    ca: Authority,
    one: Identity,
    directory: TempDir,
    path: std::path::PathBuf,
    revocations: Revocations,
    certificates: Certificates,
    observer: Observer,
}

impl Bed {
    /// With an empty list.
    async fn new() -> Self {
        let (ca, directory) = (Authority::new(), TempDir::new().unwrap());
        let path = directory.path().join("ca.crl");
        fs::write(&path, ca.revoke(&[])).unwrap();
        let (revocations, file) = CrlFile::open(&path).unwrap();
        let settings = settings().with_revocations(revocations.clone());
        let (certificates, renewal) = Certificates::new(Arc::new(ca.again(&[])), settings);
        let observer = Observer::new("test".into(), None).unwrap();
        tokio::spawn(renewal.run());
        tokio::spawn(file.follow(certificates.clone(), observer.clone()));
        let one = identity(&ca).await;
        Self { ca, one, directory, path, revocations, certificates, observer }
    }

    fn replace(&self, pem: &str) {
        write_aside(&self.path, pem);
    }

    fn failed_loads(&self) -> u64 {
        let text = self.observer.scrape().unwrap().collect::<String>();
        let name = r#"heddle_crl_loads_total{result="failed"} "#;
        text.lines().find_map(|line| line.strip_prefix(name)).unwrap().parse().unwrap()
    }
}

fn write_aside(path: &Path, text: &str) {
    let aside = path.with_extension("new");
    fs::write(&aside, text).unwrap();
    fs::rename(aside, path).unwrap();
}
