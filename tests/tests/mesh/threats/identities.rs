//! Certificates of the mesh's own authority that say too much, something else, or are in the wrong hands.

use anyhow::Result;
use heddle_tests::rogue::{Leaf, Root};

use super::{SOMEBODY, good_certificate, tunnel};
use crate::world::{SOON, World, lines_to};

#[test]
fn certificates_with_two_identities_in_upper_case_or_of_another_trust_domain_are_refused() -> Result<()> {
    let world = World::new("odd-names")?;
    let stranger = world.stranger()?;
    let _server = world.far.serve("--listen 8080")?;
    let to = world.far.at(8080).to_string();
    let ours = Root::of_agents(&world.bed.ca_directory())?;
    let client = world.client.identity();
    let cases = [
        ("two identities", vec![SOMEBODY.to_owned(), client.clone()]),
        ("the same one twice", vec![client.clone(), client.clone()]),
        ("upper case trust domain", vec![client.replace("cluster.local", "CLUSTER.LOCAL")]),
        ("upper case scheme", vec![client.replace("spiffe", "SPIFFE")]),
        ("another trust domain", vec![client.replace("cluster.local", "other.local")]),
        ("a trust domain that begins alike", vec![client.replace("cluster.local", "cluster.local.evil")]),
    ];
    let count = cases.len() as f64;
    for (index, (what, uris)) in cases.into_iter().enumerate() {
        let leaf = Leaf { uris, ..Leaf::of(SOMEBODY) };
        let minted = ours.mint(&leaf, world.bed.directory(), &format!("odd-{index}"))?;
        let report = tunnel(&stranger, &world.far, &to, &minted, "")?;
        assert!(report.connected && report.status.is_none() && !report.echoed, "{what}: {report:?}");
    }
    world.b.wait_metrics("every refusal is counted", SOON, |metrics| {
        let all = metrics.sum("heddle_handshakes_total", &[("side", "server")]);
        all - metrics.sum("heddle_handshakes_total", &[("side", "server"), ("result", "ok")]) == count
    })?;
    let good = good_certificate(&world, &client, "good")?;
    assert!(tunnel(&stranger, &world.far, &to, &good, "")?.echoed, "the control");
    Ok(())
}

#[test]
fn a_stolen_certificate_counts_for_its_identity_and_the_log_shows_where_it_was_used() -> Result<()> {
    // What SECURITY.md says remains: an identity is whoever has its key, from whatever address.
    let mut world = World::new("stolen")?;
    let stranger = world.stranger()?;
    let _server = world.far.serve("--listen 8080")?;
    let to = world.far.at(8080);
    let stolen = good_certificate(&world, &world.client.identity(), "stolen")?;
    assert!(tunnel(&stranger, &world.far, &to.to_string(), &stolen, "")?.echoed);
    let log = world.log_of_b()?;
    let line = lines_to(&log, to, "inbound").pop().unwrap();
    assert_eq!(line["source_identity"], world.client.identity().as_str(), "{line}");
    assert!(line["source_address"].as_str().unwrap().starts_with(&format!("{}:", stranger.v4())), "{line}");
    assert!(line["source_workload"].is_null(), "the address is not the pod's, so no pod is named: {line}");
    Ok(())
}
