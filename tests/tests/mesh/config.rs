//! agent.yaml and the directory of objects, through the real binary: what is wrong is said, and nothing good is lost.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use heddle_tests::bed::{Bed, Finished, Node, binary};

use crate::world::{SOON, World, connect, echoed, eventually, probe};

fn agent(node: &Node, config: &Path, more: &str) -> Result<Finished> {
    let heddle = binary("heddle")?.display().to_string();
    node.command(&heddle)?.words(&format!("agent --config {} {more}", config.display())).finish(SOON)
}

#[test]
fn every_problem_of_agent_yaml_is_reported_at_once_with_its_line_and_the_nearest_key() -> Result<()> {
    let bed = Bed::new("problems")?;
    let node = bed.node("a")?;
    let config = bed.directory().join("agent.yaml");
    let text = "node: node-a\nsource:\n  files: {path: /tmp}\nmtls: {mode: SOMETIMES}\nlimits:\n  conectTimeout: 5s\n  \
                handshakeTimeout: soon\nmetrics: {address: nowhere}\nadmn: {}\n";
    std::fs::write(&config, text)?;
    let finished = agent(&node, &config, "")?;
    assert_eq!(finished.status.code(), Some(1), "{}", finished.describe());
    let said = finished.stderr.join("\n");
    let file = config.display();
    for part in [
        format!("{file}:4:"),
        format!("{file}:6:"),
        format!("{file}:7:"),
        format!("{file}:8:"),
        format!("{file}:9:"),
        "SOMETIMES".to_owned(),
        "STRICT or PERMISSIVE".to_owned(),
        "did you mean \"connectTimeout\"?".to_owned(),
        "did you mean \"admin\"?".to_owned(),
        "nowhere".to_owned(),
    ] {
        assert!(said.contains(&part), "{part} is not in\n{said}");
    }
    Ok(())
}

#[test]
fn missing_keys_and_missing_files_are_named() -> Result<()> {
    let bed = Bed::new("missing")?;
    let node = bed.node("a")?;
    let config = bed.directory().join("agent.yaml");
    let absent = agent(&node, &config, "")?;
    assert_eq!(absent.status.code(), Some(1), "{}", absent.describe());
    assert!(absent.stderr.join("\n").contains(&config.display().to_string()), "{}", absent.describe());
    std::fs::write(&config, "")?;
    let empty = agent(&node, &config, "")?;
    assert_eq!(empty.status.code(), Some(1), "{}", empty.describe());
    let said = empty.stderr.join("\n");
    assert!(said.contains("node: missing") && said.contains("source: missing"), "{said}");
    let no_objects = format!("node: node-a\nsource: {{files: {{path: {}}}}}\n", bed.directory().join("none").display());
    std::fs::write(&config, no_objects)?;
    let no_objects = agent(&node, &config, "")?;
    assert_eq!(no_objects.status.code(), Some(1), "{}", no_objects.describe());
    assert!(no_objects.stderr.join("\n").contains("none"), "{}", no_objects.describe());
    Ok(())
}

#[test]
fn check_prints_the_configuration_with_all_defaults_and_starts_nothing() -> Result<()> {
    let bed = Bed::new("check")?;
    let node = bed.node("a")?;
    let config = bed.directory().join("agent.yaml");
    std::fs::write(&config, "node: node-a\nsource: {files: {path: /tmp}}\n")?;
    let finished = agent(&node, &config, "--check")?;
    assert_eq!(finished.status.code(), Some(0), "{}", finished.describe());
    let shown: serde_json::Value = serde_json::from_str(&finished.stdout.join("\n"))?;
    assert_eq!(shown["node"], "node-a");
    assert!(shown.to_string().contains("PERMISSIVE"), "{shown}");
    let wrong = node.command(&binary("heddle")?.display().to_string())?.words("agent --confg x").finish(SOON)?;
    assert_eq!(wrong.status.code(), Some(2), "{}", wrong.describe());
    Ok(())
}

