//! One request through the Service, as both agents logged it: proven identities, protection, what was asked, bytes.

use anyhow::Result;
use serde_json::Value;

use super::super::agents::Mark;
use super::super::app::Call;
use super::super::cast::{Cast, POD_PORT, SERVICE_PORT};
use super::super::story::Story;

pub(super) fn play(story: &mut Story, cast: &mut Cast<'_>) -> Result<()> {
    story.scene("agents", "What the agents saw");
    story.text("One more request, with a body; each agent wrote an access log line about it.");
    story.pause();
    let service = cast.service.at(SERVICE_PORT);
    let mark = Mark::now();
    let call = cast.ask_once(&cast.client, service, "--path /orders?priority=1 --body 3-bolts-of-cloth")?;
    let Some(server) = cast.server_of(&call).cloned() else {
        story.expect(false, "one more call is answered", || call.outcome());
        return Ok(());
    };
    let outbound = cast.agent_a.logged_since(&mark, "outbound request", |line| line["direction"] == "outbound")?;
    let inbound = cast.agent_b.logged_since(&mark, "inbound request", |line| line["direction"] == "inbound")?;
    let lines = Lines { outbound, inbound };
    lines.show(story);
    story.pause();
    lines.judge(story, &call, &cast.client.identity(), &server.identity(), &server.at(POD_PORT).to_string());
    story.record("outbound", &lines.outbound);
    story.record("inbound", &lines.inbound);
    Ok(())
}

struct Lines {
    outbound: Value,
    inbound: Value,
}

impl Lines {
    fn show(&self, story: &Story) {
        self.both(story, "client", |line| text(&line["source_identity"]));
        self.both(story, "server", |line| text(&line["destination_identity"]));
        self.both(story, "protection", |line| format!("{}, {}", text(&line["tls_version"]), text(&line["tls_group"])));
        self.both(story, "request", |line| {
            let (method, path) = (text(&line["method"]), text(&line["path"]));
            format!("{method} {path}, {}, answered {}", text(&line["protocol"]), line["status"])
        });
        self.both(story, "bodies", |line| {
            format!("{} bytes to the server, {} back", line["sent_bytes"], line["received_bytes"])
        });
        story.fact(
            "dialled",
            &format!("{} ({})", text(&self.outbound["destination_address"]), text(&self.outbound["service"])),
        );
        story.fact(
            "endpoint",
            &format!("{} ({})", text(&self.outbound["endpoint"]), text(&self.outbound["destination_workload"])),
        );
    }

    /// One value if the agents agree, else both.
    fn both(&self, story: &Story, label: &str, value: impl Fn(&Value) -> String) {
        let (a, b) = (value(&self.outbound), value(&self.inbound));
        if a == b {
            return story.fact(label, &a);
        }
        story.fact(label, &format!("node-a: {a}"));
        story.fact("", &format!("node-b: {b}"));
    }

    fn judge(&self, story: &mut Story, call: &Call, client: &str, server: &str, endpoint: &str) {
        let each = |holds: &dyn Fn(&Value) -> bool| holds(&self.outbound) && holds(&self.inbound);
        let show = || format!("node-a: {}\nnode-b: {}", fields(&self.outbound), fields(&self.inbound));
        let identities = each(&|line| line["source_identity"] == client && line["destination_identity"] == server);
        story.expect(identities, "both agents know both ends by their service account's SPIFFE identity", show);
        let tls = each(&|line| line["tls_version"] == "TLSv1.3" && line["tls_group"] == "X25519MLKEM768");
        story.expect(tls, "TLS 1.3 both ways, keys exchanged by X25519MLKEM768 (post-quantum)", show);
        let asked = each(&|line| line["method"] == "POST" && line["path"] == "/orders" && line["status"] == 200);
        story.expect(asked, "both read the request: its method, its path without the query, its status", show);
        let bytes = each(&|line| line["sent_bytes"] == call.sent && line["received_bytes"] == call.received);
        let counted = format!("both counted the bodies' bytes as the client did: {} and {}", call.sent, call.received);
        story.expect(bytes, &counted, show);
        story.expect(self.outbound["endpoint"] == endpoint, "the endpoint is the pod that answered", show);
    }
}

/// A whole line, where something in it is not as it must be.
fn fields(line: &Value) -> String {
    let fields = line.as_object().into_iter().flatten().map(|(name, value)| format!("{name}={}", text(value)));
    fields.collect::<Vec<_>>().join(" ")
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
