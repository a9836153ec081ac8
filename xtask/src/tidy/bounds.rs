//! The rule for bounds: docs/bounds.md tells of every queue and of every table of the kernel, and what it tells is so.
//!
//! It reads lines and not syntax: constants by `const NAME`, queues by the calls that make them. That a queue has a metric, and what
//! happens when it is full, is for a reader to judge.

use std::{collections::BTreeSet, fmt, path::Path};

use super::{Breach, Files};

/// The document.
const DOCUMENT: &str = "docs/bounds.md";
/// Where every metric is listed.
const METRICS: &str = "deploy/METRICS.md";
/// The kernel's tables.
const MAPS: &str = "ebpf/src/maps.rs";
/// Constants that their sizes are made of.
const COMMON: &str = "common/src";
/// What paths in the document are relative to, where they do not say otherwise.
const AGENT: &str = "agent/src";

/// What the names of metrics begin with.
const METRIC_PREFIXES: [&str; 3] = ["heddle_", "istio_", "process_"];

/// Calls that make a queue with a bound, or a buffer that its maker has to bound.
const QUEUES: [&str; 6] =
    ["mpsc::channel(", "sync_channel(", "broadcast::channel(", "Semaphore::new(", "Semaphore::const_new(", "VecDeque<"];
/// Calls that make a queue without one.
const UNBOUNDED: [&str; 3] = ["unbounded_channel(", "unbounded_channel::<", "mpsc::unbounded("];

/// Compares the document with the code.
pub(super) fn check(files: &Files, breaches: &mut Vec<Breach>) {
    let Some(document) = text_of(files, DOCUMENT) else { return };
    let spans: Vec<Span<'_>> = spans(document).collect();
    let metrics = text_of(files, METRICS).map(listed_metrics).unwrap_or_default();
    for span in &spans {
        check_constant(files, span, breaches);
        let metric = span.code.split('{').next().unwrap_or_default();
        if METRIC_PREFIXES.iter().any(|prefix| metric.starts_with(prefix)) && !metrics.contains(metric) {
            let complaint = format!(
                "{metric} is not in {METRICS}: correct the name, or generate that page anew if it is a new metric"
            );
            breaches.push(Breach::new(Path::new(DOCUMENT), span.line, complaint));
        }
    }
    check_maps(files, document, breaches);
    check_queues(files, &spans, breaches);
}

fn text_of<'a>(files: &'a Files, name: &str) -> Option<&'a str> {
    files.texts.iter().find(|(path, _)| path == Path::new(name)).map(|(_, text)| text.as_str())
}

/// Something in backquotes, with its line counted from 1 and what stands before it.
struct Span<'a> {
    line: usize,
    before: &'a str,
    code: &'a str,
}

impl<'a> Span<'a> {
    /// A file, and the constant in it if one is named.
    fn path(&self) -> Option<(&'a str, Option<&'a str>)> {
        let (path, name) = self.code.split_once("::").map_or((self.code, None), |(path, name)| (path, Some(name)));
        path.ends_with(".rs").then_some((path, name))
    }
}

fn spans(document: &str) -> impl Iterator<Item = Span<'_>> {
    document.lines().enumerate().flat_map(|(index, line)| {
        let mut rest = line;
        let next = move || {
            let (before, code) = rest.split_once('`')?;
            let (code, after) = code.split_once('`')?;
            rest = after;
            Some(Span { line: index + 1, before, code })
        };
        std::iter::from_fn(next)
    })
}

/// The names in the first cells of the tables.
fn listed_metrics(document: &str) -> BTreeSet<&str> {
    document.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect()
}

/// A constant is there, and has the number that stands before it.
fn check_constant(files: &Files, span: &Span<'_>, breaches: &mut Vec<Breach>) {
    let Some((path, name)) = span.path() else { return };
    let mut complain = |complaint: String| breaches.push(Breach::new(Path::new(DOCUMENT), span.line, complaint));
    let Some(text) = text_of(files, &format!("{AGENT}/{path}")).or_else(|| text_of(files, path)) else {
        return complain(format!("there is no file {path} below {AGENT}: follow it to where it went, or take it out"));
    };
    let Some(name) = name else { return };
    let Some(value) = constant(text, name) else {
        return complain(format!("{path} has no constant {name}: follow it to where it went, or take it out"));
    };
    let told = span.before.strip_suffix('(').map(str::trim_end).and_then(Number::at_end);
    if let (Some(told), Some(value)) = (told, Value::of(value))
        && !value.is(told)
    {
        complain(format!("{path} has {name} = {value}, which is not what stands before it: correct the number"));
    }
}

