//! The client calls the Service; who answered?

use anyhow::Result;
use serde_json::json;

use super::super::cast::{Cast, SERVICE_PORT};
use super::super::screen::Look;
use super::super::story::Story;

/// Enough that one of two versions is left out by chance once in half a billion runs (2 / 2^30).
const CALLS: usize = 30;

pub(super) fn play(story: &mut Story, cast: &mut Cast<'_>) -> Result<()> {
    story.scene("traffic", "A client calls a Service");
    let service = cast.service.at(SERVICE_PORT);
    story.text(&format!("The client sends {CALLS} GETs to {service}, each on a connection of its own."));
    story.pause();
    let calls = cast.call(&cast.client, service, "/", CALLS)?;
    let mut answered = Vec::new();
    for server in &cast.servers {
        let by_it = |call: &&_| cast.server_of(call).is_some_and(|pod| pod.name() == server.name());
        let count = calls.iter().filter(by_it).count();
        let bar = story.paint(Look::Accent, &"■".repeat(count));
        story.fact(server.name(), &format!("{count:>3}  {bar}"));
        story.record(server.name(), json!({"answered": count}));
        answered.push(count);
    }
    story.pause();
    let bad: Vec<String> = calls.iter().filter(|call| call.answer.is_none()).map(|call| call.outcome()).collect();
    story.expect(bad.is_empty(), &format!("all {CALLS} calls were answered"), || {
        format!("{} were not, the first: {}", bad.len(), bad[0])
    });
    let both = answered.iter().all(|count| *count > 0);
    story.expect(both, "both versions took part: the agent picks an endpoint per connection", || {
        format!("{answered:?}")
    });
    Ok(())
}