#[test]
fn a_broken_object_is_reported_and_its_last_good_version_stays_in_force() -> Result<()> {
    let world = World::new("last-good")?;
    let _server = world.far.serve("--listen 8080")?;
    let service = world.bed.service("web", &[(80, 8080)])?;
    service.backends(&[&world.far])?;
    world.settle()?;
    let file = "service-default-web.yaml";
    let good = std::fs::read_to_string(world.bed.objects().directory().join(file))?;
    for (broken, part) in [
        ("apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: default\n", file),
        (&*good.replace("port: 80", "port: eighty"), "eighty"),
    ] {
        world.bed.objects().put_text(file, broken)?;
        world
            .a
            .wait_metrics("a problem is reported", SOON, |metrics| metrics.sum("heddle_object_problems", &[]) >= 1.0)?;
        let problems = world.a.config_json()?["problems"].to_string();
        assert!(problems.contains(part) && problems.contains(file), "{part}: {problems}");
        assert!(echoed(&probe(&world.client, service.at(80), "hello")?, "hello"), "the last good version serves");
        world.bed.objects().put_text(file, &good)?;
        world
            .a
            .wait_metrics("no problem is left", SOON, |metrics| metrics.sum("heddle_object_problems", &[]) == 0.0)?;
    }
    Ok(())
}

#[test]
fn objects_in_one_file_and_in_deeper_directories_are_read_and_followed() -> Result<()> {
    let world = World::new("layout")?;
    let _server = world.far.serve("--listen 8080")?;
    let service = world.bed.service("web", &[(80, 8080)])?;
    service.backends(&[&world.far])?;
    world.settle()?;
    let directory = world.bed.objects().directory();
    let mut documents = Vec::new();
    for name in
        ["service-default-web.yaml", "endpointslice-default-web-ipv4.yaml", "endpointslice-default-web-ipv6.yaml"]
    {
        documents.push(std::fs::read_to_string(directory.join(name))?);
        std::fs::remove_file(directory.join(name))?;
    }
    let reached = || -> Result<bool> { Ok(echoed(&probe(&world.client, service.at(80), "hello")?, "hello")) };
    eventually("the removed service is gone", SOON, || Ok(!reached()?))?;
    let deeper = directory.join("team/apps");
    std::fs::create_dir_all(&deeper)?;
    std::fs::write(deeper.join("all.yaml"), documents.join("---\n"))?;
    eventually("the service in a new directory is in force", SOON * 2, reached)?;
    std::fs::remove_dir_all(directory.join("team"))?;
    eventually("it is gone with its directory", SOON * 2, || Ok(!reached()?))
}

#[test]
fn the_directory_of_objects_may_vanish_and_come_back() -> Result<()> {
    let world = World::new("vanish")?;
    let _server = world.far.serve("--listen 8080")?;
    let directory = world.bed.objects().directory();
    let aside = world.bed.directory().join("moved-away");
    std::fs::rename(directory, &aside)?;
    world
        .a
        .wait_metrics("the loss is reported", SOON * 2, |metrics| metrics.sum("heddle_object_problems", &[]) >= 1.0)?;
    let report = connect(&world.client, &format!("--to {} --count 5", world.far.at(8080)))?;
    assert!(report.all_good(5), "the last state serves: {report:?}");
    assert_eq!(world.a.metrics()?.get("heddle_enrolled_pods", &[]), Some(2.0));
    std::fs::rename(&aside, directory)?;
    world.a.wait_metrics("all is well again", SOON * 2, |metrics| metrics.sum("heddle_object_problems", &[]) == 0.0)?;
    world.far.set_mesh(Some(false))?;
    world.b.wait_metrics("changes are followed again", Duration::from_secs(15), |metrics| {
        metrics.get("heddle_enrolled_pods", &[]) == Some(0.0)
    })?;
    Ok(())
}
