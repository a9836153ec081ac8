//! What was observed, scene by scene: printed while it happens, and kept for the summary.
//!
//! A scene has facts (label and value), and expectations with what was seen. An expectation that does not hold does not
//! stop the story; it is shown with what was seen instead, and decides the exit status.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::{Map, Value};

use super::interrupt::Interrupt;
use super::screen::{Look, Screen, WIDTH, wrap};

/// Columns before text inside a scene.
const INDENT: &str = "   ";
/// Columns of a fact's label.
const LABEL: usize = 14;

/// The demo's story.
pub(super) struct Story {
    screen: Screen,
    interrupt: Arc<Interrupt>,
    begin: Instant,
    scenes: Vec<Scene>,
    told: bool,
}

/// One step of the demo.
#[derive(Serialize)]
pub(super) struct Scene {
    name: &'static str,
    title: String,
    observed: Map<String, Value>,
    expectations: Vec<Expectation>,
}

/// Something that must hold.
#[derive(Serialize)]
pub(super) struct Expectation {
    expected: String,
    holds: bool,
    /// What was seen, where it does not hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    seen: Option<String>,
}

impl Story {
    pub(super) fn new(screen: Screen, interrupt: Arc<Interrupt>) -> Self {
        Self { screen, interrupt, begin: Instant::now(), scenes: Vec::new(), told: false }
    }

    /// The first words.
    pub(super) fn opening(&self) {
        self.line("");
        self.line(&self.paint(Look::Strong, "Heddle: a service mesh without sidecars, at work on this machine"));
        self.line(&self.paint(Look::Faint, "Real processes, eBPF programs and packets; every ✓ was checked just now."));
    }

    /// Begins a scene; `name` is for the summary.
    pub(super) fn scene(&mut self, name: &'static str, title: &str) {
        let heading = format!("{}  {title} ", self.scenes.len() + 1);
        let rule = "─".repeat(WIDTH.saturating_sub(heading.chars().count()));
        self.line("");
        self.line(&format!("{}{}", self.paint(Look::Strong, &heading), self.paint(Look::Faint, &rule)));
        let scene = Scene { name, title: title.to_owned(), observed: Map::new(), expectations: Vec::new() };
        self.scenes.push(scene);
    }

    /// A paragraph.
    pub(super) fn text(&self, text: &str) {
        for line in wrap(text, WIDTH - INDENT.len()) {
            self.line(&format!("{INDENT}{line}"));
        }
    }

    /// An empty line.
    pub(super) fn pause(&self) {
        self.line("");
    }

    /// A line as it is, indented; the caller keeps it short.
    pub(super) fn plain(&self, line: &str) {
        self.line(&format!("{INDENT}{line}"));
    }

    /// A label and a value; a long value goes on below itself.
    pub(super) fn fact(&self, label: &str, value: &str) {
        let lines = wrap_keeping_gaps(value, WIDTH - INDENT.len() - 2 - LABEL);
        for (number, line) in lines.iter().enumerate() {
            let label = if number == 0 { format!("{label:<LABEL$}") } else { " ".repeat(LABEL) };
            self.line(&format!("{INDENT}  {}{line}", self.paint(Look::Faint, &label)));
        }
    }

    /// Keeps something for the summary.
    pub(super) fn record(&mut self, key: &str, value: impl Serialize) {
        let value = serde_json::to_value(value).unwrap_or(Value::Null);
        if let Some(scene) = self.scenes.last_mut() {
            scene.observed.insert(key.to_owned(), value);
        }
    }

    /// States what must hold, with what was seen in case that it does not.
    pub(super) fn expect(&mut self, holds: bool, expected: &str, seen: impl FnOnce() -> String) {
        let seen = (!holds).then(seen);
        self.marked(holds, expected);
        if let Some(seen) = &seen {
            for (number, line) in seen.lines().flat_map(|line| wrap(line, WIDTH - INDENT.len() - 8)).enumerate() {
                let label = if number == 0 { "seen: " } else { "      " };
                self.line(&format!("{INDENT}  {}", self.paint(Look::Bad, &format!("{label}{line}"))));
            }
        }
        if let Some(scene) = self.scenes.last_mut() {
            scene.expectations.push(Expectation { expected: expected.to_owned(), holds, seen });
        }
    }

    /// Whether it was told to its end.
    pub(super) fn is_told(&self) -> bool {
        self.told
    }

    /// How many expectations did not hold.
    pub(super) fn failed(&self) -> usize {
        self.expectations().filter(|expectation| !expectation.holds).count()
    }

    /// How many there were.
    pub(super) fn expected(&self) -> usize {
        self.expectations().count()
    }

    /// The scenes so far.
    pub(super) fn scenes(&self) -> &[Scene] {
        &self.scenes
    }

    /// Since the beginning.
    pub(super) fn elapsed(&self) -> Duration {
        self.begin.elapsed()
    }

    /// The line that sums it up.
    pub(super) fn verdict(&mut self) {
        self.told = true;
        let (all, failed) = (self.expected(), self.failed());
        let seconds = self.elapsed().as_secs_f64();
        let (look, text) = match failed {
            0 => (Look::Good, format!("All {all} expectations held, in {seconds:.1} s.")),
            _ => (Look::Bad, format!("{failed} of {all} expectations did not hold ({seconds:.1} s); see the ✗ above.")),
        };
        self.line("");
        self.line(&self.paint(look, &text));
    }

    /// The last words, once everything is gone.
    pub(super) fn farewell(&self, kept: bool) {
        if kept {
            return self.aside("Everything that was started is gone.");
        }
        self.line("Everything that was started is gone. To look around in it yourself:");
        self.line("");
        self.line(&format!("{INDENT}{}", self.paint(Look::Accent, "cargo xtask demo --keep")));
    }

    /// A line outside all scenes, also after an interruption.
    pub(super) fn aside(&self, text: &str) {
        self.screen.line(text);
    }

    pub(super) fn paint(&self, look: Look, text: &str) -> String {
        self.screen.paint(look, text)
    }

    fn marked(&self, holds: bool, text: &str) {
        let mark = if holds { self.paint(Look::Good, "✓") } else { self.paint(Look::Bad, "✗") };
        for (number, line) in wrap(text, WIDTH - INDENT.len() - 2).iter().enumerate() {
            let mark = if number == 0 { mark.as_str() } else { " " };
            self.line(&format!("{INDENT}{mark} {line}"));
        }
    }

    fn expectations(&self) -> impl Iterator<Item = &Expectation> {
        self.scenes.iter().flat_map(|scene| &scene.expectations)
    }

    fn line(&self, text: &str) {
        // What is seen while everything is being killed means nothing.
        if !self.interrupt.came() {
            self.screen.line(text);
        }
    }
}

/// Like [`wrap`], but a value that fits keeps its spaces, which line up with those of its neighbours.
fn wrap_keeping_gaps(text: &str, width: usize) -> Vec<String> {
    if text.chars().count() <= width { vec![text.to_owned()] } else { wrap(text, width) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_hold_is_counted_and_told_with_what_was_seen() {
        let mut story = Story::new(Screen::new(true, true), Arc::default());
        story.scene("first", "The first scene");
        story.expect(true, "one is one", || "never asked".to_owned());
        story.expect(false, "one is two", || "one is one".to_owned());
        assert_eq!((story.expected(), story.failed()), (2, 1));
        let scene = serde_json::to_value(&story.scenes()[0]).unwrap_or_default();
        assert_eq!(scene["expectations"][0], serde_json::json!({"expected": "one is one", "holds": true}));
        assert_eq!(scene["expectations"][1]["seen"], "one is one");
    }
}
