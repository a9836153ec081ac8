//! Certificates that their authority takes back, by a revocation list that the agents follow.

use anyhow::{Context, Result};
use heddle_tests::bed::{Agent, Bed, Pod};
use heddle_tests::rogue::Root;
use serde_json::Value;

use crate::world::{Hold, SOON, World, connect, enrolled, eventually, hold, lines_to, probe, refused};

#[test]
fn a_revoked_client_is_cut_and_refused_and_nobody_else_is() -> Result<()> {
    let bed = Bed::new("revoked-client")?;
    let (a, b) = (bed.node("a")?, bed.node("b")?);
    let (client, near, far) = (a.pod("client").start()?, a.pod("near").start()?, b.pod("far").start()?);
    // The client's own agent does not read the list, or it would have a new certificate at once.
    let mut a = a.agent().start()?;
    revoke(&bed, &[])?;
    let mut b = b.agent().set("tls.crl", list(&bed)).start()?;
    enrolled(&a, 2)?;
    enrolled(&b, 1)?;
    let _server = far.serve("--listen 8080")?;
    let (mut cut, mut other) = (hold(&client, far.at(8080), 3)?, hold(&near, far.at(8080), 3)?);
    other.still_exchanges()?;

    revoke(&bed, &[&serial_of(&mut a, &client)?])?;
    all_reset(&mut cut, 3)?;
    other.still_exchanges()?;
    assert!(connect(&near, &format!("--to {}", far.at(8080)))?.all_good(1));
    let report = probe(&client, far.at(8080), "again")?;
    assert!(refused(&report), "{report:?}");

    let metrics = b.wait_metrics("the refusal is counted", SOON, |metrics| {
        metrics.sum("heddle_handshakes_total", &[("side", "server"), ("result", "revoked_certificate")]) >= 1.0
    })?;
    assert!(metrics.sum("heddle_tunnels_ended_total", &[("reason", "peer_revoked")]) >= 1.0);
    assert_eq!(metrics.get("heddle_crl_entries", &[]), Some(1.0));
    assert_eq!(metrics.get("heddle_crl_unverified_lists", &[]), Some(0.0));
    let lines = revoked_lines(&mut b, &far, "inbound", 3)?;
    let roots: Vec<_> = lines.iter().map(|line| line["tls_root"].as_str().unwrap_or_default()).collect();
    assert!(roots.iter().all(|root| root.len() == 16), "{roots:?}");
    let label = [("root", roots[0]), ("side", "server"), ("result", "ok"), ("group", "X25519MLKEM768")];
    assert!(metrics.sum("heddle_handshakes_total", &label) >= 2.0);
    assert!(lines.iter().all(|line| line["source_identity"] == client.identity().as_str()), "{lines:?}");
    Ok(())
}

#[test]
fn a_revoked_server_is_cut_and_not_believed_any_more() -> Result<()> {
    let bed = Bed::new("revoked-server")?;
    let (a, b) = (bed.node("a")?, bed.node("b")?);
    let (client, near, far) = (a.pod("client").start()?, a.pod("near").start()?, b.pod("far").start()?);
    let mut b = b.agent().start()?;
    revoke(&bed, &[])?;
    let mut a = a.agent().set("tls.crl", list(&bed)).start()?;
    enrolled(&a, 2)?;
    enrolled(&b, 1)?;
    let _servers = [&near, &far].map(|pod| pod.serve("--listen 8080").unwrap());
    let (mut cut, mut other) = (hold(&client, far.at(8080), 3)?, hold(&client, near.at(8080), 3)?);
    other.still_exchanges()?;

    revoke(&bed, &[&serial_of(&mut b, &far)?])?;
    all_reset(&mut cut, 3)?;
    other.still_exchanges()?;
    let report = probe(&client, far.at(8080), "again")?;
    assert!(refused(&report), "{report:?}");
    // The three that were cut, and the one that was refused.
    let lines = revoked_lines(&mut a, &far, "outbound", 4)?;
    assert!(lines.iter().any(|line| line["tls_root"].is_null()), "{lines:?}");
    let revoked = [("side", "client"), ("result", "revoked_certificate")];
    assert!(a.metrics()?.sum("heddle_handshakes_total", &revoked) >= 1.0);
    Ok(())
}

