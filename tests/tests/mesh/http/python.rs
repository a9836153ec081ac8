//! gRPC by grpcio, Google's own library, from PyPI: its client and its server through the mesh, also against tonic's.
//!
//! The library, and OpenTelemetry's messages for `traces`, are installed into `target/test-python` once. Where the registry cannot be reached, the tests say so in one line
//! that begins with SKIPPED and pass; `HEDDLE_REQUIRE_PYTHON=1` makes that a failure.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, Result, bail, ensure};
use heddle_tests::bed::{Pod, Process};
use heddle_tests::peer::grpc::GrpcReport;

use super::tools::{document, in_force, listening};
use crate::world::{SOON, World};

/// The program of the tests.
const ECHO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/python/echo.py");
/// What was tried when this was written.
const PACKAGES: [&str; 2] = ["grpcio>=1.60,<2", "opentelemetry-proto>=1.20,<2"];

/// An interpreter that has grpcio, or nothing after having said why.
pub(crate) fn python() -> Result<Option<&'static Path>> {
    static FOUND: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    match FOUND.get_or_init(|| prepare().map_err(|error| format!("{error:#}"))) {
        Ok(python) => Ok(Some(python)),
        Err(why) if std::env::var_os("HEDDLE_REQUIRE_PYTHON").is_some() => bail!("no grpcio: {why}"),
        Err(why) => {
            // Past the capture of test output: a skip is seen in every run.
            let line = format!("SKIPPED {}: no grpcio: {why}\n", std::thread::current().name().unwrap_or_default());
            std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes())?;
            Ok(None)
        }
    }
}

/// Builds the environment aside and moves it into place: another run may do the same.
fn prepare() -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    let target = own.ancestors().nth(3).context("the folder of build products")?;
    let place = target.join("test-python");
    let python = place.join("bin/python");
    if has_grpcio(&python) {
        return Ok(python);
    }
    let aside = target.join(format!("test-python-{}", std::process::id()));
    let made = make(&aside, &place);
    if aside.exists() {
        std::fs::remove_dir_all(&aside)?;
    }
    made?;
    ensure!(has_grpcio(&python), "{} does not import grpc", python.display());
    Ok(python)
}

fn has_grpcio(python: &Path) -> bool {
    Command::new(python)
        .args(["-c", "import grpc, opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc"])
        .output()
        .is_ok_and(|output| output.status.success())
}

fn make(aside: &Path, place: &Path) -> Result<()> {
    run(Command::new("python3").args(["-m", "venv"]).arg(aside))?;
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
    run(Command::new(aside.join("bin/python")).args(pip).args(PACKAGES))?;
    if place.exists() {
        std::fs::remove_dir_all(place)?;
    }
    // Its own path is written in its scripts, and not in the interpreter that is used here.
    std::fs::rename(aside, place).with_context(|| format!("moving {} to {}", aside.display(), place.display()))
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("running {command:?}"))?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(
        output.status.success(),
        "{command:?} ended with {}: {}",
        output.status,
        said.lines().last().unwrap_or_default()
    );
    Ok(())
}

fn serve(pod: &Pod, python: &Path, port: u16, name: &str) -> Result<Process> {
    let mut server =
        pod.command(&python.display().to_string()).arg(ECHO).words(&format!("serve {port} {name}")).start()?;
    server.wait_line(SOON, |line| line.contains("listening"))?;
    Ok(server)
}

fn call(pod: &Pod, python: &Path, line: &str) -> Result<GrpcReport> {
    let output =
        pod.command(&python.display().to_string()).arg(ECHO).words(&format!("call {line}")).output(SOON * 6)?;
    serde_json::from_str(&output).with_context(|| format!("`{output}` is no report"))
}

#[test]
fn googles_client_and_server_and_tonics_understand_each_other_through_the_mesh() -> Result<()> {
    let Some(python) = python()? else { return Ok(()) };
    let world = World::new("grpcio")?;
    let _servers =
        [serve(&world.far, python, 9000, "grpcio")?, listening(&world.far, "grpc-serve --listen 9001 --name tonic")?];
    let service = world.bed.service("calls", &[(80, 9000), (81, 9001)])?;
    service.backends(&[&world.far])?;
    world.settle()?;
    for (port, name) in [(80, "grpcio"), (81, "tonic")] {
        for (method, replies) in [
            ("unary", &["hello"][..]),
            ("server", &["hello 0", "hello 1", "hello 2"]),
            ("client", &["hello0,hello1,hello2"]),
            ("bidi", &["hello0", "hello1", "hello2"]),
        ] {
            let to = service.at(port);
            let by_google = call(&world.client, python, &format!("{to} {method} --times 5"))?;
            let by_tonic: GrpcReport = world.client.ask(&format!("grpc --to {to} --method {method} --times 5"))?;
            for (client, report) in [("grpcio", by_google), ("tonic", by_tonic)] {
                for call in report.calls {
                    assert_eq!(
                        (call.code.as_str(), call.server.as_str()),
                        ("OK", name),
                        "{client}, {method}: {call:?}"
                    );
                    assert_eq!(call.replies, replies, "{client} to {name}, {method}");
                }
            }
        }
    }
    Ok(())
}

#[test]
fn googles_client_is_told_status_deadline_and_the_meshs_own_refusals() -> Result<()> {
    let Some(python) = python()? else { return Ok(()) };
    let world = World::new("grpcio-status")?;
    let _server = serve(&world.far, python, 9000, "grpcio")?;
    let service = world.bed.service("calls", &[(80, 9000)])?;
    service.backends(&[&world.far])?;
    world.settle()?;
    let to = service.at(80);
    let ask =
        |line: &str| Ok::<_, anyhow::Error>(call(&world.client, python, &format!("{to} {line}"))?.calls.remove(0));
    let told = ask("unary --code 5 --text nowhere")?;
    assert_eq!((told.code.as_str(), told.message.as_str()), ("NOT_FOUND", "nowhere"), "{told:?}");
    for method in ["unary", "server", "bidi"] {
        let late = ask(&format!("{method} --delay-ms 5000 --deadline-ms 300"))?;
        assert!(late.code == "DEADLINE_EXCEEDED" && late.ms < 3_000.0, "{method}: {late:?}");
    }
    let policy = |rules: &str| {
        let spec = format!("{{selector: {{matchLabels: {{app: far}}}}, action: DENY, rules: {rules}}}");
        document("security.istio.io/v1", "AuthorizationPolicy", "far", &spec)
    };
    in_force(&world, &policy("[{to: [{operation: {paths: [/heddle.test.Echo/Unary]}}]}]"))?;
    assert_eq!(ask("unary")?.code, "PERMISSION_DENIED");
    assert_eq!(ask("bidi")?.code, "OK");
    let route = "{parentRefs: [{group: \"\", kind: Service, name: calls}], rules: [{matches: [{method: {service: other}}], backendRefs: [{name: calls, port: 80}]}]}";
    in_force(&world, &document("gateway.networking.k8s.io/v1", "GRPCRoute", "calls", route))?;
    assert_eq!(ask("unary")?.code, "UNIMPLEMENTED");
    Ok(())
}
