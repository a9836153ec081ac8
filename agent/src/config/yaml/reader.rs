//! Typed reading of a tree, which collects problems and goes on.
//!
//! A getter returns `None` both for an absent key and for a bad value, which it has reported by then; so callers fill
//! in a default and look at the report once, at the end. The keys that were asked for are the keys that are allowed.

use std::{
    cell::{Cell, RefCell},
    collections::HashSet,
    fmt,
};

use super::{Entry, Node, Value};
use crate::config::{Position, Problem};

/// Similarity (Jaro-Winkler) from which a known key is worth suggesting: `connectTimout` yes, `foo` no.
const SUGGEST_FROM: f64 = 0.8;

/// Problems of one document that are listed. Nobody corrects more before looking again, and a text of a megabyte can have a
/// hundred thousand.
const MOST_PROBLEMS: usize = 100;

/// Collects the problems of one file.
#[derive(Debug)]
pub(crate) struct Report<'a> {
    file: &'a str,
    text: &'a str,
    problems: RefCell<Vec<Problem>>,
    /// A line that was looked up, from 0, and where it begins in the text.
    line: Cell<(usize, usize)>,
}

/// Reads one map of the tree.
#[derive(Debug)]
pub(crate) struct MapReader<'a> {
    report: &'a Report<'a>,
    path: String,
    position: Position,
    entries: &'a [Entry],
    known: RefCell<Vec<&'static str>>,
}

impl<'a> Report<'a> {
    pub(crate) fn new(file: &'a str, text: &'a str) -> Self {
        Self { file, text, problems: RefCell::default(), line: Cell::default() }
    }

    /// Adds a problem at a place.
    pub(crate) fn add(&self, position: Position, message: impl Into<String>) {
        let mut problems = self.problems.borrow_mut();
        let message = match problems.len() {
            ..MOST_PROBLEMS => message.into(),
            MOST_PROBLEMS => format!("is not the last problem: {MOST_PROBLEMS} are listed; correct these first"),
            _ => return,
        };
        problems.push(Problem::in_line(self.file, self.line_at(position.line), position, message));
    }

    /// A line of the text. The search goes on from the last one, since problems come about in the order of the text.
    fn line_at(&self, number: usize) -> Option<&'a str> {
        let number = number.saturating_sub(1);
        let (known, start) = self.line.get();
        let (mut line, mut start) = if known <= number { (known, start) } else { (0, 0) };
        while line < number {
            start += self.text[start..].find('\n')? + 1;
            line += 1;
        }
        self.line.set((line, start));
        self.text[start..].lines().next()
    }

    pub(crate) fn into_problems(self) -> Vec<Problem> {
        self.problems.into_inner()
    }

    /// Reads a document that must be a map.
    pub(crate) fn root(&'a self, node: &'a Node) -> Option<MapReader<'a>> {
        self.map(node, String::new())
    }

    fn map(&'a self, node: &'a Node, path: String) -> Option<MapReader<'a>> {
        self.map_or(node, path, |path| self.refuse(path, node, MAP))
    }

    fn map_or(&'a self, node: &'a Node, path: String, refuse: impl FnOnce(&str)) -> Option<MapReader<'a>> {
        let entries = match &node.value {
            Value::Map(entries) => entries.as_slice(),
            // `admin:` with nothing below it means the defaults, as in Kubernetes.
            Value::Null => &[],
            _ => {
                refuse(&path);
                return None;
            }
        };
        Some(MapReader { report: self, path, position: node.position, entries, known: RefCell::default() })
    }

    fn refuse(&self, path: &str, node: &Node, allowed: &str) {
        let subject = if path.is_empty() { "document" } else { path };
        // An address may have a password in it.
        match node.text() {
            Some(text) if text.contains("://") && text.contains('@') => {
                self.add(node.position, format!("{subject}: found an address with a user in it, allowed: {allowed}"));
            }
            _ => self.add(node.position, format!("{subject}: found {}, allowed: {allowed}", node.value)),
        }
    }
}

const MAP: &str = "a map of keys and values";
const TEXT: &str = "text (quote numbers and booleans)";

impl<'a> MapReader<'a> {
    /// Where this map begins.
    pub(crate) fn position(&self) -> Position {
        self.position
    }

    /// Where the value of a key is, or else the map.
    pub(crate) fn position_of(&self, key: &str) -> Position {
        self.entries.iter().find(|entry| entry.key == key).map_or(self.position, |entry| entry.node.position)
    }

