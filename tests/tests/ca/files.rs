//! Keys out of a directory: intermediates, several roots, and new versions that come while it runs.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, KeyPair, KeyUsagePurpose,
};
use rustls::pki_types::{CertificateDer, pem::PemObject};
use serde_json::{Value, json};

use super::client::{Ask, Client, Signed};
use super::setting::{SOON, Setting, id, wait};

type Signer = CertifiedIssuer<'static, KeyPair>;

fn web() -> Ask {
    Ask::new("secret-node-a", &id("shop", "web"))
}

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.use_authority_key_identifier_extension = true;
    params
}

fn root(name: &str) -> Signer {
    CertifiedIssuer::self_signed(params(name), KeyPair::generate().unwrap()).unwrap()
}

fn below(issuer: &Signer, name: &str) -> Signer {
    CertifiedIssuer::signed_by(params(name), KeyPair::generate().unwrap(), issuer).unwrap()
}

/// Istio's four files.
fn files(signer: &Signer, chain: &[&Signer], roots: &[&Signer]) -> Vec<(&'static str, String)> {
    let pem = |all: &[&Signer]| all.iter().map(|one| one.pem()).collect::<String>();
    vec![
        ("ca-cert.pem", signer.pem()),
        ("ca-key.pem", signer.key().serialize_pem()),
        ("cert-chain.pem", pem(chain)),
        ("root-cert.pem", pem(roots)),
    ]
}

/// Writes a version of a volume as the kubelet does: a directory of its own, and one rename of the link to it.
fn mount(volume: &Path, version: &str, files: &[(&str, String)]) -> Result<()> {
    let directory = volume.join(format!("..{version}"));
    fs::create_dir_all(&directory)?;
    for (name, content) in files {
        fs::write(directory.join(name), content)?;
        let link = volume.join(name);
        if link.symlink_metadata().is_err() {
            symlink(Path::new("..data").join(name), link)?;
        }
    }
    let aside = volume.join("..data_tmp");
    symlink(format!("..{version}"), &aside)?;
    fs::rename(aside, volume.join("..data"))?;
    Ok(())
}

fn of_files(path: &Path) -> Value {
    json!({"root": {"files": {"path": path}}})
}

fn ders(signers: &[&Signer]) -> Vec<CertificateDer<'static>> {
    signers.iter().map(|signer| CertificateDer::from_pem_slice(signer.pem().as_bytes()).unwrap()).collect()
}

async fn signed(setting: &Setting, authority: &super::setting::Authority, roots_pem: &str) -> Result<Signed> {
    let client = Client::connect(authority.address, roots_pem).await?;
    client
        .ask(&web())
        .await?
        .map_err(|refused| anyhow::anyhow!("{}: {}", refused.code, refused.message))
        .with_context(|| format!("the API server was asked {}", setting.server.journal().describe()))
}

#[tokio::test]
async fn a_key_two_below_the_root_signs_and_its_chain_leads_there() -> Result<()> {
    let setting = Setting::new()?;
    let volume = setting.path().join("keys");
    let root = root("root");
    let middle = below(&root, "middle");
    let signer = below(&middle, "signer");
    // As Istio's own tools write it: the signer's certificate and the root are in the chain, too.
    mount(&volume, "1", &files(&signer, &[&signer, &middle, &root], &[&root]))?;
    let authority = setting.authority(&of_files(&volume))?;
    // Its own certificate comes with the way up: who trusts the root alone connects.
    let answer = signed(&setting, &authority, &root.pem()).await?;
    assert_eq!(answer.chain.len(), 3, "leaf, signer, middle");
    assert_eq!(answer.chain[1..], ders(&[&signer, &middle]));
    assert_eq!(answer.roots, ders(&[&root]));
    assert!(answer.verifies_with(&ders(&[&root])));
    assert!(!Signed { chain: answer.chain[..1].to_vec(), ..answer.clone() }.verifies_with(&ders(&[&root])));
    assert_eq!(setting.roots()?, {
        let published: Vec<_> =
            CertificateDer::pem_slice_iter(setting.roots()?.as_bytes()).collect::<Result<_, _>>()?;
        assert_eq!(published, ders(&[&root]));
        setting.roots()?
    });
    Ok(())
}

