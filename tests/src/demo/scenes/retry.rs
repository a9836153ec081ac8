//! A server that fails twice: with a retry in the route the client does not notice.

use anyhow::Result;
use serde_json::Value;

use super::super::agents::Mark;
use super::super::app::Call;
use super::super::cast::{Cast, SERVICE_PORT};
use super::super::story::Story;

const DOCUMENTS: &str = "retry";
const ROUTE: &str = "apiVersion: gateway.networking.k8s.io/v1\n\
                     kind: HTTPRoute\n\
                     metadata: {name: retry}\n\
                     spec:\n\
                     \x20 parentRefs: [{group: \"\", kind: Service, name: server-v1, port: 80}]\n\
                     \x20 rules:\n\
                     \x20 - retry: {codes: [503], attempts: 3, backoff: 25ms}\n\
                     \x20   backendRefs: [{name: server-v1, port: 80}]\n";
const RULE: &str = "HTTPRoute demo/retry rules[0]";
/// How often the server fails before it serves a path.
const FAILS: usize = 2;

pub(super) fn play(story: &mut Story, cast: &mut Cast<'_>) -> Result<()> {
    story.scene("retry", "A server fails twice; the client does not notice");
    let service = cast.versions[0].at(SERVICE_PORT);
    story.text(&format!("server-v1 answers 503 to the first {FAILS} requests for a page, and then serves it."));
    story.pause();
    let line = |path: &str| format!("--path {path} --header x-fail-first:{FAILS}");
    let without = cast.ask_once(&cast.client, service, &line("/without-retry"))?;
    cast.put_documents(DOCUMENTS, ROUTE)?;
    cast.until_routed(service, "", RULE)?;
    let mark = Mark::now();
    let with = cast.ask_once(&cast.client, service, &line("/with-retry"))?;
    let is_it = |line: &Value| line["path"] == "/with-retry";
    let outbound = cast.agent_a.logged_since(&mark, "request for the page", is_it)?;
    let mut inbound = cast.agent_b.all_logged_since(&mark, (FAILS + 1, "tries"), is_it)?;
    inbound.sort_by_key(|line| line["start"].to_string());
    let tries: Vec<&Value> = inbound.iter().map(|line| &line["status"]).collect();

    story.fact("no route", &format!("client: {}", without.outcome()));
    story.fact("HTTPRoute", "retry: codes 503, attempts 3, backoff 25ms");
    story.fact("with it", &format!("client: {}", with.outcome()));
    story.fact("node-a's log", &format!("status {}, tries {}", outbound["status"], outbound["tries"]));
    story.fact("node-b's log", &format!("the server answered {}", in_words(&tries)));
    story.pause();
    story.expect(without.status == Some(503), "without a retry the client gets the 503", || without.outcome());
    story.expect(is_served(&with), "with it the client gets its page, and no 503", || with.outcome());
    let told = outbound["status"] == 200 && outbound["tries"] == FAILS + 1;
    story.expect(told, "the client's agent tried three times", || outbound.to_string());
    story.expect(tries == [503, 503, 200], "the server was asked three times, and failed twice", || in_words(&tries));
    story.record("without", &without);
    story.record("with", &with);
    story.record("outbound", &outbound);
    cast.remove_documents(DOCUMENTS)
}

fn is_served(call: &Call) -> bool {
    call.status == Some(200) && call.answer.is_some()
}

fn in_words(tries: &[&Value]) -> String {
    tries.iter().map(|status| status.to_string()).collect::<Vec<_>>().join(", ")
}
