//! `cargo xtask ci`: what a machine that knows nothing of Heddle runs to judge a change.

use anyhow::Result;
use clap::Args;

use crate::{project::Project, setup::Setup, test::Test};

/// Set the machine up with the test tools, then run every test.
///
/// The same as `cargo xtask setup --with-test-tools` followed by `cargo xtask test`.
#[derive(Args)]
pub(crate) struct Ci {}

impl Ci {
    pub(crate) fn run(&self, project: &Project) -> Result<()> {
        Setup::with_test_tools().run(project)?;
        Test::everything().run(project)
    }
}
