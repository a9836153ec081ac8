//! `heddle ca`.

use std::{path::PathBuf, process::ExitCode};

use clap::Args;
use tokio::runtime::Builder;

use crate::{app, cli, config::authority::AuthorityConfig};

/// Run the certificate authority of a cluster: sign for the agents, each for the pods of its own node only.
///
/// Agents call it over gRPC with the token that the kubelet projects into their pods (audience "heddle-ca"). The token is
/// proven by a TokenReview, and an identity is signed only if a pod with that service account runs on the node which the
/// token is bound to. Each certificate and each refusal is one line of the log. Nothing is kept but the root: in a Secret,
/// where it is made on first start and replaced before it ends, or in files, which may hold a key below a root. Several
/// replicas may run.
///
/// Beside signing, with admission.listen it serves the webhook that refuses mesh ConfigMaps which agents would reject, and
/// with taintNodes it keeps new pods away from nodes without a ready agent.
///
/// Needs to create TokenReviews, to list and watch Pods, and with root.secret to get, create and update that Secret; with
/// admission.webhook to get and patch that ValidatingWebhookConfiguration, and with taintNodes to get, list, watch and
/// patch Nodes; see deploy/README.md. SIGTERM drains: requests in progress are answered; a second signal ends it at once.
///
/// Exit codes: 0 ended as told, 1 the configuration or the machine does not allow it to run, 2 wrong usage.
#[derive(Debug, Args)]
pub(super) struct Ca {
    /// The authority's configuration; deploy/ca.yaml has every key.
    #[arg(long, short, value_name = "FILE", default_value = "/etc/heddle/ca.yaml")]
    config: PathBuf,
    /// Check the configuration, print it with all defaults as JSON, and end.
    #[arg(long)]
    check: bool,
}

impl Ca {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let config = AuthorityConfig::load(&self.config)?;
        if self.check {
            cli::print(&serde_json::to_string_pretty(&config)?)?;
            return Ok(ExitCode::SUCCESS);
        }
        let runtime = Builder::new_multi_thread().worker_threads(WORKERS).enable_all().build()?;
        let outcome = runtime.block_on(app::run_authority(config));
        runtime.shutdown_background();
        outcome?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Handshakes and signatures of a starting cluster must not hold up the watch.
const WORKERS: usize = 4;
