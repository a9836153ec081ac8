//! Tests of the file source on real directories that change.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::{
    fs,
    io::Write,
    os::unix::fs::symlink,
    path::Path,
    time::{Duration, Instant},
};

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

const KEY: &str = "source.files.path";

/// No rescan: what these tests see, a watch has seen.
const WATCH_ONLY: Timing = Timing { rescan: Duration::from_secs(3600), ..TIMING };

fn namespace(name: &str, label: &str) -> String {
    format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}, labels: {{l: {label}}}}}\n")
}

fn scan(scanner: &mut Scanner) -> Assembled {
    scanner.scan().unwrap().contents
}

/// The namespaces of a set, as `NAME=LABEL`.
fn namespaces(contents: &Assembled) -> Vec<String> {
    contents.set.namespaces.values().map(|ns| format!("{}={}", ns.name, ns.labels["l"])).collect()
}

fn messages(contents: &Assembled, root: &Path) -> Vec<String> {
    let prefix = format!("{}/", root.display());
    contents.problems.iter().map(|p| p.to_string().lines().next().unwrap().replace(&prefix, "")).collect()
}

/// A reader of the stream, as the compiler is one.
struct Reader {
    stream: ObjectStream,
    contents: Assembled,
}

impl Reader {
    async fn open(path: &Path, timing: Timing) -> Self {
        let mut reader =
            Self { stream: open_with(path.into(), KEY, timing).await.unwrap(), contents: Assembled::default() };
        let first = reader.stream.take();
        reader.apply(first);
        reader
    }

    fn apply(&mut self, changes: Changes) {
        self.contents.set.apply(changes.objects);
        if let Some(problems) = changes.problems {
            self.contents.problems = problems.to_vec();
        }
    }

    /// Waits for contents that satisfy the condition; fails with the last ones after ten seconds, for the sake of busy
    /// machines.
    async fn until(&mut self, what: &str, condition: impl Fn(&Assembled) -> bool) -> &Assembled {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !condition(&self.contents) {
            let left = deadline.saturating_duration_since(Instant::now());
            match tokio::time::timeout(left, self.stream.next()).await {
                Ok(Some(changes)) => self.apply(changes),
                Ok(None) => panic!("{what}: the stream ended"),
                Err(_) => panic!("{what}: not seen, last state {:?}", self.contents),
            }
        }
        &self.contents
    }
}

#[test]
fn all_object_files_below_the_directory_are_read() {
    let dir = TempDir::new().unwrap();
    fs::create_dir_all(dir.path().join("a/b")).unwrap();
    fs::write(dir.path().join("one.yaml"), namespace("one", "v1") + "---\n" + &namespace("two", "v2")).unwrap();
    fs::write(dir.path().join("a/three.yml"), namespace("three", "v3")).unwrap();
    fs::write(
        dir.path().join("a/b/four.json"),
        r#"{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"four","labels":{"l":"v4"}}}"#,
    )
    .unwrap();
    for skipped in ["notes.txt", ".hidden.yaml", "one.yaml~", ".one.yaml.swp"] {
        fs::write(dir.path().join(skipped), namespace("skipped", "x")).unwrap();
    }
    let set = scan(&mut Scanner::new(dir.path().into(), KEY));
    assert_eq!(namespaces(&set), ["four=v4", "one=v1", "three=v3", "two=v2"]);
    assert_eq!(set.problems, []);
}

#[test]
fn link_cycles_end_and_linked_directories_are_read() {
    let (dir, elsewhere) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    fs::write(elsewhere.path().join("x.yaml"), namespace("x", "v1")).unwrap();
    symlink(elsewhere.path(), dir.path().join("linked")).unwrap();
    symlink(dir.path(), elsewhere.path().join("back")).unwrap();
    symlink("/nonexistent", dir.path().join("dangling.yaml")).unwrap();
    assert_eq!(namespaces(&scan(&mut Scanner::new(dir.path().into(), KEY))), ["x=v1"]);
}

#[test]
fn first_definition_by_path_wins_and_the_other_is_reported() {
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("b.yaml"), "# comment\n".to_owned() + &namespace("x", "b")).unwrap();
    fs::write(dir.path().join("a.yaml"), namespace("x", "a")).unwrap();
    let set = scan(&mut Scanner::new(dir.path().into(), KEY));
    assert_eq!(namespaces(&set), ["x=a"]);
    let expected = "b.yaml:2:1: Namespace x is already defined in a.yaml, which comes first; remove one of the two";
    assert_eq!(messages(&set, dir.path()), [expected]);
}

