//! One YAML document as a tree.

use std::{fmt, panic::resume_unwind, thread};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, SeqAccess, Visitor},
};
use serde_saphyr::Spanned;

use crate::config::Position;

/// The schemas in the CustomResourceDefinitions that people keep beside their manifests nest about 40 deep.
const MAX_DEPTH: usize = 64;

/// A `kind: List` of 10,000 full Pods.
const MAX_NODES: usize = 5_000_000;

/// Of all scalars of a document, in bytes.
const MAX_TEXT: usize = 256 << 20;

/// Nodes that aliases repeat: nobody writes so many by hand, and a few lines can ask for billions.
const MAX_REPLAYED: usize = 100_000;

/// The parser recurses once per level; unoptimized it needs 50 KiB for each, and a thread has 2 MiB by default.
const PARSER_STACK: usize = 16 << 20;

/// A node and its place.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Node {
    pub(crate) position: Position,
    pub(crate) value: Value,
}

/// What a node holds, by YAML 1.2's core schema.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Integer(i128),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// A key with its place, and the node under it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) position: Position,
    pub(crate) node: Node,
}

/// Why a text is not one YAML document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SyntaxError {
    pub(crate) position: Option<Position>,
    pub(crate) message: String,
}

impl Node {
    /// Parses one document. Duplicate keys are errors; nesting, size and aliases are bounded.
    pub(crate) fn parse(text: &str) -> Result<Self, SyntaxError> {
        let parser = thread::Builder::new().name("yaml".to_owned()).stack_size(PARSER_STACK);
        thread::scope(|scope| match parser.spawn_scoped(scope, || parse_here(text)) {
            Ok(running) => running.join().unwrap_or_else(|panic| resume_unwind(panic)),
            Err(error) => Err(SyntaxError { position: None, message: format!("no thread for the parser: {error}") }),
        })
    }

    /// A tree without places, of JSON that was parsed elsewhere: every node is at the start of the text.
    pub(crate) fn from_json(json: serde_json::Value) -> Self {
        use serde_json::Value as Json;
        const START: Position = Position { line: 1, column: 1 };
        let value = match json {
            Json::Null => Value::Null,
            Json::Bool(value) => Value::Bool(value),
            Json::Number(number) => match number.as_i128() {
                Some(integer) => Value::Integer(integer),
                None => Value::Float(number.as_f64().unwrap_or(f64::NAN)),
            },
            Json::String(text) => Value::Text(text),
            Json::Array(items) => Value::List(items.into_iter().map(Self::from_json).collect()),
            Json::Object(entries) => {
                let entry = |(key, value)| Entry { key, position: START, node: Self::from_json(value) };
                Value::Map(entries.into_iter().map(entry).collect())
            }
        };
        Self { position: START, value }
    }

    /// Adds `lines` to the places of this node and all below it.
    pub(super) fn move_down(&mut self, lines: usize) {
        self.position.line += lines;
        match &mut self.value {
            Value::List(items) => items.iter_mut().for_each(|item| item.move_down(lines)),
            Value::Map(entries) => entries.iter_mut().for_each(|entry| {
                entry.position.line += lines;
                entry.node.move_down(lines);
            }),
            Value::Null | Value::Bool(_) | Value::Integer(_) | Value::Float(_) | Value::Text(_) => {}
        }
    }

    /// The node under a key, where this is a map that has it.
    pub(crate) fn get(&self, key: &str) -> Option<&Self> {
        let Value::Map(entries) = &self.value else { return None };
        entries.iter().find(|entry| entry.key == key).map(|entry| &entry.node)
    }

    /// The text of a text node.
    pub(crate) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }
}

fn parse_here(text: &str) -> Result<Node, SyntaxError> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: MAX_DEPTH,
            max_nodes: MAX_NODES,
            max_events: 3 * MAX_NODES,
            max_total_scalar_bytes: MAX_TEXT,
        },
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: MAX_REPLAYED },
        strict_booleans: true,
        with_snippet: false,
        emit_comments: false,
    };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| SyntaxError {
        position: error.location().map(position),
        message: first_line(&error.without_snippet().to_string()),
    })
}

/// What was found, for messages.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("nothing"),
            Self::Bool(value) => write!(f, "the boolean {value}"),
            Self::Integer(value) => write!(f, "the number {value}"),
            Self::Float(value) => write!(f, "the number {value}"),
            Self::Text(value) => write!(f, "{value:?}"),
            Self::List(_) => f.write_str("a list"),
            Self::Map(_) => f.write_str("a map"),
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Value>::deserialize(deserializer)?;
        Ok(Self { position: position(spanned.referenced), value: spanned.value })
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Integer(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Integer(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Vec::new();
        while let Some((key, node)) = entries.next_entry::<Spanned<String>, Node>()? {
            map.push(Entry { key: key.value, position: position(key.referenced), node });
        }
        Ok(Value::Map(map))
    }
}

/// Places that the parser does not know are given as the start of the text.
fn position(location: serde_saphyr::Location) -> Position {
    let count = |n: u64| usize::try_from(n).unwrap_or(usize::MAX).max(1);
    Position { line: count(location.line()), column: count(location.column()) }
}

/// The parser's explanations go on with advice for programmers.
fn first_line(message: &str) -> String {
    message.lines().next().unwrap_or_default().to_owned()
}
