//! Label and field selectors, as queries spell them.

use serde_json::Value;

use super::failure::Failure;
use super::resource::Resource;

/// Which objects a list or a watch is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Selector {
    labels: Vec<LabelTerm>,
    fields: Vec<FieldTerm>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum LabelTerm {
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
    Exists(String),
    Absent(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct FieldTerm {
    pointer: String,
    value: String,
    equal: bool,
}

impl Selector {
    /// Reads the values of `labelSelector` and `fieldSelector`.
    pub(super) fn parse(resource: &Resource, labels: &str, fields: &str) -> Result<Self, Failure> {
        let labels = split_terms(labels).into_iter().map(label_term).collect::<Result<_, _>>()?;
        let fields =
            split_terms(fields).into_iter().map(|term| field_term(resource, term)).collect::<Result<_, _>>()?;
        Ok(Self { labels, fields })
    }

    /// Whether it selects everything.
    pub(super) fn is_empty(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty()
    }

    pub(super) fn matches(&self, object: &Value) -> bool {
        self.labels.iter().all(|term| term.matches(&object["metadata"]["labels"]))
            && self.fields.iter().all(|term| term.matches(object))
    }
}

impl LabelTerm {
    fn matches(&self, labels: &Value) -> bool {
        let value = |key: &str| labels.get(key).and_then(Value::as_str);
        match self {
            Self::In(key, values) => value(key).is_some_and(|found| values.iter().any(|value| value == found)),
            // An object without the label is not in the set either.
            Self::NotIn(key, values) => value(key).is_none_or(|found| values.iter().all(|value| value != found)),
            Self::Exists(key) => value(key).is_some(),
            Self::Absent(key) => value(key).is_none(),
        }
    }
}

impl FieldTerm {
    fn matches(&self, object: &Value) -> bool {
        let found = match object.pointer(&self.pointer) {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Bool(yes)) => yes.to_string(),
            // A field that is not set is the empty string.
            _ => String::new(),
        };
        (found == self.value) == self.equal
    }
}

/// Splits at commas outside brackets.
fn split_terms(text: &str) -> Vec<&str> {
    let (mut terms, mut begin, mut depth) = (Vec::new(), 0, 0i32);
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                terms.push(&text[begin..at]);
                begin = at + 1;
            }
            _ => {}
        }
    }
    terms.push(&text[begin..]);
    terms.into_iter().map(str::trim).filter(|term| !term.is_empty()).collect()
}

fn label_term(term: &str) -> Result<LabelTerm, Failure> {
    if let Some(key) = term.strip_prefix('!') {
        return Ok(LabelTerm::Absent(label_key(key, term)?));
    }
    if let Some((head, values)) = term.strip_suffix(')').and_then(|rest| rest.split_once('(')) {
        let values = values.split(',').map(|value| value.trim().to_owned()).collect();
        return match head.split_whitespace().collect::<Vec<_>>()[..] {
            [key, "in"] => Ok(LabelTerm::In(label_key(key, term)?, values)),
            [key, "notin"] => Ok(LabelTerm::NotIn(label_key(key, term)?, values)),
            _ => Err(unreadable("label", term)),
        };
    }
    if let Some((key, value)) = term.split_once("!=") {
        return Ok(LabelTerm::NotIn(label_key(key, term)?, vec![value.trim().to_owned()]));
    }
    if let Some((key, value)) = term.split_once("==").or_else(|| term.split_once('=')) {
        return Ok(LabelTerm::In(label_key(key, term)?, vec![value.trim().to_owned()]));
    }
    Ok(LabelTerm::Exists(label_key(term, term)?))
}

fn label_key(key: &str, term: &str) -> Result<String, Failure> {
    let key = key.trim();
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    if key.is_empty() || !key.chars().all(allowed) {
        return Err(unreadable("label", term));
    }
    Ok(key.to_owned())
}