#[test]
fn broken_object_keeps_its_last_good_version() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("a.yaml");
    let mut scanner = Scanner::new(dir.path().into(), KEY);
    fs::write(&file, namespace("x", "good") + "---\n" + &namespace("y", "one")).unwrap();
    scan(&mut scanner);
    fs::write(&file, namespace("x", "5") + "---\n" + &namespace("y", "two")).unwrap();
    for _ in 0..2 {
        let set = scan(&mut scanner);
        assert_eq!(namespaces(&set), ["x=good", "y=two"]);
        let expected = "a.yaml:3:33: metadata.labels.l: found the number 5, allowed: text (quote numbers and booleans)";
        assert_eq!(messages(&set, dir.path()), [expected]);
    }
    fs::write(&file, namespace("y", "three")).unwrap();
    let set = scan(&mut scanner);
    assert_eq!((namespaces(&set), set.problems.len()), (vec!["y=three".into()], 0));
}

#[test]
fn unreadable_document_keeps_what_its_file_defined_and_spares_the_others() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("a.yaml");
    let mut scanner = Scanner::new(dir.path().into(), KEY);
    fs::write(&file, namespace("x", "v1") + "---\n" + &namespace("y", "v1")).unwrap();
    scan(&mut scanner);
    for edit in ["apiVersion: v1\nkind: [\n", "apiVersion: v1\nkind: {\n"] {
        fs::write(&file, edit.to_owned() + "---\n" + &namespace("y", "v2")).unwrap();
        let set = scan(&mut scanner);
        assert_eq!(namespaces(&set), ["x=v1", "y=v2"], "after {edit:?}");
        assert_eq!(set.problems.len(), 1);
        assert!(messages(&set, dir.path())[0].contains("cannot be read as YAML"), "{:?}", set.problems);
    }
    fs::write(&file, [0xff, 0xfe]).unwrap();
    let set = scan(&mut scanner);
    assert_eq!(namespaces(&set), ["x=v1", "y=v2"]);
    assert!(messages(&set, dir.path())[0].starts_with("a.yaml: cannot read this file: "), "{:?}", set.problems);
    // Sparse, so that it costs nothing; read whole it would be text, and no YAML.
    fs::File::create(&file).unwrap().set_len(scan::LARGEST + 1).unwrap();
    let set = scan(&mut scanner);
    assert_eq!(namespaces(&set), ["x=v1", "y=v2"]);
    assert!(messages(&set, dir.path())[0].contains("more than 268435456 bytes; divide it"), "{:?}", set.problems);
    fs::write(&file, [0xff, 0xfe]).unwrap();
    scan(&mut scanner);
    // Moved to another file while the first is still broken: the readable definition is in force.
    fs::write(dir.path().join("b.yaml"), namespace("x", "moved")).unwrap();
    assert_eq!(namespaces(&scan(&mut scanner)), ["x=moved", "y=v2"]);
    fs::remove_file(&file).unwrap();
    assert_eq!(namespaces(&scan(&mut scanner)), ["x=moved"]);
}

#[test]
fn other_kinds_are_passed_over() {
    let dir = TempDir::new().unwrap();
    let deployment = "{apiVersion: apps/v1, kind: Deployment, metadata: {name: a}}\n";
    fs::write(dir.path().join("a.yaml"), format!("{deployment}---\n{deployment}")).unwrap();
    assert_eq!(scan(&mut Scanner::new(dir.path().into(), KEY)), Assembled::default());
}

#[tokio::test]
async fn missing_directory_is_an_error_with_remedy() {
    let error = open("/nonexistent/objects".into(), KEY).await.unwrap_err().to_string();
    assert!(error.starts_with("cannot read the directory of objects /nonexistent/objects: "), "{error}");
    assert!(error.ends_with("create it or correct source.files.path"), "{error}");
}

