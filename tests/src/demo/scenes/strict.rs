//! A PeerAuthentication makes the namespace STRICT while everything runs: plaintext from outside the mesh is refused, the
//! mesh goes on.

use anyhow::Result;
use serde_json::Value;

use super::super::agents::Mark;
use super::super::cast::{Cast, POD_PORT, SERVICE_PORT};
use super::super::story::Story;
use super::text;

const STRICT: &str = "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: default}\n\
                      spec: {mtls: {mode: STRICT}}\n";

pub(super) fn play(story: &mut Story, cast: &mut Cast<'_>) -> Result<()> {
    story.scene("strict", "STRICT: plaintext from outside is refused");
    let pod = cast.servers[0].at(POD_PORT);
    let mark = Mark::now();
    let admitted = cast.call_once(&cast.outsider, pod, "/")?;
    let before = cast.agent_b.logged_since(&mark, "request of the outsider", is_of_outsider)?;
    cast.put_documents("strict", STRICT)?;
    let (refused, after, took) = cast.until_refused(&cast.outsider, (pod, "/"), is_of_outsider)?;
    let calls = cast.call(&cast.client, cast.service.at(SERVICE_PORT), "/", 4)?;

    story.fact("PERMISSIVE", &format!("outsider: {}", admitted.outcome()));
    story.fact(
        "",
        &format!("logged with identity {} and TLS {}", text(&before["source_identity"]), text(&before["tls_version"])),
    );
    let seconds = took.as_secs_f64();
    story.fact("in force", &format!("PeerAuthentication STRICT, {seconds:.2} s after it was written, no restart"));
    story.fact("STRICT", &format!("outsider: {}", refused.outcome()));
    story.fact("", &format!("logged with flag {}: {}", text(&after["flag"]), text(&after["error"])));
    story.pause();
    story.expect(admitted.answer.is_some(), "PERMISSIVE admitted the outsider, who has no identity", || {
        admitted.outcome()
    });
    let denied = refused.status.is_none() && after["flag"] == "DENY" && after["method"].is_null();
    story.expect(denied, "STRICT refused its connection before any request, and the log says why", || {
        format!("{}; {after}", refused.outcome())
    });
    let answered = calls.iter().filter(|call| call.answer.is_some()).count();
    story.expect(answered == calls.len(), "the client in the mesh is served as before", || {
        format!("{answered} of {} calls were answered", calls.len())
    });
    story.record("permissive", before);
    story.record("strict", after);
    Ok(())
}

fn is_of_outsider(line: &Value) -> bool {
    line["direction"] == "inbound" && line["source_identity"].is_null()
}
