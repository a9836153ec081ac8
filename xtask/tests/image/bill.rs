//! The bill of materials, by CycloneDX's own library from PyPI, which has the schema.
//!
//! It is installed into the folder of build products once. Where the registry cannot be reached, the test says so in one line that begins with
//! SKIPPED and passes; `HEDDLE_REQUIRE_PYTHON=1` makes that a failure.

use std::{fs, io::Write as _, path::PathBuf, process};

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::made::{Made, file, run, target, text};

/// What was tried when this was written.
const PACKAGE: &str = "cyclonedx-python-lib[json-validation]>=9,<12";

const VALIDATE: &str = "
import sys
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
problem = JsonStrictValidator(SchemaVersion.V1_5).validate_str(open(sys.argv[1]).read())
print(problem if problem else 'valid')
";

/// An interpreter that has the library.
fn python() -> Result<PathBuf> {
    let place = target()?.join("test-cyclonedx");
    let python = place.join("bin/python");
    let has_it = || run(text(&python), &["-c", "import cyclonedx, jsonschema"]).is_ok();
    if has_it() {
        return Ok(python);
    }
    let aside = target()?.join(format!("test-cyclonedx-{}", process::id()));
    let made = run("python3", &["-m", "venv", text(&aside)]).and_then(|_| {
        let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", PACKAGE];
        run(text(&aside.join("bin/python")), &pip)
    });
    if made.is_ok() && !has_it() {
        let _ = fs::remove_dir_all(&place);
        fs::rename(&aside, &place).with_context(|| format!("moving {} to {}", aside.display(), place.display()))?;
    }
    let _ = fs::remove_dir_all(&aside);
    made.map(|_| python)
}

/// An interpreter, or nothing after having said why.
fn python_or_skip() -> Result<Option<PathBuf>> {
    match python() {
        Ok(python) => Ok(Some(python)),
        Err(why) if std::env::var_os("HEDDLE_REQUIRE_PYTHON").is_some() => Err(why),
        Err(why) => {
            // Past the capture of test output: a skip is seen in every run.
            writeln!(std::io::stderr(), "SKIPPED bill: no cyclonedx-python-lib: {why:#}")?;
            Ok(None)
        }
    }
}

#[test]
fn the_bill_is_valid_cyclonedx() -> Result<()> {
    let bill = file(&Made::once()?.folder, "cdx.json");
    let Some(python) = python_or_skip()? else { return Ok(()) };
    assert_eq!(run(text(&python), &["-c", VALIDATE, text(&bill)])?.trim(), "valid");
    let broken = tempfile::NamedTempFile::new()?;
    fs::write(
        broken.path(),
        fs::read_to_string(&bill)?.replace("\"scope\": \"excluded\"", "\"scope\": \"somewhere\""),
    )?;
    let said = run(text(&python), &["-c", VALIDATE, text(broken.path())])?;
    assert!(said.contains("somewhere"), "the control: {said}");
    Ok(())
}

#[test]
fn the_bill_tells_what_is_linked_in_from_what_only_built_it() -> Result<()> {
    let bill: Value = serde_json::from_slice(&fs::read(file(&Made::once()?.folder, "cdx.json"))?)?;
    let components = bill["components"].as_array().context("no components")?;
    let scope = |name: &str| {
        let found = components.iter().find(|component| component["name"] == name);
        found.and_then(|component| component["scope"].as_str())
    };
    for linked in ["rustls", "aws-lc-sys", "tikv-jemalloc-sys", "aya-ebpf", "rust-std", "libc6", "ca-certificates"] {
        assert_eq!(scope(linked), Some("required"), "{linked}");
    }
    for built in ["cc", "serde_derive", "syn"] {
        assert_eq!(scope(built), Some("excluded"), "{built}");
    }
    // Of the tests and of this tool.
    for other in ["proptest", "xshell", "opentelemetry-proto", "ring"] {
        assert_eq!(scope(other), None, "{other}");
    }
    let without: Vec<_> = components.iter().filter(|it| it["purl"].is_null()).map(|it| &it["name"]).collect();
    assert_eq!(without, ["rust-std"]);
    Ok(())
}