#[tokio::test]
async fn every_way_of_changing_a_file_is_seen() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("a.yaml");
    fs::write(&file, namespace("x", "one")).unwrap();
    let mut reader = Reader::open(dir.path(), WATCH_ONLY).await;
    assert_eq!(namespaces(&reader.contents), ["x=one"]);

    fs::write(&file, namespace("x", "written")).unwrap();
    reader.until("write in place", |contents| namespaces(contents) == ["x=written"]).await;

    let temporary = dir.path().join(".a.yaml.tmp");
    fs::write(&temporary, namespace("x", "renamed")).unwrap();
    fs::rename(&temporary, &file).unwrap();
    reader.until("editor's rename", |contents| namespaces(contents) == ["x=renamed"]).await;

    fs::create_dir_all(dir.path().join("new/deep")).unwrap();
    fs::write(dir.path().join("new/deep/b.yaml"), namespace("y", "nested")).unwrap();
    reader.until("new directory", |contents| namespaces(contents) == ["x=renamed", "y=nested"]).await;
    fs::write(dir.path().join("new/deep/b.yaml"), namespace("y", "again")).unwrap();
    reader.until("write in the new directory", |contents| namespaces(contents) == ["x=renamed", "y=again"]).await;

    fs::remove_file(&file).unwrap();
    reader.until("removal", |contents| namespaces(contents) == ["y=again"]).await;
    fs::rename(dir.path().join("new"), dir.path().join(".gone")).unwrap();
    reader.until("removal of a directory", |contents| contents.set.namespaces.is_empty()).await;
}

#[tokio::test]
async fn mounted_configmap_is_followed_through_its_data_link() {
    let dir = TempDir::new().unwrap();
    let version = |name: &str, label: &str| {
        fs::create_dir(dir.path().join(name)).unwrap();
        fs::write(dir.path().join(name).join("a.yaml"), namespace("x", label)).unwrap();
        symlink(name, dir.path().join("..data_tmp")).unwrap();
        fs::rename(dir.path().join("..data_tmp"), dir.path().join("..data")).unwrap();
    };
    version("..2025_1", "one");
    symlink("..data/a.yaml", dir.path().join("a.yaml")).unwrap();
    let mut reader = Reader::open(dir.path(), WATCH_ONLY).await;
    assert_eq!(namespaces(&reader.contents), ["x=one"]);
    for label in ["two", "three"] {
        version(&format!("..2025_{label}"), label);
        let set = reader.until("swap", |contents| namespaces(contents) == [format!("x={label}")]).await;
        assert_eq!(set.problems, []);
    }
}

#[tokio::test]
async fn directory_behind_a_link_is_followed_to_its_new_target() {
    let dir = TempDir::new().unwrap();
    for (name, label) in [("v1", "one"), ("v2", "two")] {
        fs::create_dir(dir.path().join(name)).unwrap();
        fs::write(dir.path().join(name).join("a.yaml"), namespace("x", label)).unwrap();
    }
    let root = dir.path().join("root");
    fs::create_dir(&root).unwrap();
    symlink("../v1", root.join("current")).unwrap();
    let mut reader = Reader::open(&root, WATCH_ONLY).await;
    assert_eq!(namespaces(&reader.contents), ["x=one"]);
    symlink("../v2", root.join(".next")).unwrap();
    fs::rename(root.join(".next"), root.join("current")).unwrap();
    reader.until("new target", |contents| namespaces(contents) == ["x=two"]).await;
    fs::write(dir.path().join("v2/a.yaml"), namespace("x", "three")).unwrap();
    reader.until("change in the new target", |contents| namespaces(contents) == ["x=three"]).await;
}

#[tokio::test]
async fn vanished_directory_keeps_the_last_state_and_is_reported_until_it_is_back() {
    let dir = TempDir::new().unwrap();
    let root = dir.path().join("objects");
    fs::create_dir(&root).unwrap();
    fs::write(root.join("a.yaml"), namespace("x", "one")).unwrap();
    let timing = Timing { retry: Duration::from_millis(20), ..WATCH_ONLY };
    let mut reader = Reader::open(&root, timing).await;
    fs::rename(&root, dir.path().join("away")).unwrap();
    let set = reader.until("vanished", |contents| !contents.problems.is_empty()).await;
    assert_eq!(namespaces(set), ["x=one"]);
    assert!(set.problems[0].message.ends_with("the last state stays in force"), "{:?}", set.problems);
    fs::create_dir(&root).unwrap();
    fs::write(root.join("a.yaml"), namespace("x", "back")).unwrap();
    reader.until("back", |contents| namespaces(contents) == ["x=back"] && contents.problems.is_empty()).await;
    fs::write(root.join("a.yaml"), namespace("x", "watched")).unwrap();
    reader.until("watched again", |contents| namespaces(contents) == ["x=watched"]).await;
}

