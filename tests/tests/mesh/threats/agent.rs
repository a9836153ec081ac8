//! The agent's own process: what it keeps to itself, and who can wear it out.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use heddle_tests::bed::Bed;

use crate::world::{SOON, World, connect, echoed, enrolled, eventually, probe};

#[test]
fn neither_log_nor_endpoints_show_a_key() -> Result<()> {
    let bed = Bed::new("no-keys")?;
    let mut world = World::on(bed, |agent| agent.set("log.level", "info,heddle=trace,log=trace"))?;
    let _server = world.far.serve("--listen 8080")?;
    assert!(connect(&world.client, &format!("--to {} --count 3", world.far.at(8080)))?.all_good(3));
    let root_key = std::fs::read_to_string(world.bed.ca_directory().join("root-key.pem"))?;
    let mut needles: Vec<&str> = root_key.lines().filter(|line| line.len() > 16 && !line.starts_with('-')).collect();
    assert!(!needles.is_empty(), "there is a key to look for");
    needles.push("PRIVATE KEY");
    let mut shown = vec![world.a.config_json()?.to_string(), world.a.get_json("/status")?.to_string()];
    for agent in [&mut world.a, &mut world.b] {
        shown.extend(agent.process().stdout());
        shown.extend(agent.process().stderr());
    }
    assert!(shown.iter().any(|text| text.contains("DEBUG")), "the log is at its most talkative: {shown:?}");
    let told = shown.iter().find(|text| needles.iter().any(|needle| text.contains(needle)));
    assert!(told.is_none(), "{told:?}");
    Ok(())
}

#[test]
fn the_agent_leaves_no_core_file() -> Result<()> {
    let bed = Bed::new("no-dump")?;
    let node = bed.node("a")?;
    let mut agent = node.agent().start()?;
    let pid = agent.process().pid();
    let limits = std::fs::read_to_string(format!("/proc/{pid}/limits"))?;
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).context("no limit of core files")?;
    assert_eq!(core.split_whitespace().skip(4).take(2).collect::<Vec<_>>(), ["0", "0"], "{core}");
    Ok(())
}

/// Starts what follows with everything that root may, save for looking into whatever process it likes.
const WITHOUT_PTRACE: &str = "--bounding-set=-sys_ptrace --inh-caps=-sys_ptrace";

#[test]
fn nobody_without_the_right_to_trace_looks_into_the_agents_memory() -> Result<()> {
    let bed = Bed::new("no-look")?;
    let node = bed.node("a")?;
    let mut agent = node.agent().start()?;
    agent.kill()?;
    // Of two processes with the same user and the same capabilities each may look into the other, unless that forbids it.
    let heddle = heddle_tests::bed::binary("heddle")?.display().to_string();
    let config = agent.config_file().display().to_string();
    let start = |line: &str| node.command("setpriv")?.words(&format!("{WITHOUT_PTRACE} {line}")).start();
    let mut agent = start(&format!("{heddle} agent --config {config}"))?;
    let pause = start(&format!("{} pause", heddle_tests::bed::binary("heddle-peer")?.display()))?;
    eventually("the agent is ready", SOON, || {
        ensure!(agent.running()?, "{}", agent.describe("ended"));
        let ready = node.netns().get(([127, 0, 0, 1], 15021).into(), "/healthz/ready", SOON);
        Ok(ready.is_ok_and(|answer| answer.status == 200))
    })?;
    // What is asked for a descriptor's name is the same as for the memory.
    let look = |pid: u32| -> Result<bool> {
        let command = node.command("setpriv")?.words(&format!("{WITHOUT_PTRACE} readlink /proc/{pid}/fd/0"));
        Ok(command.finish(SOON)?.status.success())
    };
    assert!(look(pause.pid())?, "the control: another process is open to that");
    assert!(!look(agent.pid())?);
    Ok(())
}

#[test]
fn a_thousand_half_open_handshakes_neither_keep_others_out_nor_stay() -> Result<()> {
    const COUNT: usize = 1000;
    let mut world = World::with("half-open", |agent| agent.set("limits.handshakeTimeout", "3s"))?;
    let stranger = world.stranger()?;
    let _server = world.far.serve("--listen 8080")?;
    let before = world.b.process().resident_bytes()?;
    let to = world.far.at(15008);
    let begin = Instant::now();
    // The first bytes of a TLS record that promises 512 more.
    let open = || -> Result<TcpStream> {
        let mut stream = TcpStream::connect(to)?;
        stream.write_all(&[0x16, 0x03, 0x01, 0x02, 0x00, 0x01])?;
        Ok(stream)
    };
    let half_open = stranger.netns().run(|| (0..COUNT).map(|_| open()).collect::<Result<Vec<_>>>())?;
    let others = connect(&world.client, &format!("--to {} --count 20 --concurrency 4", world.far.at(8080)))?;
    assert!(others.all_good(20), "{others:?}");
    assert!(begin.elapsed() < Duration::from_secs(3) || world.b.metrics().is_ok());
    let grown = world.b.process().resident_bytes()?.saturating_sub(before);
    assert!(grown < 64 << 20, "{COUNT} handshakes that do not go on cost {} MiB", grown >> 20);
    for mut stream in half_open {
        stream.set_read_timeout(Some(SOON))?;
        let end = stream.read_to_end(&mut Vec::new());
        let closed = end.as_ref().err().is_none_or(|error| error.kind() == std::io::ErrorKind::ConnectionReset);
        assert!(closed, "after {:?}: {end:?}", begin.elapsed());
    }
    let timeouts = [("side", "server"), ("result", "timeout")];
    world.b.wait_metrics("each is counted", SOON, |metrics| {
        metrics.sum("heddle_handshakes_total", &timeouts) == COUNT as f64
    })?;
    Ok(())
}

#[test]
fn a_handshake_that_goes_on_byte_by_byte_ends_in_time() -> Result<()> {
    let world = World::with("slow", |agent| agent.set("limits.handshakeTimeout", "1s"))?;
    let stranger = world.stranger()?;
    let _server = world.far.serve("--listen 8080")?;
    let to = world.far.at(15008);
    let begin = Instant::now();
    stranger.netns().run(|| {
        let mut stream = TcpStream::connect(to)?;
        stream.write_all(&[0x16, 0x03, 0x01, 0x02, 0x00])?;
        // Each byte is progress; the time is for the whole handshake all the same.
        while stream.write_all(&[0x01]).is_ok() {
            ensure!(begin.elapsed() < SOON, "still open after {:?}", begin.elapsed());
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    })?;
    assert!(begin.elapsed() >= Duration::from_millis(900), "not refused for another reason: {:?}", begin.elapsed());
    enrolled(&world.b, 1)?;
    assert!(echoed(&probe(&world.client, world.far.at(8080), "others")?, "others"));
    Ok(())
}
