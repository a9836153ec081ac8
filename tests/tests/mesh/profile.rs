//! Profiles of an agent under load, read as pprof tools read them: the message decoded, addresses looked up in the binary.

use std::collections::BTreeSet;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use heddle_tests::bed::{Node, binary};
use prost::Message;

use crate::http::tools::{HttpLoad, Web};
use crate::world::SOON;

/// What of `profile.proto` is read here.
#[derive(Clone, PartialEq, Message)]
struct Profile {
    #[prost(message, repeated, tag = "1")]
    sample_type: Vec<ValueType>,
    #[prost(message, repeated, tag = "2")]
    sample: Vec<Sample>,
    #[prost(message, repeated, tag = "3")]
    mapping: Vec<Mapping>,
    #[prost(message, repeated, tag = "4")]
    location: Vec<Location>,
    #[prost(string, repeated, tag = "6")]
    string_table: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
struct ValueType {
    #[prost(int64, tag = "1")]
    kind: i64,
    #[prost(int64, tag = "2")]
    unit: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Sample {
    #[prost(uint64, repeated, tag = "1")]
    location: Vec<u64>,
    #[prost(int64, repeated, tag = "2")]
    value: Vec<i64>,
}

#[derive(Clone, PartialEq, Message)]
struct Mapping {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(int64, tag = "5")]
    file: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Location {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(uint64, tag = "2")]
    mapping: u64,
    #[prost(uint64, tag = "3")]
    address: u64,
}

impl Profile {
    /// Asks the agent of a node for one.
    fn of(node: &Node, path: &str) -> Result<Self> {
        let file = node.directory().join("profile.pb.gz");
        let url = format!("http://127.0.0.1:15000{path}");
        let curl =
            node.command("curl")?.words("--silent --show-error --fail-with-body --max-time 60 --output").arg(&file);
        let finished = curl.arg(url).finish(SOON * 6)?;
        let said = || format!("{:?}, {}", finished.stderr, std::fs::read_to_string(&file).unwrap_or_default());
        ensure!(finished.status.success(), "{path}: {}", said());
        let unpacked = Command::new("gzip").arg("-dc").arg(&file).output().context("gzip")?;
        ensure!(unpacked.status.success(), "{path} is not gzip");
        Ok(Self::decode(unpacked.stdout.as_slice())?)
    }

    fn text(&self, index: i64) -> &str {
        usize::try_from(index).ok().and_then(|index| self.string_table.get(index)).map_or("", String::as_str)
    }

    fn total(&self) -> i64 {
        self.sample.iter().flat_map(|sample| &sample.value).sum()
    }

    /// Names of functions of a program that it has, by the program's debug information: of some hundred addresses, since looking
    /// up takes long.
    fn functions(&self, program: &str) -> Result<BTreeSet<String>> {
        let own = self.mapping.iter().filter(|mapping| self.text(mapping.file) == program);
        let own: BTreeSet<u64> = own.map(|mapping| mapping.id).collect();
        let addresses: Vec<String> = self
            .location
            .iter()
            .filter(|location| own.contains(&location.mapping))
            .take(300)
            .map(|location| format!("{:#x}", location.address))
            .collect();
        let mut lookup = Command::new("addr2line");
        lookup
            .args(["--functions", "--inlines", "--demangle", "--exe", program])
            .args(&addresses)
            .stderr(Stdio::null());
        let text = String::from_utf8(lookup.output().context("addr2line")?.stdout)?;
        Ok(text.lines().step_by(2).map(str::to_owned).collect())
    }
}

#[test]
fn profiles_of_cpu_and_heap_have_the_functions_that_serve_requests() -> Result<()> {
    let web = Web::new("profile")?;
    let load = HttpLoad::start(&web.world.client, &format!("--to {} --host web --h2", web.service.at(80)))?;
    let (node, heddle) = (web.world.client.node(), binary("heddle")?.canonicalize()?.display().to_string());

    let cpu = Profile::of(node, "/debug/pprof/profile?seconds=3")?;
    let kind = &cpu.sample_type[0];
    assert_eq!((cpu.text(kind.kind), cpu.text(kind.unit)), ("cpu", "nanoseconds"));
    let total = Duration::from_nanos(u64::try_from(cpu.total())?);
    ensure!(total > Duration::from_millis(50) && total < Duration::from_secs(30), "{total:?} of CPU time");
    let functions = cpu.functions(&heddle)?;
    let has = |functions: &BTreeSet<String>, part: &str| functions.iter().any(|name| name.contains(part));
    ensure!(has(&functions, "heddle::request::"), "nothing of requests: {functions:#?}");
    let handler = cpu.sample.iter().filter(|sample| sample.location.is_empty()).count();
    ensure!(handler * 10 <= cpu.sample.len(), "{handler} of {} stacks are only of the profiler", cpu.sample.len());

    let heap = std::thread::scope(|scope| -> Result<Profile> {
        let asked = scope.spawn(|| Profile::of(node, "/debug/pprof/heap?seconds=4"));
        std::thread::sleep(Duration::from_secs(1));
        // One in half a megabyte is seen: many connections are some megabytes.
        let to = web.service.at(80);
        let mut hold = web.world.near.peer(&format!("hold --to {to} --count 400 --interval-ms 1"))?.start()?;
        let heap = asked.join().map_err(|_| anyhow::anyhow!("a panic"))?;
        hold.kill()?;
        heap
    })?;
    ensure!(heap.total() > 0, "no memory was taken for 400 connections");
    ensure!(has(&heap.functions(&heddle)?, "heddle::"), "nothing of the agent");

    let busy = std::thread::scope(|scope| -> Result<_> {
        let first = scope.spawn(|| Profile::of(node, "/debug/pprof/profile?seconds=2"));
        std::thread::sleep(Duration::from_millis(500));
        let second = Profile::of(node, "/debug/pprof/heap").err().context("two at once")?;
        first.join().map_err(|_| anyhow::anyhow!("a panic"))??;
        Ok(second)
    })?;
    ensure!(format!("{busy:#}").contains("another profile is being taken"), "{busy:#}");
    let wrong = Profile::of(node, "/debug/pprof/profile?seconds=3600").err().context("an hour")?;
    ensure!(format!("{wrong:#}").contains("allowed is a whole number from 1 to 60"), "{wrong:#}");
    let report = load.end()?;
    ensure!(report.failures.is_empty(), "{report:?}");
    Ok(())
}
