//! One call through the Service, as the two applications saw it: neither notices the agents in between.

use anyhow::Result;

use super::super::cast::{Cast, SERVICE_PORT};
use super::super::story::Story;

pub(super) fn play(story: &mut Story, cast: &mut Cast<'_>) -> Result<()> {
    story.scene("applications", "What the applications saw");
    let service = cast.service.at(SERVICE_PORT);
    let call = cast.call_once(&cast.client, service, "/")?;
    story.record("call", &call);
    let Some(answer) = &call.answer else {
        story.expect(false, "one more call is answered", || call.outcome());
        return Ok(());
    };
    let peername = call.peername.map_or("nothing".to_owned(), |address| address.to_string());
    story.fact("client", &format!("connect() to {service}"));
    story.fact("", &format!("getpeername() says {peername}"));
    story.fact(&answer.server, &format!("accept() from {}", answer.client));
    story.pause();
    story.expect(
        call.peername == Some(service),
        "the client is connected to what it asked for, as far as it can tell",
        || format!("getpeername() says {peername} and not {service}"),
    );
    let seen = answer.client.ip();
    story.expect(
        seen == cast.client.v4(),
        "the server sees the address of the client's pod, and not an agent's",
        || format!("it saw {seen}; the client's pod has {}", cast.client.v4()),
    );
    Ok(())
}