#[tokio::test]
async fn rescan_sees_what_no_watch_can() {
    let (dir, elsewhere) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    fs::write(elsewhere.path().join("target"), namespace("x", "one")).unwrap();
    symlink(elsewhere.path().join("target"), dir.path().join("a.yaml")).unwrap();
    let timing = Timing { rescan: Duration::from_millis(20), ..TIMING };
    let mut reader = Reader::open(dir.path(), timing).await;
    fs::write(elsewhere.path().join("target"), namespace("x", "two")).unwrap();
    reader.until("rescan", |contents| namespaces(contents) == ["x=two"]).await;
}

#[tokio::test]
async fn reading_does_not_wake_itself() {
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("a.yaml"), namespace("x", "one")).unwrap();
    let (signal, mut signals) = signal::channel(Change::Whole);
    let mut directory = Directory { scanner: Scanner::new(dir.path().into(), KEY), watches: Watches::new(signal) };
    for _ in 0..3 {
        directory.read().unwrap();
    }
    let woken = tokio::time::timeout(Duration::from_millis(100), signals.changed()).await;
    assert!(woken.is_err(), "reading was taken for a change");
    fs::write(dir.path().join("a.yaml"), "").unwrap();
    assert!(matches!(tokio::time::timeout(Duration::from_secs(10), signals.changed()).await, Ok(Ok(()))));
}

/// What a writer has done when nothing is to come is told from what it has begun.
#[tokio::test]
async fn a_file_in_the_making_is_waited_for_longer_than_a_whole_one() {
    let dir = TempDir::new().unwrap();
    let (signal, mut signals) = signal::channel(Change::Whole);
    let mut directory = Directory { scanner: Scanner::new(dir.path().into(), KEY), watches: Watches::new(signal) };
    directory.read().unwrap();
    let mut until = async |what: Change| {
        let seen = tokio::time::timeout(Duration::from_secs(10), signals.wait_for(|change| *change == what)).await;
        assert!(matches!(seen, Ok(Ok(_))), "{what:?}: {seen:?}");
    };
    let mut file = fs::File::create(dir.path().join("a.yaml")).unwrap();
    until(Change::Begun).await;
    file.write_all(b"apiVersion").unwrap();
    drop(file);
    until(Change::Whole).await;
    let mut file = fs::File::create(dir.path().join(".b.yaml.new")).unwrap();
    until(Change::Begun).await;
    file.write_all(b"# whole\n").unwrap();
    drop(file);
    fs::rename(dir.path().join(".b.yaml.new"), dir.path().join("b.yaml")).unwrap();
    until(Change::Whole).await;
    // One that is whole says nothing of another that is not.
    let half = fs::File::create(dir.path().join("half.yaml")).unwrap();
    until(Change::Begun).await;
    fs::write(dir.path().join("whole.yaml"), "# whole\n").unwrap();
    fs::remove_file(dir.path().join("whole.yaml")).unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    until(Change::Begun).await;
    drop(half);
    until(Change::Whole).await;
    fs::create_dir(dir.path().join("c")).unwrap();
    until(Change::Begun).await;
    fs::remove_dir(dir.path().join("c")).unwrap();
    until(Change::Whole).await;
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Files are put together in path order, in whatever order they came to be.
    #[test]
    fn order_of_creation_does_not_matter(files in Just((0..6).collect::<Vec<usize>>()).prop_shuffle()) {
        let dir = TempDir::new().unwrap();
        let mut scanner = Scanner::new(dir.path().into(), KEY);
        for file in &files {
            let text = namespace("same", &format!("l{file}")) + "---\n" + &namespace(&format!("own{file}"), "x");
            fs::write(dir.path().join(format!("{file}.yaml")), text).unwrap();
            scan(&mut scanner);
        }
        let set = scan(&mut scanner);
        prop_assert_eq!(&set.set.namespaces["same"].labels["l"], "l0");
        prop_assert_eq!(set.set.namespaces.len(), 7);
        prop_assert_eq!(&set, &scan(&mut Scanner::new(dir.path().into(), KEY)));
    }

    #[test]
    fn no_file_panics(text in "([a-z&*!|>\\[\\]{}:,\"'#%@`\\-? \n\t0-9]|kind|apiVersion|metadata|---\n|<<: ){0,60}") {
        let parsed = parse::parse("f", &text);
        let _ = assemble::assemble([("f", &parsed)].into_iter(), &crate::objects::ObjectSet::default());
    }
}
