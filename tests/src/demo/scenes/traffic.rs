//! The client calls the Service; who answered?

use anyhow::Result;

use super::super::cast::{Cast, SERVICE_PORT};
use super::super::story::Story;
use super::shares;

const CALLS: usize = 30;
/// Each takes so long that they are under way together. Where the machine is too slow for that, a server that took so long is
/// passed over for one of which nothing is known yet: either way, both take part.
const TAKE: &str = "x-take-ms:50";

pub(super) fn play(story: &mut Story, cast: &mut Cast<'_>) -> Result<()> {
    story.scene("traffic", "A client calls a Service");
    let service = cast.service.at(SERVICE_PORT);
    story.text(&format!("The client sends {CALLS} GETs to {service} at once, each on a connection of its own."));
    story.pause();
    let calls = cast.ask(&cast.client, service, &format!("--at-once --count {CALLS} --header {TAKE}"))?;
    let answered = shares::show(story, cast, &calls);
    story.record("answered", answered);
    story.pause();
    shares::expect_all_answered(story, &calls, CALLS);
    let both = answered.iter().all(|count| *count > 0);
    story.expect(both, "both versions took part: the agent picks an endpoint for each request", || {
        format!("{answered:?}")
    });
    Ok(())
}
