//! The programs that read what is tested here.

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use heddle_tests::bed::binary;
use serde_json::{Value, json};

use crate::objects::{Objects, objects};

/// A file or directory of this repository.
pub(crate) fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// What a program says; an error, if it fails.
fn run(program: &str, words: impl IntoIterator<Item = impl AsRef<OsStr>>, package: &str) -> Result<String> {
    let mut command = Command::new(program);
    command.args(words).env("GO111MODULE", "off").env("GOPATH", "/usr/share/gocode");
    let output = command.output().with_context(|| {
        format!("no program `{program}`: `cargo xtask setup --with-test-tools` installs it, of the package {package}")
    })?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program}: {complaint}{}", String::from_utf8_lossy(&output.stdout));
    Ok(String::from_utf8(output.stdout)?)
}

/// The objects of a kustomization.
pub(crate) fn kustomize(directory: &Path) -> Result<Objects> {
    let directory = directory.as_os_str();
    objects(&run("kubectl", [OsStr::new("kustomize"), directory], "kubernetes-client")?)
}

/// The objects of the chart: by Helm where it is there, else by what Helm is made of.
pub(crate) fn chart(namespace: &str, values: &Value) -> Result<Objects> {
    let scratch = tempfile::tempdir()?;
    let file = scratch.path().join("values.yaml");
    fs::write(&file, serde_saphyr::to_string(values)?)?;
    let (chart, renderer) = (here("deploy/chart"), here("tests/helm/render.go"));
    let text = match Command::new("helm").arg("version").output() {
        Ok(_) => {
            let words = ["template", "heddle"].map(OsStr::new);
            let options = ["--namespace", namespace, "--values"].map(OsStr::new);
            run("helm", words.into_iter().chain([chart.as_os_str()]).chain(options).chain([file.as_os_str()]), "helm")
        }
        Err(_) => {
            let words = [OsStr::new("run"), renderer.as_os_str(), chart.as_os_str()];
            let options = [OsStr::new("heddle"), OsStr::new(namespace), file.as_os_str()];
            run("go", words.into_iter().chain(options), "golang-go and golang-github-masterminds-sprig-dev")
        }
    }?;
    objects(&text)
}

/// What `heddle agent --check`, or `heddle ca --check`, makes of a configuration.
pub(crate) fn configuration(program: &str, text: &str) -> Result<Value> {
    let scratch = tempfile::tempdir()?;
    let file = scratch.path().join(format!("{program}.yaml"));
    fs::write(&file, text)?;
    let output = Command::new(binary("heddle")?)
        .args([program, "--check", "--config"])
        .arg(&file)
        .env("NODE_NAME", "node-a")
        .output()?;
    ensure!(output.status.success(), "{}\nin\n{text}", String::from_utf8_lossy(&output.stderr));
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// What `heddle check` makes of these files.
pub(crate) fn check(paths: &[&Path]) -> Result<Value> {
    let output = Command::new(binary("heddle")?).args(["check", "--output", "json"]).args(paths).output()?;
    serde_json::from_slice(&output.stdout).with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())
}

/// One configuration over another: maps key by key, all else as a whole.
pub(crate) fn merged(below: Value, above: &Value) -> Value {
    match (below, above) {
        (Value::Object(mut below), Value::Object(above)) => {
            for (key, value) in above {
                let merged = merged(below.remove(key).unwrap_or_default(), value);
                below.insert(key.clone(), merged);
            }
            below.into()
        }
        (_, above) => above.clone(),
    }
}

/// The smallest configuration that an agent of a cluster takes.
pub(crate) fn smallest() -> Value {
    json!({"source": {"kubernetes": {}}})
}