#[tokio::test]
async fn a_new_version_is_followed_and_a_bad_one_refused_while_the_old_stays() -> Result<()> {
    let setting = Setting::new()?;
    let volume = setting.path().join("keys");
    let (old, new) = (root("old"), root("new"));
    mount(&volume, "1", &files(&old, &[], &[&old]))?;
    let authority = setting.authority(&of_files(&volume))?;
    let kept = Client::connect(authority.address, &old.pem()).await?;
    assert_eq!(kept.ask(&web()).await?.unwrap().chain.len(), 1, "a root signs by itself");

    // A key that is not the certificate's.
    let mut bad = files(&old, &[], &[&old]);
    bad[1].1 = new.key().serialize_pem();
    mount(&volume, "2", &bad)?;
    wait("the bad version is seen", || {
        ensure!(authority.metric("heddle_ca_root_problem")? == 1.0, "it is not");
        Ok(())
    })?;
    assert!(kept.ask(&web()).await?.unwrap().verifies_with(&ders(&[&old])));
    let told = authority.process.stderr().join("\n");
    assert!(told.contains("it is not the certificate of the key") && !told.contains("PRIVATE KEY"), "{told}");

    // The overlap, as an operator does it: the next root is trusted, then it signs, then the old one goes.
    mount(&volume, "3", &files(&old, &[], &[&old, &new]))?;
    let both = ders(&[&old, &new]);
    wait("both roots are trusted", || {
        ensure!(authority.metric("heddle_ca_roots_trusted")? == 2.0, "they are not");
        Ok(())
    })?;
    let answer = kept.ask(&web()).await?.unwrap();
    assert_eq!(answer.roots, both);
    assert!(answer.verifies_with(&both[..1]));
    mount(&volume, "4", &files(&new, &[], &[&old, &new]))?;
    let deadline = std::time::Instant::now() + SOON;
    let answer = loop {
        let answer = kept.ask(&web()).await?.unwrap();
        if answer.verifies_with(&both[1..]) {
            break answer;
        }
        ensure!(std::time::Instant::now() < deadline, "the new root does not sign");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    };
    assert_eq!(answer.roots, ders(&[&new, &old]), "the root that signs comes first");
    // Its own certificate went over to the new root, and the old connection was kept through all of it.
    while Client::connect(authority.address, &new.pem()).await.is_err() {
        ensure!(std::time::Instant::now() < deadline, "the endpoint does not prove itself by the new root");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert!(kept.ask(&web()).await?.is_ok());
    Ok(())
}

#[tokio::test]
async fn keys_that_peers_would_refuse_are_not_used() -> Result<()> {
    let setting = Setting::new()?;
    let (root, other) = (root("root"), root("other"));
    let middle = below(&root, "middle");
    let signer = below(&middle, "signer");
    let cases = [
        // The way from signer to root has a gap.
        (files(&signer, &[], &[&root]), "peers would refuse what it signs"),
        (files(&signer, &[&middle], &[&other]), "peers would refuse what it signs"),
        (vec![("ca-cert.pem", root.pem())], "it has no ca-key.pem"),
        (files(&root, &[], &[]), "it holds no PEM certificate"),
        (Vec::new(), "it holds no keys"),
    ];
    for (number, (files, expected)) in cases.into_iter().enumerate() {
        let volume = setting.path().join(format!("keys-{number}"));
        mount(&volume, "1", &files)?;
        let authority = setting.start(&of_files(&volume))?;
        wait("the problem is told", || {
            let text = authority.health("/healthz/ready")?.text();
            ensure!(text.contains("root known:") && text.contains(expected), "case {number}: {text}");
            Ok(())
        })?;
        assert!(setting.server.get("ConfigMap", "heddle-system", "heddle-roots").is_none());
    }
    Ok(())
}

#[tokio::test]
async fn a_directory_is_given_a_root_once_when_that_is_asked_for() -> Result<()> {
    let setting = Setting::new()?;
    let directory = setting.path().join("generated");
    let config = json!({"root": {"files": {"path": directory, "generate": true}}});
    let authority = setting.authority(&config)?;
    let first = setting.ask(&authority, &web()).await?.unwrap();
    authority.end()?;
    let again = setting.authority(&config)?;
    assert_eq!(setting.ask(&again, &web()).await?.unwrap().roots, first.roots);
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(directory.join("root-key.pem"))?.permissions());
    assert_eq!(mode & 0o777, 0o600);
    Ok(())
}