/// What a constant is set to.
fn constant<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let declared = ["const ", "static "].iter().find_map(|word| {
        let found = text.match_indices(word).map(|(at, _)| &text[at + word.len()..]);
        found.filter_map(|rest| rest.strip_prefix(name)).find(|rest| rest.starts_with(':'))
    })?;
    let (_, value) = declared.split_once('=').filter(|(kind, _)| !kind.contains(';') || kind.contains('['))?;
    value.split(';').next().map(str::trim)
}

/// Every table of the kernel is told, with its size where that is a number.
fn check_maps(files: &Files, document: &str, breaches: &mut Vec<Breach>) {
    let Some(maps) = text_of(files, MAPS) else { return };
    let mut complain = |line, complaint: String| breaches.push(Breach::new(Path::new(MAPS), line, complaint));
    for (line, name, size) in tables(maps) {
        let code = format!("`{name}`");
        let Some(row) = document.lines().find(|row| row.starts_with('|') && first_cell(row).contains(&code)) else {
            complain(
                line,
                format!("{name} is not in {DOCUMENT}: say there how much it holds, and what happens when it is full"),
            );
            continue;
        };
        let size = size.and_then(|size| Value::of(size).or_else(|| of_common(files, size)));
        if let Some(size) = size
            && !Number::all(row).any(|told| size.is(told))
        {
            complain(line, format!("{name} has room for {size}, and {DOCUMENT} says something else: correct it there"));
        }
    }
}

fn first_cell(row: &str) -> &str {
    row.trim_start_matches('|').split('|').next().unwrap_or_default()
}

/// Lines, names and sizes of what is declared as `static NAME: Kind<.., SIZE>`. Storage on sockets has no size.
fn tables(maps: &str) -> impl Iterator<Item = (usize, &str, Option<&str>)> {
    maps.lines().enumerate().filter_map(|(index, line)| {
        let (name, kind) = line.split_once("static ")?.1.split_once(": ")?;
        let arguments = kind.split_once('<')?.1.rsplit_once("> =")?.0;
        let size = arguments.rsplit_once(", ").map(|(_, size)| size);
        Some((index + 1, name, size))
    })
}

/// A size that is a constant of the crate that both sides share.
fn of_common(files: &Files, name: &str) -> Option<Value> {
    let shared = files.texts.iter().filter(|(path, _)| path.starts_with(COMMON));
    shared.filter_map(|(_, text)| constant(text, name)).find_map(Value::of)
}

/// Every file that makes a queue is named, and no queue is without a bound.
fn check_queues(files: &Files, spans: &[Span<'_>], breaches: &mut Vec<Breach>) {
    let named: BTreeSet<&str> = spans.iter().filter_map(|span| Some(span.path()?.0)).collect();
    for (path, text) in files.texts.iter().filter(|(path, _)| is_of_agent(path)) {
        let name = path.strip_prefix(AGENT).unwrap_or(path).to_string_lossy();
        // By our order of things the tests come last.
        let before_tests = text.split("\nmod tests {").next().unwrap_or_default();
        let code = || before_tests.lines().enumerate().map(without_comment);
        for (index, _) in code().filter(|(_, line)| is_unbounded(line)) {
            let complaint =
                "queue without a bound: make one with a bound, and say in docs/bounds.md what happens when it is full";
            breaches.push(Breach::new(path, index + 1, complaint));
        }
        let mut made = code().filter(|(_, line)| QUEUES.iter().any(|queue| line.contains(queue)));
        if let Some((index, _)) = made.next().filter(|_| !named.contains(&*name)) {
            let complaint = format!(
                "makes a queue, and {DOCUMENT} does not name {name}: say there how much it holds, its metric, and what happens \
                 when it is full"
            );
            breaches.push(Breach::new(path, index + 1, complaint));
        }
    }
}

/// The agent without its tests, its fuzz targets, and the commands that are other processes.
fn is_of_agent(path: &Path) -> bool {
    let Ok(inner) = path.strip_prefix(AGENT) else { return false };
    let is_other = |part: &str| {
        let name = part.trim_end_matches(".rs");
        ["cli", "fuzz", "tests"].contains(&name) || name.ends_with("_tests")
    };
    path.extension().is_some_and(|extension| extension == "rs")
        && !inner.iter().any(|part| is_other(&part.to_string_lossy()))
}

fn without_comment((index, line): (usize, &str)) -> (usize, &str) {
    (index, line.split("//").next().unwrap_or_default())
}

/// A channel that is given no number has none, but for one that takes a single message.
fn is_unbounded(line: &str) -> bool {
    let is_bare = |(at, call): (usize, &str)| {
        let arguments = &line[at + call.len()..];
        let without_kind = match arguments.strip_prefix("::<") {
            Some(kind) => kind.split_once(">(").map_or("", |(_, rest)| rest),
            None => arguments.strip_prefix('(').unwrap_or(""),
        };
        without_kind.starts_with(')') && !line[..at].ends_with("oneshot::") && !line[..at].ends_with("fn ")
    };
    UNBOUNDED.iter().any(|call| line.contains(call)) || line.match_indices("channel").any(is_bare)
}

/// A number as the document writes it: `8,192`, `64 KiB`, `20 ms`.
#[derive(Clone, Copy)]
struct Number<'a> {
    number: u128,
    unit: &'a str,
}

