//! An AuthorizationPolicy with methods and paths: one request of a client is refused, the next is served.

use anyhow::Result;
use serde_json::Value;

use super::super::cast::{Cast, SERVICE_PORT};
use super::super::story::Story;
use super::{deny, text};

const DOCUMENTS: &str = "admin";
const PATH: &str = "/admin/users";
const TO_ADMIN: &str = "\x20   to: [{operation: {methods: [GET], paths: [\"/admin/*\"]}}]\n";

pub(super) fn play(story: &mut Story, cast: &mut Cast<'_>) -> Result<()> {
    story.scene("request_policy", "An AuthorizationPolicy refuses a request, and says 403");
    let identity = cast.client.identity();
    let principal = identity.trim_start_matches("spiffe://");
    cast.put_documents(DOCUMENTS, &deny("admin-is-closed", principal, TO_ADMIN))?;
    let service = cast.service.at(SERVICE_PORT);
    let (refused, line, took) = cast.until_refused(&cast.client, (service, PATH), is_refused)?;
    let other = cast.call_once(&cast.client, service, "/users")?;
    cast.remove_documents(DOCUMENTS)?;

    story.fact("policy", &format!("DENY {principal} to GET /admin/*"));
    story.fact("in force", &format!("{:.2} s after it was written", took.as_secs_f64()));
    story.fact(PATH, &refused.outcome());
    story.fact("/users", &other.outcome());
    story.fact("node-b's log", &format!("flag {}, policy {}", text(&line["flag"]), text(&line["policy"])));
    story.fact("", text(&line["error"]));
    story.pause();
    let denied = refused.status == Some(403) && line["source_identity"] == identity.as_str();
    story.expect(denied, "the server's node answered 403, and the server never saw the request", || {
        format!("{}; {line}", refused.outcome())
    });
    let named = text(&line["policy"]) == "AuthorizationPolicy demo/admin-is-closed"
        && text(&line["error"]).contains("rules[0]")
        && line["flag"] == "UAEX";
    story.expect(named, "the log names the policy and its rule", || line.to_string());
    story.expect(other.answer.is_some(), "the same client's other requests are served", || other.outcome());
    story.record("refused", line);
    story.record("call", &refused);
    Ok(())
}

fn is_refused(line: &Value) -> bool {
    line["direction"] == "inbound" && line["path"] == PATH && line["flag"] != "-"
}
