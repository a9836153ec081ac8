//! A canary: one request in ten goes to version 2, also when all are on one connection.

use anyhow::Result;
use serde_json::json;

use super::super::cast::{Cast, SERVICE_PORT};
use super::super::chance::{FALSE_ALARM, likely};
use super::super::story::Story;
use super::shares;

/// The mesh documents of the scene; they stay in force for the next one.
pub(super) const DOCUMENTS: &str = "canary";
const ROUTE: &str = "apiVersion: gateway.networking.k8s.io/v1\n\
                     kind: HTTPRoute\n\
                     metadata: {name: canary}\n\
                     spec:\n\
                     \x20 parentRefs: [{group: \"\", kind: Service, name: server, port: 80}]\n\
                     \x20 rules:\n\
                     \x20 - backendRefs:\n\
                     \x20   - {name: server-v1, port: 80, weight: 90}\n\
                     \x20   - {name: server-v2, port: 80, weight: 10}\n";
const RULE: &str = "HTTPRoute demo/canary rules[0]";
const SHARE: f64 = 0.1;
const CALLS: usize = 500;

pub(super) fn play(story: &mut Story, cast: &mut Cast<'_>) -> Result<()> {
    story.scene("canary", "A canary: one request in ten to version 2");
    let service = cast.service.at(SERVICE_PORT);
    cast.put_documents(DOCUMENTS, ROUTE)?;
    let took = cast.until_routed(service, "", RULE)?;
    story.text(&format!(
        "An HTTPRoute on the Service, weights 90 and 10. The client sends {CALLS} GETs to {service}, all on one connection."
    ));
    story.pause();
    let calls = cast.ask(&cast.client, service, &format!("--one-connection --count {CALLS}"))?;
    story.fact("in force", &format!("{:.2} s after it was written, nothing was restarted", took.as_secs_f64()));
    let answered @ [_, second] = shares::show(story, cast, &calls);
    story.record("answered", answered);
    story.pause();
    shares::expect_all_answered(story, &calls, CALLS);
    let range = likely(CALLS, SHARE, FALSE_ALARM);
    let (least, most) = range.clone().into_inner();
    let expected = format!("version 2 got a tenth as far as chance allows: {least} to {most} of {CALLS}");
    story.expect(range.contains(&second), &expected, || format!("it got {second}"));
    story.record("likely", json!([least, most]));
    story.record("in_force_seconds", took.as_secs_f64());
    Ok(())
}
