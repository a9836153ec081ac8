//! Any text as agent.yaml, and as the configuration of `heddle ca`.
//!
//! Promised: a file is taken or every problem of it has a place within it, and what an operator put under a secret key is
//! nowhere in what is said.

use fastrand::Rng;

use super::{Exercised, Mutator, Target, gist};
use crate::{
    check::fuzz::YAML,
    config::{Config, Machine, Problems, authority::AuthorityConfig},
};

/// Readers of both files.
#[derive(Debug)]
pub(super) struct Settings;

/// What examples have as the value of a header for a collector.
const SECRET: &str = "Bearer 4f1ab7c5";

impl Target for Settings {
    fn exercise(&self, input: &[u8], _: &mut Rng) -> Result<Exercised, String> {
        let text = String::from_utf8_lossy(input);
        let machine = Machine {
            node: None,
            cgroup2_mount: Some("/sys/fs/cgroup".into()),
            cpus: 8,
            cpu_limit: None,
            descriptors: 65_536,
            memory_limit: None,
            memory: 8 << 30,
        };
        let agent = Config::parse("agent.yaml", &text, &machine);
        let authority = AuthorityConfig::parse("ca.yaml", &text);
        let mut ways = Vec::new();
        if let Ok(config) = &agent {
            let shown =
                serde_json::to_string(config).map_err(|error| format!("{config:?} cannot be shown: {error}"))?;
            hides(&text, &format!("{shown} {config:?}"))?;
        }
        for problems in [agent.as_ref().err(), authority.as_ref().err()].into_iter().flatten() {
            told_well(problems, &text)?;
            ways.extend(problems.iter().map(|problem| gist(&problem.to_string())));
        }
        if let Err(problems) = &agent {
            hides(&text, &problems.to_string())?;
        }
        let accepted = usize::from(agent.is_ok()) + usize::from(authority.is_ok());
        Ok(Exercised { accepted, ways })
    }

    fn mutator(&self) -> &Mutator {
        &YAML
    }

    /// The files that people begin with, and others with what is only a comment there.
    fn seeds(&self, kept: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
        let files =
            [include_bytes!("../../../deploy/agent.yaml").as_slice(), include_bytes!("../../../deploy/ca.yaml")];
        files.map(<[u8]>::to_vec).into_iter().chain(kept).collect()
    }
}

/// What is said of a file does not have the secret in it, where that is the only one, and stands where secrets do.
fn hides(text: &str, said: &str) -> Result<(), String> {
    let Some((before, after)) = text.split_once(SECRET) else { return Ok(()) };
    let above = before.lines().rev().skip(1).find(|line| !line.starts_with("  "));
    let is_secret = above == Some("tracing:") && before.ends_with("  authorization: ") && !after.contains(SECRET);
    match is_secret && said.contains(SECRET) {
        true => Err(format!("a secret is told: {said}")),
        false => Ok(()),
    }
}

/// At least one problem, each at a line that the file has.
fn told_well(problems: &Problems, text: &str) -> Result<(), String> {
    let last = text.lines().count() + 1;
    match problems.iter().find(|problem| problem.position.is_some_and(|at| at.line == 0 || at.line > last)) {
        Some(problem) => Err(format!("the file has {last} lines, and there is said: {problem}")),
        None if problems.count() == 0 => Err("it is refused for no reason".to_owned()),
        None => Ok(()),
    }
}
