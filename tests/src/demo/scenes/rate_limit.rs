//! A client that asks too often is told so, and when to come again.

use anyhow::Result;

use super::super::agents::Mark;
use super::super::app::Call;
use super::super::cast::{Cast, SERVICE_PORT};
use super::super::story::Story;
use super::text;

const DOCUMENTS: &str = "limits";
/// Five, and one more every twelve minutes: the scene is over long before that.
const LIMIT: usize = 5;
const REFILL_SECONDS: u64 = 720;
const CALLS: usize = 8;
const ROUTE: &str = "apiVersion: heddle.io/v1alpha1\n\
                     kind: RateLimit\n\
                     metadata: {name: five-an-hour}\n\
                     spec:\n\
                     \x20 limits: [{requests: 5, interval: 1h, per: {type: Source}}]\n\
                     ---\n\
                     apiVersion: gateway.networking.k8s.io/v1\n\
                     kind: HTTPRoute\n\
                     metadata: {name: limits}\n\
                     spec:\n\
                     \x20 parentRefs: [{group: \"\", kind: Service, name: server-v1, port: 80}]\n\
                     \x20 rules:\n\
                     \x20 - matches: [{path: {type: PathPrefix, value: /reports}}]\n\
                     \x20   filters: [{type: ExtensionRef, extensionRef: {group: heddle.io, kind: RateLimit, name: five-an-hour}}]\n\
                     \x20   backendRefs: [{name: server-v1, port: 80}]\n\
                     \x20 - backendRefs: [{name: server-v1, port: 80}]\n";
/// The rule without a limit, so that waiting for the route uses nothing up.
const OTHER_RULE: &str = "HTTPRoute demo/limits rules[1]";

pub(super) fn play(story: &mut Story, cast: &mut Cast<'_>) -> Result<()> {
    story.scene("rate_limit", "Too many requests: come again later");
    let service = cast.versions[0].at(SERVICE_PORT);
    cast.put_documents(DOCUMENTS, ROUTE)?;
    cast.until_routed(service, "", OTHER_RULE)?;
    story.text(&format!(
        "A RateLimit on one rule of an HTTPRoute: each client may ask for /reports {LIMIT} times an hour. The client asks \
         {CALLS} times, then for another page."
    ));
    story.pause();
    let mark = Mark::now();
    let calls = cast.ask(&cast.client, service, &format!("--path /reports/1 --count {CALLS} --one-connection"))?;
    let other = cast.call_once(&cast.client, service, "/other")?;
    let line = cast.agent_a.logged_since(&mark, "refused request", |line| line["status"] == 429)?;
    for (number, call) in calls.iter().enumerate() {
        let later = call.retry_after.as_ref().map_or(String::new(), |after| format!(", retry-after {after}"));
        story.fact(&format!("request {}", number + 1), &format!("{}{later}", call.outcome()));
    }
    story.fact("node-a's log", &format!("flag {}, policy {}", text(&line["flag"]), text(&line["policy"])));
    story.pause();
    let statuses: Vec<Option<u16>> = calls.iter().map(|call| call.status).collect();
    let expected: Vec<Option<u16>> = (0..CALLS).map(|number| Some(if number < LIMIT { 200 } else { 429 })).collect();
    story.expect(statuses == expected, "the first five were served, the others answered 429", || {
        format!("{statuses:?}")
    });
    let told = calls.iter().skip(LIMIT).all(is_told_when);
    story.expect(told, "and told when to come again: within the twelve minutes that one more request takes", || {
        format!("{:?}", calls.iter().map(|call| &call.retry_after).collect::<Vec<_>>())
    });
    let named = line["flag"] == "RL" && text(&line["policy"]).ends_with("demo/five-an-hour");
    story.expect(named, "the log names the RateLimit", || line.to_string());
    story.expect(other.answer.is_some(), "what the rule does not match is not limited", || other.outcome());
    story.record("calls", &calls);
    story.record("refused", line);
    cast.remove_documents(DOCUMENTS)
}

fn is_told_when(call: &Call) -> bool {
    let after = call.retry_after.as_deref().and_then(|after| after.parse::<u64>().ok());
    after.is_some_and(|after| (1..=REFILL_SECONDS).contains(&after))
}
