//! While the canary goes on, requests with a header go to version 2 always: the more specific match decides.

use anyhow::Result;

use super::super::cast::{Cast, SERVICE_PORT};
use super::super::story::Story;
use super::{canary, shares};

const DOCUMENTS: &str = "testers";
const ROUTE: &str = "apiVersion: gateway.networking.k8s.io/v1\n\
                     kind: HTTPRoute\n\
                     metadata: {name: testers}\n\
                     spec:\n\
                     \x20 parentRefs: [{group: \"\", kind: Service, name: server, port: 80}]\n\
                     \x20 rules:\n\
                     \x20 - matches: [{headers: [{name: x-version, value: v2}]}]\n\
                     \x20   backendRefs: [{name: server-v2, port: 80}]\n";
const RULE: &str = "HTTPRoute demo/testers rules[0]";
/// As many again without the header: none of them by version 1 happens once in 10^50 runs.
const CALLS: usize = 50;

pub(super) fn play(story: &mut Story, cast: &mut Cast<'_>) -> Result<()> {
    story.scene("header_route", "A header decides: testers get version 2");
    let service = cast.service.at(SERVICE_PORT);
    cast.put_documents(DOCUMENTS, ROUTE)?;
    cast.until_routed(service, "--header x-version:v2", RULE)?;
    story.text(&format!(
        "The canary goes on. A second HTTPRoute matches `x-version: v2`; the client sends {CALLS} GETs with that header, \
         and {CALLS} without."
    ));
    story.pause();
    let many = format!("--one-connection --count {CALLS}");
    let testers = cast.ask(&cast.client, service, &format!("{many} --header x-version:v2"))?;
    let others = cast.ask(&cast.client, service, &many)?;
    story.plain("with the header:");
    let of_testers = shares::show(story, cast, &testers);
    story.plain("without:");
    let of_others = shares::show(story, cast, &others);
    story.pause();
    story.expect(of_testers == [0, CALLS], "every request with the header was answered by version 2", || {
        format!("{of_testers:?}; the first outcome: {}", testers[0].outcome())
    });
    let goes_on = of_others[0] > 0 && of_others.iter().sum::<usize>() == CALLS;
    story.expect(goes_on, "the others were answered, and still by the canary's shares", || format!("{of_others:?}"));
    story.record("with_header", of_testers);
    story.record("without_header", of_others);
    cast.remove_documents(DOCUMENTS)?;
    cast.remove_documents(canary::DOCUMENTS)
}