impl<'a> Number<'a> {
    /// The one that a text ends with.
    fn at_end(text: &'a str) -> Option<Self> {
        let mut words = text.rsplit(' ');
        let last = words.next()?;
        match UNITS.contains(&last) {
            true => Some(Self { number: digits(words.next()?)?, unit: last }),
            false => Some(Self { number: digits(last)?, unit: "" }),
        }
    }

    /// All in a text.
    fn all(text: &'a str) -> impl Iterator<Item = Self> {
        let words = || text.split(' ').map(|word| word.trim_end_matches([',', ';', ':', '.']));
        words().zip(words().skip(1).chain([""])).filter_map(|(word, next)| {
            let unit = if UNITS.contains(&next) { next } else { "" };
            Some(Self { number: digits(word)?, unit })
        })
    }
}

const UNITS: [&str; 4] = ["KiB", "MiB", "s", "ms"];

fn digits(word: &str) -> Option<u128> {
    word.replace(',', "").parse().ok()
}

/// What a constant comes to, as far as that can be told from its own line.
#[derive(Clone, Copy)]
enum Value {
    Plain(u128),
    Milliseconds(u128),
}

impl Value {
    /// Of a product or shift of numbers, a duration of one, or the end of a range to one.
    fn of(expression: &str) -> Option<Self> {
        let last = expression.rsplit("..=").next()?.trim();
        let duration = |unit: &str| last.strip_prefix("Duration::from_")?.strip_prefix(unit)?.strip_suffix(')');
        match (duration("secs("), duration("millis(")) {
            (Some(seconds), _) => Some(Self::Milliseconds(plain(seconds)? * 1000)),
            (None, Some(millis)) => Some(Self::Milliseconds(plain(millis)?)),
            (None, None) => plain(last).map(Self::Plain),
        }
    }

    fn is(self, told: Number<'_>) -> bool {
        let Number { number, unit } = told;
        match (self, unit) {
            (Self::Plain(value), "KiB") => value == number << 10,
            (Self::Plain(value), "MiB") => value == number << 20,
            (Self::Milliseconds(value), "s") => value == number * 1000,
            (Self::Milliseconds(value), "ms") | (Self::Plain(value), _) => value == number,
            (Self::Milliseconds(_), _) => false,
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain(value) => write!(f, "{value}"),
            Self::Milliseconds(value) => write!(f, "{value} ms"),
        }
    }
}

