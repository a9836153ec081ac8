//! `cargo xtask test`: everything that must hold before a change lands, as named stages.
//!
//! A failing stage does not stop the others, so that one run tells everything; the summary at the end repeats the
//! closing lines of the test runners. What a stage runs is in `stage.rs`, what the runners said in `tally.rs`.

mod stage;
mod tally;

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::Args;

use self::{stage::Stage, tally::Tally};
use crate::{project::Project, ui};

/// Run every check and test, or some of them.
///
/// The stages: `fmt` (rustfmt), `tidy` (the house rules that no other tool knows), `deny` (licences, sources and duplicates of
/// the crates that are used), `clippy` (no warning anywhere; compiles the kernel programs too), `unit` (unit, property and
/// documentation tests, models of lock-free code), `fuzz` (a minute of mutated inputs for each reader of what comes from
/// outside), `mesh` (real agents between network namespaces, needs root). Stages that need something on the machine set it
/// up first when it was not.
#[derive(Args)]
pub(crate) struct Test {
    /// Run the unit and mesh tests whose names contain this, and no other stage.
    filter: Option<String>,
    /// Run these stages only; with a filter, the filter applies to them.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "STAGE")]
    only: Vec<Stage>,
}

/// How one stage ended.
struct Outcome {
    stage: Stage,
    result: Result<()>,
    tally: Tally,
    took: Duration,
}

impl Test {
    pub(crate) fn everything() -> Self {
        Self { filter: None, only: Vec::new() }
    }

    pub(crate) fn run(&self, project: &Project) -> Result<()> {
        let outcomes: Vec<Outcome> = self.stages().map(|stage| self.run_stage(project, stage)).collect();
        summary(&outcomes);
        let failed: Vec<&str> = outcomes.iter().filter(|o| o.result.is_err()).map(|o| o.stage.name()).collect();
        if !failed.is_empty() {
            bail!("failed: {}; the first complaint of each is above its line `... FAILED`", failed.join(", "));
        }
        if let Some(filter) = &self.filter
            && outcomes.iter().all(|outcome| outcome.tally.tests() == 0)
        {
            bail!("no test's name contains `{filter}`, so nothing was run; try a part of the name");
        }
        Ok(())
    }

    fn stages(&self) -> impl Iterator<Item = Stage> {
        Stage::ALL.into_iter().filter(|stage| {
            if self.only.is_empty() {
                self.filter.is_none() || stage.has_named_tests()
            } else {
                self.only.contains(stage)
            }
        })
    }

    fn run_stage(&self, project: &Project, stage: Stage) -> Outcome {
        ui::heading(stage.name());
        let started = Instant::now();
        let mut tally = Tally::default();
        let result = stage.run(project, self.filter.as_deref(), &mut tally);
        let took = started.elapsed();
        if let Err(problem) = &result {
            ui::error(problem);
        }
        ui::say(&format!("== {} {} {}", stage.name(), ui::verdict(result.is_ok()), ui::duration(took)));
        Outcome { stage, result, tally, took }
    }
}

fn summary(outcomes: &[Outcome]) {
    ui::heading("summary");
    for outcome in outcomes {
        let verdict = ui::verdict(outcome.result.is_ok());
        ui::fact(outcome.stage.name(), &format!("{verdict}  {}", ui::duration(outcome.took)));
    }
    outcomes.iter().flat_map(|outcome| outcome.tally.closing_lines()).for_each(ui::say);
}
