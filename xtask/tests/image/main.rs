//! `cargo xtask image`, with the agent that the tests use: what is in the image, that it runs, that it is the same when it is made
//! again, and that containerd, skopeo and CycloneDX's own validator take it.
//!
//! Needs root, for chroot and containerd, and the packages of `cargo xtask setup --with-test-tools`.

#![expect(clippy::unwrap_used, reason = "tests")]

mod bill;
mod containerd;
mod made;

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use anyhow::{Context as _, Result};
use serde_json::Value;

use self::made::{Made, run};

#[test]
fn the_same_inputs_give_the_same_bytes_whoever_makes_it_from_whichever_files() -> Result<()> {
    let made = Made::once()?;
    let (again, later) = (tempfile::tempdir()?, tempfile::tempdir()?);
    // Another path, owner, time and rights of the program, another umask and working directory.
    let program = again.path().join("other");
    fs::copy(&made.program, &program)?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o700))?;
    std::os::unix::fs::chown(&program, Some(65534), Some(65534))?;
    run("touch", &["--date=2001-01-01", program.to_str().unwrap()])?;
    let script = "umask 077 && cd / && exec \"$@\"";
    let arguments = made.arguments(&program, again.path());
    run("sh", &[&["-c", script, "sh"], &arguments.iter().map(String::as_str).collect::<Vec<_>>()[..]].concat())?;
    for kind in ["tar", "cdx.json"] {
        let [one, other] =
            [made.folder.as_path(), again.path()].map(|folder| fs::read(made::file(folder, kind)).unwrap());
        assert!(one == other, "{kind}: {} and {} bytes", one.len(), other.len());
    }
    let mut arguments = made.arguments(&made.program, later.path());
    arguments.splice(..1, ["SOURCE_DATE_EPOCH=1000000000".to_owned(), made::XTASK.to_owned()]);
    run("env", &arguments.iter().map(String::as_str).collect::<Vec<_>>())?;
    let [one, other] = [made.folder.as_path(), later.path()].map(|folder| fs::read(made::file(folder, "tar")).unwrap());
    assert!(one != other, "the control: the time that it was made at is in it");
    Ok(())
}

#[test]
fn the_program_its_libraries_and_little_else_are_in_it() -> Result<()> {
    let made = Made::once()?;
    let root = made.unpack()?;
    let mut programs = Vec::new();
    let mut waiting = vec![root.path().to_owned()];
    while let Some(folder) = waiting.pop() {
        for entry in fs::read_dir(folder)? {
            let (path, metadata) = entry.and_then(|entry| Ok((entry.path(), entry.metadata()?)))?;
            if metadata.is_dir() {
                waiting.push(path);
            } else if metadata.permissions().mode() & 0o111 != 0 {
                programs.push(path.strip_prefix(root.path())?.to_owned());
            }
        }
    }
    let (heddle, others): (Vec<_>, Vec<_>) = programs.into_iter().partition(|path| path == Path::new("usr/bin/heddle"));
    assert_eq!(heddle.len(), 1);
    let is_library = |path: &Path| path.to_string_lossy().contains(".so");
    assert!(others.iter().all(|path| is_library(path)), "{others:?}");
    for file in [
        "etc/ssl/certs/ca-certificates.crt",
        "usr/share/doc/heddle/LICENSE-MIT",
        "usr/share/doc/heddle/LICENSE-APACHE",
        "usr/share/doc/heddle/sbom.cdx.json",
        "usr/share/doc/libc6/copyright",
    ] {
        assert!(fs::metadata(root.path().join(file)).is_ok_and(|it| it.len() > 0), "{file}");
    }
    let licences = fs::read_to_string(root.path().join("usr/share/doc/heddle/third-party-licences.txt"))?;
    for linked in ["rustls ", "tokio ", "aws-lc-sys ", "aya-ebpf "] {
        assert!(licences.contains(linked), "{linked}");
    }
    assert_eq!(fs::metadata(root.path().join("tmp"))?.permissions().mode() & 0o7777, 0o1777);
    Ok(())
}

#[test]
fn it_runs_as_the_agents_user_and_as_the_authoritys() -> Result<()> {
    let made = Made::once()?;
    let root = made.unpack()?;
    let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy");
    for file in ["ca.yaml", "agent.yaml", "examples/canary.yaml"] {
        fs::copy(deploy.join(file), root.path().join("etc/heddle").join(Path::new(file).file_name().context(file)?))?;
    }
    let place = root.path().to_str().context("a path")?;
    for (user, words, expected) in [
        ("0:0", &["version"][..], "heddle 0."),
        ("0:0", &["agent", "--check"], "\"node\": \"node-a\""),
        ("65532:65532", &["version"], "heddle 0."),
        ("65532:65532", &["check", "/etc/heddle/canary.yaml"], ""),
        ("65532:65532", &["ca", "--check"], "\"trustDomain\": \"cluster.local\""),
    ] {
        let user = format!("--userspec={user}");
        let said = run("chroot", &[&[user.as_str(), place, "/usr/bin/heddle"], words].concat())?;
        assert!(said.contains(expected), "{words:?}: {said}");
    }
    Ok(())
}

#[test]
fn skopeo_reads_it_and_copies_it_with_all_its_digests() -> Result<()> {
    let made = Made::once()?;
    let archive = made::file(&made.folder, "tar");
    let to = tempfile::tempdir()?;
    let copy = format!("dir:{}", to.path().display());
    for from in ["oci-archive", "docker-archive"] {
        let from = format!("{from}:{}", archive.display());
        let inspected: Value = serde_json::from_str(&run("skopeo", &["inspect", &from])?)?;
        assert_eq!(inspected["Architecture"], if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" });
        assert_eq!(inspected["Labels"]["org.opencontainers.image.title"], "heddle");
        run("skopeo", &["copy", "--quiet", &from, &copy])?;
    }
    Ok(())
}