#[test]
fn agents_that_read_the_list_replace_what_it_names() -> Result<()> {
    // The authority must be there before its list, and is made by an agent: this one is only for that.
    let bed = Bed::new("revoked-own")?;
    drop(bed.node("first")?.agent().start()?);
    revoke(&bed, &[])?;
    let path = list(&bed);
    let mut world = World::on(bed, |agent| agent.set("tls.crl", path.as_str()))?;
    let _server = world.far.serve("--listen 8080")?;
    let to = world.far.at(8080);
    let mut cut = hold(&world.client, to, 2)?;
    let revoked = serial_of(&mut world.a, &world.client)?;
    revoke(&world.bed, &[&revoked])?;
    all_reset(&mut cut, 2)?;
    eventually("the client has a new certificate", SOON, || Ok(serial_of(&mut world.a, &world.client)? != revoked))?;
    eventually("and is believed again", SOON, || Ok(connect(&world.client, &format!("--to {to}"))?.all_good(1)))?;

    // What is no list takes nothing back.
    write(&path, "-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n")?;
    let failed = [("result", "failed")];
    world
        .a
        .wait_metrics("the broken list is counted", SOON, |m| m.get("heddle_crl_loads_total", &failed) == Some(1.0))?;
    assert_eq!(world.a.metrics()?.get("heddle_crl_entries", &[]), Some(1.0));
    Ok(())
}

#[test]
fn an_agent_does_not_start_without_the_list_that_it_is_to_read() -> Result<()> {
    let bed = Bed::new("no-list")?;
    let mut agent = bed.node("a")?.agent().set("tls.crl", "/nowhere/ca.crl").start_without_waiting()?;
    let finished = agent.process().wait(SOON)?;
    let said = finished.stderr.join("\n");
    assert!(said.contains("/nowhere/ca.crl") && said.contains("tls.crl"), "{said}");
    Ok(())
}

/// The file that the agents follow.
fn list(bed: &Bed) -> String {
    bed.directory().join("ca.crl").display().to_string()
}

/// Has the agents' authority take back certificates of these serial numbers.
fn revoke(bed: &Bed, serials: &[&str]) -> Result<()> {
    write(&list(bed), &Root::of_agents(&bed.ca_directory())?.revoke(serials)?)
}

/// In one step, as an operator's tool should.
fn write(path: &str, text: &str) -> Result<()> {
    let aside = format!("{path}.new");
    std::fs::write(&aside, text).with_context(|| format!("writing {aside}"))?;
    std::fs::rename(&aside, path).with_context(|| format!("renaming to {path}"))
}

/// The serial number of a pod's certificate, as its agent says when it gets one.
fn serial_of(agent: &mut Agent, pod: &Pod) -> Result<String> {
    let identity = pod.identity();
    let log = agent.process().stderr();
    let said: Vec<Value> = log.iter().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let is_issued = |line: &&Value| line["message"] == "certificate issued" && line["id"] == *identity;
    let serial = said.iter().rev().find(is_issued).and_then(|line| line["serial"].as_str());
    Ok(serial.with_context(|| format!("no certificate of {identity} in the log: {log:#?}"))?.to_owned())
}

fn all_reset(held: &mut Hold, count: u64) -> Result<()> {
    eventually("the open connections of the revoked one are reset", SOON, || {
        Ok(held.report()?.broken.get("ECONNRESET") == Some(&count))
    })
}

/// The lines of connections that ended by the revocation, once there are so many.
fn revoked_lines(agent: &mut Agent, to: &Pod, direction: &str, count: usize) -> Result<Vec<Value>> {
    let mut lines = vec![];
    eventually("the revocation is in the access log", SOON, || {
        lines = lines_to(&agent.access_log(), to.at(8080), direction);
        lines.retain(|line| line["flag"] == "CERT_REVOKED");
        Ok(lines.len() == count)
    })?;
    Ok(lines)
}
