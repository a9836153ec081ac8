//! Spans as a program of others reads them: grpcio's server with the messages of OpenTelemetry's own Python package.

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::{SPAN, TRACE, traceparent, watched, within};
use crate::http::python::python;
use crate::world::SOON;

/// The program of the test.
const COLLECTOR: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/python/collector.py");

#[test]
fn opentelemetrys_own_messages_are_understood_by_googles_server() -> Result<()> {
    let Some(python) = python()? else { return Ok(()) };
    let (bed, node) = watched("traces-python")?;
    let address = format!("{}:4317", node.wire_v4());
    let program = node.command(&python.display().to_string())?.arg(COLLECTOR).arg(&address);
    let mut collector = program.start()?;
    collector.wait_line(SOON, |line| line.contains("listening"))?;
    let mut web = within(bed, &json!({"endpoint": format!("http://{address}")}), 0.0)?;
    web.seen(web.get("/cart").header("traceparent", &traceparent(TRACE, "01")))?;
    let mut span = |kind: &str| -> Result<Value> {
        let is_it = |line: &str| serde_json::from_str::<Value>(line).is_ok_and(|span| span["kind"] == kind);
        let line = collector.wait_line(SOON, is_it)?;
        serde_json::from_str(&line).context("it was JSON a moment ago")
    };
    let (client, server) = (span("SPAN_KIND_CLIENT")?, span("SPAN_KIND_SERVER")?);
    assert_eq!((&client["trace"], &client["parent"]), (&json!(TRACE), &json!(SPAN)));
    assert_eq!((&server["trace"], &server["parent"]), (&json!(TRACE), &client["id"]));
    for (span, service) in [(client, "client"), (server, "far")] {
        assert_eq!(span["resource"]["service.name"], service, "{span:#}");
        assert_eq!(span["attributes"]["http.response.status_code"], 200, "{span:#}");
        assert_eq!(span["attributes"]["url.path"], "/cart", "{span:#}");
        assert_eq!(span["unknown"], json!([]), "no field that the package does not know");
    }
    Ok(())
}
