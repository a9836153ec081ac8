//! Taking over from the agent before, and giving way to the next one.

use anyhow::{Context, bail};
use tracing::{info, warn};

use super::{drain::Drain, pods::Pods, signals::Signals};
use crate::{
    admin::Endpoints,
    config::Config,
    handover::{Claims, Endpoint, HandoverError, Inheritance, Place, Predecessor, Sockets, Successor},
    node::Node,
};

/// The agent that runs on this node already, if one does.
pub(super) fn find_predecessor(config: &Config) -> Result<Option<Predecessor>, HandoverError> {
    let found = config.handover.socket.as_deref().map_or(Ok(None), Predecessor::find)?;
    if let Some(predecessor) = &found {
        info!(process = predecessor.process(), "an agent runs here already; taking over from it when all is ready");
    }
    Ok(found)
}

/// Takes over what it has. `None` where there is nobody, or nobody any more.
pub(super) async fn take_over(
    config: &Config,
    predecessor: Option<Predecessor>,
) -> Result<Option<Inheritance>, HandoverError> {
    let Some(predecessor) = predecessor else { return Ok(None) };
    match predecessor.take_over(place(config)).await {
        Ok(inheritance) => Ok(Some(inheritance)),
        Err(error) if error.is_gone() => {
            warn!("the agent before has ended meanwhile; starting without it");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Listens for the next agent, by the socket of the agent before where it had the same.
pub(super) fn claims(config: &Config, inherited: &mut Sockets) -> Result<Claims, HandoverError> {
    let Some(path) = &config.handover.socket else { return Ok(Claims::of_nobody()) };
    Claims::listen(path, place(config), inherited.endpoints.remove(&Endpoint::Handover))
}

fn place(config: &Config) -> Place {
    Place { node: config.node.to_string(), pins: config.capture.pins.clone() }
}

/// What an agent has that only one may have.
pub(super) struct Estate<'a> {
    pub(super) pods: &'a mut Pods,
    pub(super) claims: &'a Claims,
    pub(super) endpoints: &'a Endpoints,
    pub(super) node: &'a Node,
}

impl Estate<'_> {
    /// Gives all of it to the next agent, and waits until that one serves. False where it failed and this agent goes on.
    pub(super) async fn hand_over(&mut self, successor: &Successor) -> anyhow::Result<bool> {
        info!(process = successor.process, version = %successor.version, "handing over to another agent");
        match self.give(successor).await {
            Ok(()) => Ok(true),
            Err(error) if successor.shares_maps() => {
                warn!(%error, "the agent that asked to take over does not serve; going on");
                self.take_back().context("go on after a handover that failed")?;
                Ok(false)
            }
            Err(error) => {
                Err(error).context("the agent that asked to take over, with maps of another layout, does not serve")
            }
        }
    }

    async fn give(&mut self, successor: &Successor) -> std::io::Result<()> {
        self.node.native.hand_over();
        let mut sockets = Sockets { pods: self.pods.hand_over()?, endpoints: self.endpoints.hand_over()? };
        sockets.endpoints.extend(self.claims.hand_over()?.map(|socket| (Endpoint::Handover, socket)));
        if !successor.shares_maps() {
            // It could not follow them, and what this agent accepts from now on would find nothing in its own maps.
            self.node.native.end_all();
            self.pods.stop_accepting();
        }
        successor.give(sockets).await?;
        successor.serves().await
    }

    fn take_back(&mut self) -> anyhow::Result<()> {
        self.node.native.take_back(self.node.snapshot.load().generation)?;
        self.pods.take_back();
        Ok(())
    }
}

/// Serves what is open until it has ended, the drain timeout has passed, or the agent is told twice to end. Then waits to be
/// told, so that whatever starts agents does not start this one again beside the next.
pub(super) async fn give_way(drain: &Drain<'_>, successor: &Successor, signals: &mut Signals) -> anyhow::Result<()> {
    let tell = |connections| successor.tell_draining(connections);
    let (outcome, is_told) = drain.run(drain.deadline(), signals, false, tell).await;
    info!(outcome, "drained");
    drain.threads.stop();
    successor.tell_draining(0);
    if is_told {
        return Ok(());
    }
    tokio::select! {
        () = signals.next() => Ok(()),
        () = successor.ended() => bail!("the agent that has taken over has ended; ending, so that one is started"),
    }
}
