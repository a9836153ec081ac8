//! Lists: of now or of an earlier version, selected, and in pages.
//!
//! What a `resourceVersion` means for a list depends on `resourceVersionMatch`; see "Resource versions" in the API
//! concepts of Kubernetes.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::ask::Asked;
use super::failure::Failure;
use super::resource::Resource;
use super::selector::Selector;
use super::shape::Shape;
use super::store::{Key, Store};

/// Answers a list.
pub(super) fn list(store: &Store, resource: &Resource, asked: &Asked) -> Result<Value, Failure> {
    check_parameters(asked)?;
    let shape = Shape::accepted(&asked.accept)?;
    let selector = Selector::parse(resource, asked.parameter("labelSelector"), asked.parameter("fieldSelector"))?;
    let limit = parse_limit(asked.parameter("limit"))?;
    let page = Page::wanted(store, asked)?;
    let objects = page.objects(store, resource, &asked.namespace)?;
    let after = objects.iter().filter(|(key, _)| page.after.as_ref().is_none_or(|after| position(key) > *after));
    let mut selected = after.filter(|(_, object)| selector.matches(object));
    let (mut items, mut last) = (Vec::new(), None);
    for (key, object) in selected.by_ref().take(limit) {
        items.push(shape.item(object));
        last = Some(position(key));
    }
    let remaining = selected.count();
    let mut metadata = json!({"resourceVersion": page.version.to_string()});
    if let Some(last) = last.filter(|_| remaining > 0) {
        metadata["continue"] = json!(token(Some(page.version), &last));
        // The real server does not count what it would have to select first.
        if selector.is_empty() {
            metadata["remainingItemCount"] = json!(remaining);
        }
    }
    Ok(shape.list(resource, &metadata, items))
}

/// The objects of a kind at a version, or now.
type Objects = BTreeMap<Key, Arc<Value>>;
/// Namespace and name: where a page ends.
type Position = (String, String);

/// Which version a list shows, and from where on.
struct Page {
    version: u64,
    after: Option<Position>,
}

impl Page {
    fn wanted(store: &Store, asked: &Asked) -> Result<Self, Failure> {
        let (current, text) = (store.version(), asked.parameter("continue"));
        if !text.is_empty() {
            let (version, after) = read_token(text)?;
            if version.is_some_and(|version| version < store.compacted()) {
                return Err(Failure::continue_expired(version.unwrap_or(0), &token(None, &after)));
            }
            return Ok(Self { version: version.unwrap_or(current), after: Some(after) });
        }
        let wanted = parse_version(asked.parameter("resourceVersion"))?.unwrap_or(0);
        if wanted > current {
            return Err(Failure::too_large(wanted, current));
        }
        // With a limit a version is meant exactly unless the request says otherwise.
        let exact = match asked.parameter("resourceVersionMatch") {
            "" => wanted > 0 && !asked.parameter("limit").is_empty(),
            how => how == "Exact",
        };
        Ok(Self { version: if exact { wanted } else { current }, after: None })
    }

    fn objects(&self, store: &Store, resource: &Resource, namespace: &str) -> Result<Objects, Failure> {
        let path = format!("{}/{}", resource.api_version(), resource.plural);
        if self.version == store.version() {
            return Ok(store.list(&path, namespace));
        }
        store.list_at(self.version, &path, namespace)
    }
}

fn position(key: &Key) -> Position {
    (key.namespace.clone(), key.name.clone())
}

/// Reads a resource version; empty is none.
pub(super) fn parse_version(text: &str) -> Result<Option<u64>, Failure> {
    if text.is_empty() {
        return Ok(None);
    }
    let number =
        text.parse().map_err(|_| Failure::bad_request(format!("resourceVersion \"{text}\" is not a number")))?;
    Ok(Some(number))
}

fn parse_limit(text: &str) -> Result<usize, Failure> {
    match text.parse() {
        _ if text.is_empty() => Ok(usize::MAX),
        Ok(0) => Ok(usize::MAX),
        Ok(limit) => Ok(limit),
        Err(_) => Err(Failure::bad_request(format!("limit \"{text}\" is not a number"))),
    }
}

/// Refuses combinations of parameters that have no meaning.
fn check_parameters(asked: &Asked) -> Result<(), Failure> {
    let (version, continues) = (asked.parameter("resourceVersion"), !asked.parameter("continue").is_empty());
    let forbidden = |field, message| Err(Failure::invalid("ListOptions", "", field, message));
    if !asked.parameter("sendInitialEvents").is_empty() {
        return forbidden("sendInitialEvents", "is for watches only");
    }
    if continues && !["", "0"].contains(&version) {
        return Err(Failure::bad_request("resourceVersion cannot be given together with continue"));
    }
    match asked.parameter("resourceVersionMatch") {
        "" => Ok(()),
        _ if continues => forbidden("resourceVersionMatch", "cannot be given together with continue"),
        _ if version.is_empty() => forbidden("resourceVersionMatch", "needs resourceVersion"),
        "Exact" if version == "0" => {
            forbidden("resourceVersionMatch", "\"Exact\" needs a resourceVersion other than 0")
        }
        "Exact" | "NotOlderThan" => Ok(()),
        _ => forbidden("resourceVersionMatch", "supported values: \"Exact\", \"NotOlderThan\""),
    }
}

/// A continue token; without a version it goes on in the objects of whenever it is used.
fn token(version: Option<u64>, (namespace, name): &Position) -> String {
    let version = version.map(|version| version.to_string()).unwrap_or_default();
    let text = format!("{version}/{namespace}/{name}");
    text.bytes().map(|byte| format!("{byte:02x}")).collect()
}

fn read_token(token: &str) -> Result<(Option<u64>, Position), Failure> {
    let unreadable = || Failure::bad_request("the continue token is not one of this server");
    let digits = |pair: &[u8]| std::str::from_utf8(pair).ok().and_then(|text| u8::from_str_radix(text, 16).ok());
    let bytes: Option<Vec<u8>> = token.as_bytes().chunks(2).map(digits).collect();
    let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok()).ok_or_else(unreadable)?;
    match text.split('/').collect::<Vec<_>>()[..] {
        [version, namespace, name] => {
            let version = (!version.is_empty()).then(|| version.parse()).transpose().map_err(|_| unreadable())?;
            Ok((version, (namespace.to_owned(), name.to_owned())))
        }
        _ => Err(unreadable()),
    }
}