fn plain(expression: &str) -> Option<u128> {
    if let Some((number, by)) = expression.split_once("<<") {
        return plain(number)?.checked_shl(u32::try_from(plain(by)?).ok()?);
    }
    expression.split('*').map(|factor| factor.trim().replace('_', "").parse::<u128>().ok()).product()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAPS_TEXT: &str = "pub(crate) static PODS: HashMap<u64, Pod, 4096> = HashMap::new();\n\
        pub(crate) static ON_SOCKETS: SkStorage<u32> = SkStorage::new();\n\
        pub(crate) static NATIVE: HashMap<Key, Native, MOST_NATIVE> = HashMap::new();\n\
        pub(crate) static RING: RingBuf<Event, 1048576> = RingBuf::new();\n\
        pub(crate) static COUNTS: Array<u64, { Kind::COUNT }> = Array::new();\n";
    const TABLES: &str =
        "| `PODS` | 4,096 |\n| `ON_SOCKETS`, `COUNTS` | one each |\n| `NATIVE` | 32,768 |\n| `RING` | 1 MiB, 9 |\n";
    const QUEUE: &str = "const QUEUE: usize = 8192;\nconst LIFE: Duration = Duration::from_secs(60);\n\
        const RANGE: RangeInclusive<u32> = 8 << 10..=1 << 20;\nlet (a, b) = sync_channel(QUEUE);\n";

    /// What is told of a document, with these files beside those that are always there.
    fn told(document: &str, files: &[(&str, &str)]) -> Vec<String> {
        let always = [
            (DOCUMENT, document),
            (METRICS, "| `heddle_dropped_total` | counter |\n"),
            (MAPS, MAPS_TEXT),
            ("common/src/native.rs", "pub const MOST_NATIVE: usize = 32768;\n"),
        ];
        let texts = always.iter().chain(files).map(|(path, text)| ((*path).into(), (*text).to_owned())).collect();
        let mut breaches = Vec::new();
        check(&Files { texts }, &mut breaches);
        breaches.iter().map(ToString::to_string).collect()
    }

    fn told_of_queue(row: &str) -> Vec<String> {
        told(&format!("{TABLES}{row}\n"), &[("agent/src/log/writer.rs", QUEUE)])
    }

    #[test]
    fn what_is_told_as_it_is_passes() {
        for row in [
            "| lines | 8,192 (`log/writer.rs::QUEUE`), for 60 s (`log/writer.rs::LIFE`) | `heddle_dropped_total{reason=\"x\"}` |",
            "| lines (`log/writer.rs`) | 8 KiB to 1 MiB (`log/writer.rs::RANGE`) | none |",
            "| lines | as many (`log/writer.rs::QUEUE`) as `common/src/native.rs::MOST_NATIVE` | `let x` |",
        ] {
            assert_eq!(told_of_queue(row), [""; 0], "{row}");
        }
    }

    #[test]
    fn what_is_not_so_is_told_with_its_line() {
        let cases = [
            ("| 8,191 (`log/writer.rs::QUEUE`) |", "docs/bounds.md:5: log/writer.rs has QUEUE = 8192, which is not"),
            ("| 8,192 s (`log/writer.rs::LIFE`) |", "has LIFE = 60000 ms, which is not"),
            ("| 60 (`log/writer.rs::LIFE`) |", "has LIFE = 60000 ms, which is not"),
            ("| 2 MiB (`log/writer.rs::RANGE`) |", "has RANGE = 1048576, which is not"),
            ("| `log/writer.rs::QUEU` |", "log/writer.rs has no constant QUEU:"),
            ("| `log/writer.rs` `log/gone.rs::QUEUE` |", "there is no file log/gone.rs below agent/src"),
            ("| `log/writer.rs` | `heddle_lost_total` |", "heddle_lost_total is not in deploy/METRICS.md"),
            (
                "| a queue that is not named |",
                "agent/src/log/writer.rs:4: makes a queue, and docs/bounds.md does not name log/writer.rs",
            ),
        ];
        for (row, expected) in cases {
            let told = told_of_queue(row);
            assert_eq!(told.len(), 1, "{row} gives {told:?}");
            assert!(told[0].contains(expected), "{row} gives {told:?}, not {expected:?}");
        }
    }

    #[test]
    fn each_table_of_the_kernel_is_told_with_its_size() {
        for (right, wrong, expected) in [
            ("| `PODS` | 4,096 |", "| `PODS` | 4,095 |", "ebpf/src/maps.rs:1: PODS has room for 4096, and"),
            ("`COUNTS`", "`OTHERS`", "ebpf/src/maps.rs:5: COUNTS is not in docs/bounds.md"),
            ("32,768", "1", "ebpf/src/maps.rs:3: NATIVE has room for 32768, and"),
            ("1 MiB", "1 KiB", "ebpf/src/maps.rs:4: RING has room for 1048576, and"),
        ] {
            let told = told(&TABLES.replace(right, wrong), &[]);
            assert!(told.len() == 1 && told[0].starts_with(expected), "{wrong} gives {told:?}");
        }
    }

    #[test]
    fn queues_without_a_bound_are_told_and_nothing_else_is_taken_for_one() {
        for bad in
            ["mpsc::channel()", "channel::<Vec<u8>>()", "mpsc::unbounded_channel()", "mpsc::unbounded_channel::<u8>()"]
        {
            let told = told(TABLES, &[("agent/src/a.rs", &format!("//! x\nlet (a, b) = {bad};\n"))]);
            assert!(
                told.iter().any(|told| told.starts_with("agent/src/a.rs:2: queue without a bound")),
                "{bad}: {told:?}"
            );
        }
        for good in ["oneshot::channel::<()>()", "watch::channel(())", "// mpsc::channel()", "fn channel() {}"] {
            assert_eq!(told(TABLES, &[("agent/src/a.rs", good)]), [""; 0], "{good}");
        }
        for elsewhere in [
            "agent/src/cli/top.rs",
            "agent/src/a/tests.rs",
            "agent/src/tests/a.rs",
            "agent/src/fuzz/a.rs",
            "tests/a.rs",
        ] {
            assert_eq!(told(TABLES, &[(elsewhere, "mpsc::channel();\nVecDeque<u8>\n")]), [""; 0], "{elsewhere}");
        }
        let in_tests = "//! x\n#[cfg(test)]\nmod tests {\n    mpsc::channel();\n}\n";
        assert_eq!(told(TABLES, &[("agent/src/a.rs", in_tests)]), [""; 0]);
    }
}