fn field_term(resource: &Resource, term: &str) -> Result<FieldTerm, Failure> {
    let (field, value, equal) = if let Some((field, value)) = term.split_once("!=") {
        (field, value, false)
    } else if let Some((field, value)) = term.split_once("==").or_else(|| term.split_once('=')) {
        (field, value, true)
    } else {
        return Err(unreadable("field", term));
    };
    let field = field.trim();
    if !supported(resource, field) {
        let message = format!("field label not supported for {}: {field}", resource.full_name());
        return Err(Failure::bad_request(message));
    }
    Ok(FieldTerm { pointer: format!("/{}", field.replace('.', "/")), value: value.trim().to_owned(), equal })
}

/// Only some fields can be selected by; the others are an error and not an empty result.
fn supported(resource: &Resource, field: &str) -> bool {
    let more: &[&str] = match (&*resource.group, &*resource.plural) {
        ("", "pods") => {
            &["spec.nodeName", "status.phase", "spec.serviceAccountName", "spec.hostNetwork", "status.podIP"]
        }
        ("", "namespaces") => &["status.phase"],
        ("", "nodes") => &["spec.unschedulable"],
        ("", "secrets") => &["type"],
        ("", "services") => &["spec.clusterIP", "spec.type"],
        ("", "events") => &["involvedObject.kind", "involvedObject.name", "involvedObject.namespace", "reason", "type"],
        ("events.k8s.io", "events") => &["regarding.kind", "regarding.name", "regarding.namespace", "reason", "type"],
        _ => &[],
    };
    field == "metadata.name" || (field == "metadata.namespace" && resource.namespaced) || more.contains(&field)
}

fn unreadable(what: &str, term: &str) -> Failure {
    Failure::bad_request(format!("unable to parse the {what} requirement \"{term}\""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pods() -> Resource {
        Resource::new("v1", "pods", "Pod")
    }

    #[test]
    fn every_operator_of_labels_selects_what_it_says() {
        let object = json!({"metadata": {"labels": {"app": "web", "tier": ""}}});
        let cases = [
            ("", true),
            ("app=web", true),
            ("app==web", true),
            ("app = web", true),
            ("app=db", false),
            ("app!=db", true),
            ("app!=web", false),
            ("other!=web", true),
            ("app in (db, web)", true),
            ("app in (db)", false),
            ("app notin (db)", true),
            ("app notin (db,web)", false),
            ("other notin (db)", true),
            ("app", true),
            ("other", false),
            ("!other", true),
            ("!app", false),
            ("tier=", true),
            ("app in (web),!other,tier", true),
            ("app in (web,db),other", false),
        ];
        for (text, expected) in cases {
            let selector = Selector::parse(&pods(), text, "").map_err(|failure| failure.status());
            assert_eq!(selector.map(|selector| selector.matches(&object)), Ok(expected), "{text}");
        }
    }

    #[test]
    fn fields_select_and_an_unset_one_is_empty() {
        let object = json!({"metadata": {"name": "a"}, "spec": {"nodeName": "n"}, "status": {}});
        let cases = [
            ("metadata.name=a", true),
            ("metadata.name==b", false),
            ("spec.nodeName!=n", false),
            ("spec.nodeName=n,metadata.name!=b", true),
            ("status.phase=", true),
            ("status.phase!=Running", true),
        ];
        for (text, expected) in cases {
            let selector = Selector::parse(&pods(), "", text).map_err(|failure| failure.status());
            assert_eq!(selector.map(|selector| selector.matches(&object)), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_read_or_selected_by_is_refused() {
        for (labels, fields) in [("a in b", ""), ("=x", ""), ("a b", ""), ("", "metadata.name"), ("", "spec.color=red")]
        {
            let refused = Selector::parse(&pods(), labels, fields).map_err(|failure| failure.code);
            assert_eq!(refused, Err(400), "{labels} {fields}");
        }
    }
}