    /// Whether a key has a value, good or bad.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.entries.iter().any(|entry| entry.key == key && entry.node.value != Value::Null)
    }

    /// How many entries the list under a key has, good or bad. `None` where there is no list.
    pub(crate) fn length(&self, key: &str) -> Option<usize> {
        let entry = self.entries.iter().find(|entry| entry.key == key)?;
        match &entry.node.value {
            Value::List(items) => Some(items.len()),
            _ => None,
        }
    }

    /// Whether a key has a list without entries.
    pub(crate) fn has_empty(&self, key: &str) -> bool {
        self.length(key) == Some(0)
    }

    /// Whether a key is written, with a value or with nothing after it.
    pub(crate) fn names(&self, key: &str) -> bool {
        self.entries.iter().any(|entry| entry.key == key)
    }

    /// Reports that a key must be there.
    pub(crate) fn missing(&self, key: &str, allowed: &str) {
        self.report.add(self.position, format!("{}: missing, must be {allowed}", self.path_of(key)));
    }

    /// The map under a key; an absent key reads as an empty map.
    pub(crate) fn map_or_empty(&self, key: &'static str) -> Option<Self> {
        static EMPTY: [Entry; 0] = [];
        match self.node(key) {
            Some(node) => self.report.map(node, self.path_of(key)),
            None => Some(Self {
                report: self.report,
                path: self.path_of(key),
                position: self.position,
                entries: &EMPTY,
                known: RefCell::default(),
            }),
        }
    }

    /// The map under a key, where the key is there.
    pub(crate) fn map(&self, key: &'static str) -> Option<Self> {
        self.report.map(self.node(key)?, self.path_of(key))
    }

    /// The same where what is there may be a secret: no message shows it.
    pub(crate) fn secret_map(&self, key: &'static str) -> Option<Self> {
        let (node, path) = (self.node(key)?, self.path_of(key));
        let refuse = |path: &str| self.report.add(node.position, format!("{path}: is no map; allowed: {MAP}"));
        self.report.map_or(node, path, refuse)
    }

    /// A map of maps with keys of the writer's choice, such as one entry for each port.
    pub(crate) fn children(&self) -> Vec<(&'a str, Self)> {
        let reader =
            |entry: &'a Entry| Some((entry.key.as_str(), self.report.map(&entry.node, self.path_of(&entry.key))?));
        self.entries.iter().filter_map(reader).collect()
    }

    /// All entries of a map with keys of the writer's choice, such as one number for each name.
    pub(crate) fn values(&self) -> impl Iterator<Item = (&'a str, &'a Value)> + use<'a> {
        self.entries.iter().map(|entry| (entry.key.as_str(), &entry.node.value))
    }

    /// The maps of the list under a key; an absent key reads as an empty list.
    pub(crate) fn maps(&self, key: &'static str) -> Vec<Self> {
        let items = self.list(key, "a list of maps");
        let path = self.path_of(key);
        items.iter().enumerate().filter_map(|(i, item)| self.report.map(item, format!("{path}[{i}]"))).collect()
    }

    /// The list under a key.
    fn list(&self, key: &'static str, allowed: &str) -> &'a [Node] {
        match self.node(key) {
            None => &[],
            Some(Node { value: Value::List(items), .. }) => items,
            Some(node) => {
                self.report.refuse(&self.path_of(key), node, allowed);
                &[]
            }
        }
    }

    /// The items of a list, each read by a function.
    pub(crate) fn scalars<T>(&self, key: &'static str, allowed: &str, read: impl Fn(&'a Node) -> Option<T>) -> Vec<T> {
        let mut values = Vec::new();
        for (index, item) in self.list(key, allowed).iter().enumerate() {
            let value = read(item);
            if value.is_none() {
                self.report.refuse(&format!("{}[{index}]", self.path_of(key)), item, allowed);
            }
            values.extend(value);
        }
        values
    }

    /// A text; numbers and booleans must be quoted to be one, as in Kubernetes.
    pub(crate) fn text(&self, key: &'static str) -> Option<&'a str> {
        self.scalar(key, "text (quote numbers and booleans)", Node::text)
    }

    /// A text that is read by a function, which says what is allowed where it returns `None`.
    pub(crate) fn parsed<T>(
        &self,
        key: &'static str,
        allowed: &str,
        parse: impl FnOnce(&'a str) -> Option<T>,
    ) -> Option<T> {
        self.scalar(key, allowed, |node| parse(node.text()?))
    }

    /// `true` or `false`.
    pub(crate) fn boolean(&self, key: &'static str) -> Option<bool> {
        self.scalar(key, "true or false", |node| match node.value {
            Value::Bool(value) => Some(value),
            _ => None,
        })
    }

    /// A whole number that a function accepts.
    pub(crate) fn integer<T: TryFrom<i128>>(
        &self,
        key: &'static str,
        allowed: &str,
        accept: impl FnOnce(&T) -> bool,
    ) -> Option<T> {
        self.scalar(key, allowed, |node| match node.value {
            Value::Integer(value) => T::try_from(value).ok().filter(accept),
            _ => None,
        })
    }

    /// The value of a key, read by a function.
    pub(crate) fn scalar<T>(
        &self,
        key: &'static str,
        allowed: &str,
        read: impl FnOnce(&'a Node) -> Option<T>,
    ) -> Option<T> {
        let node = self.node(key)?;
        let value = read(node);
        if value.is_none() {
            self.report.refuse(&self.path_of(key), node, allowed);
        }
        value
    }

    /// All entries of a map of texts, such as labels.
    pub(crate) fn texts(&self) -> Vec<(&'a str, &'a str)> {
        self.texts_or(|path, node| self.report.refuse(path, node, TEXT))
    }

    /// The same where the texts may be secrets: no message shows one.
    pub(crate) fn secret_texts(&self) -> Vec<(&'a str, &'a str)> {
        self.texts_or(|path, node| self.report.add(node.position, format!("{path}: is no text; allowed: {TEXT}")))
    }

    fn texts_or(&self, refuse: impl Fn(&str, &Node)) -> Vec<(&'a str, &'a str)> {
        let mut texts = Vec::with_capacity(self.entries.len());
        for entry in self.entries {
            match (&entry.node.value, entry.node.text()) {
                (_, Some(text)) => texts.push((entry.key.as_str(), text)),
                (Value::Null, None) => texts.push((entry.key.as_str(), "")),
                (_, None) => {
                    let path = self.path_of(&entry.key);
                    refuse(&path, &entry.node);
                }
            }
        }
        texts
    }

    /// Reports what is wrong with a value that was read, at its place or at that of the map.
    pub(crate) fn complain(&self, key: &str, message: impl fmt::Display) {
        self.report.add(self.position_of(key), format!("{}: {message}", self.path_of(key)));
    }

    /// Reports what is wrong with the map as a whole.
    pub(crate) fn complain_here(&self, message: impl fmt::Display) {
        let subject = if self.path.is_empty() { "document" } else { &self.path };
        self.report.add(self.position, format!("{subject}: {message}"));
    }

    /// Lets keys be there whose values say nothing to us.
    pub(crate) fn tolerate(&self, keys: &[&'static str]) {
        self.known.borrow_mut().extend(keys);
    }

    /// Refuses keys that the schema knows and this build does not act on: ignoring them would be a lie.
    pub(crate) fn not_enforced(&self, keys: &[&'static str]) {
        self.tolerate(keys);
        for key in keys.iter().filter(|key| self.has(key)) {
            self.complain(key, "is not enforced by this build; remove it, since a document is accepted only whole");
        }
    }

    /// Refuses every key that was not asked for. Not called where unknown keys are tolerated.
    pub(crate) fn finish(self) {
        let mut known = self.known.take();
        // A key that was asked for twice is named once.
        let mut named = HashSet::new();
        known.retain(|key| named.insert(*key));
        for entry in self.entries.iter().filter(|entry| !known.contains(&entry.key.as_str())) {
            let place = if self.path.is_empty() { String::new() } else { format!(" in {}", self.path) };
            let hint = match nearest(&entry.key, &known) {
                Some(near) => format!("; did you mean {near:?}?"),
                None => format!(", allowed: {}", known.join(", ")),
            };
            self.report.add(entry.position, format!("unknown key {:?}{place}{hint}", entry.key));
        }
    }

    /// `Null` reads as absent, as in Kubernetes.
    fn node(&self, key: &'static str) -> Option<&'a Node> {
        self.known.borrow_mut().push(key);
        let entry = self.entries.iter().find(|entry| entry.key == key)?;
        (entry.node.value != Value::Null).then_some(&entry.node)
    }

    fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }
}

/// The most similar of the known words, if any is similar enough to be meant.
pub(crate) fn nearest<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    let lower = word.to_ascii_lowercase();
    let scored = known.iter().map(|k| (strsim::jaro_winkler(&lower, &k.to_ascii_lowercase()), *k));
    scored.filter(|(score, _)| *score >= SUGGEST_FROM).max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, k)| k)
}
