//! `cargo xtask demo`: builds the agent and the program that shows it, and hands over to that program.
//!
//! Handing over means becoming it: Ctrl-C and SIGTERM reach it directly, and its exit status is ours. What is shown is
//! the business of `heddle-demo`, in the crate `heddle-tests`.

use std::{os::unix::process::CommandExt as _, process::Command, time::Instant};

use anyhow::{Context as _, Error, Result, bail};
use clap::Args;

use crate::{
    project::{self, Project},
    setup, ui,
};

/// Show the mesh at work: two nodes, four pods, two agents, real packets.
///
/// Sets the machine up first if it was not, builds everything optimised (minutes, the first time), then runs for a few
/// seconds and takes back what it made. Needs root, to make network namespaces and to load the kernel programs; it
/// touches nothing outside its own namespaces, cgroups and folder.
#[derive(Args)]
pub(crate) struct Demo {
    /// Leave everything running until Ctrl-C or SIGTERM, and say how to look around.
    #[arg(long)]
    keep: bool,
    /// Print a summary in JSON instead of the story.
    #[arg(long)]
    json: bool,
    /// No colours on a terminal either; the environment variable NO_COLOR does the same.
    #[arg(long)]
    no_color: bool,
}

impl Demo {
    pub(crate) fn run(&self, project: &Project) -> Result<()> {
        if !project::is_root()? {
            bail!(
                "the demo makes network namespaces and loads kernel programs, for which it must be root: run \
                 `sudo env HOME=\"$HOME\" PATH=\"$PATH\" cargo xtask demo`, or become root first"
            );
        }
        setup::ensure_demo_tools(project)?;
        self.build(project)?;
        let program = project.target_dir()?.join("release").join("heddle-demo");
        let mut demo = Command::new(&program);
        for (flag, given) in [("--keep", self.keep), ("--json", self.json), ("--no-color", self.no_color)] {
            if given {
                demo.arg(flag);
            }
        }
        // Returns only if it could not.
        Err(Error::new(demo.exec())).with_context(|| format!("starting {} failed", program.display()))
    }

    fn build(&self, project: &Project) -> Result<()> {
        let started = Instant::now();
        let build = project.cargo().args(["build", "--release", "--package", "heddle", "--package", "heddle-tests"]);
        // Cargo's own progress is the best there is; it goes to standard error.
        build.args(["--bin", "heddle", "--bin", "heddle-peer", "--bin", "heddle-demo"]).quiet().run()?;
        if !self.json {
            ui::fact("built", &format!("heddle, heddle-peer and heddle-demo in {}", ui::duration(started.elapsed())));
        }
        Ok(())
    }
}
