//! The YAML of the pages in `docs` and of the READMEs: each block is read by the program that it is for.

use std::{fs, path::PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::{
    kinds::{is_known, is_part},
    objects::{Objects, documents, key},
    programs::{chart, check, configuration, here, kustomize, merged, smallest},
};

/// One block of a page.
struct Block {
    place: String,
    text: String,
}

/// All pages that tell people what to write.
fn pages() -> Result<Vec<PathBuf>> {
    let mut pages = vec![here("README.md"), here("deploy/README.md"), here("SECURITY.md")];
    for entry in fs::read_dir(here("docs"))? {
        pages.push(entry?.path());
    }
    pages.retain(|page| page.extension().is_some_and(|extension| extension == "md"));
    pages.sort();
    Ok(pages)
}

fn blocks() -> Result<Vec<Block>> {
    let mut all = Vec::new();
    for page in pages()? {
        let mut open: Option<Block> = None;
        for (index, line) in fs::read_to_string(&page)?.lines().enumerate() {
            match (&mut open, line) {
                (None, "```yaml") => {
                    let place = format!("{}:{}", page.display(), index + 1);
                    open = Some(Block { place, text: String::new() });
                }
                (Some(_), "```") => all.extend(open.take()),
                (Some(block), line) => block.text += &format!("{line}\n"),
                (None, _) => {}
            }
        }
        ensure!(open.is_none(), "{}: a block is not closed", page.display());
    }
    Ok(all)
}

#[test]
fn every_block_of_yaml_is_taken_by_the_program_that_it_is_for() -> Result<()> {
    let blocks = blocks()?;
    for block in &blocks {
        taken(block).with_context(|| block.place.clone())?;
    }
    assert!(blocks.len() > 10, "{}", blocks.len());
    Ok(())
}

fn taken(block: &Block) -> Result<()> {
    let documents = documents(&block.text)?;
    let first = documents.first().context("an empty block")?;
    let values: Value = serde_saphyr::from_str(&fs::read_to_string(here("deploy/chart/values.yaml"))?)?;
    let is_of = |whole: &Value| first.as_object().is_some_and(|map| map.keys().all(|key| whole.get(key).is_some()));
    match first["kind"].as_str() {
        Some("Kustomization") => patched(first),
        Some(_) => objects(&block.text, &documents),
        // Keys that the chart does not have are of an agent's configuration, or of a part of a pod.
        None if is_of(&values) => {
            let agent = &chart("heddle-system", first)?["ConfigMap/heddle-agent"]["data"]["agent.yaml"];
            configuration("agent", agent.as_str().context("no agent.yaml")?).map(drop)
        }
        None if first.get("securityContext").is_some() => part_of_a_pod(first),
        None if first.get("source").is_some() => configuration("agent", &block.text).map(drop),
        None => configuration("agent", &serde_saphyr::to_string(&merged(smallest(), first))?).map(drop),
    }
}

/// Kubernetes objects have only fields of their kind; mesh documents in them are accepted.
fn objects(text: &str, documents: &[Value]) -> Result<()> {
    for object in documents {
        ensure!(is_known(object)?, "{}: it has a field that its kind does not have", key(object));
    }
    let scratch = tempfile::tempdir()?;
    let file = scratch.path().join("block.yaml");
    fs::write(&file, text)?;
    let report = check(&[&file])?;
    let errors = report["findings"].as_array().context("no findings")?;
    let errors: Vec<_> = errors.iter().filter(|finding| finding["severity"] == "error").collect();
    ensure!(errors.is_empty(), "{errors:?}");
    Ok(())
}

/// Both are shown as they are in the DaemonSet.
fn part_of_a_pod(part: &Value) -> Result<()> {
    let objects = kustomize(&here("deploy/manifests"))?;
    let pod = &objects["DaemonSet/heddle-agent"]["spec"]["template"]["spec"];
    for (key, value) in part.as_object().context("no map")? {
        let own = pod.get(key).or_else(|| pod["containers"][0].get(key)).with_context(|| key.clone())?;
        ensure!(is_part(value, own), "{key} is {value}, and in the DaemonSet {own}");
    }
    Ok(())
}

/// A kustomization over this repository's, as one beside them: it changes something, and what comes out are objects.
fn patched(kustomization: &Value) -> Result<()> {
    let scratch = tempfile::tempdir()?;
    for directory in ["manifests", "uninstall"] {
        copied(&here("deploy").join(directory), &scratch.path().join("deploy").join(directory))?;
    }
    let built = |kustomization: &Value| -> Result<Objects> {
        fs::write(scratch.path().join("kustomization.yaml"), serde_saphyr::to_string(kustomization)?)?;
        kustomize(scratch.path())
    };
    let objects = built(kustomization)?;
    for object in objects.values() {
        ensure!(is_known(object)?, "{}: it has a field that its kind does not have", key(object));
    }
    for image in kustomization["images"].as_array().into_iter().flatten() {
        let name = format!("{}:{}", image["newName"].as_str().unwrap(), image["newTag"].as_str().unwrap());
        ensure!(objects.values().any(|object| object.to_string().contains(&name)), "no image {name}");
    }
    for number in 0..kustomization["patches"].as_array().map_or(0, Vec::len) {
        let mut without = kustomization.clone();
        without["patches"].as_array_mut().context("no patches")?.remove(number);
        ensure!(built(&without)? != objects, "patch {number} changes nothing");
    }
    Ok(())
}

fn copied(from: &PathBuf, to: &PathBuf) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        match entry.file_type()?.is_dir() {
            true => copied(&entry.path(), &target)?,
            false => drop(fs::copy(entry.path(), target)?),
        }
    }
    Ok(())
}
