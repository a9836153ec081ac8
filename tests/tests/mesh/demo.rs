//! The demo as its users run it: everything that it states holds, and nothing is left of it.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

#[test]
fn every_expectation_of_the_demo_holds_and_nothing_is_left() -> Result<()> {
    let output = Command::new(env!("CARGO_BIN_EXE_heddle-demo")).arg("--json").output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let summary: Value = serde_json::from_str(&text).with_context(|| format!("the summary is `{text}`"))?;
    ensure!(output.status.success() && summary["ok"] == true, "{} {text}", output.status);
    assert!(summary["expectations"].as_u64().is_some_and(|count| count >= 45), "{text}");
    let directory = summary["scenes"][0]["observed"]["directory"].as_str().context("no directory is given")?;
    assert!(!Path::new(directory).exists(), "{directory} is left");
    Ok(())
}

#[test]
fn the_demo_ends_and_cleans_up_when_it_is_interrupted() -> Result<()> {
    let mut demo = Command::new(env!("CARGO_BIN_EXE_heddle-demo"));
    let mut demo = demo.args(["--keep", "--json"]).stdout(Stdio::piped()).spawn()?;
    let stdout = demo.stdout.take().context("no pipe")?;
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(stdout)).map_while(Result::ok);
    let is_directory = |line: String| Some(line.split_once("\"directory\": \"")?.1.split('"').next()?.to_owned());
    let directory = lines.find_map(is_directory).context("no directory is given")?;
    assert!(Path::new(&directory).exists(), "{directory} is kept");
    let pid = i32::try_from(demo.id()).ok().and_then(rustix::process::Pid::from_raw).context("no process id")?;
    rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
    // Read to the end: a full pipe would keep the demo from ending.
    lines.for_each(drop);
    let deadline = Instant::now() + Duration::from_secs(20);
    let status = loop {
        match demo.try_wait()? {
            Some(status) => break status,
            None => ensure!(Instant::now() < deadline, "it goes on after SIGTERM"),
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    assert!(status.success(), "{status}");
    assert!(!Path::new(&directory).exists(), "{directory} is left");
    Ok(())
}
