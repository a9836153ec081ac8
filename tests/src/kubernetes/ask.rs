//! What a request asks for: the verb, the resource and the object out of its method, path and query.

use std::collections::BTreeMap;
use std::fmt;

use http::{HeaderMap, Method, Uri, header};

/// What is to be done, in the words of Kubernetes' authorization.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verb {
    /// Read one object, or a path that is no resource.
    Get,
    /// Read many.
    List,
    /// Follow changes.
    Watch,
    /// POST.
    Create,
    /// PUT.
    Update,
    /// PATCH.
    Patch,
    /// DELETE of one object.
    Delete,
    /// DELETE of many.
    DeleteCollection,
    /// A method that no resource has.
    Unknown,
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", format!("{self:?}").to_lowercase())
    }
}

/// One request, as the journal keeps it.
#[derive(Clone, Debug)]
pub struct Asked {
    /// What is to be done.
    pub verb: Verb,
    /// The path, without the query.
    pub path: String,
    /// The API group; "" for the core group and for paths that are no resource.
    pub group: String,
    /// The version of the group.
    pub version: String,
    /// The plural of the resource; "" for paths that are no resource.
    pub resource: String,
    /// The namespace; "" for all, and for what is cluster-wide.
    pub namespace: String,
    /// The object's name; "" for collections.
    pub name: String,
    /// What follows the name, such as `status`.
    pub subresource: String,
    /// The query, decoded.
    pub query: BTreeMap<String, String>,
    /// Who asks, by his token; "" where that is not known.
    pub user: String,
    /// The client's `User-Agent`.
    pub user_agent: String,
    /// The `Accept` header.
    pub accept: String,
    /// What was answered; `None` as long as nothing was.
    pub status: Option<u16>,
}

impl Asked {
    pub(super) fn read(method: &Method, uri: &Uri, headers: &HeaderMap) -> Self {
        let header = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
        let mut asked = Self {
            verb: Verb::Get,
            path: uri.path().to_owned(),
            group: String::new(),
            version: String::new(),
            resource: String::new(),
            namespace: String::new(),
            name: String::new(),
            subresource: String::new(),
            query: read_query(uri.query().unwrap_or_default()),
            user: String::new(),
            user_agent: header(header::USER_AGENT),
            accept: header(header::ACCEPT),
            status: None,
        };
        asked.read_path();
        asked.verb = asked.read_verb(method);
        asked
    }

    /// A value of the query; "" if it is not there.
    #[must_use]
    pub fn parameter(&self, name: &str) -> &str {
        self.query.get(name).map(String::as_str).unwrap_or_default()
    }

    /// Whether a parameter says yes, in one of the ways that Go's `strconv.ParseBool` knows.
    #[must_use]
    pub fn flag(&self, name: &str) -> bool {
        matches!(self.parameter(name), "1" | "t" | "T" | "true" | "True" | "TRUE")
    }

    fn read_path(&mut self) {
        let path = self.path.clone();
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        let rest = match parts[..] {
            ["api", version, ref rest @ ..] => {
                self.version = version.to_owned();
                rest
            }
            ["apis", group, version, ref rest @ ..] => {
                (self.group, self.version) = (group.to_owned(), version.to_owned());
                rest
            }
            _ => return,
        };
        // /namespaces/NAME is an object itself; /namespaces/NAME/PLURAL is what is in it.
        let rest = match rest {
            ["namespaces", namespace, plural, ..] if !["status", "finalize"].contains(plural) => {
                self.namespace = (*namespace).to_owned();
                &rest[2..]
            }
            _ => rest,
        };
        let mut rest = rest.iter().map(|part| (*part).to_owned());
        self.resource = rest.next().unwrap_or_default();
        self.name = rest.next().unwrap_or_default();
        self.subresource = rest.collect::<Vec<_>>().join("/");
    }

    fn read_verb(&self, method: &Method) -> Verb {
        let one = !self.name.is_empty() || self.resource.is_empty();
        match (method.as_str(), one) {
            ("GET" | "HEAD", true) => Verb::Get,
            ("GET" | "HEAD", false) if self.flag("watch") => Verb::Watch,
            ("GET" | "HEAD", false) => Verb::List,
            ("POST", _) => Verb::Create,
            ("PUT", true) => Verb::Update,
            ("PATCH", true) => Verb::Patch,
            ("DELETE", true) => Verb::Delete,
            ("DELETE", false) => Verb::DeleteCollection,
            _ => Verb::Unknown,
        }
    }
}

fn read_query(query: &str) -> BTreeMap<String, String> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(key, value)| (decode(key), decode(value)))
        .collect()
}

/// Undoes `%41` and `+`; what is no valid escape stays.
fn decode(text: &str) -> String {
    let (mut bytes, mut rest) = (Vec::new(), text.as_bytes());
    while let [first, others @ ..] = rest {
        let escaped = match others {
            [high, low, ..] if *first == b'%' => {
                std::str::from_utf8(&[*high, *low]).ok().and_then(|digits| u8::from_str_radix(digits, 16).ok())
            }
            _ => None,
        };
        bytes.push(escaped.unwrap_or(if *first == b'+' { b' ' } else { *first }));
        rest = if escaped.is_some() { &others[2..] } else { others };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn asked(method: &str, uri: &str) -> String {
        let asked = Asked::read(&method.parse().unwrap(), &uri.parse().unwrap(), &HeaderMap::new());
        let Asked { verb, group, version, resource, namespace, name, subresource, .. } = asked;
        format!("{verb} {group}|{version}|{resource}|{namespace}|{name}|{subresource}")
    }

    #[test]
    fn paths_and_methods_say_what_is_asked() {
        let cases = [
            ("GET", "/api/v1/pods", "list |v1|pods|||"),
            ("GET", "/api/v1/pods?watch=1", "watch |v1|pods|||"),
            ("GET", "/api/v1/namespaces/shop/pods", "list |v1|pods|shop||"),
            ("GET", "/api/v1/namespaces/shop/pods/a", "get |v1|pods|shop|a|"),
            ("PUT", "/api/v1/namespaces/shop/pods/a/status", "update |v1|pods|shop|a|status"),
            ("GET", "/api/v1/namespaces", "list |v1|namespaces|||"),
            ("DELETE", "/api/v1/namespaces/shop", "delete |v1|namespaces||shop|"),
            ("PATCH", "/api/v1/namespaces/shop/status", "patch |v1|namespaces||shop|status"),
            (
                "POST",
                "/apis/discovery.k8s.io/v1/namespaces/x/endpointslices",
                "create discovery.k8s.io|v1|endpointslices|x||",
            ),
            ("DELETE", "/api/v1/namespaces/shop/events", "deletecollection |v1|events|shop||"),
            ("GET", "/version", "get |||||"),
            ("GET", "/apis/apps/v1", "get apps|v1||||"),
            ("PUT", "/api/v1/pods", "unknown |v1|pods|||"),
        ];
        for (method, uri, expected) in cases {
            assert_eq!(asked(method, uri), expected, "{method} {uri}");
        }
    }

    #[test]
    fn queries_are_decoded() {
        let query = read_query("?labelSelector=a%3Db%2Cc+in+%28d%29&x&bad=%zz".trim_start_matches('?'));
        assert_eq!(query["labelSelector"], "a=b,c in (d)");
        assert_eq!((query["x"].as_str(), query["bad"].as_str()), ("", "%zz"));
    }
}
