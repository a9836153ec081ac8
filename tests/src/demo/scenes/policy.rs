//! An AuthorizationPolicy against an identity comes into force while everything runs: the client's pod gets no connection any
//! more, its agent answers the requests with 503, and the log says by which rule.

use std::time::Instant;

use anyhow::Result;
use serde_json::Value;

use super::super::app::Call;
use super::super::cast::{Cast, IN_FORCE_WITHIN, NAMESPACE, SERVICE_PORT};
use super::super::story::Story;
use super::{deny, text};

pub(super) fn play(story: &mut Story, cast: &mut Cast<'_>) -> Result<()> {
    story.scene("policy", "An AuthorizationPolicy refuses a client, by name");
    let identity = cast.client.identity();
    let principal = identity.trim_start_matches("spiffe://");
    cast.put_documents("access", &deny("no-client", principal, ""))?;
    let service = cast.service.at(SERVICE_PORT);
    let (refused, line, took) = cast.until_refused(&cast.client, (service, "/"), is_denied)?;
    cast.remove_documents("access")?;
    let again = until_answered(cast)?;

    story.fact("policy", &format!("DENY {principal} on pods with app: server"));
    story.fact("in force", &format!("{:.2} s after it was written, nothing was restarted", took.as_secs_f64()));
    story.fact("client", &refused.outcome());
    story.fact("node-b's log", &format!("flag {}: {}", text(&line["flag"]), text(&line["error"])));
    story.fact("removed", &format!("client: {}", again.outcome()));
    story.pause();
    let denied = line["source_identity"] == identity.as_str() && line["method"].is_null();
    story.expect(
        denied,
        "the server's node refused it before any request, by the identity that its certificate proves",
        || line.to_string(),
    );
    let answered = refused.status == Some(503);
    story.expect(answered, "so the client's own agent answered: 503, the server cannot be reached", || {
        refused.outcome()
    });
    let named = text(&line["error"]).contains(&format!("{NAMESPACE}/no-client"));
    story.expect(named, "the log names the policy that refused", || line.to_string());
    story.expect(again.answer.is_some(), "without the policy the client is served again", || again.outcome());
    story.record("refused", line);
    story.record("call", &refused);
    Ok(())
}

fn is_denied(line: &Value) -> bool {
    line["direction"] == "inbound" && line["flag"] == "DENY"
}

fn until_answered(cast: &Cast<'_>) -> Result<Call> {
    let begin = Instant::now();
    loop {
        let call = cast.call_once(&cast.client, cast.service.at(SERVICE_PORT), "/")?;
        if call.answer.is_some() || begin.elapsed() > IN_FORCE_WITHIN {
            return Ok(call);
        }
    }
}
